/*
 * slots.c - places of tensors: inside the weights region, a mapped file or the trained region.
 */
#include <stdarg.h>
#include <stdio.h>

#include "core/base/hostmem.h"
#include "core/device/device.h"
#include "core/model/build_impl.h"

uint64_t ql_slot_bytes(const ql_slot *s) {
    return (uint64_t)s->rows * (uint64_t)s->cols * ql_dtype_size(s->dtype);
}

ql_slot ql_slot_weights(ql_model *m, int64_t rows, int64_t cols, ql_dtype dtype) {
    ql_slot s = {QL_REGION_WEIGHTS, 0, m->weight_bytes, rows, cols, dtype};
    uint64_t bytes = ql_slot_bytes(&s);
    m->weight_bytes += (bytes + QL_SLOT_ALIGN - 1) / QL_SLOT_ALIGN * QL_SLOT_ALIGN;
    return s;
}

/* Does [p, p + bytes) lie in one of the source's maps? */
static bool in_files(const ql_model *m, const uint8_t *p, uint64_t bytes) {
    for (int32_t f = 0; f < ql_source_files(m->source); f++) {
        const ql_map *map = ql_source_map(m->source, f);
        if (map->data && p >= map->data && p + bytes <= map->data + map->size) return true;
    }
    return false;
}

ql_status ql_slot_for(ql_model *m, const void *p, int64_t rows, int64_t cols, ql_dtype dtype,
                      ql_slot *out) {
    ql_slot s = {QL_REGION_MAPPED, m->n_mappings, 0, rows, cols, dtype};
    uint64_t bytes = ql_slot_bytes(&s);
    if (!p || !m->opts.map_files || (uintptr_t)p % ql_dtype_size(dtype) || !in_files(m, p, bytes)) {
        *out = ql_slot_weights(m, rows, cols, dtype);
        return QL_OK;
    }
    QL_TRY(ql_host_grow((void **)&m->mappings, &m->cap_mappings, (size_t)m->n_mappings + 1,
                        sizeof(ql_mapping)));
    m->mappings[m->n_mappings++] = (ql_mapping){p, bytes, NULL};
    m->mapped_bytes += bytes;
    *out = s;
    return QL_OK;
}

void ql_slot_release(ql_model *m, ql_slot *s) {
    if (s->region == QL_REGION_MAPPED) {
        m->mapped_bytes -= m->mappings[s->index].bytes;
        m->mappings[s->index].bytes = 0;
    } else if (s->region == QL_REGION_WEIGHTS) {
        uint64_t bytes = (ql_slot_bytes(s) + QL_SLOT_ALIGN - 1) / QL_SLOT_ALIGN * QL_SLOT_ALIGN;
        if (s->off + bytes == m->weight_bytes) m->weight_bytes = s->off; /* else it stays unused */
    }
    s->region = QL_REGION_NONE;
}

ql_dtype ql_dense_dtype(const ql_source_tensor *t) {
    if (t->st) {
        if (t->st->dtype == QL_ST_F32) return QL_F32;
        if (t->st->dtype == QL_ST_F16) return QL_F16;
        return t->st->dtype == QL_ST_BF16 ? QL_BF16 : QL_F32;
    }
    if (t->gguf->type == QL_GT_F32) return QL_F32;
    return t->gguf->type == QL_GT_F16 ? QL_F16 : QL_BF16; /* quantized blocks decode to bf16 */
}

const uint8_t *ql_dense_raw(const ql_source_tensor *t) {
    if (t->permute_heads > 0) return NULL;
    if (t->st) {
        bool same =
            t->st->dtype == QL_ST_F32 || t->st->dtype == QL_ST_F16 || t->st->dtype == QL_ST_BF16;
        return same ? t->st->data : NULL;
    }
    bool same =
        t->gguf->type == QL_GT_F32 || t->gguf->type == QL_GT_F16 || t->gguf->type == QL_GT_BF16;
    return same ? t->gguf->data : NULL;
}

ql_status ql_param_add(ql_model *m, int64_t rows, int64_t cols, bool decay, int32_t *out,
                       const char *name_fmt, ...) {
    QL_TRY(ql_host_grow((void **)&m->params, &m->cap_params, (size_t)m->n_params + 1,
                        sizeof(ql_param)));
    ql_param *p = &m->params[m->n_params];
    *p = (ql_param){.rows = rows, .cols = cols, .dims = 2, .decay = decay};
    va_list ap;
    va_start(ap, name_fmt);
    int n = vsnprintf(p->name, sizeof p->name, name_fmt, ap);
    va_end(ap);
    if (n < 0 || (size_t)n >= sizeof p->name)
        return QL_FAIL(QL_ERR_INVALID, "model: parameter name '%s...' is too long", p->name);
    *out = m->n_params++;
    m->trainable += (uint64_t)rows * (uint64_t)cols;
    return QL_OK;
}

void ql_params_layout(ql_model *m) {
    const uint64_t unit = QL_SLOT_ALIGN / sizeof(float);
    uint64_t at = 0;
    for (int pass = 0; pass < 2; pass++) {
        for (int32_t i = 0; i < m->n_params; i++) {
            ql_param *p = &m->params[i];
            if (p->decay != (pass == 0)) continue;
            p->first = at;
            at += ((uint64_t)p->rows * (uint64_t)p->cols + unit - 1) / unit * unit;
        }
        if (pass == 0) m->n_decay = at;
    }
    m->n_trained = at;
}

ql_mat ql_slot_mat(const ql_model *m, const ql_slot *s) {
    if (s->region == QL_REGION_NONE) return (ql_mat){0};
    bool mapped = s->region == QL_REGION_MAPPED;
    ql_buffer *buf = mapped                           ? m->mappings[s->index].buf
                     : s->region == QL_REGION_TRAINED ? m->trained
                                                      : m->weights;
    return (ql_mat){buf, mapped ? 0 : s->off, s->rows, s->cols, s->cols, s->dtype};
}

ql_qmat ql_linear_qmat(const ql_model *m, const ql_linear *l) {
    ql_qmat w = ql_linear_qmat_shape(l);
    w.codes = ql_slot_mat(m, &l->codes);
    w.table = ql_slot_mat(m, &l->table);
    w.scale = ql_slot_mat(m, &l->scale);
    w.zero = ql_slot_mat(m, &l->zero);
    w.scale2 = ql_slot_mat(m, &l->scale2);
    w.code2 = ql_slot_mat(m, &l->code2);
    w.offset = ql_slot_mat(m, &l->offset);
    return w;
}
