/*
 * dataset.c - a file of examples: rows or plain text to examples of the task; epoch order.
 *
 * Rows are read from the map one at a time; the examples stay in memory, or beyond a limit in
 * mapped files (row_store.h). A .txt is one text and is held whole.
 */
#include "core/data/dataset.h"

#include <string.h>

#include "core/base/fs.h"
#include "core/base/hostmem.h"
#include "core/base/rng.h"
#include "core/data/dataset_internal.h"
#include "core/data/row_store.h"

typedef struct loader {
    ql_row_list rows;
    const ql_tokenizer *tok;
    const ql_dataset_opts *o;
    ql_dataset d;
    size_t cap;
    ql_row_memory memory;
} loader;

void ql_dataset_free(ql_dataset *d) {
    if (!d) return;
    for (int64_t i = 0; i < d->n; i++) ql_example_free(&d->items[i]);
    ql_row_store_drop(d->store, d->items);
    ql_row_store_free(d->store);
    *d = (ql_dataset){0};
}

void ql_dataset_count(ql_dataset *d, const ql_example *e) {
    d->tokens += e->n + e->n_source;
    d->supervised += e->supervised;
    d->weighted = d->weighted || e->weights;
    if (e->n > d->longest) d->longest = e->n;
    if (e->n_source > d->longest_source) d->longest_source = e->n_source;
}

static ql_status keep_example(loader *l, ql_example *e) {
    ql_dataset *d = &l->d;
    ql_status s = ql_row_store_grow(d->store, &d->items, &l->cap, (size_t)d->n + 1);
    if (s == QL_OK && d->store) s = ql_row_store_take(d->store, e);
    if (s != QL_OK) {
        ql_example_free(e);
        return s;
    }
    e->row = l->rows.row;
    d->items[d->n++] = *e;
    ql_dataset_count(d, e);
    l->rows.enough = l->o->max_rows > 0 && d->n >= l->o->max_rows;
    return QL_OK;
}

ql_status ql_example_make(const ql_tokenizer *tok, const json_t *row, const char *where,
                          ql_data_format format, const ql_dataset_opts *o, ql_row_memory *m,
                          ql_row *texts, ql_example *out) {
    bool tokens = format == QL_DATA_TOKENS, seq2seq = o->task == QL_TASK_SEQ2SEQ;
    if (!tokens && !tok) {
        return QL_FAIL(QL_ERR_INVALID, "%s: format '%s' needs a tokenizer", where,
                       ql_data_format_name(format));
    }
    if (o->task == QL_TASK_CLASSIFY) return ql_example_classified(tok, row, where, tokens, o, out);
    if (tokens) {
        return seq2seq ? ql_example_seq2seq_tokens(row, where, o, out)
                       : ql_example_from_tokens(row, where, o, out);
    }
    ql_row r;
    QL_TRY(ql_row_read(row, where, format, o, m, &r));
    if (texts) *texts = r;
    return seq2seq ? ql_example_seq2seq(tok, &r, where, o, out)
                   : ql_example_from_row(tok, &r, where, o, out);
}

static ql_status make_example(loader *l, const json_t *row, ql_example *e) {
    ql_problem_note(QL_PROBLEM_ROW);
    if (l->d.format == QL_DATA_AUTO) {
        QL_TRY(
            ql_row_detect(row, l->rows.where, l->o->task, &l->d.format, l->d.why, sizeof l->d.why));
    }
    return ql_example_make(l->tok, row, l->rows.where, l->d.format, l->o, &l->memory, NULL, e);
}

static ql_status add_row(void *user, const json_t *row) {
    loader *l = user;
    ql_example e = {0};
    QL_TRY(make_example(l, row, &e));
    return keep_example(l, &e);
}

/* One text: [BOS] text EOS, cut into rows of max_len tokens, everything learned. A last piece of a
 * single token has no target and is dropped. */
static ql_status split_text(loader *l, const ql_ids *v) {
    size_t width = l->o->max_len > 0 ? (size_t)l->o->max_len : v->n;
    if (width < 2) {
        return QL_FAIL(QL_ERR_INVALID,
                       "%s: rows of %zu tokens have no target, at least 2 are needed", l->rows.name,
                       width);
    }
    for (size_t at = 0; at + 1 < v->n && !l->rows.enough; at += width) {
        size_t n = v->n - at < width ? v->n - at : width;
        ql_example e = {0};
        ql_rows_next(&l->rows, 0);
        ql_labelled t = {.ids = v->ids + at, .labels = v->ids + at, .n = n};
        QL_TRY(ql_example_finish(l->rows.where, &t, l->o, &e));
        QL_TRY(keep_example(l, &e));
    }
    return QL_OK;
}

