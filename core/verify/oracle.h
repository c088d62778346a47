/* oracle.h - what the two kinds of recorded runs share: opening a model as a case wants it. */
#ifndef QLORA_CORE_VERIFY_ORACLE_H
#define QLORA_CORE_VERIFY_ORACLE_H

#include "core/train/trainer.h"
#include "core/verify/result.h"

/* The model in `dir`, its Linear layers as stored (bits 16) or NF4 + double quantization (bits 4),
 * with the adapter settings of `adapter_dir` attached unless NULL. */
QL_NODISCARD ql_status ql_oracle_model(const char *dir, int32_t bits, const char *adapter_dir,
                                       ql_model **out);
/* One batch of sequences [rows, cols] with mask and labels as recorded (right padding dropped). */
QL_NODISCARD ql_status ql_oracle_batch(const int64_t *ids, const float *mask, const int64_t *labels,
                                       int64_t rows, int64_t cols, ql_batch *out);

/* curve.c: the recorded run in `dir` (curve.json, tokens.safetensors, adapter-init, adapter-final).
 */
QL_NODISCARD ql_status ql_verify_curve(const char *dir, const ql_verify_opts *o, ql_device *dev,
                                       ql_results *results, ql_verify_report *out);

#endif
