/*
 * open_tensor.c - one tensor from the files: found by name, checked, its storage decided.
 */
#include <stdio.h>
#include <string.h>

#include "core/base/hostmem.h"
#include "core/model/model_impl.h"

bool ql_model_is_plan(const ql_model *m) {
    return ql_source_count(m->source) == 0;
}

const char *ql_model_name(ql_model *m, const char *a, const char *b) {
    char text[192];
    int n = snprintf(text, sizeof text, "%s.%s", a, b);
    if (n < 0 || (size_t)n >= sizeof text) return NULL;
    return ql_arena_strndup(&m->names, text, (size_t)n);
}

/* ---------------------------------------------------------------- names in files */

/* "x.LayerNorm.weight" to "x.LayerNorm.gamma" (checkpoints of TensorFlow's time). */
static bool old_norm_name(const char *name, char out[256]) {
    const char *dot = strrchr(name, '.');
    size_t stem = dot ? (size_t)(dot - name) : 0;
    if (stem < 9 || stem > 240 || strncmp(dot - 9, "LayerNorm", 9) != 0) return false;
    snprintf(out, 256, "%.*s.%s", (int)stem, name, !strcmp(dot, ".weight") ? "gamma" : "beta");
    return true;
}

const ql_source_tensor *ql_model_tensor(const ql_model *m, const char *name) {
    char old[256];
    const ql_source_tensor *t = ql_source_find(m->source, name);
    size_t n = strlen(m->arch.base_prefix);
    bool below = n && !strncmp(name, m->arch.base_prefix, n);
    if (!t && below) t = ql_source_find(m->source, name + n);
    if (t || !old_norm_name(name, old)) return t;
    t = ql_source_find(m->source, old);
    return !t && below ? ql_source_find(m->source, old + n) : t;
}

/* The name of a linear's weight in the files, NULL when they lack it. Stored weights are several
 * tensors: "P.weight" alone or with its parts. */
static const char *weight_name(const ql_model *m, const char *full) {
    size_t n = strlen(m->arch.base_prefix);
    const char *tries[2] = {full, n && !strncmp(full, m->arch.base_prefix, n) ? full + n : NULL};
    for (int i = 0; i < 2 && tries[i]; i++)
        if (ql_source_find(m->source, tries[i]) || ql_stored_is_quantized(m->source, tries[i]))
            return tries[i];
    return NULL;
}

static ql_status missing(const ql_model *m, const char *name) {
    return QL_FAIL(QL_ERR_FORMAT, "%s: tensor '%s' is missing for a %s model of %d layers",
                   ql_source_path(m->source), name, m->arch.family, m->arch.body.layers);
}

static ql_status wrong_shape(const ql_model *m, const char *name, int64_t n, int64_t k,
                             int64_t want_n, int64_t want_k) {
    return QL_FAIL(QL_ERR_SHAPE, "%s: tensor '%s' is %lld x %lld, config.json asks for %lld x %lld",
                   ql_source_path(m->source), name, (long long)n, (long long)k, (long long)want_n,
                   (long long)want_k);
}

/* ---------------------------------------------------------------- dense tensors */

/* dtype of dense tensors when there are no files: what config.json says, else bfloat16. */
static ql_dtype config_dtype(const ql_model *m) {
    const json_t *c = ql_source_config(m->source);
    const char *name = json_string_value(json_object_get(c, "dtype"));
    if (!name) name = json_string_value(json_object_get(c, "torch_dtype"));
    if (name && !strcmp(name, "float32")) return QL_F32;
    return name && !strcmp(name, "float16") ? QL_F16 : QL_BF16;
}

static ql_status check_dense(const ql_model *m, const ql_source_tensor *t, const char *name,
                             int64_t rows, int64_t cols) {
    bool fits = rows == 1 ? t->rows * t->cols == cols : t->rows == rows && t->cols == cols;
    if (!fits) return wrong_shape(m, name, t->rows, t->cols, rows, cols);
    if (t->st && t->st->dtype != QL_ST_F32 && t->st->dtype != QL_ST_F16 &&
        t->st->dtype != QL_ST_BF16)
        return QL_FAIL(QL_ERR_FORMAT, "%s: tensor '%s' is %s, expected F32, F16 or BF16",
                       ql_source_path(m->source), name, ql_st_dtype_name(t->st->dtype));
    return QL_OK;
}

