/*
 * tokenizer_gguf.c - the vocabulary inside a GGUF: "gpt2" (byte-level BPE) and "llama"
 * (SentencePiece-BPE by scores).
 * Vocabularies of kind "t5" and "bert" are read through the tokenizer.json that core/io makes of
 * them.
 */
#include <math.h>
#include <string.h>

#include "core/data/tokenizer_impl.h"
#include "core/io/gguf_pre.h"
#include "core/io/gguf_tokenizer.h"

enum { TOKEN_UNKNOWN = 2, TOKEN_CONTROL = 3, TOKEN_USER_DEFINED = 4 };

#define KEY(name) "tokenizer.ggml." name

/* ------------------------------------------------------------------------ pieces */

/* The array `key` with one element per token; absent is fine unless `required`. */
static ql_status check_array(const ql_gguf *g, const char *what, const char *key, int64_t n,
                             bool required, bool *present) {
    *present = ql_gguf_has(g, key);
    if (!*present && !required) return QL_OK;
    int64_t have = ql_gguf_array_len(g, key);
    if (have == n) return QL_OK;
    return QL_FAIL(QL_ERR_FORMAT,
                   "%s: '%s' has %lld elements, expected one for each of %lld tokens", what, key,
                   (long long)have, (long long)n);
}

static ql_status load_piece(ql_tokenizer *t, const ql_gguf *g, const char *what, int64_t i,
                            bool typed) {
    ql_str s;
    int64_t type = 0;
    QL_TRY(ql_gguf_array_str(g, KEY("tokens"), i, &s));
    if (ql_utf8_valid(s.s, (size_t)s.len) != s.len) {
        return QL_FAIL(QL_ERR_FORMAT, "%s: token %lld is not UTF-8", what, (long long)i);
    }
    QL_TRY(ql_vocab_add(&t->vocab, s.s, (size_t)s.len, i, what));
    if (typed) QL_TRY(ql_gguf_array_i64(g, KEY("token_type"), i, &type));
    if (type != TOKEN_UNKNOWN && type != TOKEN_CONTROL && type != TOKEN_USER_DEFINED) return QL_OK;
    ql_added_spec spec = {
        .content = s.s, .len = (size_t)s.len, .id = i, .special = type != TOKEN_USER_DEFINED};
    return ql_tokenizer_add(t, &spec, what);
}

static ql_status load_pieces(ql_tokenizer *t, const ql_gguf *g, const char *what) {
    int64_t n = ql_gguf_array_len(g, KEY("tokens"));
    if (n <= 0 || n > QL_VOCAB_MAX) {
        return QL_FAIL(QL_ERR_FORMAT, "%s: '%s' has %lld elements, expected 1 to %d tokens", what,
                       KEY("tokens"), (long long)n, QL_VOCAB_MAX);
    }
    bool typed;
    QL_TRY(check_array(g, what, KEY("token_type"), n, false, &typed));
    for (int64_t i = 0; i < n; i++) QL_TRY(load_piece(t, g, what, i, typed));
    return QL_OK;
}

/* -------------------------------------------------------------- "gpt2" and "llama" */

static ql_status load_merges(ql_tokenizer *t, const ql_gguf *g, const char *what) {
    int64_t n = ql_gguf_array_len(g, KEY("merges"));
    if (n < 0 || n > INT32_MAX) {
        return QL_FAIL(QL_ERR_FORMAT, "%s: '%s' must be an array of merges", what, KEY("merges"));
    }
    QL_TRY(ql_bpe_reserve(&t->bpe, (size_t)n));
    ql_text joined = {0};
    ql_status st = QL_OK;
    for (int64_t i = 0; i < n && st == QL_OK; i++) {
        ql_str s;
        st = ql_gguf_array_str(g, KEY("merges"), i, &s);
        if (st != QL_OK) break;
        const char *space = s.len > 1 ? memchr(s.s + 1, ' ', (size_t)s.len - 1) : NULL;
        if (!space) {
            st = QL_FAIL(QL_ERR_FORMAT, "%s: merge %lld has no space between two tokens", what,
                         (long long)i);
            break;
        }
        size_t left = (size_t)(space - s.s);
        ql_merge_names names = {s.s, space + 1, left, (size_t)s.len - left - 1};
        st = ql_bpe_add_merge(&t->bpe, &t->vocab, (size_t)i, &names, &joined, what);
    }
    ql_text_free(&joined);
    return st;
}

