/* cases_quant.c - gemm_q, q_quantize, q_dequantize. */
#include <math.h>
#include <string.h>

#include "tests/support/opcase.h"

enum { BIAS = 1, BETA = 2, TRANS = 4, DOUBLED = 8, CUDA = 16, EDGES = 32, PART = 64 };

typedef struct quant_case {
    ql_op op;
    const char *type;
    int64_t N, n, k, row0; /* gemm_q: x rows; q_dequantize: rows decoded */
    int32_t block;
    ql_dtype x, y;
    int flags;
} quant_case;

#define G QL_OP_GEMM_Q
#define D QL_OP_Q_DEQUANTIZE
#define Q QL_OP_Q_QUANTIZE
static const quant_case cases[] = {
    /* every storage type, forward and transposed; blocks straddle rows where k % block != 0 */
    {G, "nf4", 1, 1, 1, 0, 64, QL_F32, QL_F32, 0},
    {G, "nf4", 5, 33, 64, 0, 64, QL_F32, QL_F32, DOUBLED},
    {G, "nf4", 5, 33, 70, 0, 64, QL_F32, QL_F32, 0},
    {G, "nf4", 5, 33, 71, 0, 64, QL_F32, QL_F32, DOUBLED | TRANS},
    {G, "nf4", 1, 200, 131, 0, 64, QL_F32, QL_F32, DOUBLED | BIAS},
    {G, "nf4", 70, 129, 320, 0, 64, QL_F32, QL_F32, DOUBLED | BIAS},
    {G, "nf4", 70, 129, 320, 0, 64, QL_F32, QL_F32, DOUBLED | TRANS},
    {G, "nf4", 33, 96, 128, 0, 32, QL_BF16, QL_BF16, DOUBLED},
    {G, "nf4", 33, 96, 128, 0, 128, QL_BF16, QL_BF16, TRANS | BETA},
    {G, "nf4", 130, 65, 100, 0, 64, QL_F16, QL_F16, DOUBLED | BIAS},
    {G, "nf4", 17, 48, 96, 0, 64, QL_BF16, QL_F32, DOUBLED | BETA | BIAS},
    {G, "nf4", 17, 48, 96, 0, 4096, QL_F32, QL_BF16, TRANS},
    {G, "nf4", 9, 20, 70, 7, 64, QL_F32, QL_F32, DOUBLED},
    {G, "nf4", 9, 20, 71, 3, 64, QL_F32, QL_F32, TRANS},
    {G, "nf4", 600, 40, 64, 0, 64, QL_F32, QL_F32, DOUBLED},
    {G, "nf4", 300, 40, 576, 0, 64, QL_BF16, QL_BF16, DOUBLED | TRANS},
    {G, "fp4", 9, 31, 65, 0, 64, QL_F32, QL_F32, 0},
    {G, "fp4", 65, 31, 64, 0, 64, QL_F32, QL_F32, TRANS | DOUBLED},
    {G, "nf2", 9, 31, 65, 0, 64, QL_F32, QL_F32, 0},
    {G, "nf2-low", 9, 32, 64, 0, 64, QL_F32, QL_F32, TRANS},
    {G, "nf3", 9, 31, 65, 0, 64, QL_F32, QL_F32, DOUBLED},
    {G, "nf4-low", 9, 31, 65, 0, 64, QL_F32, QL_F32, 0},
    {G, "int2", 9, 31, 65, 0, 64, QL_F32, QL_F32, TRANS},
    {G, "int4", 9, 31, 65, 0, 64, QL_F32, QL_F32, 0},
    {G, "int4s", 9, 31, 65, 0, 64, QL_F32, QL_F32, TRANS},
    {G, "int4a", 9, 31, 65, 0, 64, QL_F32, QL_F32, 0},
    {G, "int4a", 70, 31, 65, 0, 64, QL_F32, QL_F32, TRANS | DOUBLED},
    {G, "int4a-f16", 9, 31, 96, 0, 32, QL_F32, QL_F32, 0},
    {G, "int2a", 9, 31, 65, 0, 64, QL_F32, QL_F32, 0},
    {G, "int8", 9, 31, 65, 0, 64, QL_F32, QL_F32, 0},
    {G, "int8", 9, 31, 65, 0, 0, QL_F32, QL_F32, BIAS},
    {G, "int8", 70, 31, 65, 0, 0, QL_BF16, QL_BF16, TRANS},
    {G, "dyn8", 9, 31, 65, 0, 256, QL_F32, QL_F32, 0},
    {G, "int2s", 9, 31, 65, 0, 64, QL_F32, QL_F32, DOUBLED},
    {G, "int3", 9, 31, 65, 0, 64, QL_F32, QL_F32, TRANS},
    {G, "int3s", 9, 31, 65, 0, 33, QL_F32, QL_F32, DOUBLED | TRANS},
    {G, "int3a", 9, 31, 65, 0, 64, QL_F32, QL_F32, DOUBLED},
    {G, "int2a", 70, 31, 65, 0, 40, QL_F32, QL_F32, DOUBLED | TRANS},
    {G, "nf3-low", 9, 31, 65, 0, 64, QL_F32, QL_F32, TRANS},
    /* whole blocks of whole bytes, one to eight rows: decoding and dot product in one pass */
    {G, "nf2", 1, 200, 256, 0, 64, QL_F32, QL_F32, DOUBLED | BIAS},
    {G, "nf2", 8, 65, 640, 0, 32, QL_F32, QL_F32, DOUBLED},
    {G, "nf2", 3, 65, 320, 5, 64, QL_BF16, QL_BF16, 0},
    {G, "nf2-low", 5, 65, 320, 0, 64, QL_F32, QL_F32, 0},
    {G, "int2", 7, 33, 576, 0, 96, QL_F32, QL_F32, DOUBLED},
    {G, "nf3", 1, 200, 256, 0, 64, QL_F32, QL_F32, DOUBLED | BIAS},
    {G, "nf3", 8, 65, 640, 0, 32, QL_F32, QL_F32, DOUBLED},
    {G, "nf3", 3, 65, 320, 5, 64, QL_BF16, QL_BF16, 0},
    {G, "nf3-low", 5, 65, 320, 0, 64, QL_F32, QL_F32, 0},
    {G, "nf4", 8, 65, 640, 0, 96, QL_F32, QL_F32, DOUBLED},
    {G, "nf2", 130, 65, 640, 0, 64, QL_F32, QL_F32, DOUBLED},
    {G, "nf2", 130, 129, 320, 0, 64, QL_F32, QL_F32, DOUBLED | TRANS},
    {G, "nf3", 130, 65, 640, 0, 64, QL_F32, QL_F32, DOUBLED},
    {G, "nf3", 130, 129, 320, 0, 64, QL_F32, QL_F32, DOUBLED | TRANS},
    {G, "q4_0", 9, 31, 64, 0, 0, QL_F32, QL_F32, 0},
    {G, "q4_0", 70, 33, 96, 0, 0, QL_F32, QL_F32, TRANS},
    {G, "q4_1", 9, 31, 96, 0, 0, QL_F32, QL_F32, BIAS},
    {G, "q4_1", 70, 31, 96, 0, 0, QL_F32, QL_F32, TRANS},
    {G, "q5_0", 9, 31, 32, 0, 0, QL_F32, QL_F32, 0},
    {G, "q5_0", 70, 31, 96, 0, 0, QL_BF16, QL_BF16, TRANS},
    {G, "q5_1", 9, 31, 96, 0, 0, QL_F32, QL_F32, 0},
    {G, "q5_1", 70, 31, 96, 0, 0, QL_F32, QL_F32, TRANS | BETA},
    {G, "q8_0", 9, 31, 96, 0, 0, QL_F32, QL_F32, 0},
    {G, "q8_0", 70, 31, 576, 0, 0, QL_BF16, QL_BF16, 0},
    {G, "q8_0", 70, 31, 96, 0, 0, QL_F32, QL_F32, TRANS},

    /* rows [2, 2 + N) of the weight, exact */
    {D, "nf4", 5, 9, 70, 0, 64, 0, QL_F32, 0},
    {D, "nf4", 9, 12, 71, 0, 64, 0, QL_F32, DOUBLED},
    {D, "nf4", 9, 12, 576, 0, 64, 0, QL_BF16, DOUBLED},
    {D, "nf4", 9, 12, 100, 5, 64, 0, QL_F16, DOUBLED},
    {D, "fp4", 9, 12, 65, 0, 32, 0, QL_F32, 0},
    {D, "nf2", 9, 12, 65, 0, 64, 0, QL_F32, 0},
    {D, "nf2-low", 9, 12, 65, 0, 64, 0, QL_F32, DOUBLED},
    {D, "nf3", 9, 12, 65, 3, 64, 0, QL_F32, 0},
    {D, "nf4-low", 9, 12, 65, 0, 64, 0, QL_F32, 0},
    {D, "int4", 9, 12, 65, 0, 64, 0, QL_F32, 0},
    {D, "int4s", 9, 12, 65, 0, 128, 0, QL_BF16, 0},
    {D, "int4a", 9, 12, 65, 0, 64, 0, QL_F32, DOUBLED},
    {D, "int4a-f16", 9, 12, 65, 0, 32, 0, QL_F32, 0},
    {D, "int2a", 9, 12, 65, 0, 64, 0, QL_F32, 0},
    {D, "int8", 9, 12, 65, 0, 64, 0, QL_F32, DOUBLED},
    {D, "int8", 9, 12, 65, 4, 0, 0, QL_F32, 0},
    {D, "dyn8", 9, 12, 65, 0, 256, 0, QL_F16, 0},
    {D, "int2", 9, 12, 65, 0, 64, 0, QL_F32, DOUBLED},
    {D, "int2s", 9, 12, 65, 0, 24, 0, QL_F32, 0},
    {D, "int3", 9, 12, 65, 0, 64, 0, QL_F32, DOUBLED},
    {D, "int3s", 9, 12, 65, 7, 33, 0, QL_F32, DOUBLED},
    {D, "int3a", 9, 12, 65, 0, 64, 0, QL_F32, DOUBLED},
    {D, "int2a", 9, 12, 96, 0, 32, 0, QL_F32, DOUBLED},
    {D, "nf3-low", 9, 12, 65, 3, 64, 0, QL_F32, DOUBLED},
    {D, "nf2", 9, 12, 576, 0, 64, 0, QL_BF16, DOUBLED},
    {D, "nf2-low", 9, 12, 576, 1, 64, 0, QL_F32, DOUBLED},
    {D, "nf3", 9, 12, 576, 0, 64, 0, QL_F32, DOUBLED},
    {D, "nf3", 9, 12, 1031, 1, 77, 0, QL_F32, 0},
    {D, "nf2", 9, 12, 1031, 1, 77, 0, QL_F32, 0},
    {D, "q4_0", 9, 12, 96, 0, 0, 0, QL_F32, 0},
    {D, "q4_1", 9, 12, 96, 0, 0, 0, QL_BF16, 0},
    {D, "q5_0", 9, 12, 96, 0, 0, 0, QL_F32, 0},
    {D, "q5_1", 9, 12, 96, 0, 0, 0, QL_F32, 0},
    {D, "q8_0", 9, 12, 96, 0, 0, 0, QL_F16, 0},

    /* codes, scales and zeros, exact */
    {Q, "nf4", 0, 1, 1, 0, 64, QL_F32, 0, 0},
    {Q, "nf4", 0, 33, 70, 0, 64, QL_F32, 0, 0},
    {Q, "nf4", 0, 33, 71, 0, 64, QL_BF16, 0, 0},
    {Q, "nf4", 0, 64, 512, 0, 64, QL_F16, 0, 0},
    {Q, "nf4", 0, 5, 2000, 0, 4096, QL_F32, 0, 0},
    {Q, "nf4", 0, 16, 64, 0, 64, QL_F32, 0, PART},
    {Q, "nf4", 0, 33, 70, 0, 64, QL_F32, 0, CUDA},
    {Q, "nf4", 0, 33, 70, 0, 64, QL_F32, 0, EDGES},
    {Q, "nf4", 0, 33, 70, 0, 64, QL_F32, 0, EDGES | CUDA},
    {Q, "fp4", 0, 33, 71, 0, 64, QL_F32, 0, 0},
    {Q, "fp4", 0, 33, 70, 0, 64, QL_F32, 0, CUDA},
    {Q, "fp4", 0, 33, 70, 0, 64, QL_F32, 0, EDGES},
    {Q, "fp4", 0, 33, 70, 0, 64, QL_F32, 0, EDGES | CUDA},
    {Q, "int4", 0, 33, 70, 0, 64, QL_F32, 0, 0},
    {Q, "int4s", 0, 33, 71, 0, 128, QL_BF16, 0, 0},
    {Q, "int4a", 0, 33, 70, 0, 64, QL_F32, 0, 0},
    {Q, "int4a", 0, 33, 71, 0, 32, QL_BF16, 0, 0},
    {Q, "int8", 0, 33, 71, 0, 64, QL_F32, 0, 0},
    {Q, "int8", 0, 33, 71, 0, 0, QL_F16, 0, 0},
    {Q, "dyn8", 0, 33, 71, 0, 256, QL_F32, 0, 0},
    {Q, "dyn8", 0, 33, 71, 0, 256, QL_F32, 0, CUDA},
    {Q, "nf2", 0, 33, 71, 0, 64, QL_F32, 0, 0},
    {Q, "nf2-low", 0, 32, 64, 0, 64, QL_F32, 0, 0},
    {Q, "nf3", 0, 33, 72, 0, 64, QL_F32, 0, 0},
    {Q, "nf3", 0, 33, 71, 0, 50, QL_BF16, 0, 0},
    {Q, "nf2", 0, 33, 70, 0, 64, QL_F32, 0, EDGES},
    {Q, "nf2", 0, 33, 70, 0, 64, QL_F32, 0, EDGES | CUDA},
    {Q, "nf3", 0, 33, 70, 0, 64, QL_F32, 0, EDGES},
    {Q, "nf2", 0, 16, 64, 0, 64, QL_F32, 0, PART},
    {Q, "int2", 0, 33, 71, 0, 64, QL_F16, 0, 0},
    {Q, "int3", 0, 33, 71, 0, 64, QL_F32, 0, 0},
    {Q, "int2s", 0, 33, 71, 0, 64, QL_F32, 0, 0},
    {Q, "int3s", 0, 33, 71, 0, 64, QL_F32, 0, CUDA},
    {Q, "int2a", 0, 33, 71, 0, 64, QL_F32, 0, 0},
    {Q, "int3a", 0, 33, 70, 0, 100, QL_BF16, 0, 0},
};
#undef G
#undef D
#undef Q

