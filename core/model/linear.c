/*
 * linear.c - a linear layer on the tape: frozen or trained weight, optional bias, optional adapter.
 *
 *   y = x W^T + bias                      W [n, k] quantized (gemm_q) or dense (gemm)
 *   u = dropout(x) A^T                    A [r, k]
 *   y += s u B^T                          B [n, r]          (QLoRA eq. 5, PEFT's scaling s)
 * DoRA (Liu et al. 2024, eq. 5), g = m / ||W + s B A||_row, the norm a constant for gradients:
 *   y = g (x W^T + s u B^T) + bias, and with dropout, xd = dropout(x), as PEFT has it:
 *   y = x W^T + bias + g (xd W^T + s u B^T) - xd W^T
 */
#include "core/base/rng.h"
#include "core/model/build_impl.h"

ql_qmat ql_linear_qmat_shape(const ql_linear *l) {
    const ql_qtype *type = ql_qtype_at(l->quant.type);
    ql_qmat w = {.n = l->n,
                 .k = l->k,
                 .bits = type->bits,
                 .block = type->per_row ? 0 : l->quant.block,
                 .block2 = l->quant.double_quant ? l->quant.block2 : 0,
                 .pack = l->pack,
                 .ggml = l->ggml,
                 .post = type->post};
    if (l->ggml) {
        w.bits = l->ggml == QL_GGML_Q8_0 ? 8 : l->ggml >= QL_GGML_Q5_0 ? 5 : 4;
        w.block = 32;
    }
    return w;
}

/* The quantized weight as operands. */
static ql_qmat quantized(ql_builder *b, const ql_linear *l) {
    ql_qmat w = ql_linear_qmat_shape(l);
    const struct {
        const ql_slot *slot;
        ql_mat *mat;
    } part[] = {{&l->codes, &w.codes},  {&l->table, &w.table},   {&l->scale, &w.scale},
                {&l->zero, &w.zero},    {&l->scale2, &w.scale2}, {&l->code2, &w.code2},
                {&l->offset, &w.offset}};
    for (size_t i = 0; i < sizeof part / sizeof *part; i++)
        if (part[i].slot->region)
            *part[i].mat = ql_ref(b->t, ql_build_slot(b, part[i].slot, l->module));
    return w;
}

static ql_vid dense_weight(ql_builder *b, const ql_linear *l) {
    return l->dense_param >= 0 ? ql_build_param(b, l->dense_param)
                               : ql_build_slot(b, &l->dense, l->module);
}

/* x with the adapter's dropout; x itself where nothing drops. Rows of a table (no key) have a
 * stream of their own. */
static ql_vid dropped(ql_builder *b, const ql_linear *l, ql_vid x, const char *name) {
    if (!b->train || l->dropout <= 0.0f) return x;
    const ql_value *v = ql_tape_at(b->t, x);
    ql_vid y =
        ql_tape_value(b->t, QL_POOL_ACTIVATIONS, v->dtype, v->rows, v->cols, "%s.dropped", name);
    uint64_t which = (ql_hash_name(l->module) >> 16) + (b->key ? 0 : 1);
    ql_stream stream = ql_stream_make(b->o->seed, QL_STREAM_DROPOUT, which);
    QL_RECORD(b->t, DROPOUT, dropout, .x = ql_ref(b->t, x), .y = ql_ref(b->t, y), .p = l->dropout,
              .rng = {.seed = stream.seed,
                      .stream = stream.stream,
                      .key = ql_ref(b->t, b->key),
                      .step = ql_ref(b->t, b->io->step)});
    return y;
}

/* x W^T (+ bias) into a new value. */
static ql_vid product(ql_builder *b, const ql_linear *l, ql_vid x, ql_dtype dtype,
                      const ql_dense *bias, const char *name) {
    ql_tape *t = b->t;
    bool logits = l == b->m->head;
    ql_vid y = ql_tape_value(t, logits ? QL_POOL_LOGITS : QL_POOL_ACTIVATIONS, dtype,
                             ql_tape_at(t, x)->rows, ql_fixed(l->n), "%s", name);
    ql_mat row = ql_ref(t, ql_build_dense(b, bias));
    if (l->quantized)
        QL_RECORD(t, GEMM_Q, gemm_q, .x = ql_ref(t, x), .y = ql_ref(t, y), .bias = row,
                  .w = quantized(b, l), .alpha = 1.0f);
    else
        QL_RECORD(t, GEMM, gemm, .a = ql_ref(t, x), .b = ql_ref(t, dense_weight(b, l)),
                  .c = ql_ref(t, y), .bias = row, .trans_b = !l->transposed || l->turned,
                  .alpha = 1.0f, .batch = 1);
    return y;
}

