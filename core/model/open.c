/*
 * open.c - from files to a table of tensors: names, shapes, storage decisions. Reads headers only.
 */
#include <stdio.h>
#include <string.h>

#include "core/base/hostmem.h"
#include "core/base/log.h"
#include "core/model/model_impl.h"

ql_model_opts ql_model_opts_default(void) {
    return (ql_model_opts){.bits = 4, .quant = ql_quant_opts_default(), .map_files = true};
}

static const char *const module_names[QL_LIN_COUNT] = {
    "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
    "mlp.gate_proj",    "mlp.up_proj",      "mlp.down_proj"};

static bool planning_only(const ql_model *m) {
    return ql_source_count(m->source) == 0;
}

/* "a.b" in the model's string arena. */
static const char *join(ql_model *m, const char *a, const char *b) {
    char text[192];
    int n = snprintf(text, sizeof text, "%s.%s", a, b);
    return ql_arena_strndup(&m->names, text, (size_t)n);
}

/* dtype of dense tensors when there are no files: what config.json says, else bfloat16. */
static ql_dtype config_dtype(const ql_model *m) {
    const json_t *c = ql_source_config(m->source);
    const char *name = json_string_value(json_object_get(c, "dtype"));
    if (!name) name = json_string_value(json_object_get(c, "torch_dtype"));
    if (name && !strcmp(name, "float32")) return QL_F32;
    return name && !strcmp(name, "float16") ? QL_F16 : QL_BF16;
}

static ql_status missing(const ql_model *m, const char *name) {
    return QL_FAIL(QL_ERR_FORMAT, "%s: tensor '%s' is missing for a %s model of %d layers",
                   ql_source_path(m->source), name, m->arch.family, m->arch.layers);
}

static ql_status wrong_shape(const ql_model *m, const char *name, int64_t n, int64_t k,
                             int64_t want_n, int64_t want_k) {
    return QL_FAIL(QL_ERR_SHAPE, "%s: tensor '%s' is %lld x %lld, config.json asks for %lld x %lld",
                   ql_source_path(m->source), name, (long long)n, (long long)k, (long long)want_n,
                   (long long)want_k);
}

/* A dense tensor [rows, cols]; vectors are one row. */
static ql_status open_dense(ql_model *m, ql_dense *d, const char *name, int64_t rows, int64_t cols,
                            bool decay) {
    if (!name) return QL_NOMEM("tensor names");
    *d = (ql_dense){.name = name, .param = -1, .present = true};
    m->parameters += (uint64_t)rows * (uint64_t)cols;
    if (!planning_only(m)) {
        d->from = ql_source_find(m->source, name);
        if (!d->from) return missing(m, name);
        int64_t numel = d->from->rows * d->from->cols;
        bool fits = rows == 1 ? numel == cols : d->from->rows == rows && d->from->cols == cols;
        if (!fits) return wrong_shape(m, name, d->from->rows, d->from->cols, rows, cols);
        if (d->from->st && d->from->st->dtype != QL_ST_F32 && d->from->st->dtype != QL_ST_F16 &&
            d->from->st->dtype != QL_ST_BF16)
            return QL_FAIL(QL_ERR_FORMAT, "%s: tensor '%s' is %s, expected F32, F16 or BF16",
                           ql_source_path(m->source), name, ql_st_dtype_name(d->from->st->dtype));
    }
    if (m->opts.full) {
        d->slot = (ql_slot){QL_REGION_TRAINED, 0, 0, rows, cols, QL_F32};
        return ql_param_add(m, rows, cols, decay, &d->param, "%s", name);
    }
    if (!d->from)
        d->slot = ql_slot_weights(m, rows, cols, config_dtype(m));
    else
        return ql_slot_for(m, ql_dense_raw(d->from), rows, cols, ql_dense_dtype(d->from), &d->slot);
    return QL_OK;
}

