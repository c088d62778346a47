/*
 * doublequant.c - the second level: absmax values minus their mean as dynamic 8-bit codes.
 *
 * The mean follows torch's one-thread AVX2 order (spec 2.3), so that offsets in files are equal to
 * the last bit: vectors of 8 lanes, 4 interleaved rows, each row a cascade of 4 partial sums.
 */
#include "core/quant/dyn8.h"

enum { LANES = 8, ROWS = 4, LEVELS = 4 };

/* Sums `steps` x `rows` vectors of `lanes` floats: vector (s, r) starts at x + (s * rows + r) *
 * lanes. Row r's sum goes to sum[r]. Level j collects 2^(j * power) vectors before it is carried
 * into level j + 1, which keeps the rounding error of long sums small. */
static void cascade(const float *x, int64_t steps, int rows, int lanes, float sum[ROWS][LANES]) {
    float acc[LEVELS][ROWS][LANES] = {{{0}}};
    int64_t ceil_log2 = 0;
    while (ceil_log2 < 62 && ((int64_t)1 << ceil_log2) < steps) ceil_log2++;
    int power = (int)(ceil_log2 / LEVELS) > 4 ? (int)(ceil_log2 / LEVELS) : 4;
    int64_t step = (int64_t)1 << power, mask = step - 1, i = 0;
    while (i + step <= steps) {
        for (int64_t end = i + step; i < end; i++)
            for (int r = 0; r < rows; r++)
                for (int l = 0; l < lanes; l++) acc[0][r][l] += x[(i * rows + r) * lanes + l];
        for (int j = 1; j < LEVELS; j++) {
            for (int r = 0; r < rows; r++)
                for (int l = 0; l < lanes; l++) {
                    acc[j][r][l] += acc[j - 1][r][l];
                    acc[j - 1][r][l] = 0.0f;
                }
            if ((i & (mask << (j * power))) != 0) break;
        }
    }
    for (; i < steps; i++)
        for (int r = 0; r < rows; r++)
            for (int l = 0; l < lanes; l++) acc[0][r][l] += x[(i * rows + r) * lanes + l];
    for (int r = 0; r < rows; r++)
        for (int l = 0; l < lanes; l++) {
            sum[r][l] = acc[0][r][l];
            for (int j = 1; j < LEVELS; j++) sum[r][l] += acc[j][r][l];
        }
}

/* Sum of `vectors` vectors into sum[0]: rows of four, then the left-over vectors. */
static void sum_vectors(const float *x, int64_t vectors, int lanes, float sum[ROWS][LANES]) {
    int64_t steps = vectors / ROWS;
    cascade(x, steps, ROWS, lanes, sum);
    for (int64_t v = steps * ROWS; v < vectors; v++)
        for (int l = 0; l < lanes; l++) sum[0][l] += x[v * lanes + l];
    for (int r = 1; r < ROWS; r++)
        for (int l = 0; l < lanes; l++) sum[0][l] += sum[r][l];
}

float ql_torch_mean(const float *x, int64_t n) {
    if (n <= 0) return 0.0f;
    float sum[ROWS][LANES], total = 0.0f;
    if (n < LANES) {
        sum_vectors(x, n, 1, sum);
        return (total + sum[0][0]) / (float)n;
    }
    int64_t vectors = n / LANES;
    sum_vectors(x, vectors, LANES, sum);
    for (int64_t i = vectors * LANES; i < n; i++) total += x[i];
    for (int l = 0; l < LANES; l++) total += sum[0][l];
    return total / (float)n;
}

void ql_double_quantize(const float *absmax, int64_t n, int32_t block2, ql_quant_rule rule,
                        uint8_t *codes, float *absmax2, float *offset) {
    float mean = ql_torch_mean(absmax, n), block[QL_BLOCK2_MAX];
    for (int64_t first = 0; first < n; first += block2) {
        int64_t count = n - first < block2 ? n - first : block2;
        for (int64_t i = 0; i < count; i++) block[i] = absmax[first + i] - mean;
        absmax2[first / block2] =
            ql_dyn8_encode_block(ql_dyn8_signed(), block, count, rule, codes + first);
    }
    *offset = mean;
}