static ql_status load_gpt2(ql_tokenizer *t, const ql_gguf *g, const char *what, bool *add_bos) {
    const ql_gguf_pre *s = NULL;
    QL_TRY(ql_gguf_pre_read(g, what, &s));
    for (size_t i = 0; i < QL_GGUF_PRE_STEPS && s->steps[i]; i++) {
        QL_TRY(ql_pretok_add_split(&t->pretok, s->steps[i], strlen(s->steps[i]), false,
                                   QL_SPLIT_ISOLATED, false, what));
    }
    QL_TRY(ql_pretok_add(&t->pretok, QL_PRETOK_BYTES, "", false));
    ql_decode_step *step;
    QL_TRY(ql_decoder_add(&t->decoder, QL_DECODE_BYTE_LEVEL, "", 0, &step));
    t->bpe.ignore_merges = s->ignore_merges;
    *add_bos = s->add_bos;
    return load_merges(t, g, what);
}

static ql_status load_scores(ql_tokenizer *t, const ql_gguf *g, const char *what) {
    int64_t n = (int64_t)t->vocab.n;
    bool present;
    QL_TRY(check_array(g, what, KEY("scores"), n, true, &present));
    t->bpe.scores = ql_host_calloc((size_t)n, sizeof *t->bpe.scores);
    if (!t->bpe.scores) return QL_NOMEM("the scores of a vocabulary");
    for (int64_t i = 0; i < n; i++) {
        double score = 0;
        QL_TRY(ql_gguf_array_f64(g, KEY("scores"), i, &score));
        if (isnan(score)) {
            return QL_FAIL(QL_ERR_FORMAT, "%s: the score of token %lld is not a number", what,
                           (long long)i);
        }
        t->bpe.scores[i] = (float)score;
    }
    return QL_OK;
}

/* Spaces are written as U+2581, one more stands in front of every stretch; decoding undoes it. */
static ql_status load_llama(ql_tokenizer *t, const ql_gguf *g, const char *what) {
    static const char mark[] = "\xE2\x96\x81";
    bool prefix = true;
    QL_TRY(ql_gguf_get_bool(g, KEY("add_space_prefix"), &prefix));
    ql_normalizer *z = &t->normalizer;
    QL_TRY(ql_host_grow((void **)&z->steps, &z->cap, 1, sizeof *z->steps));
    if (prefix) {
        ql_normalize_step *step = &z->steps[z->n++];
        step->kind = QL_NORMALIZE_PREPEND;
        QL_TRY(ql_text_append(&step->text, " ", 1));
    }
    QL_TRY(ql_pretok_add(&t->pretok, QL_PRETOK_SPACES, mark, false));
    ql_decode_step *step;
    QL_TRY(ql_decoder_add(&t->decoder, QL_DECODE_REPLACE, " ", 1, &step));
    QL_TRY(ql_pattern_compile(mark, sizeof mark - 1, true, what, &step->pattern));
    QL_TRY(ql_decoder_add(&t->decoder, QL_DECODE_BYTE_FALLBACK, "", 0, &step));
    QL_TRY(ql_decoder_add(&t->decoder, QL_DECODE_FUSE, "", 0, &step));
    QL_TRY(ql_decoder_add(&t->decoder, QL_DECODE_STRIP, " ", 1, &step));
    step->start = prefix;
    return load_scores(t, g, what);
}

/* -------------------------------------------------------------------- the whole */

