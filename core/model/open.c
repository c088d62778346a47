/*
 * open.c - from files to a table of tensors, walked as ql_arch describes them. Reads headers only.
 */
#include <stdio.h>
#include <string.h>

#include "core/base/hostmem.h"
#include "core/base/log.h"
#include "core/model/model_impl.h"

ql_model_opts ql_model_opts_default(void) {
    return (ql_model_opts){.bits = 4, .quant = ql_quant_opts_default(), .map_files = true};
}

/* ---------------------------------------------------------------- blocks */

static ql_status open_norm(ql_model *m, const char *module, int64_t cols, bool bias, ql_norm *out) {
    const ql_dense_want want = {.rows = 1, .cols = cols};
    if (!module) return QL_NOMEM("tensor names");
    QL_TRY(ql_open_dense(m, ql_model_name(m, module, "weight"), want, &out->w));
    return bias ? ql_open_dense(m, ql_model_name(m, module, "bias"), want, &out->b) : QL_OK;
}

/* "module.0", "module.1" ... for each head. */
static ql_status open_head_norms(ql_model *m, const char *module, int32_t heads, int64_t cols,
                                 ql_norm **out) {
    char index[16];
    ql_norm *norms = ql_arena_alloc(&m->names, (size_t)heads, sizeof *norms);
    if (!norms || !module) return QL_NOMEM("the norms of heads");
    for (int32_t h = 0; h < heads; h++) {
        snprintf(index, sizeof index, "%d", h);
        QL_TRY(open_norm(m, ql_model_name(m, module, index), cols, false, &norms[h]));
    }
    *out = norms;
    return QL_OK;
}

/* Rows and columns of a block's linear layers. */
static ql_linear_want shape_of(const ql_stack *s, int64_t hidden, ql_lin_role role) {
    int64_t q = (int64_t)s->heads * s->head_dim, kv = (int64_t)s->kv_heads * s->head_dim;
    switch (role) {
    case QL_LIN_Q:
    case QL_LIN_CROSS_Q:
    case QL_LIN_POS_Q: return (ql_linear_want){.n = q, .k = hidden};
    case QL_LIN_QKV: return (ql_linear_want){.n = q + 2 * kv, .k = hidden};
    case QL_LIN_O:
    case QL_LIN_CROSS_O: return (ql_linear_want){.n = hidden, .k = q};
    case QL_LIN_GATE:
    case QL_LIN_UP: return (ql_linear_want){.n = s->ffn, .k = hidden};
    case QL_LIN_GATE_UP: return (ql_linear_want){.n = 2 * s->ffn, .k = hidden};
    case QL_LIN_DOWN: return (ql_linear_want){.n = hidden, .k = s->ffn};
    default: return (ql_linear_want){.n = kv, .k = hidden};
    }
}

static ql_status open_layer(ql_model *m, const ql_stack *s, int32_t i, ql_layer *layer) {
    char prefix[64];
    int64_t hidden = m->arch.hidden;
    int stem = (int)strcspn(s->layer, "%"); /* "model.layers.%d" */
    snprintf(prefix, sizeof prefix, "%.*s%d", stem, s->layer, i);
    for (int k = 0; k < QL_LIN_COUNT; k++) {
        if (!s->lin[k].name) continue;
        ql_linear_want want = shape_of(s, hidden, (ql_lin_role)k);
        want.bias = s->lin[k].bias;
        want.keep = s->lin[k].keep;
        want.transposed = s->transposed;
        QL_TRY(ql_open_linear(m, ql_model_name(m, prefix, s->lin[k].name), want, &layer->lin[k]));
    }
    for (int k = 0; k < QL_NORM_COUNT; k++) {
        if (!s->norm[k]) continue;
        bool head = k == QL_NORM_Q || k == QL_NORM_K;
        if (head && s->own_head_norms) {
            int32_t heads = k == QL_NORM_Q ? s->heads : s->kv_heads;
            QL_TRY(open_head_norms(m, ql_model_name(m, prefix, s->norm[k]), heads, s->head_dim,
                                   &layer->head_norm[k - QL_NORM_Q]));
            continue;
        }
        QL_TRY(open_norm(m, ql_model_name(m, prefix, s->norm[k]), head ? s->head_dim : hidden,
                         s->norm_bias, &layer->norm[k]));
    }
    return QL_OK;
}

static ql_status open_front(ql_model *m, const ql_front *f, ql_stack_tensors *t) {
    if (!m->embed)
        QL_TRY(ql_open_dense(
            m, f->tokens, (ql_dense_want){.rows = m->arch.vocab, .cols = f->width, .decay = true},
            &m->embed));
    t->tokens = m->embed;
    if (f->positions)
        QL_TRY(ql_open_dense(m, f->positions,
                             (ql_dense_want){.rows = f->position_rows,
                                             .cols = f->project_first ? m->arch.hidden : f->width,
                                             .decay = true},
                             &t->positions));
    if (f->types)
        QL_TRY(ql_open_dense(m, f->types,
                             (ql_dense_want){.rows = f->type_rows, .cols = f->width, .decay = true},
                             &t->types));
    if (f->norm) QL_TRY(open_norm(m, f->norm, m->arch.hidden, t->arch->norm_bias, &t->front_norm));
    if (!f->project) return QL_OK;
    return ql_open_linear(m, f->project, (ql_linear_want){.n = m->arch.hidden, .k = f->width},
                          &t->project);
}

