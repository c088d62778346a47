/*
 * explain.h - what `quantize --explain TYPE` shows: how a code table is made, and what it costs on
 * normally distributed weights beside FP4, INT4 and the least-squares optimum.
 *
 * Numbers first (ql_explain_measure), then as text or JSON. Draws come from Philox, so a seed gives
 * the same numbers everywhere.
 */
#ifndef QLORA_CORE_QUANT_EXPLAIN_H
#define QLORA_CORE_QUANT_EXPLAIN_H

#include "core/base/json.h"
#include "core/quant/qtype.h"

enum { QL_EXPLAIN_LEVELS = 16, QL_EXPLAIN_MAX_CODES = 6 };

typedef struct ql_explain_code {
    const char *name;                /* "nf4" ... , "lloyd-max", "block optimum"                */
    bool scaled;                     /* values divided by the block's absmax first              */
    double level[QL_EXPLAIN_LEVELS]; /* ascending                                               */
    double share[QL_EXPLAIN_LEVELS]; /* part of the draws that takes each level                 */
    double entropy;                  /* bits per code; 4 = all levels equally used              */
    double mse, mean_abs, max_abs;   /* error on N(0, 1); NaN where not measured                */
} ql_explain_code;

typedef struct ql_explain {
    const ql_qtype *type;
    int64_t draws; /* rounded up to whole blocks                                        */
    uint64_t seed;
    int32_t block;
    float built[QL_EXPLAIN_LEVELS]; /* nf4's table from quantiles, float32 as the package       */
    double float_diff;              /* max |built - stored|                                     */
    double double_diff;             /* the same construction in double throughout               */
    double literal[QL_EXPLAIN_LEVELS - 1]; /* q_1 .. q_15 of the formula, divided by the largest  */
    int32_t codes;
    ql_explain_code code[QL_EXPLAIN_MAX_CODES];
} ql_explain;

/* type: a 4-bit type of ours; draws >= 64; seed any. */
QL_NODISCARD ql_status ql_explain_measure(const char *type, int64_t draws, uint64_t seed,
                                          ql_explain *out);
/* Both owned by the caller: ql_host_free, json_decref. */
QL_NODISCARD ql_status ql_explain_text(const ql_explain *e, char **out);
QL_NODISCARD ql_status ql_explain_json(const ql_explain *e, json_t **out);
/* Measure and text in one. */
QL_NODISCARD ql_status ql_explain_type(const char *type, int64_t draws, uint64_t seed, char **out);

#endif
