/*
 * prepare.h - a model folder whose base is frozen and whose adapter makes up for it.
 *
 * Every adapted layer is split (loftq.h); all other linear layers are quantized as `qlora quantize`
 * does, the rest is copied. The result is that of ql_quantize_folder (bitsandbytes' format where it
 * can hold the type) with a folder adapter/ in PEFT's. It appears whole or not at all.
 *
 * Layers are independent, so threads take one each. Memory: two matrices of floats per thread, the
 * codes, and the factors; adapters go to disk as they come.
 */
#ifndef QLORA_CORE_LOFTQ_PREPARE_H
#define QLORA_CORE_LOFTQ_PREPARE_H

#include "core/loftq/loftq.h"
#include "core/model/model.h"

typedef struct ql_prepare_opts {
    ql_split_method method;
    int32_t iters;
    bool keep_last, stop_early;
    ql_svd_opts svd;
    uint64_t seed;
    int threads;
    const char *base_name; /* base_model_name_or_path of the adapter                    */
    bool layers_only;      /* what is trained beside adapters is left out, not refused   */
    /* Root mean square of the input of linear layer i of the model, [k] each; NULL = the paper's
     * objective. Borrowed. */
    const float *const *input_rms;
    ql_quantize_folder_opts folder; /* its maker is replaced; dense: --bits 16           */
} ql_prepare_opts;

/* One adapted layer. */
typedef struct ql_prepare_row {
    const ql_linear *l;
    const ql_qtype *type; /* NULL: the base is dense                                          */
    ql_split split;       /* numbers only                                                     */
} ql_prepare_row;
typedef struct ql_prepare_report {
    ql_prepare_row *rows; /* in the order of the files */
    int64_t n;
    int64_t untouched; /* adapted layers that stay as they are: A drawn, B = 0 */
    ql_quantize_report folder;
} ql_prepare_report;
void ql_prepare_report_free(ql_prepare_report *r);

/* `m` is open with adapters attached and not placed; its source is read. */
QL_NODISCARD ql_status ql_prepare_folder(ql_model *m, const ql_prepare_opts *o, const char *out,
                                         ql_prepare_report *report);

#endif /* QLORA_CORE_LOFTQ_PREPARE_H */
