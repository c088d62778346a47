/*
 * data_load.c - the rows of a run: one or several files with weights, and the rows set aside to
 * evaluate on (data_args.h).
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/fs.h"
#include "core/base/hostmem.h"
#include "core/base/rng.h"
#include "tools/data_args.h"

enum { MOST_SETS = 64 };

/* ---------------------------------------------------------------- several files */

static ql_status add_set(ql_data *d, const char *text, size_t len, double weight) {
    size_t cap = (size_t)d->n_sets;
    if (d->n_sets >= MOST_SETS)
        return QL_FAIL(QL_ERR_INVALID, "--dataset names more than %d files", MOST_SETS);
    QL_TRY(ql_host_grow((void **)&d->sets, &cap, cap + 1, sizeof *d->sets));
    char *path = ql_host_strndup(text, len);
    if (!path) return QL_NOMEM("the name of a data set");
    d->sets[d->n_sets++] = (ql_data_set){.path = path, .weight = weight};
    return QL_OK;
}

/* "a.jsonl:2" or "a.jsonl". */
static ql_status parse_set(ql_data *d, const char *text, size_t len) {
    const char *colon = memchr(text, ':', len);
    for (const char *next = colon; next;
         next = memchr(next + 1, ':', len - (size_t)(next + 1 - text)))
        colon = next;
    if (!colon || colon == text) return add_set(d, text, len, 1);
    char *end;
    double weight = strtod(colon + 1, &end);
    bool number = end == text + len && end > colon + 1;
    if (!number) return add_set(d, text, len, 1);
    if (!(weight > 0 && weight <= 1000)) {
        return QL_FAIL(QL_ERR_INVALID,
                       "--dataset %.*s: the weight must be above 0 and at most 1000", (int)len,
                       text);
    }
    return add_set(d, text, (size_t)(colon - text), weight);
}

/* A file whose name has commas or colons is itself. */
ql_status ql_data_sets_parse(const char *text, ql_data *d) {
    if (ql_file_exists(text)) return add_set(d, text, strlen(text), 1);
    for (const char *at = text;;) {
        size_t len = strcspn(at, ",");
        if (len == 0) return QL_FAIL(QL_ERR_INVALID, "--dataset '%s' names an empty file", text);
        QL_TRY(parse_set(d, at, len));
        if (!at[len]) return QL_OK;
        at += len + 1;
    }
}

static ql_status load_file(const ql_data_args *a, const ql_data *d, const ql_arch *arch,
                           const char *path, int64_t max_rows, ql_dataset *out) {
    ql_dataset_opts o;
    QL_TRY(ql_data_opts(a, d, arch, path, &o));
    o.max_rows = max_rows;
    return ql_dataset_load(path, d->tok, &o, out);
}

/* The files one after another; rows are numbered on. */
static ql_status load_sets(const ql_data_args *a, const ql_arch *arch, ql_data *d) {
    for (int32_t i = 0; i < d->n_sets; i++) {
        ql_dataset part;
        int64_t left = a->max_rows ? a->max_rows - d->train.n : 0;
        if (a->max_rows && left <= 0) break;
        QL_TRY(load_file(a, d, arch, d->sets[i].path, left, &part));
        d->sets[i].rows = part.n;
        d->sets[i].format = part.format;
        QL_TRY(ql_dataset_append(&d->train, &part));
        d->sets[i].last_row = d->train.items[d->train.n - 1].row;
    }
    return QL_OK;
}

/* Shows the rows of a set as often as its weight says. */
static ql_status weigh_sets(ql_data *d, uint64_t seed) {
    ql_row_weight w[MOST_SETS];
    bool all_one = true;
    for (int32_t i = 0; i < d->n_sets; i++) {
        w[i] = (ql_row_weight){d->sets[i].last_row, d->sets[i].weight};
        all_one = all_one && w[i].weight == 1;
    }
    return all_one ? QL_OK : ql_dataset_weigh(&d->train, w, d->n_sets, seed);
}

/* -------------------------------------------------------------------- split */