static ql_status open_relative(ql_model *m, const ql_stack *s, ql_stack_tensors *t) {
    if (!s->rel_table) return QL_OK;
    bool t5 = s->relative == QL_REL_T5;
    const ql_dense_want want = {.rows = t5 ? s->buckets : 2 * (int64_t)s->buckets,
                                .cols = t5 ? s->heads : m->arch.hidden,
                                .decay = true,
                                .f32 = t5};
    QL_TRY(ql_open_dense(m, s->rel_table, want, &t->rel_table));
    return s->rel_norm ? open_norm(m, s->rel_norm, m->arch.hidden, true, &t->rel_norm) : QL_OK;
}

static ql_status open_stack(ql_model *m, const ql_stack *s, ql_stack_tensors *t) {
    t->arch = s;
    t->layers = ql_host_calloc((size_t)s->layers, sizeof(ql_layer));
    if (!t->layers) return QL_NOMEM("the layers");
    QL_TRY(open_front(m, &s->front, t));
    QL_TRY(open_relative(m, s, t));
    for (int32_t i = 0; i < s->layers; i++) QL_TRY(open_layer(m, s, i, &t->layers[i]));
    return s->final_norm ? open_norm(m, s->final_norm, m->arch.hidden, s->norm_bias, &t->final_norm)
                         : QL_OK;
}

/* ---------------------------------------------------------------- heads */

/* Is the head in the files, and other than the embedding? */
static bool has_own_head(const ql_model *m, const char *name) {
    if (ql_model_is_plan(m)) return !m->arch.tied_head;
    if (ql_stored_is_quantized(m->source, name)) return true;
    const ql_source_tensor *head = ql_source_find(m->source, name);
    if (!head || !m->arch.tied_head) return head != NULL || !m->arch.tied_head;
    const ql_source_tensor *embed = m->embed->from;
    if (head->st && embed->st && head->st->bytes == embed->st->bytes)
        return memcmp(head->st->data, embed->st->data, head->st->bytes) != 0;
    return true;
}

/* The embedding as the head's weight. */
static ql_status open_tied_head(ql_model *m, const char *module) {
    QL_TRY(ql_linear_add(m, module, m->arch.vocab, m->arch.body.front.width, true, &m->head));
    m->head->dense = m->embed->slot;
    m->head->dense_param = m->embed->param;
    return QL_OK;
}

static ql_status open_lm_head(ql_model *m) {
    const ql_head_arch *h = &m->arch.head;
    const ql_arch *a = &m->arch;
    const ql_linear_want want = {
        .n = a->vocab, .k = a->body.front.width, .bias = h->bias, .is_head = true};
    const char *name = ql_model_name(m, h->linear, "weight");
    if (!name) return QL_NOMEM("tensor names");
    m->tied = !has_own_head(m, name);
    QL_TRY(m->tied ? open_tied_head(m, h->linear) : ql_open_linear(m, h->linear, want, &m->head));
    if (!h->logits_bias) return QL_OK;
    QL_TRY(ql_open_dense(m, h->logits_bias,
                         (ql_dense_want){.rows = 1, .cols = a->vocab, .buffer = true},
                         &m->logits_bias));
    m->head->bias = m->logits_bias;
    return QL_OK;
}

/* A classifier that the files lack is a new one; so is a pooler. */
static ql_status open_classifier(ql_model *m) {
    const ql_head_arch *h = &m->arch.head;
    int64_t hidden = m->arch.hidden;
    if (h->dense)
        QL_TRY(ql_open_linear(m, h->dense,
                              (ql_linear_want){.n = hidden,
                                               .k = hidden,
                                               .bias = true,
                                               .keep = h->dense_saved,
                                               .is_head = h->dense_saved,
                                               .optional = true},
                              &m->head_dense));
    return ql_open_linear(m, h->linear,
                          (ql_linear_want){.n = m->arch.n_labels,
                                           .k = hidden,
                                           .bias = h->bias,
                                           .keep = true,
                                           .is_head = true,
                                           .optional = true},
                          &m->head);
}

static ql_status open_tensors(ql_model *m) {
    const ql_arch *a = &m->arch;
    if (a->encoder.layers) QL_TRY(open_stack(m, &a->encoder, &m->encoder));
    QL_TRY(open_stack(m, &a->body, &m->body));
    if (a->head.project)
        QL_TRY(ql_open_linear(m, a->head.project,
                              (ql_linear_want){.n = a->body.front.width, .k = a->hidden},
                              &m->head_project));
    QL_TRY(a->task == QL_TASK_CLASSIFY ? open_classifier(m) : open_lm_head(m));
    ql_params_layout(m);
    if (!m->opts.full) m->trainable = 0;
    return ql_model_is_plan(m) ? QL_OK : ql_refuse_surplus(m);
}

