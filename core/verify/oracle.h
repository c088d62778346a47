/* oracle.h - what the two kinds of recorded runs share: opening a model as a case wants it. */
#ifndef QLORA_CORE_VERIFY_ORACLE_H
#define QLORA_CORE_VERIFY_ORACLE_H

#include "core/train/trainer.h"
#include "core/verify/result.h"

/* The model in `dir`, its Linear layers as stored (bits 16) or NF4 (bits 4) with or without double
 * quantization, with the adapter settings of `adapter_dir` attached unless NULL. */
QL_NODISCARD ql_status ql_oracle_model(const char *dir, int32_t bits, bool double_quant,
                                       const char *adapter_dir, ql_model **out);

/* What a recorded case feeds to a model: rows padded on the right. */
typedef struct ql_oracle_inputs {
    int64_t rows, cols, label_cols; /* label_cols 0: one answer per row (classification)   */
    int64_t *ids, *types, *labels;  /* [rows, cols] [rows, cols] or NULL [rows, label_cols] */
    float *mask, *values;           /* [rows, cols] or NULL; [rows] regression, or NULL     */
} ql_oracle_inputs;
QL_NODISCARD ql_status ql_oracle_inputs_read(const ql_st_file *f, const char *what,
                                             ql_oracle_inputs *out);
void ql_oracle_inputs_free(ql_oracle_inputs *in);
/* One packed batch of them for a model of arch `a`: padding is dropped, decoder inputs are made
 * from labels (all of their rows are kept). */
QL_NODISCARD ql_status ql_oracle_batch(const ql_oracle_inputs *in, const ql_arch *a, ql_batch *out);

/* A folder with curve.json: a whole run, step by step (curve.c). */
QL_NODISCARD ql_status ql_verify_curve(const char *dir, const ql_verify_opts *o, ql_device *dev,
                                       ql_results *results, ql_verify_report *out);

#endif
