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
    if (ql_file_exists(file)) {
        QL_TRY(ql_tokenizer_load_json(t, file));
    } else {
        QL_TRY(ql_tokenizer_load_files(t, path));
    }
    return ql_tokenizer_load_config(t, path);
}

static int32_t model_unk(const ql_tokenizer *t) {
    switch (t->kind) {
    case QL_MODEL_UNIGRAM: return t->unigram.unk_id;
    case QL_MODEL_WORDPIECE: return t->wordpiece.unk_id;
    case QL_MODEL_BPE: break;
    }
    return t->bpe.unk_id;
}

static ql_status finish(ql_tokenizer *t) {
    ql_added_finish(&t->raw);
    ql_added_finish(&t->normalized);
    ql_vocab_find_bytes(&t->vocab, t->bpe.byte_ids);
    ql_vocab_find_bytes(&t->vocab, t->unigram.byte_ids);
    if (t->unk < 0) t->unk = model_unk(t);
    if (t->post.wraps && t->cls < 0) t->cls = t->post.single.v[0].id;
    if (t->post.wraps && t->sep < 0) t->sep = t->post.single.v[2].id;
    return ql_postprocess_finish(&t->post);
}

ql_status ql_tokenizer_open(const char *path, ql_tokenizer **out) {
    ql_tokenizer *t = ql_host_calloc(1, sizeof *t);
    if (!t) return QL_NOMEM("a tokenizer");
    t->bos = t->eos = t->pad = t->cls = t->sep = t->mask = t->unk = -1;
    t->bpe.unk_id = t->unigram.unk_id = t->wordpiece.unk_id = -1;
    ql_status st = load(path, t);
    if (st == QL_OK) st = finish(t);
    if (st != QL_OK) {
        ql_tokenizer_close(t);
        return st;
    }
    *out = t;
    return QL_OK;
}

void ql_tokenizer_close(ql_tokenizer *t) {
    if (!t) return;
    ql_vocab_free(&t->vocab);
    ql_bpe_free(&t->bpe);
    ql_unigram_free(&t->unigram);
    ql_wordpiece_free(&t->wordpiece);
    ql_added_free(&t->raw);
    ql_added_free(&t->normalized);
    ql_normalizer_free(&t->normalizer);
    ql_pretok_free(&t->pretok);
    ql_decoder_free(&t->decoder);
    ql_postprocess_free(&t->post);
    ql_host_free(t->chat_template);
    ql_host_free(t);
}

/* Content as the normalizer leaves it: what a normalized added token looks like in the text. */
static ql_status normalize_content(const ql_tokenizer *t, const ql_added_spec *spec, ql_text *out) {
    ql_match_work w = {0};
    ql_text scratch = {0};
    bool kept;
    ql_status st = ql_normalize(&t->normalizer, &w, spec->content, spec->len, out, &scratch, &kept);
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
    bool outside = ql_vocab_find(&t->vocab, spec->content, spec->len) < 0;
    QL_TRY(ql_vocab_add(&t->vocab, spec->content, spec->len, spec->id, what));
    ql_piece *p = &t->vocab.pieces[spec->id];
    if (p->added) return QL_OK;
    p->added = true;
    p->outside = outside;
    p->special = spec->special;
    p->lstrip = spec->lstrip;
    p->rstrip = spec->rstrip;
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
    ql_merge_work merge;     /* BPE */
    ql_unigram_work unigram; /* Unigram */
    ql_text a, b;            /* normalizer */
    ql_pieces c, d;          /* pre-tokenizer */
    ql_ids *out;
} encoder;

static ql_status encode_pretoken(encoder *e, const char *s, size_t n) {
    const ql_tokenizer *t = e->t;
    switch (t->kind) {
    case QL_MODEL_BPE: return ql_bpe_encode(&t->bpe, &t->vocab, &e->merge, s, n, e->out);
    case QL_MODEL_UNIGRAM:
        return ql_unigram_encode(&t->unigram, &t->vocab, &e->unigram, s, n, e->out);
    case QL_MODEL_WORDPIECE: return ql_wordpiece_encode(&t->wordpiece, s, n, e->out);
    }
    return QL_FAIL(QL_ERR_INTERNAL, "tokenizer: unknown model %d", (int)t->kind);
}

