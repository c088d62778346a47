/* report.c - names of the memory classes (the JSON keys of `qlora plan`). */
#include "qlora/memory.h"

#include <stddef.h>

const char *ql_pool_name(ql_pool pool) {
    static const char *const names[QL_POOL_COUNT] = {"weights",   "adapters",    "gradients",
                                                     "optimizer", "activations", "logits",
                                                     "scratch",   "staging",     "cache"};
    return (size_t)pool < QL_POOL_COUNT ? names[pool] : "unknown";
}