/* Finds and checks d->name; decides its slot or parameter. */
static ql_status settle_dense(ql_model *m, ql_dense *d, ql_dense_want want) {
    m->parameters += (uint64_t)want.rows * (uint64_t)want.cols;
    if (!ql_model_is_plan(m)) {
        d->from = ql_model_tensor(m, d->name);
        d->fresh = !d->from;
        if (!d->from && !want.optional && !want.buffer) return missing(m, d->name);
        if (d->from) QL_TRY(check_dense(m, d->from, d->name, want.rows, want.cols));
    }
    if (m->opts.full && !want.buffer) {
        d->slot = (ql_slot){QL_REGION_TRAINED, 0, 0, want.rows, want.cols, QL_F32};
        QL_TRY(ql_param_add(m, want.rows, want.cols, want.decay, &d->param, "%s", d->name));
        if (want.rows == 1) m->params[d->param].dims = 1;
        return QL_OK;
    }
    if (want.f32 || d->fresh)
        d->slot = ql_slot_weights(m, want.rows, want.cols, QL_F32);
    else if (!d->from)
        d->slot = ql_slot_weights(m, want.rows, want.cols, config_dtype(m));
    else
        return ql_slot_for(m, ql_dense_raw(d->from), want.rows, want.cols, ql_dense_dtype(d->from),
                           &d->slot);
    return QL_OK;
}

ql_status ql_open_dense(ql_model *m, const char *name, ql_dense_want want, ql_dense **out) {
    if (!name) return QL_NOMEM("tensor names");
    ql_dense *d = ql_arena_alloc(&m->names, 1, sizeof *d);
    if (!d) return QL_NOMEM("tensors");
    *d = (ql_dense){.name = name, .param = -1};
    QL_TRY(ql_host_grow((void **)&m->denses, &m->cap_denses, (size_t)m->n_denses + 1, sizeof d));
    m->denses[m->n_denses++] = d;
    *out = d;
    return settle_dense(m, d, want);
}

/* ---------------------------------------------------------------- linear layers */

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
    if (type->affine)
        l->zero = ql_slot_weights(m, 1, b.n_blocks, l->quant.double_quant ? QL_F16 : QL_F32);
    if (l->quant.double_quant) {
        l->scale2 = ql_slot_weights(m, 1, b.n_blocks2, QL_F32);
        l->offset = ql_slot_weights(m, 1, 1, QL_F32);
    }
    return QL_OK;
}

