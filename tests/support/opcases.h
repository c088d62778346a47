/*
 * opcases.h - the operator cases: run any of them on any device and hear how it compares with the
 * double-precision reference (tests/ref).
 *
 * Used by tests/ops and by `qlora selftest`. Prints nothing and needs no test framework. A case is
 * named by family ("gemm"), index and seed; the same three give the same data everywhere.
 *
 * One run of a case does all of this:
 *   - the inputs, rounded to their dtypes, are placed in buffers with 256 guard bytes on both
 *     sides; every other case has row strides larger than cols and offsets that are not zero
 *   - outputs, gaps, guards and scratch hold a NaN pattern before the call
 *   - scratch_bytes is asked with unbound and with bound operands and must answer the same
 *   - the checked call (ql_run_op) runs twice; both results must be equal bit for bit
 *   - inputs, gaps and guards must be unchanged
 *   - every output is compared with the reference: normalized mean square error
 *     sum (y - r)^2 / sum r^2 against the limit of its operator and dtype (limits.c)
 */
#ifndef QLORA_TESTS_SUPPORT_OPCASES_H
#define QLORA_TESTS_SUPPORT_OPCASES_H

#include "qlora/backend.h"

typedef enum ql_opcase_outcome {
    QL_OPCASE_PASSED,
    QL_OPCASE_SKIPPED, /* the device says that it does not support it: message */
    QL_OPCASE_FAILED
} ql_opcase_outcome;

typedef struct ql_opcase_result {
    ql_opcase_outcome outcome;
    char label[128];      /* "gemm_q nf4 [5, 64] x [33, 64] f32"         */
    char message[384];    /* why it was skipped or failed; "" when passed */
    char operand[24];     /* the output that came closest to its limit    */
    double max_abs, nmse; /* largest |y - r| of it; its NMSE              */
    double limit;         /* the limit of that NMSE                       */
    uint64_t output_hash; /* equal hashes: outputs equal bit for bit      */
} ql_opcase_result;

int ql_opcase_family_count(void);
const char *ql_opcase_family_name(int family); /* "elem", "rows", ... */
int ql_opcase_family_find(const char *name);   /* -1 = unknown */
int ql_opcase_count(int family);
/* Runs case `index` of `family` on q's device. Everything, also a lack of memory, is told in *out.
 */
void ql_opcase_run(ql_queue *q, int family, int index, uint64_t seed, ql_opcase_result *out);

#endif
