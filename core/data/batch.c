/*
 * batch.c - sequences packed end to end, with the targets of their task.
 *
 * The rows are one block of 32-bit items, the encoder's rows another; both are sized once, filling
 * allocates nothing.
 */
#include "core/data/batch.h"

#include <string.h>

#include "core/base/hostmem.h"

/* Arrays of `n` rows and `s` sequence bounds in one block: 1 ids 1 pos 1 types 2 key 2 labels 1
 * value 1 weight. */
static ql_status create_rows(ql_batch *b, size_t n, size_t s) {
    int32_t *block = ql_host_calloc(9 * n + s, sizeof(int32_t));
    if (!block) return QL_NOMEM("a batch");
    b->ids = block;
    b->pos = block + n;
    b->types = block + 2 * n;
    b->key = block + 3 * n;
    b->label_row = block + 5 * n;
    b->label_target = block + 6 * n;
    b->label_value = (float *)(block + 7 * n);
    b->label_weight = (float *)(block + 8 * n);
    b->start = block + 9 * n;
    return QL_OK;
}

static ql_status create_source(ql_batch_source *b, size_t n, size_t s) {
    int32_t *block = ql_host_calloc(4 * n + s, sizeof(int32_t)); /* 1 ids 1 pos 2 key */
    if (!block) return QL_NOMEM("the sources of a batch");
    *b = (ql_batch_source){
        .ids = block,
        .pos = block + n,
        .key = block + 2 * n,
        .start = block + 4 * n,
        .cap_tokens = (int32_t)n,
    };
    return QL_OK;
}

ql_status ql_batch_create(int32_t max_tokens, int32_t max_seqs, int32_t source_tokens,
                          ql_batch *out) {
    if (max_tokens < 1 || max_seqs < 1 || source_tokens < 0) {
        return QL_FAIL(QL_ERR_INVALID,
                       "batch: %d tokens, %d sequences and %d source tokens; the first two must be "
                       "positive",
                       max_tokens, max_seqs, source_tokens);
    }
    ql_batch b = {.cap_tokens = max_tokens, .cap_seqs = max_seqs};
    size_t seqs = (size_t)max_seqs + 1;
    ql_status s = create_rows(&b, (size_t)max_tokens, seqs);
    if (s == QL_OK && source_tokens) s = create_source(&b.source, (size_t)source_tokens, seqs);
    if (s != QL_OK) {
        ql_batch_free(&b);
        return s;
    }
    *out = b;
    return QL_OK;
}

void ql_batch_free(ql_batch *b) {
    if (!b) return;
    ql_host_free(b->ids);
    ql_host_free(b->source.ids);
    *b = (ql_batch){0};
}

static void clear(ql_batch *b, ql_task task) {
    b->task = task;
    b->tokens = b->seqs = b->labelled = b->longest = 0;
    b->start[0] = 0;
    b->source.tokens = b->source.longest = 0;
    if (b->source.start) b->source.start[0] = 0;
}

static void add_label(ql_batch *b, int32_t row, int32_t target, float value, float weight) {
    b->label_weight[b->labelled] = weight;
    b->label_row[b->labelled] = row;
    b->label_target[b->labelled] = target;
    b->label_value[b->labelled++] = value;
}

/* Labels of the n rows from `first` on; row i predicts label i + shift. NULL = no row has a target;
 * weights NULL = all 1. */
static void label_rows(ql_batch *b, int32_t first, const int32_t *labels, const float *weights,
                       int32_t n, int32_t shift) {
    for (int32_t i = shift; labels && i < n; i++) {
        if (labels[i] == QL_IGNORE) continue;
        add_label(b, first + i - shift, labels[i], 0, weights ? weights[i] : 1.0f);
    }
}

double ql_batch_weight(const ql_batch *b) {
    double sum = 0;
    for (int32_t i = 0; i < b->labelled; i++) sum += (double)b->label_weight[i];
    return sum;
}