/* The code table and second-level map: shared unless a file brings its own. */
static void open_tables(ql_model *m, ql_linear *l, const ql_qtensor *q) {
    const ql_qtype *type = ql_qtype_at(l->quant.type);
    if (type->id != QL_QT_GGML) {
        int64_t size = (int64_t)1 << type->bits;
        bool own =
            q && q->table && memcmp(q->table, type->table, (size_t)size * sizeof(float)) != 0;
        ql_slot *shared = &m->tables[type->id];
        if (own) {
            l->table = ql_slot_weights(m, 1, size, QL_F32);
        } else {
            if (!shared->region) *shared = ql_slot_weights(m, 1, size, QL_F32);
            l->table = *shared;
        }
    }
    if (!l->quant.double_quant) return;
    bool own = q && q->code2 && memcmp(q->code2, ql_dyn8_signed(), 256 * sizeof(float)) != 0;
    if (own) {
        l->code2 = ql_slot_weights(m, 1, 256, QL_F32);
    } else {
        if (!m->code2.region) m->code2 = ql_slot_weights(m, 1, 256, QL_F32);
        l->code2 = m->code2;
    }
}

/* Slots of a weight that is quantized on loading. */
static ql_status slots_to_quantize(ql_model *m, ql_linear *l) {
    const ql_qtype *type = ql_qtype_at(l->quant.type);
    ql_qbytes b;
    QL_TRY(ql_quant_bytes(&l->quant, l->n, l->k, &b));
    open_tables(m, l, NULL);
    l->pack = QL_PACK_HIGH_FIRST;
    l->codes = ql_slot_weights(m, 1, (int64_t)b.codes, QL_U8);
    l->scale = ql_slot_weights(m, 1, b.n_blocks, l->quant.double_quant ? QL_U8 : QL_F32);
    if (type->affine) l->zero = ql_slot_weights(m, 1, b.n_blocks, QL_F32);
    if (l->quant.double_quant) {
        l->scale2 = ql_slot_weights(m, 1, b.n_blocks2, QL_F32);
        l->offset = ql_slot_weights(m, 1, 1, QL_F32);
    }
    return QL_OK;
}

/* Slots of a weight that the file holds quantized: its parts stay where they are when they can. */
static ql_status slots_of_stored(ql_model *m, ql_linear *l, const char *name) {
    ql_qtensor q = {0};
    QL_TRY(ql_stored_open(m->source, name, &q));
    if (q.n != l->n || q.k != l->k) {
        ql_status s = wrong_shape(m, name, q.n, q.k, l->n, l->k);
        ql_qtensor_free(&q);
        return s;
    }
    l->quant.type = q.type->id;
    l->quant.block = q.block;
    l->quant.block2 = q.block2;
    l->quant.double_quant = q.absmax_q != NULL;
    l->ggml = q.ggml;
    l->pack = q.pack;
    open_tables(m, l, &q);
    bool ggml = q.type->id == QL_QT_GGML;
    int64_t rows = ggml ? l->n : 1;
    ql_status s = ql_slot_for(m, q.codes, rows, (int64_t)q.codes_bytes / rows, QL_U8, &l->codes);
    if (q.absmax_q) {
        if (s == QL_OK) s = ql_slot_for(m, q.absmax_q, 1, q.n_blocks, QL_U8, &l->scale);
        if (s == QL_OK) s = ql_slot_for(m, q.absmax2, 1, q.n_blocks2, QL_F32, &l->scale2);
        l->offset = ql_slot_weights(m, 1, 1, QL_F32);
    } else if (!ggml && s == QL_OK) {
        s = ql_slot_for(m, q.absmax, 1, q.n_blocks, QL_F32, &l->scale);
    }
    if (q.zero && s == QL_OK) s = ql_slot_for(m, q.zero, 1, q.n_blocks, QL_F32, &l->zero);
    ql_qtensor_free(&q);
    return s;
}

static ql_status open_linear(ql_model *m, ql_linear *l, const char *module, int64_t n, int64_t k,
                             bool bias) {
    if (!module) return QL_NOMEM("tensor names");
    *l = (ql_linear){.module = module,
                     .n = n,
                     .k = k,
                     .quant = m->opts.quant,
                     .dense_param = -1,
                     .adapter_a = -1,
                     .adapter_b = -1};
    const char *name = join(m, module, "weight");
    if (!name) return QL_NOMEM("tensor names");
    l->stored = !planning_only(m) && ql_stored_is_quantized(m->source, name);
    bool wanted = m->opts.bits < 16 && !m->opts.full &&
                  ql_quantizes_module(ql_source_config(m->source), module, m->opts.quantize_head);
    l->quantized = !m->opts.full && (l->stored || wanted);
    if (bias) { QL_TRY(open_dense(m, &l->bias, join(m, module, "bias"), 1, n, false)); }
    if (l->quantized && l->stored) {
        m->parameters += (uint64_t)n * (uint64_t)k;
        return slots_of_stored(m, l, name);
    }
    if (l->quantized || l->stored) { /* quantized on loading, or decoded for full fine-tuning */
        if (!planning_only(m) && !l->stored) {
            l->from = ql_source_find(m->source, name);
            if (!l->from) return missing(m, name);
            if (l->from->rows != n || l->from->cols != k)
                return wrong_shape(m, name, l->from->rows, l->from->cols, n, k);
        }
        m->parameters += (uint64_t)n * (uint64_t)k;
        if (l->quantized) return slots_to_quantize(m, l);
        l->dense = (ql_slot){QL_REGION_TRAINED, 0, 0, n, k, QL_F32};
        return ql_param_add(m, n, k, true, &l->dense_param, "%s", name);
    }
    ql_dense d;
    QL_TRY(open_dense(m, &d, name, n, k, true));
    l->from = d.from;
    l->dense = d.slot;
    l->dense_param = d.param;
    return QL_OK;
}

