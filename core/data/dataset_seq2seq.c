/*
 * dataset_seq2seq.c - a source and a target to the two token streams of an encoder-decoder.
 *
 * Each side gets the special tokens that the tokenizer adds to a single text (T5 ... </s>, BART
 * <s> ... </s>). The decoder reads the target one step late: a start id, then the labels without
 * the last. An example is one block: ids, labels, source.
 */
#include <limits.h>
#include <string.h>

#include "core/base/hostmem.h"
#include "core/data/chars.h"
#include "core/data/dataset_internal.h"

typedef struct streams {
    ql_ids source, labels;
    int32_t chars;
} streams;

static void streams_free(streams *s) {
    ql_ids_free(&s->source);
    ql_ids_free(&s->labels);
}

/* Most ids that one side may keep; 0 = all. A limit of its own always cuts. */
static int32_t cut_at(int32_t own, const ql_dataset_opts *o) {
    if (own > 0) return own;
    return o->truncation == QL_TRUNCATE_ERROR ? 0 : o->max_len;
}

static ql_status encode_side(const ql_tokenizer *tok, const char *text, size_t len, int32_t limit,
                             ql_ids *out) {
    return ql_tokenizer_encode_pair_limit(tok, text ? text : "", len, NULL, 0, limit,
                                          QL_ENCODE_ADD_SPECIAL, out, NULL);
}

static ql_status encode_source(const ql_tokenizer *tok, const ql_row *row, const ql_dataset_opts *o,
                               ql_ids *out) {
    int32_t limit = cut_at(o->source_max_len, o);
    size_t prefix = o->source_prefix ? strlen(o->source_prefix) : 0;
    if (prefix == 0) return encode_side(tok, row->source, row->source_len, limit, out);
    char *text = ql_host_calloc(prefix + row->source_len + 1, 1);
    if (!text) return QL_NOMEM("a row's source");
    memcpy(text, o->source_prefix, prefix);
    if (row->source_len) memcpy(text + prefix, row->source, row->source_len);
    ql_status s = encode_side(tok, text, prefix + row->source_len, limit, out);
    ql_host_free(text);
    return s;
}

static bool has_id(const ql_ids *v, int32_t id) {
    for (size_t i = 0; i < v->n; i++)
        if (v->ids[i] == id) return true;
    return false;
}

/* The target with its special tokens; an EOS is added where the tokenizer adds none. */
static ql_status encode_target(const ql_tokenizer *tok, const ql_row *row, const ql_dataset_opts *o,
                               ql_ids *out) {
    int32_t limit = cut_at(o->target_max_len, o), eos = ql_tokenizer_eos(tok);
    QL_TRY(encode_side(tok, row->target, row->target_len, limit, out));
    if (eos < 0 || has_id(out, eos)) return QL_OK;
    if (limit > 0 && out->n >= (size_t)limit) out->n = (size_t)limit - 1;
    return ql_ids_push(out, eos);
}

static ql_status check_side(const char *where, const char *side, const ql_ids *v, bool labels,
                            const ql_dataset_opts *o) {
    size_t limit = o->max_len > 0 ? (size_t)o->max_len : INT32_MAX / 4;
    QL_TRY(ql_check_vocab(where, v->ids, v->n, labels, o->vocab));
    if (v->n == 0) return QL_FAIL(QL_ERR_FORMAT, "%s: the %s has no token", where, side);
    return v->n > limit ? ql_too_long(where, v->n, limit) : QL_OK;
}

/* Decoder inputs: the start, then the labels but the last; an ignored one is read as the pad id.
 * Without a start id the last label that counts goes to the front (mBART's language code). */
static void shift_right(const ql_ids *labels, const ql_dataset_opts *o, int32_t *ids) {
    ids[0] = o->decoder_start;
    for (size_t i = labels->n; ids[0] < 0 && i > 0; i--) ids[0] = labels->ids[i - 1];
    for (size_t i = 1; i < labels->n; i++)
        ids[i] = labels->ids[i - 1] == QL_IGNORE ? o->pad : labels->ids[i - 1];
}

/* Complete streams to an example. Ignored labels at the end are padding and are dropped. */
static ql_status finish(const char *where, streams *s, const ql_dataset_opts *o, ql_example *out) {
    ql_ids *source = &s->source, *labels = &s->labels;
    while (labels->n > 0 && labels->ids[labels->n - 1] == QL_IGNORE) labels->n--;
    QL_TRY(check_side(where, "source", source, false, o));
    QL_TRY(check_side(where, "target", labels, true, o));
    size_t n = labels->n;
    int32_t *block = ql_host_calloc(2 * n + source->n, sizeof(int32_t));
    if (!block) return QL_NOMEM("a training row");
    ql_example e = {.ids = block,
                    .labels = block + n,
                    .n = (int32_t)n,
                    .source = block + 2 * n,
                    .n_source = (int32_t)source->n};
    e.chars = s->chars ? s->chars : e.n + e.n_source;
    memcpy(e.labels, labels->ids, n * sizeof(int32_t));
    memcpy(e.source, source->ids, source->n * sizeof(int32_t));
    shift_right(labels, o, e.ids);
    for (size_t i = 0; i < n; i++) e.supervised += e.labels[i] != QL_IGNORE;
    *out = e;
    return QL_OK;
}

ql_status ql_example_seq2seq(const ql_tokenizer *tok, const ql_row *row, const char *where,
                             const ql_dataset_opts *o, ql_example *out) {
    streams v = {.chars = ql_text_chars(row->source, row->source_len) +
                          ql_text_chars(row->target, row->target_len)};
    ql_status s = encode_source(tok, row, o, &v.source);
    if (s == QL_OK) s = encode_target(tok, row, o, &v.labels);
    s = ql_name_row(s, where);
    if (s == QL_OK) s = finish(where, &v, o, out);
    streams_free(&v);
    return s;
}

ql_status ql_example_seq2seq_tokens(const json_t *row, const char *where, const ql_dataset_opts *o,
                                    ql_example *out) {
    streams v = {0};
    ql_status s = ql_row_ids(row, where, "input_ids", 0, &v.source);
    if (s == QL_OK) s = ql_row_ids(row, where, "labels", QL_IGNORE, &v.labels);
    if (s == QL_OK) s = finish(where, &v, o, out);
    streams_free(&v);
    return s;
}