/* y += s (xd A^T) B^T */
static void add_adapter(ql_builder *b, const ql_linear *l, ql_vid xd, ql_vid y, const char *name) {
    ql_tape *t = b->t;
    ql_vid u = ql_tape_value(t, QL_POOL_ACTIVATIONS, QL_F32, ql_tape_at(t, xd)->rows,
                             ql_fixed(l->r), "%s.lora_u", name);
    QL_RECORD(t, GEMM, gemm, .a = ql_ref(t, xd), .b = ql_ref(t, ql_build_param(b, l->adapter_a)),
              .c = ql_ref(t, u), .trans_b = true, .alpha = 1.0f, .batch = 1);
    QL_RECORD(t, GEMM, gemm, .a = ql_ref(t, u), .b = ql_ref(t, ql_build_param(b, l->adapter_b)),
              .c = ql_ref(t, y), .trans_b = true, .alpha = l->scaling, .beta = 1.0f, .batch = 1);
}

/* g * x, g = m / ||W + s B A||_row, into a new value. */
static ql_vid scale_by_magnitude(ql_builder *b, const ql_linear *l, ql_vid x, const char *name) {
    ql_tape *t = b->t;
    const ql_value *v = ql_tape_at(t, x);
    ql_vid y = ql_tape_value(t, v->pool, v->dtype, v->rows, v->cols, "%s.dora", name);
    ql_vid norm = ql_tape_value(t, QL_POOL_ACTIVATIONS, QL_F32, ql_fixed(1), ql_fixed(l->n),
                                "%s.dora_norm", name);
    ql_row_norm_args a = {.a = ql_ref(t, ql_build_param(b, l->adapter_a)),
                          .b = ql_ref(t, ql_build_param(b, l->adapter_b)),
                          .norm = ql_ref(t, norm),
                          .s = l->scaling};
    if (l->quantized)
        a.w = quantized(b, l);
    else
        a.wd = ql_ref(t, dense_weight(b, l));
    ql_tape_record(t, QL_OP_ROW_NORM, &(ql_op_args){.row_norm = a});
    QL_RECORD(t, SCALE_COLS, scale_cols, .x = ql_ref(t, x), .norm = ql_ref(t, norm),
              .m = ql_ref(t, ql_build_param(b, l->adapter_m)), .y = ql_ref(t, y));
    return y;
}

static void add(ql_builder *b, ql_vid x, ql_vid y, float alpha) {
    QL_RECORD(b->t, AXPBY, axpby, .x = ql_ref(b->t, x), .y = ql_ref(b->t, y), .alpha = alpha,
              .beta = 1.0f);
}

static ql_vid dora(ql_builder *b, const ql_linear *l, ql_vid x, ql_dtype dtype, const char *name) {
    ql_tape *t = b->t;
    ql_vid xd = dropped(b, l, x, name);
    if (xd == x) {
        ql_vid y = product(b, l, x, dtype, NULL, name);
        add_adapter(b, l, x, y, name);
        y = scale_by_magnitude(b, l, y, name);
        if (l->bias) add(b, ql_build_dense(b, l->bias), y, 1.0f);
        return y;
    }
    ql_vid y = product(b, l, x, dtype, l->bias, name), base = product(b, l, xd, dtype, NULL, name);
    const ql_value *v = ql_tape_at(t, base);
    ql_vid both = ql_tape_value(t, v->pool, v->dtype, v->rows, v->cols, "%s.both", name);
    QL_RECORD(t, AXPBY, axpby, .x = ql_ref(t, base), .y = ql_ref(t, both), .alpha = 1.0f);
    add_adapter(b, l, xd, both, name);
    add(b, scale_by_magnitude(b, l, both, name), y, 1.0f);
    add(b, base, y, -1.0f);
    return y;
}

ql_vid ql_build_linear(ql_builder *b, const ql_linear *l, ql_vid x, ql_dtype y_dtype,
                       const char *name) {
    if (ql_tape_status(b->t) != QL_OK) return 0;
    if (l->adapter_m >= 0) return dora(b, l, x, y_dtype, name);
    ql_vid y = product(b, l, x, y_dtype, l->bias, name);
    if (l->adapter_a >= 0) add_adapter(b, l, dropped(b, l, x, name), y, name);
    return y;
}
