/*
 * checkpoint.c - saving and restoring a trainer bit for bit (layout: trainer.h,
 * docs/file-formats.md).
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/fs.h"
#include "core/base/hostmem.h"
#include "core/base/json.h"
#include "core/base/stage.h"
#include "core/train/manifest.h"
#include "core/train/trainer_impl.h"

#define VERSION 1

/* ---------------------------------------------------------------- moments */

/* A region as rows of the optimizer file: name, device buffer, element offset. */
typedef struct region {
    const char *name;
    ql_buffer *buf;
    uint64_t first;
} region;

static int regions_of(const ql_trainer *t, region out[3]) {
    out[0] = (region){"m", t->m->moments, 0};
    out[1] = (region){"v", t->m->moments, t->m->n_trained};
    out[2] = (region){"trained", t->m->trained, 0};
    return t->m->opts.full ? 3 : 2; /* adapters are in adapter/ */
}

#define PIECE (1u << 20) /* elements moved at once */

static ql_status write_region(ql_trainer *t, ql_st_writer *w, const region *r, float *piece) {
    for (uint64_t at = 0; at < t->m->n_trained; at += PIECE) {
        uint64_t n = t->m->n_trained - at < PIECE ? t->m->n_trained - at : PIECE;
        QL_TRY(t->dev->backend->read(t->queue, r->buf, (r->first + at) * sizeof(float), piece,
                                     n * sizeof(float)));
        QL_TRY(ql_st_writer_data(w, piece, n * sizeof(float)));
    }
    return QL_OK;
}

static ql_status write_moments(ql_trainer *t, const char *path) {
    region r[3];
    int n = regions_of(t, r);
    ql_st_writer *w = NULL;
    QL_TRY(ql_st_writer_create(path, &w));
    float *piece = ql_host_calloc(PIECE, sizeof(float));
    ql_status s = piece ? QL_OK : QL_NOMEM("optimizer state");
    int64_t shape[1] = {(int64_t)t->m->n_trained};
    for (int i = 0; i < n && s == QL_OK; i++)
        s = ql_st_writer_declare(w, r[i].name, QL_ST_F32, 1, shape);
    for (int i = 0; i < n && s == QL_OK; i++) s = write_region(t, w, &r[i], piece);
    ql_host_free(piece);
    if (s != QL_OK) {
        ql_st_writer_abort(w);
        return s;
    }
    return ql_st_writer_commit(w);
}

/* Is region r in the file as it must be? */
static ql_status check_region(const ql_trainer *t, const ql_st_file *f, const char *path,
                              const region *r) {
    const ql_st_tensor *x = ql_st_find(f, r->name);
    if (!x || x->dtype != QL_ST_F32 || (uint64_t)x->numel != t->m->n_trained)
        return QL_FAIL(QL_ERR_FORMAT, "%s: tensor '%s' of %llu F32 values expected", path, r->name,
                       (unsigned long long)t->m->n_trained);
    return QL_OK;
}

static ql_status read_region(ql_trainer *t, const ql_st_file *f, const region *r, float *piece) {
    const ql_st_tensor *x = ql_st_find(f, r->name);
    for (uint64_t at = 0; at < t->m->n_trained; at += PIECE) {
        uint64_t n = t->m->n_trained - at < PIECE ? t->m->n_trained - at : PIECE;
        QL_TRY(ql_st_read_f32(x, (int64_t)at, (int64_t)n, piece));
        QL_TRY(t->dev->backend->write(t->queue, r->buf, (r->first + at) * sizeof(float), piece,
                                      n * sizeof(float)));
        QL_TRY(t->dev->backend->queue_sync(t->queue));
    }
    return QL_OK;
}

/* Checks the optimizer file; with `take` its values go to the device. */
static ql_status visit_moments(ql_trainer *t, const char *path, bool take) {
    region r[3];
    int n = regions_of(t, r);
    ql_st_file *f = NULL;
    QL_TRY(ql_st_open(path, &f));
    ql_status s = QL_OK;
    for (int i = 0; i < n && s == QL_OK; i++) s = check_region(t, f, path, &r[i]);
    float *piece = take ? ql_host_calloc(PIECE, sizeof(float)) : NULL;
    if (s == QL_OK && take && !piece) s = QL_NOMEM("optimizer state");
    for (int i = 0; i < n && s == QL_OK && take; i++) s = read_region(t, f, &r[i], piece);
    ql_host_free(piece);
    ql_st_close(f);
    return s;
}

/* ---------------------------------------------------------------- state */

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
                {"packing", o->packing},
                {"shuffle", o->shuffle},
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
                 {"label_smoothing", o->label_smoothing},
                 {"lora_alpha", m->lora.alpha},
                 {"lora_dropout", m->lora.dropout}};
    json_t *s = json_object();
    int bad = !s;
    for (size_t i = 0; !bad && i < sizeof ints / sizeof *ints; i++)
        bad = json_object_set_new(s, ints[i].name, json_integer(ints[i].value));
    for (size_t i = 0; !bad && i < sizeof reals / sizeof *reals; i++)
        bad = json_object_set_new(s, reals[i].name, json_real(reals[i].value));
    if (!bad) bad = json_object_set_new(s, "lora_target_modules", targets(&m->lora));
    if (!bad && m->has_lora) bad = add_adapter(s, &m->lora);
    if (!bad) return s;
    json_decref(s);
    return NULL;
}

