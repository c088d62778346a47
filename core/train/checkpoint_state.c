/*
 * checkpoint_state.c - state.json of a checkpoint: where the run stands, what its caller keeps, and
 * the settings that must be the same for the continuation to be the same run (see
 * checkpoint_impl.h).
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/hostmem.h"
#include "core/train/checkpoint_impl.h"

#define VERSION 2

/* The target modules as one text, as the adapter was asked for. */
static json_t *targets(const ql_lora_config *l) {
    if (l->pattern) return json_string(l->pattern);
    if (!l->n_targets) return json_string("all-linear");
    json_t *list = json_array();
    for (int32_t i = 0; i < l->n_targets; i++)
        json_array_append_new(list, json_string(l->targets[i]));
    return list;
}

/* The adapter's settings beyond rank, scaling and targets. */
static int add_adapter(json_t *s, const ql_lora_config *l) {
    static const char *const keys[] = {
        "use_dora",        "rank_pattern",        "alpha_pattern",  "modules_to_save",
        "exclude_modules", "layers_to_transform", "layers_pattern", "trainable_token_indices"};
    json_t *all = NULL;
    if (ql_lora_config_json(l, &(ql_lora_about){0}, &all) != QL_OK) return -1;
    int bad = 0;
    for (size_t i = 0; !bad && i < sizeof keys / sizeof *keys; i++) {
        json_t *v = json_object_get(all, keys[i]);
        bad = v ? json_object_set(s, keys[i], v) : json_object_set_new(s, keys[i], json_null());
    }
    json_decref(all);
    return bad;
}

/* Settings that must be the same for the continuation to be the same run. */
static json_t *settings(const ql_trainer *t) {
    const ql_train_opts *o = &t->o;
    const ql_model *m = t->m;
    const struct {
        const char *name;
        int64_t value;
    } ints[] = {{"batch", o->batch},
                {"accumulate", o->accumulate},
                {"max_len", o->max_len},
                {"packing", o->packing ? 1 + o->shuffle : 0},         /* 2: best fit */
                {"shuffle", o->shuffle ? 1 + o->group_by_length : 0}, /* 2: by length */
                {"seed", (int64_t)o->seed},
                {"data_seed", (int64_t)o->data_seed},
                {"schedule", o->schedule.kind},
                {"warmup", o->schedule.warmup},
                {"total_steps", o->schedule.total},
                {"compute", o->compute},
                {"lora_r", m->lora.r},
                {"rslora", m->lora.rslora},
                {"bits", m->opts.bits},
                {"quant_type", m->opts.quant.type},
                {"double_quant", m->opts.quant.double_quant},
                {"blocksize", m->opts.quant.block},
                {"blocksize2", m->opts.quant.block2},
                {"quant_rule", m->opts.quant.rule},
                {"quantize_head", m->opts.quantize_head},
                {"full", m->opts.full},
                {"model_dropout", t->o.model_dropout},
                {"hidden", m->arch.hidden},
                {"layers", m->arch.body.layers + m->arch.encoder.layers},
                {"vocab", m->arch.vocab},
                {"trained", (int64_t)m->n_trained},
                {"rows", t->has_feed ? t->feed.data->n : 0}};
    const struct {
        const char *name;
        double value;
    } reals[] = {{"learning_rate", o->schedule.lr},
                 {"weight_decay", o->weight_decay},
                 {"max_grad_norm", o->max_grad_norm},
                 {"beta1", o->beta1},
                 {"beta2", o->beta2},
                 {"epsilon", o->epsilon},
                 {"momentum", o->momentum},
                 {"label_smoothing", o->label_smoothing},
                 {"lora_alpha", m->lora.alpha},
                 {"lora_dropout", m->lora.dropout}};
    json_t *s = json_object();
    int bad = !s || json_object_set_new(s, "optim", json_string(o->optim->rule));
    for (size_t i = 0; !bad && i < sizeof ints / sizeof *ints; i++)
        bad = json_object_set_new(s, ints[i].name, json_integer(ints[i].value));
    for (size_t i = 0; !bad && i < sizeof reals / sizeof *reals; i++)
        bad = json_object_set_new(s, reals[i].name, json_real(reals[i].value));
    char digest[17];
    snprintf(digest, sizeof digest, "%016" PRIx64, t->data_digest);
    if (!bad) bad = json_object_set_new(s, "data", json_string(digest));
    const char *rules = m->opts.bits_by_layer;
    if (!bad)
        bad = json_object_set_new(s, "bits_by_layer", rules ? json_string(rules) : json_null());
    if (!bad) bad = json_object_set_new(s, "lora_target_modules", targets(&m->lora));
    if (!bad && m->has_lora) bad = add_adapter(s, &m->lora);
    if (!bad) return s;
    json_decref(s);
    return NULL;
}

