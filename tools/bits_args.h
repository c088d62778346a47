/* bits_args.h - flags that choose the bits of every weight for a size (core/model/bpw.h). */
#ifndef QLORA_TOOLS_BITS_ARGS_H
#define QLORA_TOOLS_BITS_ARGS_H

#include "core/model/bpw.h"
#include "tools/model_args.h"

typedef struct ql_bits_args {
    double target; /* 0 = not asked for */
    const char *calibration;
    int64_t tokens;
} ql_bits_args;

/* Rows of a flag table for the member `f` (a ql_bits_args). */
#define QL_BITS_ARGS(T, f)                                                                         \
    {.name = "target_bpw",                                                                         \
     .kind = QL_ARG_REAL,                                                                          \
     .at = offsetof(T, f.target),                                                                  \
     .fallback = "0",                                                                              \
     .lo = 0,                                                                                      \
     .hi = 16,                                                                                     \
     .help = "choose the bits of every weight for X bits per weight in all"},                      \
        {.name = "calibration",                                                                    \
         .kind = QL_ARG_TEXT,                                                                      \
         .flags = QL_ARG_ADVANCED,                                                                 \
         .at = offsetof(T, f.calibration),                                                         \
         .value = "FILE",                                                                          \
         .help = "text on which --target_bpw measures what a weight's bits matter"},               \
    {                                                                                              \
        .name = "calibration_tokens", .kind = QL_ARG_INT, .flags = QL_ARG_ADVANCED,                \
        .at = offsetof(T, f.tokens), .fallback = "256", .lo = 2, .hi = 4096,                       \
        .help = "its first tokens"                                                                 \
    }

/* Whose weights: path, tokenizer, and what is asked of quantizing. */
typedef struct ql_bits_request {
    const char *model, *tokenizer;
    ql_quant_opts quant;
    bool quantize_head, requantize;
} ql_bits_request;
/* *out: measured and chosen, said on cli->out; free with ql_bpw_free. Only when target > 0. */
QL_NODISCARD ql_status ql_bits_args_choose(ql_cli *cli, const ql_bits_args *a,
                                           const ql_bits_request *r, ql_bpw *out);
#endif
