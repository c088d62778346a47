/*
 * gguf_tokenizer.c - tokenizer.json and tokenizer_config.json from a GGUF's vocabulary.
 *
 * Two kinds of vocabulary occur in the llama family: "gpt2" (byte-level BPE with merges; the
 * pre-tokenizer has a name) and "llama" (SentencePiece: pieces with scores, byte fallback; merges
 * are found in the vocabulary, gguf_merges.c).
 */
#include <stdio.h>
#include <string.h>

#include "core/io/gguf_merges.h"
#include "core/io/source_internal.h"

enum { TOKEN_CONTROL = 3, TOKEN_USER = 4 }; /* GGUF's token types */

static const char llama3_split[] =
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}|"
    " ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
static const char qwen2_split[] =
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}|"
    " ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

/* How a byte-level vocabulary cuts text, by tokenizer.ggml.pre. */
typedef struct pre_kind {
    const char *name;
    bool digits;        /* every digit alone, then GPT-2's expression         */
    const char *split;  /* an expression of its own; NULL: GPT-2's            */
    bool ignore_merges; /* a pre-token found whole is taken at once           */
    bool adds_bos;      /* where add_bos_token is absent                      */
} pre_kind;
static const pre_kind pre_kinds[] = {
    {"smollm", true, NULL, false, false},        {"starcoder", true, NULL, false, false},
    {"refact", true, NULL, false, false},        {"command-r", true, NULL, false, false},
    {"gpt-2", false, NULL, false, false},        {"llama-bpe", false, llama3_split, true, true},
    {"llama3", false, llama3_split, true, true}, {"llama-v3", false, llama3_split, true, true},
    {"qwen2", false, qwen2_split, false, false},
};

/* What both kinds of vocabulary share. */
typedef struct vocabulary {
    const ql_gguf *g;
    const char *path;
    int64_t n;
    const pre_kind *pre; /* NULL: SentencePiece */
    bool add_bos, space_prefix;
    int64_t bos, eos, pad, unk; /* -1 = none */
    json_t *pieces;             /* array of n texts  */
    json_t *added;              /* added_tokens      */
} vocabulary;

/* ------------------------------------------------------------------ reading */

static bool str_is(ql_str s, const char *text) {
    return s.len == strlen(text) && memcmp(s.s, text, (size_t)s.len) == 0;
}

static int clip(ql_str s) {
    return (int)(s.len > 64 ? 64 : s.len);
}

static ql_status read_pre(vocabulary *v) {
    ql_str pre = {"gpt-2", 5};
    QL_TRY(ql_gguf_get_str(v->g, "tokenizer.ggml.pre", &pre));
    for (size_t i = 0; i < sizeof pre_kinds / sizeof pre_kinds[0]; i++) {
        if (str_is(pre, pre_kinds[i].name)) v->pre = &pre_kinds[i];
    }
    if (v->pre) return QL_OK;
    return QL_FAIL(QL_ERR_UNSUPPORTED,
                   "%s: tokenizer.ggml.pre is '%.*s'; smollm, starcoder, refact, command-r, gpt-2, "
                   "llama-bpe, llama3, llama-v3 and qwen2 are known",
                   v->path, clip(pre), pre.s);
}

static ql_status read_pieces(vocabulary *v) {
    static const char key[] = "tokenizer.ggml.tokens";
    for (int64_t i = 0; i < v->n; i++) {
        ql_str s;
        json_t *piece = NULL;
        QL_TRY(ql_gguf_array_str(v->g, key, i, &s));
        QL_TRY(ql_gguf_json_string(v->path, key, s, &piece));
        if (json_array_append_new(v->pieces, piece) != 0) return QL_NOMEM(v->path);
    }
    return QL_OK;
}

static ql_status read_added(vocabulary *v) {
    static const char key[] = "tokenizer.ggml.token_type";
    int64_t n = ql_gguf_array_len(v->g, key);
    if (n >= 0 && n != v->n) {
        return QL_FAIL(QL_ERR_FORMAT, "%s: '%s' has %lld entries, the vocabulary %lld", v->path,
                       key, (long long)n, (long long)v->n);
    }
    for (int64_t i = 0; i < n; i++) {
        int64_t type = 0;
        QL_TRY(ql_gguf_array_i64(v->g, key, i, &type));
        if (type != TOKEN_CONTROL && type != TOKEN_USER) continue;
        json_t *t = json_pack("{s:I, s:O, s:b, s:b, s:b, s:b, s:b}", "id", (json_int_t)i, "content",
                              json_array_get(v->pieces, (size_t)i), "single_word", 0, "lstrip", 0,
                              "rstrip", 0, "normalized", 0, "special", type == TOKEN_CONTROL);
        if (json_array_append_new(v->added, t) != 0) return QL_NOMEM(v->path);
    }
    return QL_OK;
}

