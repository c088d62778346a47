/*
 * loftq.h - one weight into a frozen part and an adapter that together start where it was.
 *
 *   W [n, k] ~ Q + s B A,  Q frozen (quantized or dense), A [r, k], B [n, r], s the LoRA scaling.
 *
 * LoftQ (Li et al. 2023, algorithm 1): B_0 A_0 = 0; for t = 1 .. T
 *     Q_t = decode(encode(W - s B_{t-1} A_{t-1})),   s B_t A_t = the best rank r of W - Q_t,
 * and the iteration with the smallest ||W - Q_t - s B_t A_t|| is kept. Q_t is what is stored,
 * second level of the scales included. T = 1 has the codes of plain quantization.
 *
 * PiSSA (Meng et al. 2024): s B A = the best rank r of W; OLoRA (Buyukakyuz 2024): B = the first r
 * columns of Q and A = the first r rows of R of W = Q R. Then Q = W - s B A, quantized or rounded.
 *
 * The scaling is divided out of both factors alike (1 / sqrt(s) each); for OLoRA, as in PEFT, it is
 * not, and the frozen part makes up for it.
 */
#ifndef QLORA_CORE_LOFTQ_LOFTQ_H
#define QLORA_CORE_LOFTQ_LOFTQ_H

#include "core/io/safetensors.h"
#include "core/loftq/svd.h"
#include "core/quant/quantize.h"

typedef enum ql_split_method { QL_SPLIT_LOFTQ, QL_SPLIT_PISSA, QL_SPLIT_OLORA } ql_split_method;

enum { QL_LOFTQ_MAX_ITER = 64 };

typedef struct ql_split_opts {
    ql_split_method method;
    /* The frozen part: quantized with `quant`, or dense and rounded to `dense`. */
    bool quantized;
    ql_quant_opts quant;
    ql_st_dtype dense;   /* F32, F16, BF16 */
    ql_encode_fn encode; /* first level of encoding; NULL = ql_encode_scalar */
    void *encode_user;
    int32_t r, iters; /* iters: T of LoftQ, 1 .. QL_LOFTQ_MAX_ITER */
    float scaling;    /* s > 0 */
    bool keep_last;   /* the T-th iteration instead of the best one, as PEFT does */
    bool stop_early;  /* end after the first iteration that is no better than the best */
    ql_svd_opts svd;
    /* Activation-aware objective: ||(W - Q - s B A) diag(d)|| with d[j] the root mean square of the
     * layer's input j on calibration text; NULL = the paper's. Borrowed. */
    const float *input_rms;
} ql_split_opts;

typedef struct ql_split {
    int64_t n, k;
    int32_t r;
    ql_qtensor q;  /* the frozen part when quantized; owned                  */
    float *dense;  /* ... otherwise, already rounded; owned                  */
    float *a, *b;  /* [r, k], [n, r]; owned                                  */
    int32_t iters; /* iterations done: T, 1 for PiSSA and OLoRA              */
    int32_t best;  /* which iteration this is, 1 .. T                        */
    /* ||W||; ||W - Q(W)|| at 0 and ||W - Q_t - s B_t A_t|| at t. */
    double norm, residual[QL_LOFTQ_MAX_ITER + 1];
    double drift[QL_LOFTQ_MAX_ITER + 1]; /* ||W - Q_t||: grows, at 0 as residual[0]  */
    /* The same as `residual` times diag(d), when there is one; decides about `best` then. */
    double weighted[QL_LOFTQ_MAX_ITER + 1];
    double bound, excess; /* of the kept factorization (svd.h) */
    int32_t rounds;
} ql_split;

/* The sentence says which setting is wrong. */
QL_NODISCARD ql_status ql_split_check(const ql_split_opts *o, int64_t n, int64_t k);
/* w [n, k] is only read and must be finite. Memory: one more matrix of floats and the codes of two
 * iterations (OLoRA without quantization: two matrices). Free with ql_split_free. */
QL_NODISCARD ql_status ql_split_weight(const ql_split_opts *o, const float *w, int64_t n, int64_t k,
                                       ql_split *out);
void ql_split_free(ql_split *x); /* zeroes */

#endif /* QLORA_CORE_LOFTQ_LOFTQ_H */