/* ---------------------------------------------------------------- said, not silent */

/* GGUF blocks that the generic quantized weight cannot hold are decoded. */
static void report_decoded(ql_model *m) {
    int64_t n[2] = {0, 0}; /* requantized, kept as bf16 */
    const char *type = NULL;
    const ql_linear *l;
    for (int64_t i = 0; (l = ql_model_linear(m, i)); i++) {
        bool blocks = l->from && l->from->gguf && ql_gguf_block_elems(l->from->gguf->type) > 1;
        if (!blocks) continue;
        type = ql_gguf_type_name(l->from->gguf->type);
        n[!l->quantized]++;
    }
    if (n[0])
        ql_log(QL_LOG_INFO, "%lld weights stored as %s are decoded and quantized again to %s",
               (long long)n[0], type, ql_qtype_at(m->opts.quant.type)->name);
    if (n[1])
        ql_log(QL_LOG_INFO, "%lld weights stored as %s are decoded to bf16", (long long)n[1], type);
    const ql_source_tensor *embed = m->embed->from;
    if (embed && embed->gguf && ql_gguf_block_elems(embed->gguf->type) > 1)
        ql_log(QL_LOG_INFO, "the embedding stored as %s is decoded to bf16",
               ql_gguf_type_name(embed->gguf->type));
}

static void report_fresh(const ql_model *m) {
    const ql_linear *const heads[] = {m->head_dense, m->head};
    for (int i = 0; i < 2; i++)
        if (heads[i] && heads[i]->fresh)
            ql_log(QL_LOG_INFO,
                   "'%s' is not in the files: it starts at random and is trained whole",
                   heads[i]->module);
}

/* ---------------------------------------------------------------- life */

static ql_status open_rules(ql_model *m) {
    const char *text = m->opts.bits_by_layer;
    if (m->opts.full)
        return QL_FAIL(QL_ERR_INVALID,
                       "bits_by_layer: with all weights trained, none is quantized");
    m->opts.bits_by_layer = ql_arena_strndup(&m->names, text, strlen(text));
    if (!m->opts.bits_by_layer) return QL_NOMEM("bits_by_layer");
    return ql_bits_parse(text, &m->opts.quant, &m->bits);
}

ql_status ql_model_open(ql_source *source, const ql_model_opts *opts, ql_model **out) {
    ql_model *m = ql_host_calloc(1, sizeof(*m));
    if (!m) {
        ql_source_close(source);
        return QL_NOMEM("a model");
    }
    m->source = source;
    m->opts = *opts;
    m->token_rows.param = -1;
    ql_status s = ql_arch_from_config(ql_source_config(source), ql_source_path(source), &m->arch);
    if (s == QL_OK && opts->n_labels > 0) m->arch.n_labels = opts->n_labels;
    const json_t *generation = ql_source_generation_config(source);
    if (s == QL_OK && generation)
        s = ql_arch_add_generation(generation, ql_source_path(source), &m->arch);
    if (s == QL_OK && opts->bits < 16 && !opts->full) s = ql_quant_opts_check(&opts->quant);
    if (s == QL_OK && opts->bits_by_layer) s = open_rules(m);
    if (s == QL_OK) s = open_tensors(m);
    if (s == QL_OK && m->bits) s = ql_bits_finish(m->bits);
    if (s != QL_OK) {
        ql_model_close(m);
        return s;
    }
    report_decoded(m);
    report_fresh(m);
    *out = m;
    return QL_OK;
}

void ql_model_close(ql_model *m) {
    if (!m) return;
    if (m->dev) {
        const ql_backend *b = m->dev->backend;
        b->buffer_free(m->weights);
        b->buffer_free(m->trained);
        b->buffer_free(m->gradients);
        for (int32_t i = 0; i < m->n_mappings; i++) b->buffer_free(m->mappings[i].buf);
    }
    ql_host_free(m->mappings);
    ql_host_free(m->body.layers);
    ql_host_free(m->encoder.layers);
    ql_host_free(m->linears);
    ql_host_free(m->denses);
    ql_host_free(m->params);
    ql_host_free(m->token_rows.ids);
    ql_bits_free(m->bits);
    ql_lora_config_free(&m->lora);
    ql_arena_free(&m->names);
    ql_source_close(m->source);
    ql_host_free(m);
}

/* ---------------------------------------------------------------- walks */

ql_linear *ql_model_linear(ql_model *m, int64_t i) {
    return i >= 0 && i < m->n_linears ? m->linears[i] : NULL;
}

ql_dense *ql_model_dense(ql_model *m, int64_t i) {
    return i >= 0 && i < m->n_denses ? m->denses[i] : NULL;
}

ql_linear *ql_model_find_linear(ql_model *m, const char *module) {
    ql_linear *l;
    for (int64_t i = 0; (l = ql_model_linear(m, i)); i++)
        if (!strcmp(l->module, module)) return l;
    return NULL;
}
