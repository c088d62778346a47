/*
 * rng.c - host random streams: one Philox4x32-10 block per group of four draws.
 *
 * Draw i of a stream is word i % 4 of the block with counter {i / 4, stream} and key {seed}.
 */
#include "core/base/rng.h"

#include <math.h>
#include <string.h>
#include <xxhash.h>

#include "backends/common/ql_math.inc"

ql_stream ql_stream_make(uint64_t seed, uint32_t purpose, uint64_t which) {
    uint64_t low = which & ((1ull << 48) - 1);
    return (ql_stream){.seed = seed, .stream = (uint64_t)purpose << 48 | low, .index = 0};
}

uint32_t ql_stream_u32(ql_stream *s) {
    uint64_t block = s->index / 4;
    uint32_t ctr[4] = {(uint32_t)block, (uint32_t)(block >> 32), (uint32_t)s->stream,
                       (uint32_t)(s->stream >> 32)};
    uint32_t key[2] = {(uint32_t)s->seed, (uint32_t)(s->seed >> 32)};
    ql_philox4x32(ctr, key);
    return ctr[s->index++ % 4];
}

/* Draws below 2^64 mod n are refused: what is left is a multiple of n. */
uint64_t ql_stream_below(ql_stream *s, uint64_t n) {
    uint64_t refuse = (0 - n) % n;
    for (;;) {
        uint64_t high = ql_stream_u32(s);
        uint64_t x = high << 32 | ql_stream_u32(s);
        if (x >= refuse) return x % n;
    }
}

float ql_stream_uniform(ql_stream *s) {
    return ql_uniform24(ql_stream_u32(s));
}

float ql_stream_normal(ql_stream *s) {
    double u = ((double)(ql_stream_u32(s) >> 8) + 1.0) * 0x1p-24; /* (0, 1] */
    double v = (double)(ql_stream_u32(s) >> 8) * 0x1p-24;
    return (float)(sqrt(-2.0 * log(u)) * cos(6.283185307179586476925 * v));
}

uint64_t ql_hash_name(const char *name) {
    return XXH64(name, strlen(name), 0);
}
