/* prepare.c - see prepare.h. */
#include "core/loftq/prepare.h"

#include <math.h>
#include <string.h>

#include "core/base/hostmem.h"
#include "core/base/rng.h"
#include "core/loftq/blas.h"
#include "core/loftq/crew.h"
#include "core/quant/shard.h"

/* One layer to split, and what came out until it is written. */
typedef struct job {
    const ql_linear *l;
    int32_t index; /* of the layer in the model */
    const ql_source_tensor *t;
    bool quantized;
    ql_quant_opts quant;
    ql_split split;
} job;

typedef struct prepare {
    ql_model *m;
    const ql_prepare_opts *o;
    job *jobs;
    size_t cap;
    int64_t n, taken;
    ql_crew *crew;
    ql_shard *adapter; /* opened with the first layer */
    int64_t untouched;
} prepare;

/* ---------------------------------------------------------------- one layer */

static ql_status read_weight(const ql_model *m, const ql_linear *l, float *w, const char **dtype) {
    ql_linear_rows rows;
    QL_TRY(ql_linear_rows_open(m, l, &rows));
    ql_status s = QL_OK;
    for (int64_t i = 0; i < l->n && s == QL_OK; i++) {
        s = ql_linear_rows_read(&rows, i, w + i * l->k);
        for (int64_t j = 0; j < l->k && s == QL_OK; j++)
            if (!isfinite(w[i * l->k + j]))
                s = QL_FAIL(QL_ERR_NUMERIC,
                            "%s: %s has a value that is not finite at row %lld, column %lld (from "
                            "0): the model is damaged, nothing was written",
                            ql_source_path(m->source), l->tensor, (long long)i, (long long)j);
    }
    *dtype = rows.q.source_dtype;
    ql_linear_rows_close(&rows);
    return s;
}

static const char *dtype_name(ql_st_dtype t) {
    return t == QL_ST_F32 ? "float32" : t == QL_ST_F16 ? "float16" : "bfloat16";
}

static ql_split_opts options_of(const prepare *p, const job *j) {
    const ql_prepare_opts *o = p->o;
    ql_split_opts s = {.method = o->method,
                       .quantized = j->quantized,
                       .quant = j->quant,
                       .dense = ql_folder_dense_dtype(j->t),
                       .r = j->l->r,
                       .iters = o->iters,
                       .scaling = j->l->scaling,
                       .keep_last = o->keep_last,
                       .stop_early = o->stop_early,
                       .svd = o->svd};
    s.svd.seed = o->seed;
    s.svd.which = ql_hash_name(j->l->module);
    if (o->input_rms) s.input_rms = o->input_rms[j->index];
    return s;
}

static ql_status split_layer(void *user, int64_t i) {
    const prepare *p = user;
    job *j = &p->jobs[i];
    const ql_linear *l = j->l;
    const char *dtype = NULL;
    float *w = ql_host_calloc((size_t)l->n, (size_t)l->k * sizeof *w);
    if (!w) return QL_NOMEM(l->tensor);
    ql_status s = read_weight(p->m, l, w, &dtype);
    ql_split_opts o = options_of(p, j);
    if (s == QL_OK) s = ql_split_weight(&o, w, l->n, l->k, &j->split);
    ql_host_free(w);
    if (s == QL_OK && j->quantized)
        j->split.q.source_dtype = dtype ? dtype : dtype_name(ql_folder_dense_dtype(j->t));
    return s;
}

/* ---------------------------------------------------------------- the adapter's file */

static ql_status open_adapter(prepare *p, const char *staged) {
    if (p->adapter) return QL_OK;
    char dir[QL_PATH_MAX];
    QL_TRY(ql_path_join(dir, staged, "adapter"));
    QL_TRY(ql_dir_create(dir));
    return ql_shard_open(dir, "adapter_model.safetensors", &p->adapter);
}

