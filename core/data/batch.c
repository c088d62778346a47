/*
 * batch.c - sequences packed end to end, with targets shifted by one inside each sequence.
 *
 * All arrays are one block of int32, sized once; filling allocates nothing.
 */
#include "core/data/batch.h"

#include <string.h>

#include "core/base/hostmem.h"

ql_status ql_batch_create(int32_t max_tokens, int32_t max_seqs, ql_batch *out) {
    if (max_tokens < 1 || max_seqs < 1) {
        return QL_FAIL(QL_ERR_INVALID, "batch: %d tokens and %d sequences, both must be positive",
                       max_tokens, max_seqs);
    }
    size_t n = (size_t)max_tokens, s = (size_t)max_seqs + 1;
    int32_t *block = ql_host_calloc(6 * n + s, sizeof(int32_t)); /* 1 ids 1 pos 2 key 2 labels */
    if (!block) return QL_NOMEM("a batch");
    *out = (ql_batch){
        .ids = block,
        .pos = block + n,
        .key = block + 2 * n,
        .label_row = block + 4 * n,
        .label_target = block + 5 * n,
        .start = block + 6 * n,
        .cap_tokens = max_tokens,
        .cap_seqs = max_seqs,
    };
    return QL_OK;
}

void ql_batch_free(ql_batch *b) {
    if (!b) return;
    ql_host_free(b->ids);
    *b = (ql_batch){0};
}

static void clear(ql_batch *b) {
    b->tokens = b->seqs = b->labelled = b->longest = 0;
    b->start[0] = 0;
}

/* Appends n tokens as one sequence; labels NULL = no row has a target. Capacity is checked. */
static void append(ql_batch *b, const int32_t *ids, const int32_t *labels, const int32_t *positions,
                   int32_t n, int32_t sample) {
    memcpy(b->ids + b->tokens, ids, (size_t)n * sizeof(int32_t));
    for (int32_t i = 0; i < n; i++) {
        int32_t row = b->tokens + i, position = positions ? positions[i] : i;
        b->pos[row] = position;
        b->key[2 * (size_t)row] = sample;
        b->key[2 * (size_t)row + 1] = position;
        if (labels && i + 1 < n && labels[i + 1] != QL_IGNORE) {
            b->label_row[b->labelled] = row;
            b->label_target[b->labelled++] = labels[i + 1];
        }
    }
    b->tokens += n;
    b->start[++b->seqs] = b->tokens;
    if (n > b->longest) b->longest = n;
}

ql_status ql_batch_fill(ql_batch *b, const ql_dataset *d, const int64_t *index, int32_t count) {
    int64_t tokens = 0;
    for (int32_t i = 0; i < count; i++) {
        if (index[i] < 0 || index[i] >= d->n) {
            return QL_FAIL(QL_ERR_INVALID, "batch: example %lld of %lld", (long long)index[i],
                           (long long)d->n);
        }
        if (d->items[index[i]].row > INT32_MAX) {
            return QL_FAIL(QL_ERR_INVALID, "batch: row %lld, at most %d rows can be told apart",
                           (long long)d->items[index[i]].row, INT32_MAX);
        }
        tokens += d->items[index[i]].n;
    }
    if (count < 1 || count > b->cap_seqs || tokens > b->cap_tokens) {
        return QL_FAIL(QL_ERR_INVALID,
                       "batch: %d sequences of %lld tokens, room is for %d sequences and %d tokens",
                       count, (long long)tokens, b->cap_seqs, b->cap_tokens);
    }
    clear(b);
    for (int32_t i = 0; i < count; i++) {
        const ql_example *e = &d->items[index[i]];
        append(b, e->ids, e->labels, NULL, e->n, (int32_t)e->row);
    }
    return QL_OK;
}

/* End of the sequence that begins at `first`: the next position 0, or n. */
static int32_t sequence_end(const int32_t *positions, int32_t first, int32_t n) {
    int32_t end = first + 1;
    while (end < n && (!positions || positions[end] != 0)) end++;
    return end;
}

ql_status ql_batch_fill_flat(ql_batch *b, const int32_t *ids, const int32_t *labels,
                             const int32_t *positions, int32_t n) {
    int32_t seqs = 0;
    for (int32_t i = 0; i < n; i = sequence_end(positions, i, n)) seqs++;
    for (int32_t i = 0; positions && i < n; i++) {
        if (positions[i] < 0) {
            return QL_FAIL(QL_ERR_INVALID, "batch: position %d at token %d", positions[i], i);
        }
    }
    if (n < 1 || n > b->cap_tokens || seqs > b->cap_seqs) {
        return QL_FAIL(QL_ERR_INVALID,
                       "batch: %d sequences of %d tokens, room is for %d sequences and %d tokens",
                       seqs, n, b->cap_seqs, b->cap_tokens);
    }
    clear(b);
    for (int32_t i = 0; i < n;) {
        int32_t end = sequence_end(positions, i, n);
        append(b, ids + i, labels ? labels + i : NULL, positions ? positions + i : NULL, end - i,
               b->seqs + 1);
        i = end;
    }
    return QL_OK;
}
