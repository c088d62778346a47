/* bpw_impl.h - one matrix of bpw.c, and its divergence (bpw_kl.c). */
#ifndef QLORA_CORE_MODEL_BPW_IMPL_H
#define QLORA_CORE_MODEL_BPW_IMPL_H

#include "core/model/bpw.h"

enum { QL_BPW_SIZES = 4 }; /* 2, 3, 4, 8 bits */

typedef struct ql_bpw_item {
    const ql_linear *l; /* of the model that lists the weights */
    ql_quant_opts quant[QL_BPW_SIZES];
    uint64_t bytes[QL_BPW_SIZES];
    double error[QL_BPW_SIZES]; /* ||W - Q||^2 / ||W||^2 */
    double cost[QL_BPW_SIZES];  /* D(b), see bpw.h       */
    int at;                     /* chosen size           */
} ql_bpw_item;

/* W [n, k] of an item as the files hold it; owned. */
QL_NODISCARD ql_status ql_bpw_read(const ql_model *m, const ql_linear *l, float **out);
/* Sets every item's cost from the calibration text. `m` lists the items. */
QL_NODISCARD ql_status ql_bpw_calibrate(const char *model, const ql_model *m, const ql_bpw_opts *o,
                                        ql_queue *q, ql_bpw_item *items, int64_t n);

#endif