static ql_status encode_segment(encoder *e, const char *s, size_t n, bool at_start) {
    const ql_tokenizer *t = e->t;
    QL_TRY(ql_pretok_run(&t->pretok, &e->match, s, n, at_start, &e->c, &e->d));
    for (size_t i = 0; i < e->c.n; i++) {
        ql_span v = e->c.v[i];
        QL_TRY(encode_pretoken(e, e->c.text.s + v.begin, v.end - v.begin));
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
    QL_TRY(ql_normalize(&t->normalizer, &e->match, s, n, &e->a, &e->b, &at_start));
    return encode_between(e, &t->normalized, e->a.s, e->a.n, at_start, encode_segment);
}

/* The ids of one text without what the post-processor adds. */
static ql_status encode_text(const ql_tokenizer *t, const char *text, size_t len, unsigned flags,
                             ql_ids *out) {
    if (len > INPUT_MAX_BYTES) {
        return QL_FAIL(QL_ERR_INVALID, "tokenizer: the text has %zu bytes, at most %zu are taken",
                       len, INPUT_MAX_BYTES);
    }
    size_t valid = ql_utf8_valid(text, len);
    if (valid != len) {
        return QL_FAIL(QL_ERR_FORMAT, "tokenizer: the text is not UTF-8 at byte %zu", valid);
    }
    encoder e = {.t = t, .flags = flags, .out = out};
    ql_status st = encode_between(&e, &t->raw, text, len, true, encode_raw);
    ql_match_free(&e.match);
    ql_merge_free(&e.merge);
    ql_unigram_work_free(&e.unigram);
    ql_text_free(&e.a);
    ql_text_free(&e.b);
    ql_pieces_free(&e.c);
    ql_pieces_free(&e.d);
    return st;
}

ql_status ql_tokenizer_encode(const ql_tokenizer *t, const char *text, size_t len, unsigned flags,
                              ql_ids *out) {
    if (flags & QL_ENCODE_ADD_SPECIAL)
        return ql_tokenizer_encode_pair(t, text, len, NULL, 0, flags, out, NULL);
    size_t before = out->n;
    ql_status st = encode_text(t, text, len, flags, out);
    if (st != QL_OK) out->n = before;
    return st;
}

/* --------------------------------------------------------------- two texts, a limit */

static void cut(ql_ids *v, size_t keep, bool left) {
    if (keep >= v->n) return;
    if (left) memmove(v->ids, v->ids + (v->n - keep), keep * sizeof *v->ids);
    v->n = keep;
}

/* Lengths of two texts that fit into `room` together: the longer one shrinks to what the shorter
 * leaves, or both to one half, of which the text that was longer has the odd one. */
static void cut_longest_first(ql_ids *a, ql_ids *b, size_t room, bool left) {
    if (room >= a->n && room - a->n >= b->n) return;
    bool swapped = a->n > b->n;
    size_t shorter = swapped ? b->n : a->n;
    size_t longer = shorter > room || room - shorter < shorter ? shorter : room - shorter;
    if (shorter > room || room - shorter < longer) {
        shorter = room / 2;
        longer = room - shorter;
    }
    cut(a, swapped ? longer : shorter, left);
    cut(b, swapped ? shorter : longer, left);
}

typedef struct pair_work {
    ql_ids a, b;
} pair_work;

static ql_status limit_pair(const ql_tokenizer *t, const ql_slots *slots, int32_t max_len,
                            bool special, pair_work *w) {
    size_t added = special ? ql_slots_special(slots) : 0;
    if (max_len == 0) return QL_OK;
    if (max_len < 0 || (size_t)max_len < added) {
        return QL_FAIL(QL_ERR_INVALID,
                       "tokenizer: a limit of %d ids leaves no room for %zu special tokens",
                       max_len, added);
    }
    cut_longest_first(&w->a, &w->b, (size_t)max_len - added, t->cut_left);
    return QL_OK;
}

ql_status ql_tokenizer_encode_pair_limit(const ql_tokenizer *t, const char *a, size_t a_len,
                                         const char *b, size_t b_len, int32_t max_len,
                                         unsigned flags, ql_ids *ids, ql_ids *type_ids) {
    bool special = (flags & QL_ENCODE_ADD_SPECIAL) != 0;
    const ql_slots *slots = b ? &t->post.pair : &t->post.single;
    size_t before = ids->n, types_before = type_ids ? type_ids->n : 0;
    pair_work w = {0};
    ql_status st = encode_text(t, a, a_len, flags, &w.a);
    if (st == QL_OK && b) st = encode_text(t, b, b_len, flags, &w.b);
    if (st == QL_OK) st = limit_pair(t, slots, max_len, special, &w);
    if (st == QL_OK)
        st = ql_slots_fill(slots, (ql_halves){&w.a, b ? &w.b : NULL}, special, ids, type_ids);
    if (st != QL_OK) {
        ids->n = before;
        if (type_ids) type_ids->n = types_before;
    }
    ql_ids_free(&w.a);
    ql_ids_free(&w.b);
    return st;
}

ql_status ql_tokenizer_encode_pair(const ql_tokenizer *t, const char *a, size_t a_len,
                                   const char *b, size_t b_len, unsigned flags, ql_ids *ids,
                                   ql_ids *type_ids) {
    return ql_tokenizer_encode_pair_limit(t, a, a_len, b, b_len, 0, flags, ids, type_ids);
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

int32_t ql_tokenizer_cls(const ql_tokenizer *t) {
    return t->cls;
}

int32_t ql_tokenizer_sep(const ql_tokenizer *t) {
    return t->sep;
}

int32_t ql_tokenizer_mask(const ql_tokenizer *t) {
    return t->mask;
}

int32_t ql_tokenizer_unk(const ql_tokenizer *t) {
    return t->unk;
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

void ql_tokenizer_strips(const ql_tokenizer *t, int32_t id, bool *left, bool *right) {
    bool known = ql_tokenizer_piece(t, id) != NULL;
    *left = known && t->vocab.pieces[id].lstrip;
    *right = known && t->vocab.pieces[id].rstrip;
}

bool ql_tokenizer_adds_bos(const ql_tokenizer *t) {
    return ql_slots_begin_with(&t->post.single, t->bos);
}

bool ql_tokenizer_adds_eos(const ql_tokenizer *t) {
    return ql_slots_end_with(&t->post.single, t->eos);
}

const char *ql_tokenizer_chat_template(const ql_tokenizer *t) {
    return t->chat_template;
}