static ql_status read_id(const ql_tokenizer *t, const ql_gguf *g, const char *what, const char *key,
                         int32_t *out) {
    int64_t id = -1;
    QL_TRY(ql_gguf_get_i64(g, key, &id));
    if (id == UINT32_MAX) id = -1; /* some writers say "none" so */
    if (id < -1 || id >= ql_tokenizer_size(t)) {
        return QL_FAIL(QL_ERR_FORMAT, "%s: '%s' is %lld, the vocabulary has %d tokens", what, key,
                       (long long)id, ql_tokenizer_size(t));
    }
    *out = (int32_t)id;
    return QL_OK;
}

static ql_status load_ids(ql_tokenizer *t, const ql_gguf *g, const char *what, bool add_bos) {
    bool add_eos = false;
    QL_TRY(read_id(t, g, what, KEY("bos_token_id"), &t->bos));
    QL_TRY(read_id(t, g, what, KEY("eos_token_id"), &t->eos));
    QL_TRY(read_id(t, g, what, KEY("padding_token_id"), &t->pad));
    QL_TRY(read_id(t, g, what, KEY("unknown_token_id"), &t->bpe.unk_id));
    QL_TRY(ql_gguf_get_bool(g, KEY("add_bos_token"), &add_bos));
    QL_TRY(ql_gguf_get_bool(g, KEY("add_eos_token"), &add_eos));
    return ql_tokenizer_surround(t, add_bos ? t->bos : -1, add_eos ? t->eos : -1);
}

static ql_status load_chat_template(ql_tokenizer *t, const ql_gguf *g) {
    ql_str s = {0};
    QL_TRY(ql_gguf_get_str(g, "tokenizer.chat_template", &s));
    if (!s.s) return QL_OK;
    t->chat_template = ql_host_strndup(s.s, (size_t)s.len);
    return t->chat_template ? QL_OK : QL_NOMEM("the chat template");
}

/* Kinds without a loader of their own: through tokenizer.json. */
static ql_status load_made(ql_tokenizer *t, const ql_gguf *g, const char *what) {
    json_t *root = NULL, *config = NULL;
    QL_TRY(ql_gguf_tokenizer_json(g, what, &root, &config));
    ql_status st = ql_tokenizer_load_root(t, root, what);
    json_decref(root);
    json_decref(config);
    if (st == QL_OK) st = read_id(t, g, what, KEY("bos_token_id"), &t->bos);
    if (st == QL_OK) st = read_id(t, g, what, KEY("eos_token_id"), &t->eos);
    if (st == QL_OK) st = read_id(t, g, what, KEY("padding_token_id"), &t->pad);
    if (st == QL_OK) st = read_id(t, g, what, KEY("cls_token_id"), &t->cls);
    if (st == QL_OK) st = read_id(t, g, what, KEY("seperator_token_id"), &t->sep);
    return st;
}

static bool is(ql_str s, const char *text) {
    return s.len == strlen(text) && memcmp(s.s, text, (size_t)s.len) == 0;
}

static ql_status load_file(ql_tokenizer *t, const ql_gguf *g, const char *what) {
    ql_str model = {"", 0};
    bool add_bos = true;
    QL_TRY(ql_gguf_get_str(g, KEY("model"), &model));
    if (is(model, "t5") || is(model, "bert")) return load_made(t, g, what);
    QL_TRY(load_pieces(t, g, what));
    if (is(model, "gpt2")) {
        QL_TRY(load_gpt2(t, g, what, &add_bos));
    } else if (is(model, "llama")) {
        QL_TRY(load_llama(t, g, what));
    } else {
        return QL_FAIL(QL_ERR_UNSUPPORTED,
                       "%s: '%s' is '%.*s'; gpt2, llama, t5 and bert are supported", what,
                       KEY("model"), (int)(model.len > 64 ? 64 : model.len), model.s);
    }
    QL_TRY(load_ids(t, g, what, add_bos));
    return load_chat_template(t, g);
}

ql_status ql_tokenizer_load_gguf(ql_tokenizer *t, const char *path) {
    ql_gguf *g;
    QL_TRY(ql_gguf_open(path, &g));
    ql_status st = load_file(t, g, path);
    ql_gguf_close(g);
    return st;
}
