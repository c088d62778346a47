/*
 * lloyd.c - Lloyd's iteration: levels become the means of their cells, cell borders the middles
 * between levels, until nothing moves. For a normal density the means have a closed form; for
 * samples they come from bins.
 */
#include "core/quant/lloyd.h"

#include <math.h>

#include "core/quant/normal.h"

enum { MAX_ROUNDS = 100000 };
#define STILL 1e-13

double ql_lloyd_normal(int n, double *levels) {
    for (int i = 0; i < n; i++) levels[i] = ql_normal_quantile((i + 0.5) / n);
    double error = 1.0;
    for (int round = 0; round < MAX_ROUNDS; round++) {
        double moved = 0.0, explained = 0.0, cdf = 0.0, pdf = 0.0, level = levels[0];
        for (int i = 0; i < n; i++) {
            double border = i + 1 < n ? 0.5 * (level + levels[i + 1]) : INFINITY;
            double next_cdf = i + 1 < n ? ql_normal_cdf(border) : 1.0;
            double next_pdf = i + 1 < n ? ql_normal_pdf(border) : 0.0;
            double mass = next_cdf - cdf, mean = (pdf - next_pdf) / mass;
            moved = fmax(moved, fabs(mean - levels[i]));
            explained += mass * mean * mean;
            level = i + 1 < n ? levels[i + 1] : level;
            levels[i] = mean;
            cdf = next_cdf;
            pdf = next_pdf;
        }
        error = 1.0 - explained;
        if (moved < STILL) break;
    }
    return error;
}

void ql_lloyd_add(ql_lloyd_bin bins[QL_LLOYD_BINS], double v, double weight) {
    double place = (v + 1.0) * 0.5 * QL_LLOYD_BINS;
    int i = place < 0.0 ? 0 : place >= QL_LLOYD_BINS ? QL_LLOYD_BINS - 1 : (int)place;
    bins[i].weight += weight;
    bins[i].first += weight * v;
    bins[i].second += weight * v * v;
    bins[i].count += 1.0;
}

/* The bins nearest to level i are added up: [*at, end). */
static ql_lloyd_bin take_cell(const ql_lloyd_bin *bins, int n, const double *levels, int i,
                              int *at) {
    double border = i + 1 < n ? 0.5 * (levels[i] + levels[i + 1]) : 2.0;
    ql_lloyd_bin cell = {0};
    for (; *at < QL_LLOYD_BINS && (*at + 0.5) * 2.0 / QL_LLOYD_BINS - 1.0 < border; ++*at) {
        cell.weight += bins[*at].weight;
        cell.first += bins[*at].first;
        cell.second += bins[*at].second;
        cell.count += bins[*at].count;
    }
    return cell;
}

double ql_lloyd_bins(const ql_lloyd_bin bins[QL_LLOYD_BINS], int n, double *levels, double *share) {
    double error = 0.0;
    for (int round = 0; round < MAX_ROUNDS; round++) {
        double moved = 0.0, next[QL_LLOYD_MAX_LEVELS], total = 0.0;
        int at = 0;
        error = 0.0;
        for (int i = 0; i < n; i++) {
            ql_lloyd_bin c = take_cell(bins, n, levels, i, &at);
            next[i] = c.weight > 0.0 ? c.first / c.weight : levels[i];
            error += c.second - next[i] * c.first;
            share[i] = c.count;
            total += c.count;
        }
        for (int i = 0; i < n; i++) {
            moved = fmax(moved, fabs(next[i] - levels[i]));
            levels[i] = next[i];
            share[i] /= total > 0.0 ? total : 1.0;
        }
        if (moved < STILL) break;
    }
    return error;
}
