/*
 * model.c - opening and describing models, attaching, loading and saving adapters.
 */
#include <stdio.h>
#include <string.h>

#include "core/api/api.h"
#include "core/base/fs.h"
#include "core/base/hostmem.h"

/* ------------------------------------------------------------------ opening */

static void on_load(void *user, int64_t done, int64_t total, const char *name) {
    (void)name;
    (void)ql_api_progress(user, "load", done, total); /* a request waits until loading is done */
}

static ql_status core_opts(const qlora_model_opts *o, qlora_session *s, ql_model_opts *out) {
    ql_model_opts c = ql_model_opts_default();
    if (o->bits == 16 && o->quant_type)
        return QL_FAIL(QL_ERR_INVALID, "bits 16 contradicts quant_type %.64s", o->quant_type);
    if (o->bits == 16) {
        c.bits = 16;
    } else {
        const qlora_quantize_opts q = {.quant_type = o->quant_type,
                                       .bits = o->bits,
                                       .block = o->block,
                                       .block2 = o->block2,
                                       .double_quant = o->double_quant};
        QL_TRY(ql_api_quant(&q, &c.quant));
        c.bits = ql_qtype_at(c.quant.type)->bits;
    }
    c.quantize_head = o->quantize_head;
    c.full = o->full;
    c.progress = on_load;
    c.user = s;
    *out = c;
    return QL_OK;
}

static ql_status open_core(const char *path, const ql_model_opts *o, ql_model **out) {
    ql_source *source = NULL;
    QL_TRY(ql_source_open(path, &source));
    return ql_model_open(source, o, out);
}

static ql_status fill(qlora_model *m, const char *path, const qlora_model_opts *o) {
    ql_model_opts core;
    QL_TRY(core_opts(o, m->session, &core));
    m->path = ql_host_strdup(path);
    m->tokenizer_path = ql_host_strdup(o->tokenizer ? o->tokenizer : path);
    if (!m->path || !m->tokenizer_path) return QL_NOMEM("a model");
    return open_core(path, &core, &m->core);
}

ql_status qlora_model_open(qlora_session *s, const char *path, const qlora_model_opts *opts,
                           qlora_model **out) {
    NOT_NULL(s);
    NOT_NULL(path);
    NOT_NULL(out);
    qlora_model_opts o;
    QL_TRY(ql_api_model_opts(opts, &o));
    qlora_model *m = ql_host_calloc(1, sizeof *m);
    if (!m) return QL_NOMEM("a model");
    m->users = 1;
    m->session = s;
    s->users++;
    ql_status status = fill(m, path, &o);
    if (status != QL_OK) {
        ql_api_model_drop(m);
        return status;
    }
    *out = m;
    return QL_OK;
}

void ql_api_model_drop(qlora_model *m) {
    if (--m->users > 0) return;
    ql_api_release(m);
    ql_model_close(m->core);
    m->session->dev->backend->queue_destroy(m->queue);
    ql_template_close(m->chat);
    ql_tokenizer_close(m->tok);
    ql_host_free(m->values);
    ql_host_free(m->values_dir);
    ql_host_free(m->tokenizer_path);
    ql_host_free(m->path);
    ql_api_session_drop(m->session);
    ql_host_free(m);
}

void qlora_model_close(qlora_model *m) {
    if (m) ql_api_model_drop(m);
}

ql_status qlora_model_describe(const qlora_model *m, qlora_model_info *out) {
    NOT_NULL(m);
    NOT_NULL(out);
    const ql_arch *a = &m->core->arch;
    qlora_model_info info = {.layers = a->body.layers + a->encoder.layers,
                             .hidden = a->hidden,
                             .vocab = a->vocab,
                             .max_positions = a->max_positions,
                             .parameters = (int64_t)m->core->parameters,
                             .trainable = (int64_t)m->core->trainable};
    (void)snprintf(info.family, sizeof info.family, "%s", a->family);
    *out = info;
    return QL_OK;
}

/* ------------------------------------------------------------------ adapters */

/* Attaches to a model that is off the device. A core model that refused has half an adapter: it is
 * opened anew. */
static ql_status attach(qlora_model *m, const ql_lora_config *c) {
    ql_model *fresh = NULL;
    QL_TRY(ql_api_unplace(m));
    QL_TRY(open_core(m->path, &m->core->opts, &fresh));
    ql_status s = ql_model_attach_lora(fresh, c);
    if (s != QL_OK) {
        ql_model_close(fresh);
        return s;
    }
    ql_model_close(m->core);
    m->core = fresh;
    return QL_OK;
}

