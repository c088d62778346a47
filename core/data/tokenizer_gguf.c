/*
 * tokenizer_gguf.c - the vocabulary inside a GGUF: "gpt2" (byte-level BPE) and "llama"
 * (SentencePiece-BPE by scores).
 *
 * How a "gpt2" vocabulary cuts text is not in the file: it has a name in tokenizer.ggml.pre, and
 * the expressions behind the names are those of llama.cpp. Where llama.cpp approximates a category
 * (tekken, gpt-4o), the expression is that of the model's tokenizer.json.
 */
#include <math.h>
#include <string.h>

#include "core/data/tokenizer_impl.h"
#include "core/io/gguf.h"

enum { TOKEN_UNKNOWN = 2, TOKEN_CONTROL = 3, TOKEN_USER_DEFINED = 4 };

#define KEY(name) "tokenizer.ggml." name

/* --------------------------------------------------------------- pre-tokenizers */

#define CONTRACTIONS "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define REST         "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define LETTERS      "[^\\r\\n\\p{L}\\p{N}]?\\p{L}+"
#define OTHERS       " ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*"
#define UPPER        "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define LOWER        "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"
#define CASED(tail)                                                                                \
    "[^\\r\\n\\p{L}\\p{N}]?" UPPER "*" LOWER "+" tail "|[^\\r\\n\\p{L}\\p{N}]?" UPPER "+" LOWER    \
    "*" tail

#define LLAMA3_WORDS CONTRACTIONS "|" LETTERS "|\\p{N}{1,3}|" OTHERS "|" REST
#define QWEN2_WORDS  CONTRACTIONS "|" LETTERS "|\\p{N}|" OTHERS "|" REST
#define TEKKEN_WORDS CASED("") "|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|" REST
#define GPT4O_WORDS  CASED(CONTRACTIONS "?") "|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|" REST

#define STEPS_MAX 4

typedef struct scheme {
    const char *const *names;
    const char *steps[STEPS_MAX]; /* one Split after the other, each match isolated */
    bool ignore_merges, add_bos;
} scheme;

#define NAMES(...) ((const char *const[]){__VA_ARGS__, NULL})

static const scheme schemes[] = {
    {NAMES("default"),
     {"[\\p{P}\\$\\+<=>\\^~\\|]+", QL_GPT2_WORDS, "\\p{N}+", "[0-9][0-9][0-9]"},
     false,
     false},
    {NAMES("llama3", "llama-v3", "llama-bpe", "falcon3", "pixtral"), {LLAMA3_WORDS}, true, true},
    {NAMES("dbrx", "smaug-bpe", "chatglm-bpe", "glm4"), {LLAMA3_WORDS}, false, false},
    {NAMES("gpt-2", "phi-2", "mpt", "olmo", "jais"), {QL_GPT2_WORDS}, false, false},
    {NAMES("starcoder", "refact", "command-r", "smollm", "codeshell", "exaone", "minerva-7b"),
     {"\\p{N}", QL_GPT2_WORDS},
     false,
     false},
    {NAMES("falcon"),
     {"[\\p{P}\\$\\+<=>\\^~\\|`]+", QL_GPT2_WORDS, "[0-9][0-9][0-9]"},
     false,
     false},
    {NAMES("qwen2", "deepseek-r1-qwen", "stablelm2", "hunyuan", "megrez"),
     {QWEN2_WORDS},
     false,
     false},
    {NAMES("tekken"), {TEKKEN_WORDS}, true, true},
    {NAMES("gpt-4o", "llama4"), {GPT4O_WORDS}, false, false},
};

static const scheme *find_scheme(ql_str name) {
    for (size_t i = 0; i < sizeof schemes / sizeof *schemes; i++)
        for (const char *const *s = schemes[i].names; *s; s++)
            if (strlen(*s) == name.len && memcmp(*s, name.s, name.len) == 0) return &schemes[i];
    return NULL;
}

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
    ql_str pre = {"default", 7};
    QL_TRY(ql_gguf_get_str(g, KEY("pre"), &pre));
    const scheme *s = find_scheme(pre);
    if (!s) {
        return QL_FAIL(QL_ERR_UNSUPPORTED, "%s: pre-tokenizer '%.*s' ('%s') is not supported", what,
                       (int)(pre.len > 64 ? 64 : pre.len), pre.s, KEY("pre"));
    }
    for (size_t i = 0; i < STEPS_MAX && s->steps[i]; i++) {
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
    if (add_bos && t->bos >= 0) QL_TRY(ql_ids_push(&t->prefix, t->bos));
    if (add_eos && t->eos >= 0) QL_TRY(ql_ids_push(&t->suffix, t->eos));
    return QL_OK;
}

static ql_status load_chat_template(ql_tokenizer *t, const ql_gguf *g) {
    ql_str s = {0};
    QL_TRY(ql_gguf_get_str(g, "tokenizer.chat_template", &s));
    if (!s.s) return QL_OK;
    t->chat_template = ql_host_strndup(s.s, (size_t)s.len);
    return t->chat_template ? QL_OK : QL_NOMEM("the chat template");
}

static ql_status load_file(ql_tokenizer *t, const ql_gguf *g, const char *what) {
    ql_str model = {"", 0};
    bool add_bos = true;
    QL_TRY(ql_gguf_get_str(g, KEY("model"), &model));
    QL_TRY(load_pieces(t, g, what));
    if (model.len == 4 && memcmp(model.s, "gpt2", 4) == 0) {
        QL_TRY(load_gpt2(t, g, what, &add_bos));
    } else if (model.len == 5 && memcmp(model.s, "llama", 5) == 0) {
        QL_TRY(load_llama(t, g, what));
    } else {
        return QL_FAIL(QL_ERR_UNSUPPORTED,
                       "%s: '%s' is '%.*s', only 'gpt2' and 'llama' are "
                       "supported",
                       what, KEY("model"), (int)(model.len > 64 ? 64 : model.len), model.s);
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
