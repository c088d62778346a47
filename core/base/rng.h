/*
 * rng.h - Philox4x32-10 streams for the host: adapter initialization, shuffles, sampling.
 *
 * The same function as the kernels use (backends/common/ql_math.inc). A draw depends only on
 * (seed, stream, index): no hidden state, any order, any thread.
 */
#ifndef QLORA_CORE_BASE_RNG_H
#define QLORA_CORE_BASE_RNG_H

#include <stdint.h>

typedef struct ql_stream {
    uint64_t seed, stream, index;
} ql_stream;

/* Purposes, so that streams never coincide. Append only. */
enum {
    QL_STREAM_ADAPTER_INIT = 1,
    QL_STREAM_SHUFFLE,
    QL_STREAM_SAMPLE,
    QL_STREAM_DROPOUT,
    QL_STREAM_SPLIT,
    QL_STREAM_PROJECTION
};

/* stream = purpose in the high 16 bits, `which` (layer, tensor, epoch ...) below. */
ql_stream ql_stream_make(uint64_t seed, uint32_t purpose, uint64_t which);
uint32_t ql_stream_u32(ql_stream *s);
uint64_t ql_stream_below(ql_stream *s, uint64_t n); /* unbiased, n >= 1 */
float ql_stream_uniform(ql_stream *s);              /* [0, 1), 24 bits */
float ql_stream_normal(ql_stream *s);               /* Box-Muller */
/* Stable 64-bit hash of a name (xxHash64, seed 0): names a stream by a tensor's name. */
uint64_t ql_hash_name(const char *name);

#endif