/* NULL: out of memory. */
static json_t *state(const ql_trainer *t) {
    json_t *s = json_pack("{s:i,s:I,s:I,s:I,s:O}", "version", VERSION, "step", (json_int_t)t->done,
                          "epoch", (json_int_t)t->feed.cursor.epoch, "next",
                          (json_int_t)t->feed.cursor.next, "notes", t->notes);
    json_t *o = settings(t);
    if (s && o && json_object_set_new(s, "settings", o) == 0) return s;
    json_decref(s);
    return NULL;
}

ql_status ql_state_write(const ql_trainer *t, const char *path) {
    json_t *s = state(t);
    if (!s) return QL_NOMEM("state.json");
    ql_status r = ql_json_write(path, s);
    json_decref(s);
    return r;
}

ql_status ql_state_compare(const ql_trainer *t, const char *path) {
    json_t *file = NULL;
    QL_TRY(ql_json_read(path, &file));
    json_t *now = state(t);
    ql_status r = now ? QL_OK : QL_NOMEM("state.json");
    if (now && !json_equal(file, now))
        r = QL_FAIL(QL_ERR_IO,
                    "%s: reads back with other content than was written; the disk or memory is "
                    "damaged",
                    path);
    json_decref(file);
    json_decref(now);
    return r;
}

/* Reals may have been written without a fraction; integers are compared exactly. */
static bool same_value(const json_t *a, const json_t *b) {
    if (!b) return false;
    if (json_is_real(a)) return json_is_number(b) && json_real_value(a) == json_number_value(b);
    return json_equal(a, b);
}

static ql_status differs(const char *path, const char *key, const json_t *was, const json_t *is) {
    if (strcmp(key, "data") == 0)
        return QL_FAIL(QL_ERR_INVALID,
                       "%s: the training rows have changed since it was saved (other data, "
                       "template, lengths or split); use the same rows, or --resume never",
                       path);
    char *a = was ? json_dumps(was, JSON_ENCODE_ANY) : NULL, *b = json_dumps(is, JSON_ENCODE_ANY);
    ql_status s = QL_FAIL(
        QL_ERR_INVALID,
        "%s: was saved with %s %s, this run has %s; use the same settings, or --resume never", path,
        key, a ? a : "(absent)", b ? b : "?");
    free(a); /* jansson's own allocation */
    free(b);
    return s;
}

static ql_status compare_settings(const ql_trainer *t, const json_t *have, const char *path) {
    json_t *want = settings(t);
    if (!want) return QL_NOMEM("checkpoint settings");
    ql_status s = QL_OK;
    const char *key;
    json_t *value;
    json_object_foreach(want, key, value) {
        const json_t *other = json_object_get(have, key);
        if (s == QL_OK && !same_value(value, other)) s = differs(path, key, other, value);
    }
    json_decref(want);
    return s;
}

static ql_status need(const json_t *s, const char *path, const char *key, int64_t hi,
                      int64_t *out) {
    if (!ql_json_has(s, key)) return QL_FAIL(QL_ERR_FORMAT, "%s: key '%s' is missing", path, key);
    return ql_json_get_i64(s, path, key, 0, hi, out);
}

ql_status ql_state_read(const ql_trainer *t, const char *path, ql_position *out) {
    json_t *s = NULL;
    QL_TRY(ql_json_read(path, &s));
    int64_t version = 0, rows = t->has_feed ? t->feed.data->n : 0;
    ql_status r = need(s, path, "version", 1 << 30, &version);
    if (r == QL_OK && version != VERSION)
        r = QL_FAIL(version > VERSION ? QL_ERR_UNSUPPORTED : QL_ERR_FORMAT,
                    "%s: version %lld, this program reads %d", path, (long long)version, VERSION);
    json_t *notes = json_object_get(s, "notes");
    if (r == QL_OK && !json_is_object(notes))
        r = QL_FAIL(QL_ERR_FORMAT, "%s: 'notes' must be an object", path);
    if (r == QL_OK) r = compare_settings(t, json_object_get(s, "settings"), path);
    if (r == QL_OK) r = need(s, path, "step", INT64_MAX / 2, &out->step);
    if (r == QL_OK) r = need(s, path, "epoch", INT64_MAX / 2, &out->cursor.epoch);
    if (r == QL_OK) r = need(s, path, "next", rows, &out->cursor.next);
    if (r == QL_OK) out->notes = json_incref(notes);
    json_decref(s);
    return r;
}