static ql_status open_layer(ql_model *m, int32_t i) {
    const ql_arch *a = &m->arch;
    ql_layer *layer = &m->layers[i];
    char prefix[64];
    snprintf(prefix, sizeof prefix, "model.layers.%d", i);
    int64_t q = (int64_t)a->heads * a->head_dim, kv = (int64_t)a->kv_heads * a->head_dim;
    const struct {
        int64_t n, k;
        bool bias;
    } shape[QL_LIN_COUNT] = {[QL_LIN_Q] = {q, a->hidden, a->bias_qkv},
                             [QL_LIN_K] = {kv, a->hidden, a->bias_qkv},
                             [QL_LIN_V] = {kv, a->hidden, a->bias_qkv},
                             [QL_LIN_O] = {a->hidden, q, a->bias_o},
                             [QL_LIN_GATE] = {a->ffn, a->hidden, a->bias_mlp},
                             [QL_LIN_UP] = {a->ffn, a->hidden, a->bias_mlp},
                             [QL_LIN_DOWN] = {a->hidden, a->ffn, a->bias_mlp}};
    QL_TRY(open_dense(m, &layer->norm1, join(m, prefix, "input_layernorm.weight"), 1, a->hidden,
                      false));
    for (int k = 0; k < QL_LIN_COUNT; k++)
        QL_TRY(open_linear(m, &layer->linear[k], join(m, prefix, module_names[k]), shape[k].n,
                           shape[k].k, shape[k].bias));
    return open_dense(m, &layer->norm2, join(m, prefix, "post_attention_layernorm.weight"), 1,
                      a->hidden, false);
}

/* Is lm_head.weight in the file, and other than the embedding? */
static bool has_own_head(const ql_model *m) {
    if (planning_only(m)) return !m->arch.tied_head;
    if (ql_stored_is_quantized(m->source, "lm_head.weight")) return true;
    const ql_source_tensor *head = ql_source_find(m->source, "lm_head.weight");
    if (!head || !m->arch.tied_head) return head != NULL || !m->arch.tied_head;
    const ql_source_tensor *embed = m->embed.from;
    if (head->st && embed->st && head->st->bytes == embed->st->bytes)
        return memcmp(head->st->data, embed->st->data, head->st->bytes) != 0;
    return true;
}

static bool known_tensor(ql_model *m, const char *name) {
    static const char *const buffers[] = {"rotary_emb.inv_freq", "masked_bias", "position_ids"};
    for (size_t i = 0; i < sizeof buffers / sizeof *buffers; i++)
        if (strstr(name, buffers[i])) return true;
    for (int64_t i = 0;; i++) {
        const ql_dense *d = ql_model_dense(m, i);
        if (!d) break;
        if (d->present && !strcmp(d->name, name)) return true;
    }
    if (!strncmp(name, "lm_head.weight", 14)) return true;
    for (int64_t i = 0;; i++) {
        const ql_linear *l = ql_model_linear(m, i);
        if (!l) return false;
        size_t len =
            strlen(l->module); /* "P.weight", "P.weight.absmax", "P.SCB" ... but not P.bias */
        if (!strncmp(name, l->module, len) && name[len] == '.' && strcmp(name + len, ".bias") != 0)
            return true;
    }
}

