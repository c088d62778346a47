/*
 * attach.c - what of a model is trained: adapters on linear layers, modules trained whole
 * (modules_to_save), rows of the embedding. The trained region is decided here.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/hostmem.h"
#include "core/base/log.h"
#include "core/model/model_impl.h"

static ql_status attach(ql_model *m, ql_linear *l, const ql_lora_target *t) {
    if (l == m->head && m->tied)
        return QL_FAIL(QL_ERR_UNSUPPORTED,
                       "lora_target_modules selects %s, which is tied to the embedding in this "
                       "model; leave it out",
                       l->module);
    if (m->lora.dora && l->transposed && !l->quantized) { /* DoRA takes norms of rows */
        ql_dtype dtype = l->dense.dtype;
        ql_slot_release(m, &l->dense);
        l->dense = ql_slot_weights(m, l->n, l->k, dtype);
        l->turned = true;
    }
    l->r = t->r;
    l->scaling = t->scaling;
    l->dropout = (float)m->lora.dropout;
    QL_TRY(ql_param_add(m, l->r, l->k, true, &l->adapter_a, "%s.lora_A.weight", l->module));
    QL_TRY(ql_param_add(m, l->n, l->r, true, &l->adapter_b, "%s.lora_B.weight", l->module));
    if (!m->lora.dora) return QL_OK;
    QL_TRY(ql_param_add(m, 1, l->n, true, &l->adapter_m, "%s.lora_magnitude_vector", l->module));
    m->params[l->adapter_m].dims = 1;
    return QL_OK;
}

/* ---------------------------------------------------------------- modules trained whole */

/* The module of tensor "a.b.weight". */
static const char *module_of(const char *name, char out[192]) {
    const char *dot = strrchr(name, '.');
    snprintf(out, 192, "%.*s", dot ? (int)(dot - name) : 191, name);
    return out;
}

static ql_status train_dense(ql_model *m, ql_dense *d) {
    ql_slot old = d->slot;
    QL_TRY(ql_param_add(m, old.rows, old.cols, old.rows > 1, &d->param, "%s", d->name));
    bool vector = d->from ? d->from->dims == 1 : old.rows == 1;
    if (vector) m->params[d->param].dims = 1;
    /* A tied head goes on reading the base's embedding, as in PEFT. */
    if (!(d == m->embed && m->tied)) ql_slot_release(m, &d->slot);
    d->slot = (ql_slot){QL_REGION_TRAINED, 0, 0, old.rows, old.cols, QL_F32};
    return QL_OK;
}

static ql_status train_linear(ql_model *m, ql_linear *l) {
    if (l->quantized)
        return QL_FAIL(QL_ERR_UNSUPPORTED,
                       "modules_to_save names '%s', which is quantized; train it with --bits 16 or "
                       "give it an adapter",
                       l->module);
    ql_slot old = l->dense;
    QL_TRY(ql_param_add(m, old.rows, old.cols, true, &l->dense_param, "%s.weight", l->module));
    if (!(l == m->head && m->tied)) ql_slot_release(m, &l->dense);
    l->dense = (ql_slot){QL_REGION_TRAINED, 0, 0, old.rows, old.cols, QL_F32};
    return QL_OK;
}

/* PEFT trains a classifier whole; what the files lack cannot stay random, so it is trained too. */
static ql_status complete_saved(ql_model *m) {
    char names[1024] = "";
    size_t at = 0;
    if (m->arch.task != QL_TASK_CLASSIFY) return QL_OK;
    QL_TRY(ql_lora_for_task(&m->lora, "SEQ_CLS"));
    bool saved = true;
    if (m->head_dense && m->head_dense->fresh)
        QL_TRY(ql_lora_saves(&m->lora, m->head_dense->module, &saved));
    if (saved) return QL_OK;
    for (int32_t i = 0; i <= m->lora.n_save; i++) {
        const char *name = i < m->lora.n_save ? m->lora.modules_to_save[i] : m->head_dense->module;
        size_t n = strlen(name);
        if (at + n + 2 > sizeof names)
            return QL_FAIL(QL_ERR_INVALID, "modules_to_save is too long");
        if (at) names[at++] = ',';
        memcpy(names + at, name, n + 1);
        at += n;
    }
    return ql_lora_set_saved(&m->lora, names);
}

/* ---------------------------------------------------------------- rows of the embedding */

static int ascending(const void *a, const void *b) {
    int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    return (x > y) - (x < y);
}