/* Slots of a weight that the file holds quantized: its parts stay where they are when they can. */
static ql_status slots_of_stored(ql_model *m, ql_linear *l) {
    ql_qtensor q = {0};
    QL_TRY(ql_stored_open(m->source, l->tensor, &q));
    if (q.n != l->n || q.k != l->k) {
        ql_status s = wrong_shape(m, l->tensor, q.n, q.k, l->n, l->k);
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
    if (q.zero_f16 && s == QL_OK) s = ql_slot_for(m, q.zero_f16, 1, q.n_blocks, QL_F16, &l->zero);
    ql_qtensor_free(&q);
    return s;
}

/* A weight that stays dense, [k, n] in files when transposed. */
static ql_status slots_of_dense(ql_model *m, ql_linear *l, const char *name, bool optional) {
    ql_dense d = {.name = name, .param = -1};
    ql_dense_want want = {.rows = l->transposed ? l->k : l->n,
                          .cols = l->transposed ? l->n : l->k,
                          .decay = true,
                          .optional = optional};
    QL_TRY(settle_dense(m, &d, want));
    l->from = d.from;
    l->fresh = d.fresh;
    l->dense = d.slot;
    l->dense_param = d.param;
    if (d.param >= 0) m->params[d.param].dims = 2;
    return QL_OK;
}

/* A weight quantized on loading, or stored quantized and decoded for full fine-tuning. */
static ql_status slots_of_coded(ql_model *m, ql_linear *l, const char *name) {
    m->parameters += (uint64_t)l->n * (uint64_t)l->k;
    if (l->quantized && l->stored) return slots_of_stored(m, l);
    if (!ql_model_is_plan(m) && !l->stored) {
        l->from = ql_model_tensor(m, name);
        if (!l->from) return missing(m, name);
        int64_t n = l->transposed ? l->k : l->n, k = l->transposed ? l->n : l->k;
        if (l->from->rows != n || l->from->cols != k)
            return wrong_shape(m, name, l->from->rows, l->from->cols, n, k);
    }
    if (l->quantized) return slots_to_quantize(m, l);
    l->dense = (ql_slot){QL_REGION_TRAINED, 0, 0, l->n, l->k, QL_F32};
    return ql_param_add(m, l->n, l->k, true, &l->dense_param, "%s", name);
}

ql_status ql_linear_add(ql_model *m, const char *module, int64_t n, int64_t k, bool is_head,
                        ql_linear **out) {
    if (!module) return QL_NOMEM("tensor names");
    ql_linear *l = ql_arena_alloc(&m->names, 1, sizeof *l);
    const char *name = ql_model_name(m, module, "weight");
    if (!l || !name) return QL_NOMEM("tensors");
    *l = (ql_linear){.module = module,
                     .tensor = name,
                     .n = n,
                     .k = k,
                     .is_head = is_head,
                     .quant = m->opts.quant,
                     .dense_param = -1,
                     .adapter_a = -1,
                     .adapter_b = -1,
                     .adapter_m = -1};
    QL_TRY(ql_host_grow((void **)&m->linears, &m->cap_linears, (size_t)m->n_linears + 1, sizeof l));
    m->linears[m->n_linears++] = l;
    *out = l;
    return QL_OK;
}

/* Is a weight that can be quantized to be? Its storage comes from the first rule that fits. */
static bool wants_codes(ql_model *m, ql_linear *l) {
    ql_bits_choice c = QL_BITS_USUAL;
    if (m->bits && !l->stored) c = ql_bits_choose(m->bits, l->module, &l->quant);
    return c == QL_BITS_TYPE || (c == QL_BITS_USUAL && m->opts.bits < 16);
}

ql_status ql_open_linear(ql_model *m, const char *module, ql_linear_want want, ql_linear **out) {
    ql_linear *l = NULL;
    QL_TRY(ql_linear_add(m, module, want.n, want.k, want.is_head, &l));
    *out = l;
    const char *name = l->tensor;
    const char *found = ql_model_is_plan(m) ? NULL : weight_name(m, name);
    if (found) l->tensor = found;
    l->stored = found && ql_stored_is_quantized(m->source, found);
    const ql_source_tensor *file = found ? ql_source_find(m->source, found) : NULL;
    l->transposed = want.transposed && !l->stored && !(file && file->out_in);
    bool absent = !found && !ql_model_is_plan(m) && want.optional;
    bool able = !m->opts.full && !want.keep && !absent &&
                ql_quantizes_module(ql_source_config(m->source), module, m->opts.quantize_head);
    l->quantized = !m->opts.full && (l->stored || (able && wants_codes(m, l)));
    if (want.bias)
        QL_TRY(ql_open_dense(m, ql_model_name(m, module, "bias"),
                             (ql_dense_want){.rows = 1, .cols = want.n, .optional = want.optional},
                             &l->bias));
    return l->quantized || l->stored ? slots_of_coded(m, l, name)
                                     : slots_of_dense(m, l, name, want.optional);
}

/* ---------------------------------------------------------------- surplus */

/* Does `name` belong to `full`, or to `full` without the base prefix or under its old name? */
static bool names_tensor(const ql_model *m, const char *full, const char *name) {
    size_t n = strlen(m->arch.base_prefix);
    bool below = n && !strncmp(full, m->arch.base_prefix, n);
    char old[256];
    if (!strcmp(full, name) || (below && !strcmp(full + n, name))) return true;
    if (!old_norm_name(full, old)) return false;
    return !strcmp(old, name) || (below && !strcmp(old + n, name));
}

/* "P.weight", "P.weight.absmax", "P.SCB" ... but not P.bias, P being l's module in the files. */
static bool part_of_linear(const ql_linear *l, const char *name) {
    size_t len = strlen(l->tensor) - strlen(".weight");
    return !strncmp(name, l->tensor, len) && name[len] == '.' && strcmp(name + len, ".bias") != 0;
}

static bool known_tensor(const ql_model *m, const char *name) {
    static const char *const buffers[] = {"rotary_emb.inv_freq", "masked_bias", "position_ids",
                                          ".attn.bias", ".attention.bias"};
    for (size_t i = 0; i < sizeof buffers / sizeof *buffers; i++)
        if (strstr(name, buffers[i])) return true;
    const size_t n_ignored = sizeof m->arch.ignored / sizeof *m->arch.ignored;
    for (size_t i = 0; i < n_ignored && m->arch.ignored[i]; i++)
        if (!strncmp(name, m->arch.ignored[i], strlen(m->arch.ignored[i]))) return true;
    for (int32_t i = 0; i < m->n_denses; i++)
        if (names_tensor(m, m->denses[i]->name, name)) return true;
    for (int32_t i = 0; i < m->n_linears; i++)
        if (part_of_linear(m->linears[i], name)) return true;
    return false;
}

ql_status ql_refuse_surplus(ql_model *m) {
    for (int64_t i = 0; i < ql_source_count(m->source); i++) {
        const char *name = ql_source_at(m->source, i)->name;
        if (!known_tensor(m, name))
            return QL_FAIL(QL_ERR_FORMAT, "%s: tensor '%s' has no place in a %s model of %d layers",
                           ql_source_path(m->source), name, m->arch.family, m->arch.body.layers);
    }
    return QL_OK;
}