static ql_status refuse_surplus(ql_model *m) {
    for (int64_t i = 0; i < ql_source_count(m->source); i++) {
        const char *name = ql_source_at(m->source, i)->name;
        if (!known_tensor(m, name))
            return QL_FAIL(QL_ERR_FORMAT, "%s: tensor '%s' has no place in a %s model of %d layers",
                           ql_source_path(m->source), name, m->arch.family, m->arch.layers);
    }
    return QL_OK;
}

static ql_status open_tensors(ql_model *m) {
    const ql_arch *a = &m->arch;
    m->layers = ql_host_calloc((size_t)a->layers, sizeof(ql_layer));
    if (!m->layers) return QL_NOMEM("the layers");
    QL_TRY(open_dense(m, &m->embed, "model.embed_tokens.weight", a->vocab, a->hidden, true));
    for (int32_t i = 0; i < a->layers; i++) QL_TRY(open_layer(m, i));
    QL_TRY(open_dense(m, &m->final_norm, "model.norm.weight", 1, a->hidden, false));
    m->tied = !has_own_head(m);
    if (m->tied) {
        m->head = (ql_linear){.module = "lm_head",
                              .n = a->vocab,
                              .k = a->hidden,
                              .dense = m->embed.slot,
                              .dense_param = m->embed.param,
                              .adapter_a = -1,
                              .adapter_b = -1};
    } else {
        QL_TRY(open_linear(m, &m->head, "lm_head", a->vocab, a->hidden, false));
    }
    ql_params_layout(m);
    if (!m->opts.full) m->trainable = 0;
    return planning_only(m) ? QL_OK : refuse_surplus(m);
}

/* GGUF blocks that the generic quantized weight cannot hold are decoded: said, not silent. */
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
    const ql_source_tensor *embed = m->embed.from;
    if (embed && embed->gguf && ql_gguf_block_elems(embed->gguf->type) > 1)
        ql_log(QL_LOG_INFO, "the embedding stored as %s is decoded to bf16",
               ql_gguf_type_name(embed->gguf->type));
}

ql_status ql_model_open(ql_source *source, const ql_model_opts *opts, ql_model **out) {
    ql_model *m = ql_host_calloc(1, sizeof(*m));
    if (!m) {
        ql_source_close(source);
        return QL_NOMEM("a model");
    }
    m->source = source;
    m->opts = *opts;
    ql_status s = ql_arch_from_config(ql_source_config(source), ql_source_path(source), &m->arch);
    const json_t *generation = ql_source_generation_config(source);
    if (s == QL_OK && generation)
        s = ql_arch_add_generation(generation, ql_source_path(source), &m->arch);
    if (s == QL_OK && opts->bits < 16 && !opts->full) s = ql_quant_opts_check(&opts->quant);
    if (s == QL_OK) s = open_tensors(m);
    if (s != QL_OK) {
        ql_model_close(m);
        return s;
    }
    report_decoded(m);
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
        b->buffer_free(m->moments);
        for (int32_t i = 0; i < m->n_mappings; i++) b->buffer_free(m->mappings[i].buf);
    }
    ql_host_free(m->mappings);
    ql_host_free(m->layers);
    ql_host_free(m->params);
    ql_lora_config_free(&m->lora);
    ql_arena_free(&m->names);
    ql_source_close(m->source);
    ql_host_free(m);
}

/* ---------------------------------------------------------------- walks */

ql_linear *ql_model_linear(ql_model *m, int64_t i) {
    int64_t in_layers = (int64_t)m->arch.layers * QL_LIN_COUNT;
    if (i < in_layers) return &m->layers[i / QL_LIN_COUNT].linear[i % QL_LIN_COUNT];
    return i == in_layers ? &m->head : NULL;
}

ql_linear *ql_model_find_linear(ql_model *m, const char *module) {
    ql_linear *l;
    for (int64_t i = 0; (l = ql_model_linear(m, i)); i++)
        if (!strcmp(l->module, module)) return l;
    return NULL;
}

ql_dense *ql_model_dense(ql_model *m, int64_t i) {
    int64_t per_layer = QL_LIN_COUNT + 2;
    if (i == 0) return &m->embed;
    if (i == 1) return &m->final_norm;
    i -= 2;
    if (i >= m->arch.layers * per_layer) return NULL;
    ql_layer *layer = &m->layers[i / per_layer];
    int64_t k = i % per_layer;
    if (k < QL_LIN_COUNT) return &layer->linear[k].bias;
    return k == QL_LIN_COUNT ? &layer->norm1 : &layer->norm2;
}
