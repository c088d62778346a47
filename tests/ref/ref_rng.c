/*
 * ref_rng.c - Philox4x32-10 and the draws of dropout.
 *
 * Philox: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
 * Layout of a draw (documented in backends/common/ql_math.inc, implemented here anew):
 *   per operator: key = words 0, 1 of philox({stream low, stream high, step, 0x514C5244},
 *                                            {seed low, seed high})
 *   per column c: word c mod 4 of philox({c / 4, lane, position, sample}, key), its 24 high bits
 *                 times 2^-24 is the uniform; the element is kept when uniform >= p.
 * {sample, position} is the row's entry of rng.key; without a key it is {row, 0}.
 */
#include "tests/ref/ref.h"

void ref_philox4x32(uint32_t ctr[4], const uint32_t key[2]) {
    const uint64_t m0 = 0xD2511F53u, m1 = 0xCD9E8D57u;
    uint32_t k[2] = {key[0], key[1]};
    for (int round = 0; round < 10; round++) {
        uint64_t p0 = m0 * ctr[0], p1 = m1 * ctr[2];
        uint32_t next[4] = {(uint32_t)(p1 >> 32) ^ ctr[1] ^ k[0], (uint32_t)p1,
                            (uint32_t)(p0 >> 32) ^ ctr[3] ^ k[1], (uint32_t)p0};
        for (int i = 0; i < 4; i++) ctr[i] = next[i];
        k[0] += 0x9E3779B9u; /* golden ratio */
        k[1] += 0xBB67AE85u; /* sqrt(3) - 1  */
    }
}

double ref_keep(const ql_rng *rng, float p, int64_t row, uint32_t lane, int64_t column) {
    if (p == 0.0f) return 1.0;
    uint32_t step = rng->step.buf ? (uint32_t)ref_values(&rng->step)[REF_STEP_RNG] : 0;
    uint32_t root[2] = {(uint32_t)rng->seed, (uint32_t)(rng->seed >> 32)};
    uint32_t key[4] = {(uint32_t)rng->stream, (uint32_t)(rng->stream >> 32), step, 0x514C5244u};
    ref_philox4x32(key, root);
    int32_t sample = (int32_t)row, position = 0;
    if (rng->key.buf) {
        sample = (int32_t)ref_row(&rng->key, row)[0];
        position = (int32_t)ref_row(&rng->key, row)[1];
    }
    uint32_t words[4] = {(uint32_t)(column / 4), lane, (uint32_t)position, (uint32_t)sample};
    ref_philox4x32(words, key);
    double uniform = (words[column % 4] >> 8) / 16777216.0;
    return uniform >= (double)p ? 1.0 / (1.0 - (double)p) : 0.0;
}