static ql_status read_vocabulary(vocabulary *v, ql_str model) {
    v->n = ql_gguf_array_len(v->g, "tokenizer.ggml.tokens");
    if (v->n < 1) return QL_FAIL(QL_ERR_FORMAT, "%s: tokenizer.ggml.tokens is missing", v->path);
    if (str_is(model, "gpt2")) {
        QL_TRY(read_pre(v));
    } else if (!str_is(model, "llama")) {
        return QL_FAIL(QL_ERR_UNSUPPORTED,
                       "%s: tokenizer.ggml.model is '%.*s'; gpt2 and llama are supported", v->path,
                       clip(model), model.s);
    }
    v->add_bos = v->pre ? v->pre->adds_bos : true;
    v->space_prefix = true;
    QL_TRY(ql_gguf_get_bool(v->g, "tokenizer.ggml.add_bos_token", &v->add_bos));
    QL_TRY(ql_gguf_get_bool(v->g, "tokenizer.ggml.add_space_prefix", &v->space_prefix));
    QL_TRY(ql_gguf_token_id(v->g, v->path, "tokenizer.ggml.bos_token_id", v->n, &v->bos));
    QL_TRY(ql_gguf_token_id(v->g, v->path, "tokenizer.ggml.eos_token_id", v->n, &v->eos));
    QL_TRY(ql_gguf_token_id(v->g, v->path, "tokenizer.ggml.padding_token_id", v->n, &v->pad));
    QL_TRY(ql_gguf_token_id(v->g, v->path, "tokenizer.ggml.unknown_token_id", v->n, &v->unk));
    v->pieces = json_array();
    v->added = json_array();
    if (!v->pieces || !v->added) return QL_NOMEM(v->path);
    QL_TRY(read_pieces(v));
    return read_added(v);
}

static json_t *piece_or_null(const vocabulary *v, int64_t id) {
    return id < 0 ? json_null() : json_incref(json_array_get(v->pieces, (size_t)id));
}

/* -------------------------------------------------------- tokenizer.json parts */

static json_t *byte_level(bool space, bool use_regex) {
    return json_pack("{s:s, s:b, s:b, s:b}", "type", "ByteLevel", "add_prefix_space", space,
                     "trim_offsets", 1, "use_regex", use_regex);
}

static json_t *replace(const char *from, const char *to) {
    return json_pack("{s:s, s:{s:s}, s:s}", "type", "Replace", "pattern", "String", from, "content",
                     to);
}

static json_t *normalizer(const vocabulary *v) {
    if (v->pre) return json_null();
    if (!v->space_prefix) return replace(" ", "\xE2\x96\x81");
    return json_pack("{s:s, s:[{s:s, s:s}, o]}", "type", "Sequence", "normalizers", "type",
                     "Prepend", "prepend", "\xE2\x96\x81", replace(" ", "\xE2\x96\x81"));
}

static json_t *pre_tokenizer(const vocabulary *v) {
    if (!v->pre) return json_null();
    if (v->pre->digits) {
        return json_pack("{s:s, s:[{s:s, s:b}, o]}", "type", "Sequence", "pretokenizers", "type",
                         "Digits", "individual_digits", 1, byte_level(false, true));
    }
    if (!v->pre->split) return byte_level(false, true);
    return json_pack("{s:s, s:[{s:s, s:{s:s}, s:s, s:b}, o]}", "type", "Sequence", "pretokenizers",
                     "type", "Split", "pattern", "Regex", v->pre->split, "behavior", "Isolated",
                     "invert", 0, byte_level(false, false));
}

static json_t *decoder(const vocabulary *v) {
    if (v->pre) return byte_level(true, true);
    json_t *d = json_pack("{s:s, s:[o, {s:s}, {s:s}]}", "type", "Sequence", "decoders",
                          replace("\xE2\x96\x81", " "), "type", "ByteFallback", "type", "Fuse");
    if (d && v->space_prefix) {
        json_t *strip = json_pack("{s:s, s:s, s:i, s:i}", "type", "Strip", "content", " ", "start",
                                  1, "stop", 0);
        if (json_array_append_new(json_object_get(d, "decoders"), strip) != 0) {
            json_decref(d);
            return NULL;
        }
    }
    return d;
}

/* BOS in front of every text, where the vocabulary wants it. */
static json_t *post_processor(const vocabulary *v) {
    if (!v->add_bos || v->bos < 0) return json_null();
    json_t *bos = json_array_get(v->pieces, (size_t)v->bos);
    return json_pack("{s:s, s:[{s:{s:O, s:i}}, {s:{s:s, s:i}}],"
                     " s:[{s:{s:O, s:i}}, {s:{s:s, s:i}}, {s:{s:O, s:i}}, {s:{s:s, s:i}}],"
                     " s:{s:{s:O, s:[I], s:[O]}}}",
                     "type", "TemplateProcessing", "single", "SpecialToken", "id", bos, "type_id",
                     0, "Sequence", "id", "A", "type_id", 0, "pair", "SpecialToken", "id", bos,
                     "type_id", 0, "Sequence", "id", "A", "type_id", 0, "SpecialToken", "id", bos,
                     "type_id", 1, "Sequence", "id", "B", "type_id", 1, "special_tokens",
                     json_string_value(bos), "id", bos, "ids", (json_int_t)v->bos, "tokens", bos);
}