static ql_status add_value(prepare *p, int32_t param, const float *value) {
    const ql_param *x = &p->m->params[param];
    const int64_t shape[2] = {x->rows, x->cols};
    char name[256];
    QL_TRY(ql_adapter_tensor_name(x, name));
    QL_TRY(ql_shard_entry(p->adapter, name, QL_ST_F32, 2, shape));
    return ql_shard_append(p->adapter, value,
                           (uint64_t)x->rows * (uint64_t)x->cols * sizeof *value);
}

static bool is_split(const prepare *p, const ql_linear *l) {
    for (int64_t i = 0; i < p->n; i++)
        if (p->jobs[i].l == l) return true;
    return false;
}

/* An adapted layer whose weight stays as it is begins as PEFT's default. */
static ql_status add_untouched(prepare *p, const ql_linear *l) {
    float *a = ql_host_calloc((size_t)l->r, (size_t)l->k * sizeof *a);
    float *b = ql_host_calloc((size_t)l->n, (size_t)l->r * sizeof *b);
    ql_status s = a && b ? QL_OK : QL_NOMEM("an adapter");
    if (s == QL_OK) {
        ql_adapter_draw_a(p->m, l, p->o->seed, a);
        s = add_value(p, l->adapter_a, a);
    }
    if (s == QL_OK) s = add_value(p, l->adapter_b, b);
    ql_host_free(a);
    ql_host_free(b);
    p->untouched++;
    return s;
}

/* ---------------------------------------------------------------- the folder's maker */

static const ql_linear *adapted_layer(ql_model *m, const char *tensor, int32_t *index) {
    const ql_linear *l;
    for (int32_t i = 0; (l = ql_model_linear(m, i)); i++) {
        *index = i;
        if (l->adapter_a >= 0 && !strcmp(l->tensor, tensor)) return l;
    }
    return NULL;
}

static ql_status wants(void *user, const ql_source_tensor *t, const ql_quant_opts *quant,
                       bool *out) {
    prepare *p = user;
    int32_t index;
    const ql_linear *l = adapted_layer(p->m, t->name, &index);
    *out = l && (quant || p->o->method != QL_SPLIT_LOFTQ);
    if (!*out) return QL_OK;
    job j = {.l = l, .index = index, .t = t, .quantized = quant != NULL};
    if (quant) j.quant = *quant;
    if (!quant && ql_stored_is_quantized(p->m->source, t->name) && t->st)
        return QL_FAIL(QL_ERR_INVALID,
                       "%s: '%s' is stored quantized; a base that stays unquantized needs a model "
                       "in 16 or 32 bits",
                       ql_source_path(p->m->source), t->name);
    const ql_split_opts o = options_of(p, &j);
    ql_status s = ql_split_check(&o, l->n, l->k);
    if (s != QL_OK) return QL_FAIL(s, "'%s': %s", l->module, ql_last_error());
    QL_TRY(ql_host_grow((void **)&p->jobs, &p->cap, (size_t)p->n + 1, sizeof *p->jobs));
    p->jobs[p->n++] = j;
    return QL_OK;
}

static ql_status make(void *user, const ql_source_tensor *t, const char *staged,
                      ql_folder_made *out) {
    prepare *p = user;
    if (!p->crew) {
        int threads = p->o->threads < p->n ? p->o->threads : (int)p->n;
        QL_TRY(ql_crew_start(threads, p->n, split_layer, p, &p->crew));
    }
    job *j = &p->jobs[p->taken];
    if (j->t != t) return QL_FAIL(QL_ERR_INTERNAL, "loftq: '%s' is out of order", t->name);
    QL_TRY(ql_crew_take(p->crew, p->taken++));
    QL_TRY(open_adapter(p, staged));
    QL_TRY(add_value(p, j->l->adapter_a, j->split.a));
    QL_TRY(add_value(p, j->l->adapter_b, j->split.b));
    *out = (ql_folder_made){.q = j->split.q,
                            .dense = j->split.dense,
                            .n = j->l->n,
                            .k = j->l->k,
                            .error = j->split.drift[j->split.best],
                            .norm = j->split.norm};
    j->split.q = (ql_qtensor){0};
    j->split.dense = NULL;
    ql_host_free(j->split.a);
    ql_host_free(j->split.b);
    j->split.a = j->split.b = NULL;
    return QL_OK;
}

