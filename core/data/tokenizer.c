/*
 * tokenizer.c - opening, encoding and decoding; the public functions of tokenizer.h.
 *
 * A tokenizer does not change after opening: every encode call has its own scratch.
 */
#include "core/data/tokenizer.h"

#include <string.h>

#include "core/base/fs.h"
#include "core/base/hostmem.h"
#include "core/data/tokenizer_impl.h"

#define INPUT_MAX_BYTES ((size_t)1 << 29) /* rewriting may lengthen it to QL_TEXT_MAX_BYTES */

/* --------------------------------------------------------------------- opening */

static ql_status load(const char *path, ql_tokenizer *t) {
    size_t n = strlen(path);
    if (n > 5 && strcmp(path + n - 5, ".gguf") == 0) { return ql_tokenizer_load_gguf(t, path); }
    if (!ql_dir_exists(path)) {
        return QL_FAIL(QL_ERR_NOT_FOUND,
                       "%s: expected a folder with tokenizer.json or a file named *.gguf", path);
    }
    char file[QL_PATH_MAX];
    QL_TRY(ql_path_join(file, path, "tokenizer.json"));
    QL_TRY(ql_tokenizer_load_json(t, file));
    return ql_tokenizer_load_config(t, path);
}

static void finish(ql_tokenizer *t) {
    ql_added_finish(&t->raw);
    ql_added_finish(&t->normalized);
    ql_bpe_find_bytes(&t->bpe, &t->vocab);
}

ql_status ql_tokenizer_open(const char *path, ql_tokenizer **out) {
    ql_tokenizer *t = ql_host_calloc(1, sizeof *t);
    if (!t) return QL_NOMEM("a tokenizer");
    t->bos = t->eos = t->pad = t->bpe.unk_id = -1;
    ql_status st = load(path, t);
    if (st != QL_OK) {
        ql_tokenizer_close(t);
        return st;
    }
    finish(t);
    *out = t;
    return QL_OK;
}

void ql_tokenizer_close(ql_tokenizer *t) {
    if (!t) return;
    ql_vocab_free(&t->vocab);
    ql_bpe_free(&t->bpe);
    ql_added_free(&t->raw);
    ql_added_free(&t->normalized);
    ql_normalizer_free(&t->normalizer);
    ql_pretok_free(&t->pretok);
    ql_decoder_free(&t->decoder);
    ql_ids_free(&t->prefix);
    ql_ids_free(&t->suffix);
    ql_host_free(t->chat_template);
    ql_host_free(t);
}

/* Content as the normalizer leaves it: what a normalized added token looks like in the text. */
static ql_status normalize_content(const ql_tokenizer *t, const ql_added_spec *spec, ql_text *out) {
    ql_match_work w = {0};
    ql_text scratch = {0};
    ql_status st = ql_normalize(&t->normalizer, &w, spec->content, spec->len, out, &scratch);
    ql_match_free(&w);
    ql_text_free(&scratch);
    return st;
}

ql_status ql_tokenizer_add(ql_tokenizer *t, const ql_added_spec *spec, const char *what) {
    if (spec->len == 0 || spec->len > QL_ADDED_MAX_BYTES) {
        return QL_FAIL(QL_ERR_FORMAT,
                       "%s: the added token with id %lld has %zu bytes, expected 1 "
                       "to %u",
                       what, (long long)spec->id, spec->len, QL_ADDED_MAX_BYTES);
    }
    QL_TRY(ql_vocab_add(&t->vocab, spec->content, spec->len, spec->id, what));
    ql_piece *p = &t->vocab.pieces[spec->id];
    if (p->added) return QL_OK;
    p->added = true;
    p->special = spec->special;
    ql_added token = {.id = (int32_t)spec->id,
                      .special = spec->special,
                      .single_word = spec->single_word,
                      .lstrip = spec->lstrip,
                      .rstrip = spec->rstrip};
    ql_status st = spec->normalized ? normalize_content(t, spec, &token.content)
                                    : ql_text_append(&token.content, spec->content, spec->len);
    if (st == QL_OK && token.content.n)
        st = ql_added_push(spec->normalized ? &t->normalized : &t->raw, &token);
    ql_text_free(&token.content);
    return st;
}

/* -------------------------------------------------------------------- encoding */

typedef struct encoder {
    const ql_tokenizer *t;
    unsigned flags;
    ql_match_work match;
    ql_merge_work merge;
    ql_text a, b;   /* normalizer */
    ql_pieces c, d; /* pre-tokenizer */
    ql_ids *out;
} encoder;

static ql_status encode_segment(encoder *e, const char *s, size_t n, bool at_start) {
    const ql_tokenizer *t = e->t;
    QL_TRY(ql_pretok_run(&t->pretok, &e->match, s, n, at_start, &e->c, &e->d));
    for (size_t i = 0; i < e->c.n; i++) {
        ql_span v = e->c.v[i];
        QL_TRY(ql_bpe_encode(&t->bpe, &t->vocab, &e->merge, e->c.text.s + v.begin, v.end - v.begin,
                             e->out));
    }
    return QL_OK;
}