static ql_status encode_text(loader *l, const char *text, size_t len, ql_ids *v) {
    int32_t bos = ql_tokenizer_adds_bos(l->tok) ? ql_tokenizer_bos(l->tok) : -1;
    int32_t eos = ql_tokenizer_eos(l->tok);
    if (bos >= 0) {
        QL_TRY(ql_host_grow((void **)&v->ids, &v->cap, 1, sizeof(int32_t)));
        v->ids[v->n++] = bos;
    }
    QL_TRY(ql_tokenizer_encode(l->tok, text, len, 0, v));
    if (eos >= 0) {
        QL_TRY(ql_host_grow((void **)&v->ids, &v->cap, v->n + 1, sizeof(int32_t)));
        v->ids[v->n++] = eos;
    }
    return QL_OK;
}

static ql_status load_text(loader *l, const char *text, size_t len) {
    ql_ids v = {0};
    l->d.format = QL_DATA_TEXT;
    if (!l->tok) return QL_FAIL(QL_ERR_INVALID, "%s: text needs a tokenizer", l->rows.name);
    if (ql_text_is_blank(text, len)) return QL_OK;
    ql_status s = encode_text(l, text, len, &v);
    if (s == QL_OK) s = split_text(l, &v);
    ql_ids_free(&v);
    return s;
}

/* What the options promise must fit the task. */
ql_status ql_dataset_opts_check(const char *name, const ql_dataset_opts *o) {
    static const char *const tasks[] = {"causal", "classify", "seq2seq"};
    bool text = o->format == QL_DATA_TEXT;
    bool classes = o->format == QL_DATA_CLASSIFICATION;
    bool whole = o->format == QL_DATA_OASST1 || o->format == QL_DATA_HH_RLHF; /* no source */
    bool general = o->format == QL_DATA_AUTO || o->format == QL_DATA_TOKENS;
    bool fits = o->task == QL_TASK_CLASSIFY  ? classes || general
                : o->task == QL_TASK_SEQ2SEQ ? !classes && !text && !whole
                                             : !classes;
    if (!fits) {
        return QL_FAIL(QL_ERR_INVALID, "%s: rows of format '%s' cannot teach the task '%s'", name,
                       ql_data_format_name(o->format), tasks[o->task]);
    }
    if (o->task == QL_TASK_CLASSIFY && o->num_labels < 1) {
        return QL_FAIL(QL_ERR_INVALID, "%s: %d classes; give 1 for regression, 2 or more classes",
                       name, o->num_labels);
    }
    return QL_OK;
}

bool ql_dataset_is_text(const char *name, const ql_dataset_opts *o) {
    if (o->format == QL_DATA_TEXT) return true;
    return o->format == QL_DATA_AUTO && o->task == QL_TASK_CAUSAL &&
           ql_text_ends_with(name, ".txt");
}

static ql_status load_bytes(loader *l, const char *text, size_t len) {
    const ql_dataset_opts *o = l->o;
    QL_TRY(ql_dataset_opts_check(l->rows.name, o));
    ql_text_skip_mark(&text, &len);
    l->d.format = o->format;
    l->d.task = o->task;
    if (o->scratch_dir) QL_TRY(ql_row_store_create(o->scratch_dir, o->keep_bytes, &l->d.store));
    l->rows.numbers = o->task == QL_TASK_CLASSIFY;
    if (ql_dataset_is_text(l->rows.name, o)) return load_text(l, text, len);
    return ql_rows_read(&l->rows, text, len);
}

ql_status ql_dataset_parse(const char *name, const char *text, size_t len, const ql_tokenizer *tok,
                           const ql_dataset_opts *o, ql_dataset *out) {
    loader l = {.rows = {.name = name, .visit = add_row}, .tok = tok, .o = o};
    l.rows.user = &l;
    ql_status s = load_bytes(&l, text ? text : "", len);
    if (s == QL_OK && l.d.n == 0) {
        s = QL_FAIL(QL_ERR_FORMAT, "%s: the file holds no row to train on", name);
    }
    ql_row_memory_free(&l.memory);
    if (s != QL_OK) {
        ql_dataset_free(&l.d);
        return s;
    }
    *out = l.d;
    return QL_OK;
}

ql_status ql_dataset_load(const char *path, const ql_tokenizer *tok, const ql_dataset_opts *o,
                          ql_dataset *out) {
    ql_map map;
    QL_TRY(ql_map_open(path, &map));
    ql_status s = ql_dataset_parse(path, (const char *)map.data, (size_t)map.size, tok, o, out);
    ql_map_close(&map);
    return s;
}

ql_status ql_epoch_order(int64_t n, uint64_t seed, int64_t epoch, bool shuffle, int64_t *order) {
    if (n < 0 || epoch < 0) {
        return QL_FAIL(QL_ERR_INVALID, "epoch_order: %lld rows, epoch %lld", (long long)n,
                       (long long)epoch);
    }
    for (int64_t i = 0; i < n; i++) order[i] = i;
    if (!shuffle) return QL_OK;
    ql_stream s = ql_stream_make(seed, QL_STREAM_SHUFFLE, (uint64_t)epoch);
    for (int64_t i = n - 1; i > 0; i--) {
        int64_t j = (int64_t)ql_stream_below(&s, (uint64_t)i + 1), keep = order[i];
        order[i] = order[j];
        order[j] = keep;
    }
    return QL_OK;
}
