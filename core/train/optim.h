/*
 * optim.h - optimizers by name, and where their state lies.
 *
 * State (spec/quantization.md 4.2): one or two moments per trained value, float32 or blockwise
 * 8-bit codes. With 8 bits a tensor of fewer than 4096 values keeps float32 moments, as in
 * bitsandbytes, and blocks of 256 values never cross from one tensor into the next.
 *
 * The trained region is cut into runs: neighbours whose moments are stored alike and that share
 * weight decay. A run is cut into pages, the unit that one operator call updates and that moves.
 * Every step walks through the pages in the same order, so the farthest next use is always that
 * of the page just used: the fewest moves keep the first pages resident for good and let the
 * others pass through two slots (optim_store.c).
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

#define QL_OPT_BLOCK     256  /* values that share an absmax          */
#define QL_OPT_MIN_CODED 4096 /* values of a tensor worth 8-bit codes */

/* Elements [first, first + n) of the trained region. */
typedef struct ql_opt_run {
    uint64_t first, n;
    bool coded, decay;
} ql_opt_run;

typedef enum ql_opt_field {
    QL_OPT_M,
    QL_OPT_V,
    QL_OPT_M_ABSMAX,
    QL_OPT_V_ABSMAX,
    QL_OPT_FIELDS
} ql_opt_field;

/* The same of a run's elements, multiples of 256 but for the last page. Its fields lie one behind
 * the other at `at`, in the host's store when `host`, else in the device's. */
typedef struct ql_opt_page {
    uint64_t first, n;
    int32_t run;
    bool host;
    uint64_t at, bytes;
} ql_opt_page;

typedef struct ql_opt_layout {
    const ql_optim *optim;
    bool has_m, has_v, coded; /* coded: some run is */
    uint32_t align;
    ql_opt_run *runs; /* [n_runs], in the order of the region, without gaps */
    int32_t n_runs;
    ql_opt_page *pages; /* [n_pages], likewise; those of the host come last */
    int32_t n_pages, n_resident;
    uint64_t map_m, map_v; /* code tables F32 [256] in the device's store; with coded runs only */
    uint64_t device_bytes, host_bytes, slot_bytes; /* the two stores; a slot, 0 = nothing moves */
} ql_opt_layout;
#define QL_OPT_SLOTS 2

/* Layout of the state of m's trained values. `budget`: device bytes that stores and slots may take,
 * 0 = everything resident; a budget too small is QL_ERR_NOMEM_DEV with the smallest. `momentum` 0
 * gives SGD no state at all. `align`: of every field, a power of two. */
QL_NODISCARD ql_status ql_opt_layout_plan(const ql_model *m, const ql_optim *optim, double momentum,
                                          uint32_t align, uint64_t budget, ql_opt_layout *out);
void ql_opt_layout_free(ql_opt_layout *s); /* a zeroed one is empty */
/* Device bytes with everything resident, and the smallest budget. */
uint64_t ql_opt_layout_full(const ql_opt_layout *s);
uint64_t ql_opt_layout_least(const ql_opt_layout *s);
/* Bytes that one step moves to the device, and as many back. */
uint64_t ql_opt_layout_traffic(const ql_opt_layout *s);

/* A field of a page of n elements: its byte offset inside the page and its size, 0 = absent. */
typedef struct ql_opt_span {
    uint64_t off, bytes;
} ql_opt_span;
ql_opt_span ql_opt_field_span(const ql_opt_layout *s, bool coded, uint64_t n, ql_opt_field f);

/* The i-th stored tensor of the state: what checkpoints write, in this order, whatever the pages.
 * It is made of `field` of pages [page, page_end). */
typedef struct ql_opt_part {
    char name[32]; /* "m", "v" when every run is float32; else "3.m", "3.m_absmax", ... */
    ql_st_dtype dtype;
    uint64_t count; /* elements */
    ql_opt_field field;
    int32_t page, page_end;
} ql_opt_part;
bool ql_opt_part_at(const ql_opt_layout *s, int32_t i, ql_opt_part *out); /* false = past the end */

#endif