static json_t *state(const ql_trainer *t) {
    json_t *s =
        json_pack("{s:i,s:I,s:I,s:I}", "version", VERSION, "step", (json_int_t)t->done, "epoch",
                  (json_int_t)t->feed.cursor.epoch, "next", (json_int_t)t->feed.cursor.next);
    json_t *o = settings(t);
    if (!s || !o) {
        json_decref(s);
        json_decref(o);
        return NULL;
    }
    json_object_set_new(s, "settings", o);
    return s;
}

/* Reals may have been written without a fraction; integers are compared exactly. */
static bool same_value(const json_t *a, const json_t *b) {
    if (!b) return false;
    if (json_is_real(a)) return json_is_number(b) && json_real_value(a) == json_number_value(b);
    return json_equal(a, b);
}

static ql_status differs(const char *path, const char *key, const json_t *was, const json_t *is) {
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

/* Where a run stands. */
typedef struct position {
    int64_t step;
    ql_cursor cursor;
} position;

static ql_status need(const json_t *s, const char *path, const char *key, int64_t hi,
                      int64_t *out) {
    if (!ql_json_has(s, key)) return QL_FAIL(QL_ERR_FORMAT, "%s: key '%s' is missing", path, key);
    return ql_json_get_i64(s, path, key, 0, hi, out);
}

static ql_status read_state(const ql_trainer *t, const char *path, position *out) {
    json_t *s = NULL;
    QL_TRY(ql_json_read(path, &s));
    int64_t version = 0, rows = t->has_feed ? t->feed.data->n : 0;
    ql_status r = need(s, path, "version", 1 << 30, &version);
    if (r == QL_OK && version != VERSION)
        r = QL_FAIL(QL_ERR_FORMAT, "%s: version %lld, this program reads %d", path,
                    (long long)version, VERSION);
    if (r == QL_OK) r = compare_settings(t, json_object_get(s, "settings"), path);
    if (r == QL_OK) r = need(s, path, "step", INT64_MAX / 2, &out->step);
    if (r == QL_OK) r = need(s, path, "epoch", INT64_MAX / 2, &out->cursor.epoch);
    if (r == QL_OK) r = need(s, path, "next", rows, &out->cursor.next);
    json_decref(s);
    return r;
}

/* ---------------------------------------------------------------- folders */

/* The files of a checkpoint: adapters are not there with --full. */
static int files_of(const ql_trainer *t, const char *out[4]) {
    int n = 0;
    if (!t->m->opts.full) {
        out[n++] = "adapter/adapter_config.json";
        out[n++] = "adapter/adapter_model.safetensors";
    }
    out[n++] = "optimizer.safetensors";
    out[n++] = "state.json";
    return n;
}

static ql_status build(ql_trainer *t, const char *dir) {
    char path[QL_PATH_MAX];
    if (!t->m->opts.full) {
        QL_TRY(ql_path_join(path, dir, "adapter"));
        QL_TRY(ql_adapter_save(t->m, path));
    }
    QL_TRY(ql_path_join(path, dir, "optimizer.safetensors"));
    QL_TRY(write_moments(t, path));
    json_t *s = state(t);
    if (!s) return QL_NOMEM("state.json");
    ql_status r = ql_path_join(path, dir, "state.json");
    if (r == QL_OK) r = ql_json_write(path, s);
    json_decref(s);
    QL_TRY(r);
    const char *files[4];
    return ql_manifest_write(dir, files, files_of(t, files));
}

ql_status ql_trainer_save(ql_trainer *t, const char *dir) {
    char staged[QL_PATH_MAX];
    QL_TRY(ql_stage_begin(dir, staged));
    return ql_stage_end(build(t, staged), staged, dir);
}

ql_status ql_checkpoint_check(const char *dir) {
    return ql_manifest_check(dir, NULL, 0);
}

/* Everything is read and checked before anything is taken over. */
ql_status ql_trainer_resume(ql_trainer *t, const char *dir) {
    char state[QL_PATH_MAX], moments[QL_PATH_MAX], adapter[QL_PATH_MAX];
    const char *files[4];
    position at = {0};
    QL_TRY(ql_path_join(state, dir, "state.json"));
    QL_TRY(ql_path_join(moments, dir, "optimizer.safetensors"));
    QL_TRY(ql_path_join(adapter, dir, "adapter"));
    QL_TRY(ql_manifest_check(dir, files, files_of(t, files)));
    QL_TRY(read_state(t, state, &at));
    QL_TRY(visit_moments(t, moments, false));
    if (!t->m->opts.full) QL_TRY(ql_adapter_check(t->m, adapter));
    QL_TRY(visit_moments(t, moments, true));
    if (!t->m->opts.full) QL_TRY(ql_adapter_load(t->m, adapter));
    t->done = at.step;
    t->feed.cursor = at.cursor;
    return QL_OK;
}
