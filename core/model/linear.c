/*
 * linear.c - a linear layer on the tape: frozen or trained weight, optional bias, optional adapter.
 *
 *   y = x W^T + bias                      W [n, k] quantized (gemm_q) or dense (gemm)
 *   u = dropout(x) A^T                    A [r, k]
 *   y += s u B^T                          B [n, r]          (QLoRA eq. 5, PEFT's scaling s)
 */
#include "core/base/rng.h"
#include "core/model/build_impl.h"

/* The quantized weight as operands. */
static ql_qmat quantized(ql_builder *b, const ql_linear *l) {
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
    const struct {
        const ql_slot *slot;
        ql_mat *mat;
        const char *name;
    } part[] = {{&l->codes, &w.codes, "codes"},    {&l->table, &w.table, "table"},
                {&l->scale, &w.scale, "scale"},    {&l->zero, &w.zero, "zero"},
                {&l->scale2, &w.scale2, "scale2"}, {&l->code2, &w.code2, "code2"},
                {&l->offset, &w.offset, "offset"}};
    for (size_t i = 0; i < sizeof part / sizeof *part; i++)
        if (part[i].slot->region)
            *part[i].mat = ql_ref(b->t, ql_build_slot(b, part[i].slot, l->module));
    return w;
}

static ql_vid dense_weight(ql_builder *b, const ql_linear *l) {
    return l->dense_param >= 0 ? ql_build_param(b, l->dense_param)
                               : ql_build_slot(b, &l->dense, l->module);
}

/* x with the adapter's dropout; x itself where nothing drops. */
static ql_vid dropped(ql_builder *b, const ql_linear *l, ql_vid x, const char *name) {
    if (!b->train || l->dropout <= 0.0f) return x;
    const ql_value *v = ql_tape_at(b->t, x);
    ql_vid y =
        ql_tape_value(b->t, QL_POOL_ACTIVATIONS, v->dtype, v->rows, v->cols, "%s.dropped", name);
    ql_stream stream = ql_stream_make(b->o->seed, QL_STREAM_DROPOUT, ql_hash_name(l->module) >> 16);
    QL_RECORD(b->t, DROPOUT, dropout, .x = ql_ref(b->t, x), .y = ql_ref(b->t, y), .p = l->dropout,
              .rng = {.seed = stream.seed,
                      .stream = stream.stream,
                      .key = ql_ref(b->t, b->io->key),
                      .step = ql_ref(b->t, b->io->step)});
    return y;
}

ql_vid ql_build_linear(ql_builder *b, const ql_linear *l, ql_vid x, ql_dtype y_dtype,
                       const char *name) {
    ql_tape *t = b->t;
    if (ql_tape_status(t) != QL_OK) return 0;
    ql_dim rows = ql_tape_at(t, x)->rows;
    bool logits = y_dtype == QL_F32 && l == &b->m->head;
    ql_vid y = ql_tape_value(t, logits ? QL_POOL_LOGITS : QL_POOL_ACTIVATIONS, y_dtype, rows,
                             ql_fixed(l->n), "%s", name);
    ql_mat bias = ql_ref(t, ql_build_dense(b, &l->bias));
    if (l->quantized)
        QL_RECORD(t, GEMM_Q, gemm_q, .x = ql_ref(t, x), .y = ql_ref(t, y), .bias = bias,
                  .w = quantized(b, l), .alpha = 1.0f);
    else
        QL_RECORD(t, GEMM, gemm, .a = ql_ref(t, x), .b = ql_ref(t, dense_weight(b, l)),
                  .c = ql_ref(t, y), .bias = bias, .trans_b = true, .alpha = 1.0f, .batch = 1);
    if (l->adapter_a < 0) return y;
    ql_vid xd = dropped(b, l, x, name);
    ql_vid u =
        ql_tape_value(t, QL_POOL_ACTIVATIONS, QL_F32, rows, ql_fixed(l->r), "%s.lora_u", name);
    QL_RECORD(t, GEMM, gemm, .a = ql_ref(t, xd), .b = ql_ref(t, ql_build_param(b, l->adapter_a)),
              .c = ql_ref(t, u), .trans_b = true, .alpha = 1.0f, .batch = 1);
    QL_RECORD(t, GEMM, gemm, .a = ql_ref(t, u), .b = ql_ref(t, ql_build_param(b, l->adapter_b)),
              .c = ql_ref(t, y), .trans_b = true, .alpha = l->scaling, .beta = 1.0f, .batch = 1);
    return y;
}