/* One of the two searches for added tokens; `inner` takes what lies between them. */
static ql_status encode_between(encoder *e, const ql_added_set *set, const char *s, size_t n,
                                bool at_start,
                                ql_status (*inner)(encoder *, const char *, size_t, bool)) {
    ql_added_walk w = {.set = set,
                       .text = s,
                       .len = n,
                       .parse_special = (e->flags & QL_ENCODE_PARSE_SPECIAL) != 0};
    for (bool more = true; more;) {
        more = ql_added_next(&w);
        size_t gap = w.gap.end - w.gap.begin;
        if (gap) QL_TRY(inner(e, s + w.gap.begin, gap, at_start && w.gap.begin == 0));
        if (more) QL_TRY(ql_ids_push(e->out, w.token->id));
    }
    return QL_OK;
}

static ql_status encode_raw(encoder *e, const char *s, size_t n, bool at_start) {
    const ql_tokenizer *t = e->t;
    QL_TRY(ql_normalize(&t->normalizer, &e->match, s, n, &e->a, &e->b));
    return encode_between(e, &t->normalized, e->a.s, e->a.n, at_start, encode_segment);
}

static ql_status push_all(ql_ids *out, const ql_ids *v) {
    for (size_t i = 0; i < v->n; i++) QL_TRY(ql_ids_push(out, v->ids[i]));
    return QL_OK;
}

static ql_status encode(encoder *e, const char *text, size_t len) {
    bool around = (e->flags & QL_ENCODE_ADD_SPECIAL) != 0;
    if (around) QL_TRY(push_all(e->out, &e->t->prefix));
    QL_TRY(encode_between(e, &e->t->raw, text, len, true, encode_raw));
    return around ? push_all(e->out, &e->t->suffix) : QL_OK;
}

ql_status ql_tokenizer_encode(const ql_tokenizer *t, const char *text, size_t len, unsigned flags,
                              ql_ids *out) {
    if (len > INPUT_MAX_BYTES) {
        return QL_FAIL(QL_ERR_INVALID, "tokenizer: the text has %zu bytes, at most %zu are taken",
                       len, INPUT_MAX_BYTES);
    }
    size_t valid = ql_utf8_valid(text, len);
    if (valid != len) {
        return QL_FAIL(QL_ERR_FORMAT, "tokenizer: the text is not UTF-8 at byte %zu", valid);
    }
    size_t before = out->n;
    encoder e = {.t = t, .flags = flags, .out = out};
    ql_status st = encode(&e, text, len);
    if (st != QL_OK) out->n = before;
    ql_match_free(&e.match);
    ql_merge_free(&e.merge);
    ql_text_free(&e.a);
    ql_text_free(&e.b);
    ql_pieces_free(&e.c);
    ql_pieces_free(&e.d);
    return st;
}

void ql_ids_free(ql_ids *v) {
    ql_host_free(v->ids);
    *v = (ql_ids){0};
}

/* -------------------------------------------------------------------- decoding */

static ql_status collect(const ql_tokenizer *t, const int32_t *ids, size_t n, bool skip_special,
                         ql_pieces *out) {
    for (size_t i = 0; i < n; i++) {
        if (ids[i] < 0) {
            return QL_FAIL(QL_ERR_INVALID, "tokenizer: id %d at position %zu is negative", ids[i],
                           i);
        }
        const ql_piece *p = (size_t)ids[i] < t->vocab.n ? &t->vocab.pieces[ids[i]] : NULL;
        if (!p || !p->s || (skip_special && p->special)) continue;
        size_t begin = out->text.n;
        QL_TRY(ql_text_append(&out->text, p->s, p->len));
        QL_TRY(ql_pieces_push(out, begin, out->text.n));
    }
    return QL_OK;
}

ql_status ql_tokenizer_decode(const ql_tokenizer *t, const int32_t *ids, size_t n,
                              bool skip_special, char **text, size_t *len) {
    ql_pieces pieces = {0};
    ql_text out = {0};
    ql_status st = collect(t, ids, n, skip_special, &pieces);
    if (st == QL_OK) st = ql_decoder_run(&t->decoder, &pieces, &out);
    size_t have = out.n;
    if (st == QL_OK) st = ql_text_append(&out, "", 1);
    ql_pieces_free(&pieces);
    if (st != QL_OK) {
        ql_text_free(&out);
        return st;
    }
    *text = out.s;
    *len = have;
    return QL_OK;
}

/* --------------------------------------------------------------------- getters */

int32_t ql_tokenizer_size(const ql_tokenizer *t) {
    return (int32_t)t->vocab.n;
}

int32_t ql_tokenizer_bos(const ql_tokenizer *t) {
    return t->bos;
}

int32_t ql_tokenizer_eos(const ql_tokenizer *t) {
    return t->eos;
}

int32_t ql_tokenizer_pad(const ql_tokenizer *t) {
    return t->pad;
}

int32_t ql_tokenizer_id(const ql_tokenizer *t, const char *piece) {
    return ql_vocab_find(&t->vocab, piece, strlen(piece));
}

const char *ql_tokenizer_piece(const ql_tokenizer *t, int32_t id) {
    return id >= 0 && (size_t)id < t->vocab.n ? t->vocab.pieces[id].s : NULL;
}

bool ql_tokenizer_is_special(const ql_tokenizer *t, int32_t id) {
    return ql_tokenizer_piece(t, id) && t->vocab.pieces[id].special;
}

bool ql_tokenizer_adds_bos(const ql_tokenizer *t) {
    return t->bos >= 0 && t->prefix.n > 0 && t->prefix.ids[0] == t->bos;
}

const char *ql_tokenizer_chat_template(const ql_tokenizer *t) {
    return t->chat_template;
}
