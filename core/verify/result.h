/* result.h - computed values under the oracle's names, and their comparison. */
#ifndef QLORA_CORE_VERIFY_RESULT_H
#define QLORA_CORE_VERIFY_RESULT_H

#include "core/io/safetensors.h"
#include "core/verify/verify.h"

typedef struct ql_result {
    char name[256];
    int32_t dims;
    int64_t shape[3], numel;
    float *values; /* owned */
} ql_result;

typedef struct ql_results {
    ql_result *items;
    size_t n, cap;
} ql_results;

void ql_results_free(ql_results *r);
/* Adds a zeroed tensor shaped like `like`; *values is where to fill it. */
QL_NODISCARD ql_status ql_results_add(ql_results *r, const char *name, int32_t dims,
                                      const int64_t *shape, float **values);
/* Compares every result that `oracle` holds too, row of the report by group. mask [rows]: rows of
 * three-dimensional results (logits) whose mask is 0 are skipped; NULL = all. */
QL_NODISCARD ql_status ql_results_compare(const ql_results *r, const ql_st_file *oracle,
                                          const float *mask, int64_t mask_rows, ql_dtype compute,
                                          ql_verify_report *out);
QL_NODISCARD ql_status ql_results_write(const ql_results *r, const char *path);

#endif
