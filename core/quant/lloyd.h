/* lloyd.h - codes with the least mean squared error (Lloyd 1957, Max 1960), for comparison. */
#ifndef QLORA_CORE_QUANT_LLOYD_H
#define QLORA_CORE_QUANT_LLOYD_H

#include <stdint.h>

enum { QL_LLOYD_MAX_LEVELS = 256, QL_LLOYD_BINS = 8192 };

/* Best `n` levels for N(0, 1), ascending; returns their mean squared error. 2 <= n <= 256. */
double ql_lloyd_normal(int n, double *levels);

/* Weighted values in [-1, 1], collected in bins. */
typedef struct ql_lloyd_bin {
    double weight, first, second; /* sums of w, w v, w v^2 */
    double count;
} ql_lloyd_bin;
void ql_lloyd_add(ql_lloyd_bin bins[QL_LLOYD_BINS], double v, double weight);
/* Levels (in: a first guess, ascending) that minimize sum w (v - level)^2; returns that sum.
 * share[i] = part of the values that take level i. */
double ql_lloyd_bins(const ql_lloyd_bin bins[QL_LLOYD_BINS], int n, double *levels, double *share);

#endif