static weight_shape shape_of(const quant_case *k) {
    return (weight_shape){.type = k->type,
                          .n = k->n,
                          .k = k->k,
                          .row0 = k->row0,
                          .block = k->block,
                          .doubled = k->flags & DOUBLED};
}

static void build_gemm_q(opcase *c, const quant_case *k) {
    ql_gemm_q_args *a = &c->args.gemm_q;
    const weight_shape shape = shape_of(k);
    a->trans_w = k->flags & TRANS;
    a->alpha = k->flags & BETA ? 0.5f : 1.0f;
    a->beta = k->flags & BETA ? -0.75f : 0.0f;
    IN(x, k->x, k->N, a->trans_w ? k->n : k->k);
    tc_weight(c, &a->w, &shape);
    int64_t out = a->trans_w ? k->k : k->n;
    if (k->flags & BIAS) IN(bias, k->x, 1, out);
    if (a->beta == 0.0f)
        OUT(y, k->y, k->N, out);
    else
        UPDATE(y, k->y, k->N, out);
}

static void build_dequantize(opcase *c, const quant_case *k) {
    ql_q_dequantize_args *a = &c->args.q_dequantize;
    const weight_shape shape = shape_of(k);
    tc_weight(c, &a->q, &shape);
    a->row0 = 2;
    OUT(w, k->y, k->N, k->k);
    tc_find(c, &a->w)->limit = 0.0;
}

