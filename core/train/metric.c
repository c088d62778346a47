/* metric.c - measures over classes, numbers and token sequences (see metric.h). */
#include "core/train/metric.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>

#include "core/base/hostmem.h"

static double share(double part, double whole) {
    return whole > 0 ? part / whole : 0;
}

/* ------------------------------------------------------------------ classes */

/* Counts of a confusion matrix that the measures need. */
typedef struct counts {
    int64_t *hits, *truth, *predicted; /* [classes], one block: rows that are k and were called k;
                                          rows that are k; rows that were called k */
    int64_t n, right;
} counts;

static ql_status count(const int32_t *predicted, const int32_t *truth, int64_t n, int32_t classes,
                       counts *out) {
    counts c = {.n = n};
    c.hits = ql_host_calloc((size_t)classes, 3 * sizeof(int64_t));
    if (!c.hits) return QL_NOMEM("a confusion matrix");
    c.truth = c.hits + classes;
    c.predicted = c.truth + classes;
    for (int64_t i = 0; i < n; i++) {
        int32_t p = predicted[i], t = truth[i];
        if (p < 0 || p >= classes || t < 0 || t >= classes) {
            ql_host_free(c.hits);
            return QL_FAIL(QL_ERR_INVALID, "metric: classes %d and %d at row %lld, there are %d", p,
                           t, (long long)i + 1, classes);
        }
        c.predicted[p]++;
        c.truth[t]++;
        if (p != t) continue;
        c.hits[t]++;
        c.right++;
    }
    *out = c;
    return QL_OK;
}

/* F1 of class k = 2 hits / (truth + predicted), the harmonic mean of precision and recall. */
static double class_f1(const counts *c, int32_t k) {
    return share(2.0 * (double)c->hits[k], (double)(c->truth[k] + c->predicted[k]));
}

static double macro_f1(const counts *c, int32_t classes) {
    double sum = 0;
    int32_t present = 0;
    for (int32_t k = 0; k < classes; k++) {
        if (c->truth[k] + c->predicted[k] == 0) continue;
        sum += class_f1(c, k);
        present++;
    }
    return share(sum, present);
}

/* Gorodkin's R_K, Matthews' correlation for two classes: with n rows, c right ones, t_k and p_k the
 * rows of class k in truth and prediction,
 *   (c n - sum t_k p_k) / sqrt((n^2 - sum p_k^2) (n^2 - sum t_k^2)). */
static double matthews(const counts *c, int32_t classes) {
    double n = (double)c->n, tp = 0, pp = 0, tt = 0;
    for (int32_t k = 0; k < classes; k++) {
        double t = (double)c->truth[k], p = (double)c->predicted[k];
        tp += t * p;
        pp += p * p;
        tt += t * t;
    }
    double scale = sqrt((n * n - pp) * (n * n - tt));
    return scale > 0 ? ((double)c->right * n - tp) / scale : 0;
}

ql_status ql_metric_classes(const int32_t *predicted, const int32_t *truth, int64_t n,
                            int32_t classes, ql_class_metrics *out) {
    if (n < 1 || classes < 2) {
        return QL_FAIL(QL_ERR_INVALID, "metric: %lld rows of %d classes", (long long)n, classes);
    }
    counts c;
    QL_TRY(count(predicted, truth, n, classes, &c));
    out->accuracy = (double)c.right / (double)n;
    out->macro_f1 = macro_f1(&c, classes);
    out->f1 = classes == 2 ? class_f1(&c, 1) : out->macro_f1;
    out->matthews = matthews(&c, classes);
    ql_host_free(c.hits);
    return QL_OK;
}

/* ------------------------------------------------------------------ numbers */

/* sum (x - mx)(y - my) / sqrt(sum (x - mx)^2 sum (y - my)^2); NaN when one side is constant. */
static double pearson(const double *x, const double *y, int64_t n) {
    double mx = 0, my = 0, xx = 0, yy = 0, xy = 0;
    for (int64_t i = 0; i < n; i++) {
        mx += x[i] / (double)n;
        my += y[i] / (double)n;
    }
    for (int64_t i = 0; i < n; i++) {
        xx += (x[i] - mx) * (x[i] - mx);
        yy += (y[i] - my) * (y[i] - my);
        xy += (x[i] - mx) * (y[i] - my);
    }
    return xx > 0 && yy > 0 ? xy / (sqrt(xx) * sqrt(yy)) : NAN;
}

typedef struct ranked {
    double value;
    int64_t index;
} ranked;

static int by_value(const void *a, const void *b) {
    double x = ((const ranked *)a)->value, y = ((const ranked *)b)->value;
    return (x > y) - (x < y);
}

/* Ranks from 1; equal values share the mean of their ranks. `order` is scratch [n]. */
static void rank(const double *x, int64_t n, ranked *order, double *out) {
    for (int64_t i = 0; i < n; i++) order[i] = (ranked){x[i], i};
    qsort(order, (size_t)n, sizeof *order, by_value);
    for (int64_t i = 0; i < n;) {
        int64_t end = i + 1;
        while (end < n && order[end].value == order[i].value) end++;
        for (int64_t k = i; k < end; k++)
            out[order[k].index] = (double)(i + 1 + end) / 2; /* mean of i + 1 .. end */
        i = end;
    }
}

ql_status ql_metric_numbers(const float *predicted, const float *truth, int64_t n,
                            ql_number_metrics *out) {
    if (n < 1) return QL_FAIL(QL_ERR_INVALID, "metric: %lld rows", (long long)n);
    double *x = ql_host_calloc((size_t)n, 4 * sizeof(double)); /* x, y, their ranks */
    ranked *order = ql_host_calloc((size_t)n, sizeof *order);
    if (!x || !order) {
        ql_host_free(x);
        ql_host_free(order);
        return QL_NOMEM("ranks");
    }
    double *y = x + n, squares = 0;
    bool finite = true;
    for (int64_t i = 0; i < n; i++) {
        x[i] = (double)predicted[i];
        y[i] = (double)truth[i];
        squares += (x[i] - y[i]) * (x[i] - y[i]);
        finite = finite && isfinite(x[i]) && isfinite(y[i]);
    }
    out->mse = squares / (double)n;
    out->pearson = pearson(x, y, n);
    rank(x, n, order, x + 2 * n);
    rank(y, n, order, x + 3 * n);
    out->spearman = finite ? pearson(x + 2 * n, x + 3 * n, n) : NAN; /* NaN has no rank */
    ql_host_free(order);
    ql_host_free(x);
    return QL_OK;
}

/* ---------------------------------------------------------------- sequences */

void ql_metric_add_sequence(ql_sequence_metrics *m, const int32_t *predicted, const int32_t *truth,
                            int32_t n) {
    int32_t right = 0;
    for (int32_t i = 0; i < n; i++) right += predicted[i] == truth[i];
    m->tokens += n;
    m->right += right;
    m->sequences++;
    m->exact += right == n;
}