static ql_status lora_config(const qlora_lora_opts *o, ql_lora_config *out) {
    ql_lora_config c = ql_lora_config_default();
    QL_TRY(ql_api_int("r", o->r, 1, 65536, &c.r));
    c.alpha = o->alpha;
    c.dropout = o->dropout;
    c.rslora = o->rslora;
    c.init = o->gaussian ? QL_INIT_GAUSSIAN : QL_INIT_DEFAULT;
    c.dora = o->dora;
    const struct {
        const char *text;
        ql_status (*set)(ql_lora_config *c, const char *text);
    } texts[] = {{o->targets, ql_lora_set_targets},
                 {o->rank_pattern, ql_lora_set_rank_pattern},
                 {o->alpha_pattern, ql_lora_set_alpha_pattern},
                 {o->modules_to_save, ql_lora_set_saved},
                 {o->exclude_modules, ql_lora_set_exclude},
                 {o->layers_to_transform, ql_lora_set_layers},
                 {o->trainable_tokens, ql_lora_set_tokens}};
    ql_status s = QL_OK;
    for (size_t i = 0; i < sizeof texts / sizeof *texts && s == QL_OK; i++)
        if (texts[i].text) s = texts[i].set(&c, texts[i].text);
    if (s != QL_OK) {
        ql_lora_config_free(&c);
        return s;
    }
    *out = c;
    return QL_OK;
}

ql_status qlora_lora_attach(qlora_model *m, const qlora_lora_opts *opts) {
    NOT_NULL(m);
    qlora_lora_opts o;
    ql_lora_config c;
    QL_TRY(ql_api_lora_opts(opts, &o));
    if (m->core->has_lora) return QL_FAIL(QL_ERR_INVALID, "model: has adapters already");
    QL_TRY(lora_config(&o, &c));
    ql_status s = attach(m, &c);
    ql_lora_config_free(&c);
    return s;
}

/* The folder must hold an adapter before anything changes; its values are read when placing. */
static ql_status check_folder(const char *dir, ql_lora_config *c) {
    char path[QL_PATH_MAX];
    QL_TRY(ql_path_join(path, dir, "adapter_model.safetensors"));
    if (!ql_file_exists(path))
        return QL_FAIL(QL_ERR_NOT_FOUND, "%s: is not there; an adapter folder holds it", path);
    return ql_lora_config_read(dir, c);
}

/* On the device: a folder that does not fit leaves the values as they were. */
static ql_status load_now(qlora_model *m, const char *dir) {
    QL_TRY(ql_api_keep_values(m));
    ql_status s = ql_adapter_load(m->core, dir);
    if (s != QL_OK) {
        char reason[1024];
        (void)snprintf(reason, sizeof reason, "%s", ql_last_error());
        ql_status restored = ql_api_restore_values(m);
        return restored == QL_OK ? QL_FAIL(s, "%s", reason) : restored;
    }
    ql_host_free(m->values);
    m->values = NULL;
    m->has_values = true;
    return QL_OK;
}

static ql_status load_later(qlora_model *m, const char *dir) {
    char *copy = ql_host_strdup(dir);
    if (!copy) return QL_NOMEM("an adapter's path");
    ql_host_free(m->values_dir);
    ql_host_free(m->values);
    m->values = NULL;
    m->values_dir = copy;
    m->has_values = true;
    return QL_OK;
}

ql_status qlora_adapter_load(qlora_model *m, const char *dir) {
    NOT_NULL(m);
    NOT_NULL(dir);
    ql_lora_config c = {0};
    QL_TRY(check_folder(dir, &c));
    ql_status s = m->core->has_lora ? QL_OK : attach(m, &c);
    ql_lora_config_free(&c);
    QL_TRY(s);
    return m->core->dev ? load_now(m, dir) : load_later(m, dir);
}

ql_status qlora_adapter_save(qlora_model *m, const char *dir) {
    NOT_NULL(m);
    NOT_NULL(dir);
    if (!m->core->has_lora) return QL_FAIL(QL_ERR_INVALID, "model: there is no adapter to save");
    if (!m->has_values)
        return QL_FAIL(QL_ERR_INVALID,
                       "model: its adapters have no values yet; create a trainer or load some");
    QL_TRY(ql_api_place(m));
    return ql_adapter_save(m->core, dir);
}
