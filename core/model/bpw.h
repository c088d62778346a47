/*
 * bpw.h - target_bpw: bits for every linear weight, so that all together take a given number of
 * bits per weight and lose as little as possible.
 *
 * Measured per weight: D(b), what storing it in b bits costs. Without calibration text
 *   D(b) = ||W - Q_b||^2 / ||W||^2
 * (every matrix counts alike); with it the divergence of the next-token distributions when this
 * matrix alone is stored in b bits, for 8 bits estimated by the ratio of the squared errors:
 *   D(b) = KL(p || p_b)          D(8) = D(4) ||W - Q_8||^2 / ||W - Q_4||^2
 * All weights start at the fewest bits; the step with the largest fall of D per byte that still
 * fits is taken until none fits. The result depends on the files, the text and the target only.
 */
#ifndef QLORA_CORE_MODEL_BPW_H
#define QLORA_CORE_MODEL_BPW_H

#include "core/model/model.h"

typedef struct ql_bpw_opts {
    ql_quant_opts quant; /* family of types, blocks, second level                     */
    double target;       /* bits per weight over all quantized weights, scales included */
    bool quantize_head;
    bool requantize;    /* weights that the files hold quantized are quantized again  */
    const int32_t *ids; /* calibration text, or NULL                                  */
    int32_t n_ids;
    ql_device *dev;
    void (*progress)(void *user, int64_t done, int64_t total, const char *name); /* or NULL */
    void *user;
} ql_bpw_opts;

typedef struct ql_bpw {
    char *rules;    /* bits_by_layer (quant/bits.h): names, and * for the most frequent bits */
    uint64_t bytes; /* of the quantized weights, exactly what the plan and the files have    */
    int64_t weights;
    double bits;   /* 8 bytes / weights                                                    */
    int64_t of[4]; /* matrices at 2, 3, 4 and 8 bits                                       */
} ql_bpw;

/* `model`: folder or .gguf. A target below the fewest bits or with nothing to quantize is
 * QL_ERR_INVALID. */
QL_NODISCARD ql_status ql_bpw_choose(const char *model, const ql_bpw_opts *o, ql_bpw *out);
void ql_bpw_free(ql_bpw *b);

#endif
