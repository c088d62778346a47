/*
 * verify.h - recomputes what a recorded oracle holds and measures the distance.
 *
 * A folder with oracle.safetensors (layout: spec of the fixtures, tests/data/README.md): plain and
 * packed logits and loss; per adapter case logits, loss, gradients, three optimizer steps. A folder
 * with curve.json: a whole training run, step by step. Both come from transformers + peft +
 * bitsandbytes, so this is the proof that the engine computes what they compute.
 */
#ifndef QLORA_CORE_VERIFY_VERIFY_H
#define QLORA_CORE_VERIFY_VERIFY_H

#include "qlora/backend.h"

enum {
    QL_VERIFY_PLAIN = 1,
    QL_VERIFY_PACKED = 2,
    QL_VERIFY_QLORA = 4,
    QL_VERIFY_RSLORA = 8,
    QL_VERIFY_CURVE = 16,
    QL_VERIFY_DORA = 32,
    QL_VERIFY_LOFTQ = 64,
    QL_VERIFY_ALL = 127
};

typedef struct ql_verify_opts {
    unsigned cases;     /* QL_VERIFY_*                                       */
    ql_dtype compute;   /* QL_F32 or QL_BF16                                 */
    const char *write;  /* our own values under the oracle's names; NULL     */
    int32_t checkpoint; /* gradient checkpointing while verifying (0 = off)  */
} ql_verify_opts;

/* One group of tensors ("qlora.grad") against the oracle. */
typedef struct ql_verify_row {
    char group[64];
    int64_t tensors, elements;
    double max_abs;   /* largest difference                                          */
    double max_rel;   /* the same over the largest magnitude of the oracle's tensor  */
    double abs_limit; /* passes when every tensor is within one of the two limits    */
    double rel_limit;
    bool ok;
} ql_verify_row;

#define QL_VERIFY_MAX_ROWS 64
typedef struct ql_verify_report {
    ql_verify_row rows[QL_VERIFY_MAX_ROWS];
    int n_rows;
    char not_run[256]; /* cases that the oracle holds and this run did not compute    */
    char absent[256];  /* cases asked for that the oracle lacks                       */
    bool ok;
} ql_verify_report;

/* dev is used, not closed. */
QL_NODISCARD ql_status ql_verify(const char *dir, const ql_verify_opts *o, ql_device *dev,
                                 ql_verify_report *out);

#endif