/* Appends n tokens as one sequence without labels; returns its first row. Capacity is checked. */
static int32_t append(ql_batch *b, const int32_t *ids, const int32_t *types,
                      const int32_t *positions, int32_t n, int32_t sample) {
    int32_t first = b->tokens;
    memcpy(b->ids + first, ids, (size_t)n * sizeof(int32_t));
    for (int32_t i = 0; i < n; i++) {
        size_t row = (size_t)first + (size_t)i;
        int32_t position = positions ? positions[i] : i;
        b->pos[row] = position;
        b->types[row] = types ? types[i] : 0;
        b->key[2 * row] = sample;
        b->key[2 * row + 1] = position;
    }
    b->tokens += n;
    b->start[++b->seqs] = b->tokens;
    if (n > b->longest) b->longest = n;
    return first;
}

/* Appends the encoder's n tokens of the sequence that was appended last. */
static void append_source(ql_batch *b, const int32_t *ids, int32_t n, int32_t sample) {
    ql_batch_source *s = &b->source;
    memcpy(s->ids + s->tokens, ids, (size_t)n * sizeof(int32_t));
    for (int32_t i = 0; i < n; i++) {
        size_t row = (size_t)s->tokens + (size_t)i;
        s->pos[row] = i;
        s->key[2 * row] = sample;
        s->key[2 * row + 1] = i;
    }
    s->tokens += n;
    s->start[b->seqs] = s->tokens;
    if (n > s->longest) s->longest = n;
}

static void append_example(ql_batch *b, const ql_example *e, ql_task task) {
    int32_t first = append(b, e->ids, e->types, NULL, e->n, (int32_t)e->row);
    switch (task) {
    case QL_TASK_CAUSAL: label_rows(b, first, e->labels, e->weights, e->n, 1); break;
    case QL_TASK_CLASSIFY: add_label(b, first, e->target, e->value, 1.0f); break;
    case QL_TASK_SEQ2SEQ:
        label_rows(b, first, e->labels, NULL, e->n, 0);
        append_source(b, e->source, e->n_source, (int32_t)e->row);
        break;
    }
}

/* An example that can be packed at all, added to the sums of tokens. */
static ql_status count_example(const ql_dataset *d, int64_t i, int64_t *tokens, int64_t *source) {
    if (i < 0 || i >= d->n) {
        return QL_FAIL(QL_ERR_INVALID, "batch: example %lld of %lld", (long long)i,
                       (long long)d->n);
    }
    const ql_example *e = &d->items[i];
    if (e->row > INT32_MAX) {
        return QL_FAIL(QL_ERR_INVALID, "batch: row %lld, at most %d rows can be told apart",
                       (long long)e->row, INT32_MAX);
    }
    if (e->n < 1 || (d->task == QL_TASK_SEQ2SEQ && e->n_source < 1)) {
        return QL_FAIL(QL_ERR_INVALID, "batch: row %lld has %d tokens and %d source tokens",
                       (long long)e->row, e->n, e->n_source);
    }
    *tokens += e->n;
    if (d->task == QL_TASK_SEQ2SEQ) *source += e->n_source;
    return QL_OK;
}

ql_status ql_batch_fill(ql_batch *b, const ql_dataset *d, const int64_t *index, int32_t count) {
    int64_t tokens = 0, source = 0;
    for (int32_t i = 0; i < count; i++) QL_TRY(count_example(d, index[i], &tokens, &source));
    if (count < 1 || count > b->cap_seqs || tokens > b->cap_tokens) {
        return QL_FAIL(QL_ERR_INVALID,
                       "batch: %d sequences of %lld tokens, room is for %d sequences and %d tokens",
                       count, (long long)tokens, b->cap_seqs, b->cap_tokens);
    }
    if (source > b->source.cap_tokens) {
        return QL_FAIL(QL_ERR_INVALID, "batch: %lld source tokens, room is for %d",
                       (long long)source, b->source.cap_tokens);
    }
    clear(b, d->task);
    for (int32_t i = 0; i < count; i++) append_example(b, &d->items[index[i]], d->task);
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
    clear(b, QL_TASK_CAUSAL);
    for (int32_t i = 0; i < n;) {
        int32_t end = sequence_end(positions, i, n);
        int32_t first =
            append(b, ids + i, NULL, positions ? positions + i : NULL, end - i, b->seqs + 1);
        label_rows(b, first, labels ? labels + i : NULL, NULL, end - i, 1);
        i = end;
    }
    return QL_OK;
}