static ql_status attach_token_rows(ql_model *m) {
    const ql_token_rows *t = &m->lora.tokens;
    char module[192];
    if (!t->n) return QL_OK;
    module_of(m->embed->name, module);
    if (!ql_lora_has_tokens_of(&m->lora, module, true))
        return QL_FAIL(QL_ERR_UNSUPPORTED,
                       "trainable_token_indices names '%s'; this version trains rows of '%s' only",
                       t->module ? t->module : "", module);
    if (m->embed->param >= 0)
        return QL_FAIL(QL_ERR_INVALID,
                       "trainable_token_indices and modules_to_save both train '%s'", module);
    ql_token_table *rows = &m->token_rows;
    rows->ids = ql_host_calloc((size_t)t->n, sizeof(int32_t));
    if (!rows->ids) return QL_NOMEM("trainable tokens");
    memcpy(rows->ids, t->ids, (size_t)t->n * sizeof(int32_t));
    qsort(rows->ids, (size_t)t->n, sizeof(int32_t), ascending);
    for (int32_t i = 0; i < t->n; i++)
        if (rows->ids[i] < 0 || rows->ids[i] >= m->arch.vocab ||
            (i && rows->ids[i] == rows->ids[i - 1]))
            return QL_FAIL(QL_ERR_INVALID,
                           "trainable_token_indices: id %d is listed twice or outside the "
                           "vocabulary of %lld",
                           rows->ids[i], (long long)m->arch.vocab);
    rows->n = t->n;
    return ql_param_add(m, t->n, m->embed->slot.cols, true, &rows->param,
                        "%s.token_adapter.trainable_tokens_delta", module);
}

/* ---------------------------------------------------------------- all */

static ql_status attach_linears(ql_model *m) {
    bool any = false;
    ql_linear *l;
    for (int64_t i = 0; (l = ql_model_linear(m, i)); i++) {
        bool whole = false;
        ql_lora_target t = {0};
        QL_TRY(ql_lora_saves(&m->lora, l->module, &whole));
        if (whole) {
            QL_TRY(train_linear(m, l));
            continue;
        }
        QL_TRY(ql_lora_target_of(&m->lora, l->module, l->is_head, &t));
        if (t.adapted) QL_TRY(attach(m, l, &t));
        any |= t.adapted;
    }
    if (any) return QL_OK;
    return QL_FAIL(QL_ERR_INVALID,
                   "lora_target_modules matches no linear layer; there are for example '%s' and "
                   "'%s'",
                   m->linears[0]->module, m->linears[m->n_linears > 1 ? 1 : 0]->module);
}

/* Embeddings, norms and biases: trained whole or not at all. */
static ql_status attach_denses(ql_model *m) {
    char module[192];
    ql_dense *d;
    for (int64_t i = 0; (d = ql_model_dense(m, i)); i++) {
        bool whole = false;
        ql_lora_target t = {0};
        const char *dot = strrchr(d->name, '.');
        module_of(d->name, module);
        QL_TRY(ql_lora_saves(&m->lora, module, &whole));
        if (whole && d != m->logits_bias) QL_TRY(train_dense(m, d));
        if (whole || !dot || strcmp(dot, ".weight") != 0) continue;
        QL_TRY(ql_lora_target_of(&m->lora, module, true, &t));
        if (t.adapted)
            return QL_FAIL(QL_ERR_UNSUPPORTED,
                           "lora_target_modules selects '%s', which is no linear layer; leave it "
                           "out",
                           module);
    }
    return QL_OK;
}

/* An entry of modules_to_save that names nothing is said, unless PEFT adds it by itself. */
static ql_status report_unsaved(const ql_model *m) {
    for (int32_t i = 0; i < m->lora.n_save; i++) {
        char *entry = m->lora.modules_to_save[i];
        ql_lora_config one = {.modules_to_save = &entry, .n_save = 1};
        bool found = !strcmp(entry, "classifier") || !strcmp(entry, "score");
        char module[192];
        for (int32_t k = 0; k < m->n_linears && !found; k++)
            QL_TRY(ql_lora_saves(&one, m->linears[k]->module, &found));
        for (int32_t k = 0; k < m->n_denses && !found; k++)
            QL_TRY(ql_lora_saves(&one, module_of(m->denses[k]->name, module), &found));
        if (found) continue;
        ql_log(QL_LOG_WARN,
               "modules_to_save names '%s', which this model has not; it has for example '%s' and "
               "'%s'",
               entry, module_of(m->embed->name, module), m->head->module);
    }
    return QL_OK;
}

ql_status ql_model_attach_lora(ql_model *m, const ql_lora_config *cfg) {
    if (m->opts.full)
        return QL_FAIL(QL_ERR_INVALID,
                       "--full trains all weights; adapters cannot be attached as well");
    QL_TRY(ql_lora_check(cfg));
    QL_TRY(ql_lora_config_copy(cfg, &m->lora));
    QL_TRY(complete_saved(m));
    QL_TRY(attach_linears(m));
    QL_TRY(attach_denses(m));
    QL_TRY(report_unsaved(m));
    QL_TRY(attach_token_rows(m));
    m->has_lora = true;
    ql_params_layout(m);
    return QL_OK;
}