static json_t *piece_ids(const vocabulary *v) {
    json_t *ids = json_object();
    for (int64_t i = 0; ids && i < v->n; i++) {
        const char *piece = json_string_value(json_array_get(v->pieces, (size_t)i));
        if (json_object_set_new_nocheck(ids, piece, json_integer(i)) != 0) {
            json_decref(ids);
            return NULL;
        }
    }
    return ids;
}

/* ---------------------------------------------------------------- documents */

static ql_status make_tokenizer(const vocabulary *v, json_t **out) {
    json_t *ids = piece_ids(v), *merges = NULL;
    if (!ids) return QL_NOMEM(v->path);
    ql_status s = v->pre ? ql_gguf_merges_stored(v->g, v->path, &merges)
                         : ql_gguf_merges_from_scores(v->g, v->path, v->pieces, ids, &merges);
    if (s != QL_OK) {
        json_decref(ids);
        return s;
    }
    bool spm = !v->pre;
    json_t *model = json_pack("{s:s, s:n, s:o, s:n, s:n, s:b, s:b, s:b, s:o, s:o}", "type", "BPE",
                              "dropout", "unk_token", spm ? piece_or_null(v, v->unk) : json_null(),
                              "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk", spm,
                              "byte_fallback", spm, "ignore_merges",
                              v->pre && v->pre->ignore_merges, "vocab", ids, "merges", merges);
    *out = json_pack("{s:s, s:n, s:n, s:O, s:o, s:o, s:o, s:o, s:o}", "version", "1.0",
                     "truncation", "padding", "added_tokens", v->added, "normalizer", normalizer(v),
                     "pre_tokenizer", pre_tokenizer(v), "post_processor", post_processor(v),
                     "decoder", decoder(v), "model", model);
    return *out ? QL_OK : QL_NOMEM(v->path);
}

/* {"0": {content ...}}: the added tokens by id, without the id inside. */
static json_t *added_by_id(const vocabulary *v) {
    json_t *o = json_object();
    for (size_t i = 0; o && i < json_array_size(v->added); i++) {
        json_t *t = json_copy(json_array_get(v->added, i));
        char key[24];
        snprintf(key, sizeof key, "%lld", (long long)json_integer_value(json_object_get(t, "id")));
        if (!t || json_object_del(t, "id") != 0 || json_object_set(o, key, t) != 0) {
            json_decref(o);
            o = NULL;
        }
        json_decref(t);
    }
    return o;
}

static json_t *additional_special(const vocabulary *v) {
    json_t *a = json_array();
    if (v->bos >= 0) json_array_append_new(a, piece_or_null(v, v->bos));
    if (v->eos >= 0) json_array_append_new(a, piece_or_null(v, v->eos));
    return a;
}

static ql_status make_config(const vocabulary *v, json_t **out) {
    int64_t context = 0;
    ql_str template = {NULL, 0};
    QL_TRY(ql_gguf_get_i64(v->g, "llama.context_length", &context));
    QL_TRY(ql_gguf_get_str(v->g, "tokenizer.chat_template", &template));
    json_t *chat = NULL;
    if (template.s) {
        QL_TRY(ql_gguf_json_string(v->path, "tokenizer.chat_template", template, &chat));
    }
    json_t *j = json_pack(
        "{s:s, s:b, s:o, s:o, s:o, s:o, s:I, s:b, s:o, s:o}", "tokenizer_class",
        "PreTrainedTokenizerFast", "add_prefix_space", !v->pre && v->space_prefix, "bos_token",
        piece_or_null(v, v->bos), "eos_token", piece_or_null(v, v->eos), "pad_token",
        piece_or_null(v, v->pad), "unk_token", piece_or_null(v, v->unk), "model_max_length",
        (json_int_t)context, "clean_up_tokenization_spaces", 0, "added_tokens_decoder",
        added_by_id(v), "additional_special_tokens", additional_special(v));
    if (chat && json_object_set_new(j, "chat_template", chat) != 0) {
        json_decref(j);
        return QL_NOMEM(v->path);
    }
    if (!j) return QL_NOMEM(v->path);
    *out = j;
    return QL_OK;
}

ql_status ql_gguf_tokenizer_json(const ql_gguf *g, const char *path, json_t **tokenizer,
                                 json_t **config) {
    vocabulary v = {.g = g, .path = path};
    ql_str model = {NULL, 0};
    *tokenizer = *config = NULL;
    QL_TRY(ql_gguf_get_str(g, "tokenizer.ggml.model", &model));
    if (!model.s) return QL_OK;
    ql_status s = read_vocabulary(&v, model);
    if (s == QL_OK) s = make_tokenizer(&v, tokenizer);
    if (s == QL_OK) s = make_config(&v, config);
    json_decref(v.pieces);
    json_decref(v.added);
    if (s != QL_OK) {
        json_decref(*tokenizer);
        *tokenizer = NULL;
    }
    return s;
}