/* --eval_dataset_size: a number of rows, or below 1 a part of them. */
ql_status ql_split_size(const char *text, int64_t rows, int64_t *out) {
    char *end;
    double x = strtod(text, &end);
    if (end == text || *end || !isfinite(x) || x < 0) {
        return QL_FAIL(QL_ERR_INVALID,
                       "--eval_dataset_size takes a number of rows or a part such as 0.01, not "
                       "'%s'",
                       text);
    }
    *out = x < 1 ? (int64_t)ceil(x * (double)rows) : (int64_t)x;
    if (*out >= rows) {
        return QL_FAIL(QL_ERR_INVALID,
                       "--eval_dataset_size %s sets %lld rows aside, the data set has %lld", text,
                       (long long)*out, (long long)rows);
    }
    return QL_OK;
}

void ql_split_draw(int64_t rows, int64_t n, uint64_t seed, bool *drawn) {
    ql_stream stream = ql_stream_make(seed, QL_STREAM_SPLIT, 0);
    for (int64_t taken = 0; taken < n;) {
        uint64_t i = ql_stream_below(&stream, (uint64_t)rows);
        taken += !drawn[i];
        drawn[i] = true;
    }
}

/* Moves `n` rows drawn by `seed` from train to eval; both keep their order. */
static ql_status split(ql_data *d, int64_t n, uint64_t seed) {
    ql_dataset *t = &d->train;
    ql_example *eval = ql_host_calloc((size_t)n, sizeof *eval);
    bool *drawn = ql_host_calloc((size_t)t->n, sizeof *drawn);
    if (!eval || !drawn) {
        ql_host_free(eval);
        ql_host_free(drawn);
        return QL_NOMEM("the evaluation rows");
    }
    ql_split_draw(t->n, n, seed, drawn);
    int64_t kept = 0, moved = 0;
    for (int64_t i = 0; i < t->n; i++) {
        if (drawn[i])
            eval[moved++] = t->items[i];
        else
            t->items[kept++] = t->items[i];
    }
    ql_host_free(drawn);
    t->n = kept;
    d->eval = (ql_dataset){.items = eval, .n = n, .format = t->format, .task = t->task};
    d->has_eval = true;
    ql_dataset_recount(t);
    ql_dataset_recount(&d->eval);
    return QL_OK;
}

/* A table of positions has an end; rotated and relative ones have none. */
static ql_status check_positions(const ql_arch *arch, ql_longest longest) {
    int64_t row = arch->body.front.positions ? longest.row : 0;
    int64_t source = arch->encoder.front.positions ? longest.source : 0;
    int64_t most = row > source ? row : source;
    if (most <= arch->max_positions) return QL_OK;
    return QL_FAIL(
        QL_ERR_INVALID,
        "the longest row has %lld tokens, the model has positions for %lld: cut the rows "
        "with --max_seq_len %lld --truncation right",
        (long long)most, (long long)arch->max_positions, (long long)arch->max_positions);
}

/* Rows to evaluate on: their own file, or some of the rows, drawn before rows are shown again. */
static ql_status load_eval(const ql_data_args *a, const ql_arch *arch, uint64_t seed, ql_data *d) {
    int64_t n = 0;
    if (a->eval_dataset) {
        QL_TRY(load_file(a, d, arch, a->eval_dataset, a->max_eval_rows, &d->eval));
        d->has_eval = true;
        return QL_OK;
    }
    if (!a->eval_size) return QL_OK;
    QL_TRY(ql_split_size(a->eval_size, d->train.n, &n));
    if (n == 0) return QL_OK;
    QL_TRY(split(d, n, seed));
    while (a->max_eval_rows && d->eval.n > a->max_eval_rows)
        ql_example_free(&d->eval.items[--d->eval.n]);
    ql_dataset_recount(&d->eval);
    return QL_OK;
}

ql_status ql_data_load(const ql_data_args *a, const ql_arch *arch, uint64_t seed, ql_data *data) {
    if (a->eval_dataset && a->eval_size) {
        return QL_FAIL(QL_ERR_INVALID, "give --eval_dataset or --eval_dataset_size, not both");
    }
    QL_TRY(ql_data_sets_parse(a->dataset, data));
    QL_TRY(load_sets(a, arch, data));
    QL_TRY(load_eval(a, arch, seed, data));
    QL_TRY(check_positions(arch, ql_data_longest(data)));
    return weigh_sets(data, seed);
}