static ql_status finish(void *user, const char *staged) {
    prepare *p = user;
    const ql_linear *l;
    uint64_t bytes;
    char dir[QL_PATH_MAX];
    QL_TRY(open_adapter(p, staged));
    for (int32_t i = 0; (l = ql_model_linear(p->m, i)); i++)
        if (l->adapter_a >= 0 && !is_split(p, l)) QL_TRY(add_untouched(p, l));
    ql_shard *adapter = p->adapter;
    p->adapter = NULL;
    QL_TRY(ql_shard_commit(adapter, &bytes));
    QL_TRY(ql_path_join(dir, staged, "adapter"));
    return ql_adapter_write_settings(p->m, p->o->base_name, dir);
}

/* ---------------------------------------------------------------- whole */

static ql_status check(ql_model *m, const ql_prepare_opts *o) {
    int32_t adapted = 0;
    const ql_linear *l;
    for (int32_t i = 0; (l = ql_model_linear(m, i)); i++) adapted += l->adapter_a >= 0;
    if (m->lora.dora)
        return QL_FAIL(QL_ERR_UNSUPPORTED,
                       "--use_dora begins at the weight's own magnitudes; it cannot be combined "
                       "with an adapter that changes the base");
    if (m->n_params != 2 * adapted && !o->layers_only)
        return QL_FAIL(QL_ERR_UNSUPPORTED,
                       "'%s' is trained whole beside the adapters (modules_to_save, a classifier, "
                       "token rows); begin with `qlora train --init_lora_weights ...`, which keeps "
                       "it",
                       m->params[m->n_params - 1].name);
    if (o->folder.dense && o->method == QL_SPLIT_LOFTQ)
        return QL_FAIL(QL_ERR_INVALID,
                       "LoftQ makes up for quantization; with --bits 16 there is nothing to do "
                       "(PiSSA and OLoRA work there)");
    return QL_OK;
}

static ql_status take_rows(prepare *p, ql_prepare_report *r) {
    r->rows = ql_host_calloc((size_t)p->n + 1, sizeof *r->rows);
    if (!r->rows) return QL_NOMEM("a report");
    for (int64_t i = 0; i < p->n; i++)
        r->rows[r->n++] = (ql_prepare_row){
            .l = p->jobs[i].l,
            .type = p->jobs[i].quantized ? ql_qtype_at(p->jobs[i].quant.type) : NULL,
            .split = p->jobs[i].split};
    r->untouched = p->untouched;
    return QL_OK;
}

void ql_prepare_report_free(ql_prepare_report *r) {
    ql_host_free(r->rows);
    *r = (ql_prepare_report){0};
}

ql_status ql_prepare_folder(ql_model *m, const ql_prepare_opts *o, const char *out,
                            ql_prepare_report *report) {
    QL_TRY(check(m, o));
    QL_TRY(ql_lapack_load());
    prepare p = {.m = m, .o = o};
    ql_prepare_report r = {0};
    const ql_folder_maker maker = {.user = &p, .wants = wants, .make = make, .finish = finish};
    ql_quantize_folder_opts folder = o->folder;
    folder.maker = &maker;
    ql_status s = ql_quantize_folder(m->source, &folder, out, &r.folder);
    ql_crew_stop(p.crew);
    ql_shard_abort(p.adapter);
    if (s == QL_OK) s = take_rows(&p, &r);
    for (int64_t i = 0; i < p.n; i++) ql_split_free(&p.jobs[i].split);
    ql_host_free(p.jobs);
    if (s != QL_OK) {
        ql_prepare_report_free(&r);
        return s;
    }
    *report = r;
    return QL_OK;
}
