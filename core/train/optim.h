/*
 * optim.h - optimizers by name, and where their state lies.
 *
 * State (spec/quantization.md 4.2): one or two moments per trained value, float32 or blockwise
 * 8-bit codes. With 8 bits a tensor of fewer than 4096 values keeps float32 moments, as in
 * bitsandbytes, and blocks of 256 values never cross from one tensor into the next.
 *
 * The trained region is cut into runs: neighbours whose moments are stored alike and that share
 * weight decay. One run is one call of the operator.
 */
#ifndef QLORA_CORE_TRAIN_OPTIM_H
#define QLORA_CORE_TRAIN_OPTIM_H

#include "core/io/safetensors.h"
#include "core/model/model.h"

typedef struct ql_optim {
    const char *name;
    const char *rule; /* the name without paging: equal rules give equal bytes */
    ql_opt_kind kind;
    bool coded; /* 8-bit moments */
    bool paged; /* may lie outside the device */
} ql_optim;

/* "adamw", "paged_adamw_8bit", ...; NULL = unknown. */
const ql_optim *ql_optim_find(const char *name);
const char *ql_optim_names(void); /* "adamw adamw_8bit ..." */

#define QL_OPT_BLOCK     256  /* values that share an absmax         */
#define QL_OPT_MIN_CODED 4096 /* values of a tensor worth 8-bit codes */

/* Elements [first, first + n) of the trained region. Offsets are bytes in the state buffer; those
 * of parts that do not exist are 0 and not read. */
typedef struct ql_opt_run {
    uint64_t first, n;
    bool coded, decay;
    uint64_t m, v, m_absmax, v_absmax;
} ql_opt_run;

typedef struct ql_opt_state {
    const ql_optim *optim;
    bool has_m, has_v;
    ql_opt_run *runs; /* [n_runs], in the order of the region, without gaps */
    int32_t n_runs;
    uint64_t map_m, map_v; /* code tables F32 [256]; with coded runs only */
    bool coded;            /* some run is */
    uint64_t bytes;        /* of the whole buffer, a multiple of 4 */
} ql_opt_state;

/* Layout of the state of m's trained values; `momentum` 0 gives SGD no state at all. `align`: of
 * every part, a power of two. */
QL_NODISCARD ql_status ql_opt_state_plan(const ql_model *m, const ql_optim *optim, double momentum,
                                         uint32_t align, ql_opt_state *out);
void ql_opt_state_free(ql_opt_state *s); /* a zeroed one is empty */

/* Zero moments (codes and absmax are 0) and the code tables into `buf` of s->bytes. */
QL_NODISCARD ql_status ql_opt_state_reset(const ql_opt_state *s, ql_queue *q, ql_buffer *buf);

typedef struct ql_opt_hyper {
    double beta1, beta2, epsilon, weight_decay, momentum;
} ql_opt_hyper;

/* Arguments of one update of `run`: values and gradients of m, state in `buf`. */
ql_opt_step_args ql_opt_run_args(const ql_opt_state *s, const ql_opt_run *run, const ql_model *m,
                                 ql_buffer *buf, const ql_opt_hyper *h);

/* The i-th stored tensor of the state: what checkpoints write, in this order. */
typedef struct ql_opt_part {
    char name[32]; /* "m", "v" when every run is float32; else "3.m", "3.m_absmax", ... */
    ql_st_dtype dtype;
    uint64_t off, count; /* bytes into the buffer; elements */
} ql_opt_part;
bool ql_opt_state_part(const ql_opt_state *s, int32_t i, ql_opt_part *out); /* false = past end */

#endif
