/*
 * metric_rouge.c - ROUGE-1, ROUGE-2 and ROUGE-L of two texts (Lin, 2004), as the package
 * rouge_score computes them without stemming.
 *
 * Words become 64-bit hashes; two different words are taken for equal once in 2^64 pairs.
 */
#include <stdlib.h>
#include <xxhash.h>

#include "core/base/hostmem.h"
#include "core/train/metric.h"

typedef struct words {
    uint64_t *hash;
    size_t n, cap;
} words;

static char lower(char c) {
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

static bool in_word(char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

/* Runs of [a-z0-9] of the lower-cased text. */
static ql_status split(const char *text, size_t len, words *out) {
    char *copy = ql_host_calloc(len + 1, 1);
    if (!copy) return QL_NOMEM("a text");
    for (size_t i = 0; i < len; i++) copy[i] = lower(text[i]);
    ql_status s = QL_OK;
    for (size_t at = 0; at < len && s == QL_OK;) {
        size_t end = at;
        while (end < len && in_word(copy[end])) end++;
        if (end > at)
            s = ql_host_grow((void **)&out->hash, &out->cap, out->n + 1, sizeof(uint64_t));
        if (end > at && s == QL_OK) out->hash[out->n++] = XXH3_64bits(copy + at, end - at);
        at = end + 1;
    }
    ql_host_free(copy);
    return s;
}

static int by_value(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* The `size`-grams of w, sorted; *n of them. Free with ql_host_free. */
static ql_status grams(const words *w, size_t size, uint64_t **out, size_t *n) {
    *n = w->n >= size ? w->n - size + 1 : 0;
    *out = ql_host_calloc(*n + 1, sizeof(uint64_t));
    if (!*out) return QL_NOMEM("n-grams");
    for (size_t i = 0; i < *n; i++)
        (*out)[i] = size == 1 ? w->hash[i] : XXH3_64bits(w->hash + i, size * sizeof(uint64_t));
    qsort(*out, *n, sizeof(uint64_t), by_value);
    return QL_OK;
}

/* Items that two sorted lists share, each as often as in the list where it is rarer. */
static size_t shared(const uint64_t *a, size_t n, const uint64_t *b, size_t m) {
    size_t i = 0, j = 0, count = 0;
    while (i < n && j < m) {
        if (a[i] == b[j]) {
            i++;
            j++;
            count++;
        } else if (a[i] < b[j]) {
            i++;
        } else {
            j++;
        }
    }
    return count;
}

/* Of `common` parts among n predicted and m true ones. F = 2 P R / (P + R). */
static ql_overlap overlap(size_t common, size_t n, size_t m) {
    ql_overlap o = {0};
    if (n) o.precision = (double)common / (double)n;
    if (m) o.recall = (double)common / (double)m;
    if (common) o.f = 2 * o.precision * o.recall / (o.precision + o.recall);
    return o;
}

static ql_status rouge_n(const words *p, const words *t, size_t size, ql_overlap *out) {
    uint64_t *a = NULL, *b = NULL;
    size_t n = 0, m = 0;
    ql_status s = grams(p, size, &a, &n);
    if (s == QL_OK) s = grams(t, size, &b, &m);
    if (s == QL_OK) *out = overlap(shared(a, n, b, m), n, m);
    ql_host_free(a);
    ql_host_free(b);
    return s;
}

/* Length of the longest common subsequence, one row of the table at a time:
 *   L(i, j) = L(i-1, j-1) + 1 where the words are equal, else max(L(i-1, j), L(i, j-1)). */
static ql_status rouge_l(const words *p, const words *t, ql_overlap *out) {
    size_t *row = ql_host_calloc(t->n + 1, sizeof *row);
    if (!row) return QL_NOMEM("a table of subsequences");
    for (size_t i = 0; i < p->n; i++) {
        size_t corner = 0;
        for (size_t j = 1; j <= t->n; j++) {
            size_t above = row[j];
            if (p->hash[i] == t->hash[j - 1]) {
                row[j] = corner + 1;
            } else if (row[j - 1] > above) {
                row[j] = row[j - 1];
            }
            corner = above;
        }
    }
    *out = overlap(row[t->n], p->n, t->n);
    ql_host_free(row);
    return QL_OK;
}

ql_status ql_metric_rouge(const char *predicted, size_t predicted_len, const char *truth,
                          size_t truth_len, ql_rouge *out) {
    words p = {0}, t = {0};
    ql_rouge r = {0};
    ql_status s = split(predicted, predicted_len, &p);
    if (s == QL_OK) s = split(truth, truth_len, &t);
    if (s == QL_OK) s = rouge_n(&p, &t, 1, &r.one);
    if (s == QL_OK) s = rouge_n(&p, &t, 2, &r.two);
    if (s == QL_OK) s = rouge_l(&p, &t, &r.l);
    ql_host_free(p.hash);
    ql_host_free(t.hash);
    if (s == QL_OK) *out = r;
    return s;
}
