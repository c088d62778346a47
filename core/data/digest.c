/* digest.c - one number for the content of a data set (see dataset.h). */
#include <string.h>
#include <xxhash.h>

#include "core/data/dataset.h"

/* The hash so far, continued by `bytes` bytes. */
static uint64_t add(uint64_t hash, const void *data, size_t bytes) {
    return bytes ? XXH3_64bits_withSeed(data, bytes, hash) : hash;
}

static uint64_t add_ids(uint64_t hash, const int32_t *ids, int32_t n) {
    const int32_t head[2] = {ids ? 1 : 0, n};
    hash = add(hash, head, sizeof head);
    return add(hash, ids, ids ? (size_t)n * sizeof *ids : 0);
}

static uint64_t add_example(uint64_t hash, const ql_example *e) {
    int32_t value;
    memcpy(&value, &e->value, sizeof value);
    const int32_t answer[2] = {e->target, value};
    hash = add_ids(hash, e->ids, e->n);
    hash = add_ids(hash, e->labels, e->n);
    hash = add_ids(hash, e->types, e->n);
    hash = add_ids(hash, e->source, e->n_source);
    hash = add(hash, e->weights, e->weights ? (size_t)e->n * sizeof *e->weights : 0);
    return add(hash, answer, sizeof answer);
}

uint64_t ql_dataset_digest(const ql_dataset *d) {
    const int64_t head[2] = {d->task, d->n};
    uint64_t hash = add(0, head, sizeof head);
    for (int64_t i = 0; i < d->n; i++) hash = add_example(hash, &d->items[i]);
    return hash;
}