/* Blocks of zeros, a zero last block, one NaN, one Inf, values on thresholds. */
static void put_edges(const quant_case *k, double *w) {
    int64_t size = k->n * k->k;
    for (int64_t e = 0; e < k->block; e++) w[e] = 0.0;
    for (int64_t e = size / k->block * k->block; e < size; e++) w[e] = 0.0;
    w[2 * k->block + 5] = NAN;
    w[3 * k->block + 9] = -INFINITY;
    w[4 * k->block] = 1.0;
    for (int64_t i = 1; i < k->block; i++) w[4 * k->block + i] = 0.0;
    w[4 * k->block + 1] = 0.03979014977812767;
    w[4 * k->block + 2] = -0.8480963706970215;
    w[4 * k->block + 3] = 0.2916666865348816;
    w[4 * k->block + 4] = 0.0026041667442768812;
    w[4 * k->block + 5] = -0.0026041667442768812;
    w[4 * k->block + 6] = 0.0859375;
    w[4 * k->block + 7] = 1e-9;
    w[4 * k->block + 8] = -1e-9;
}

static bool is_affine(const char *type) { /* int2a, int3a, int4a, int4a-f16 */
    return strncmp(type, "int", 3) == 0 && type[4] == 'a';
}

/* tc_weight declares a weight; here its codes, scales and zeros are what is asked for. */
static void build_quantize(opcase *c, const quant_case *k) {
    ql_q_quantize_args *a = &c->args.q_quantize;
    const weight_shape shape = shape_of(k);
    a->encode = strcmp(k->type, "int8") == 0 ? QL_ENCODE_ROUND
                : is_affine(k->type)         ? QL_ENCODE_AFFINE
                                             : QL_ENCODE_NEAREST;
    a->rule = k->flags & CUDA ? QL_RULE_CUDA : QL_RULE_CPU;
    a->first = k->flags & PART ? 3 * k->block : 0;
    a->total = k->n * k->k + (k->flags & PART ? 4 * k->block : 0);
    IN_SCALED(w, k->x, k->n, k->k, 0.05);
    double *w = tc_find(c, &a->w)->values;
    if (w && k->flags & EDGES) put_edges(k, w);
    tc_weight(c, &a->q, &shape);
    ql_mat *outputs[] = {&a->q.codes, &a->q.scale, &a->q.zero};
    for (int i = 0; i < 3; i++) {
        tensor *t = tc_find(c, outputs[i]);
        if (!t || outputs[i]->rows == 0) continue;
        t->input = false;
        t->output = true;
        t->limit = 0.0;
    }
}

static void build(opcase *c, int row) {
    const quant_case *k = &cases[row];
    c->op = k->op;
    tc_label(c, "%s %s [%d, %d]+%d block %d N %d %s %s%s%s%s%s%s%s%s", ql_op_name(k->op), k->type,
             (int)k->n, (int)k->k, (int)k->row0, (int)k->block, (int)k->N, tc_type(k->x),
             tc_type(k->y), k->flags & DOUBLED ? " doubled" : "", k->flags & TRANS ? " trans" : "",
             k->flags & BIAS ? " bias" : "", k->flags & BETA ? " beta" : "",
             k->flags & CUDA ? " cuda" : "", k->flags & EDGES ? " edges" : "",
             k->flags & PART ? " part" : "");
    if (k->op == QL_OP_GEMM_Q)
        build_gemm_q(c, k);
    else if (k->op == QL_OP_Q_DEQUANTIZE)
        build_dequantize(c, k);
    else
        build_quantize(c, k);
}

const opfamily ql_opfamily_quant = {"quant", sizeof cases / sizeof *cases, build};
