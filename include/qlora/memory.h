/*
 * qlora/memory.h - exact memory prediction: the classes of bytes and the report.
 *
 * Everything here is computed from shapes alone; no device is touched. The numbers are the
 * allocator's own: a run allocates exactly what the report says (asserted in tests).
 */
#ifndef QLORA_MEMORY_H
#define QLORA_MEMORY_H

#include <stdint.h>

#include "qlora/export.h"

#ifdef __cplusplus
extern "C" {
#endif

/* What bytes are for: the report's rows and the JSON keys of `qlora plan`. */
typedef enum ql_pool {
    QL_POOL_WEIGHTS,     /* frozen base: codes, scales, dense tensors         */
    QL_POOL_ADAPTERS,    /* trained values: adapters, or all weights (--full) */
    QL_POOL_GRADIENTS,   /* gradients of trained values                       */
    QL_POOL_OPTIMIZER,   /* moments                                           */
    QL_POOL_ACTIVATIONS, /* activations, checkpoints, inputs                  */
    QL_POOL_LOGITS,      /* chunked logits of the loss head                   */
    QL_POOL_SCRATCH,     /* temporary space inside operators                  */
    QL_POOL_STAGING,     /* paging slots                                      */
    QL_POOL_CACHE,       /* key/value cache of generation                     */
    QL_POOL_COUNT
} ql_pool;

/* "weights", "adapters", ... ; never NULL. */
QL_API const char *ql_pool_name(ql_pool pool);

typedef struct ql_memory_report {
    uint64_t device[QL_POOL_COUNT]; /* bytes allocated on the device per class; classes that
                                       share the arena are counted at the arena's peak    */
    uint64_t host[QL_POOL_COUNT];   /* bytes held on the host (paging)                    */
    uint64_t peak_bytes;            /* sum of all device buffers: the allocator's high-water mark */
    uint64_t mapped_bytes;          /* part of weights that is a read-only file mapping   */
    uint64_t arena_lower_bound;     /* max over records of live bytes: no arena can be smaller */
    uint64_t arena_bytes;           /* the arena that is allocated                        */
    int32_t peak_record;            /* tape index at which the arena peak occurs          */
    uint64_t page_in, page_out;     /* bytes of optimizer state that a step moves to the device
                                       and back                                            */
} ql_memory_report;

#ifdef __cplusplus
}
#endif
#endif /* QLORA_MEMORY_H */
