/*
 * gguf_tokenizer.c - the vocabulary of a GGUF and the two documents made of it.
 *
 * Four kinds: "gpt2" (byte-level BPE with merges; the pre-tokenizer has a name), "llama"
 * (SentencePiece's BPE: pieces with scores, byte fallback; merges are found in the vocabulary,
 * gguf_merges.c), "t5" (Unigram: pieces with scores and a map of characters) and "bert"
 * (WordPiece). Their parts of tokenizer.json are made in gguf_tokenizer_parts.c.
 */
#include "core/io/gguf_tokenizer.h"

#include <stdio.h>
#include <string.h>

#include "core/io/source_internal.h"

#define KEY(name) "tokenizer.ggml." name

enum { TOKEN_UNKNOWN = 2, TOKEN_CONTROL = 3, TOKEN_USER = 4 }; /* GGUF's token types */

/* ------------------------------------------------------------------ reading */

static bool str_is(ql_str s, const char *text) {
    return s.len == strlen(text) && memcmp(s.s, text, (size_t)s.len) == 0;
}

static ql_status read_kind(ql_gguf_vocab *v, ql_str model) {
    static const char *const names[] = {"gpt2", "llama", "t5", "bert"};
    for (int i = 0; i < 4; i++) {
        if (!str_is(model, names[i])) continue;
        v->kind = (ql_gguf_vocab_kind)i;
        return QL_OK;
    }
    return QL_FAIL(QL_ERR_UNSUPPORTED,
                   "%s: tokenizer.ggml.model is '%.*s'; gpt2, llama, t5 and bert are supported",
                   v->path, (int)(model.len > 64 ? 64 : model.len), model.s);
}

/* WordPiece in a GGUF marks beginnings of words by U+2581; Hugging Face marks continuations. */
static json_t *wordpiece_text(ql_str s, bool control) {
    char text[256];
    if (control) return json_stringn(s.s, (size_t)s.len);
    if (s.len >= 3 && memcmp(s.s, "\xE2\x96\x81", 3) == 0) {
        return json_stringn(s.s + 3, (size_t)s.len - 3);
    }
    if (s.len > sizeof text - 3) return NULL;
    memcpy(text, "##", 2);
    memcpy(text + 2, s.s, (size_t)s.len);
    return json_stringn(text, (size_t)s.len + 2);
}

static ql_status read_pieces(ql_gguf_vocab *v) {
    static const char key[] = KEY("tokens"), type_key[] = KEY("token_type");
    bool marked = v->kind == QL_GGUF_WORDPIECE, typed = ql_gguf_has(v->g, type_key);
    for (int64_t i = 0; i < v->n; i++) {
        ql_str s;
        int64_t type = 0;
        json_t *piece = NULL;
        QL_TRY(ql_gguf_array_str(v->g, key, i, &s));
        QL_TRY(ql_gguf_json_string(v->path, key, s, &piece));
        if (marked && typed) { QL_TRY(ql_gguf_array_i64(v->g, type_key, i, &type)); }
        if (marked) {
            json_decref(piece);
            piece = wordpiece_text(s, type == TOKEN_CONTROL);
            if (!piece) {
                return QL_FAIL(QL_ERR_FORMAT, "%s: token %lld is too long", v->path, (long long)i);
            }
        }
        if (json_array_append_new(v->pieces, piece) != 0) return QL_NOMEM(v->path);
    }
    return QL_OK;
}

static ql_status read_added(ql_gguf_vocab *v) {
    static const char key[] = KEY("token_type");
    int64_t n = ql_gguf_array_len(v->g, key);
    bool unknown = v->kind == QL_GGUF_UNIGRAM || v->kind == QL_GGUF_WORDPIECE;
    for (int64_t i = 0; i < n; i++) {
        int64_t type = 0;
        QL_TRY(ql_gguf_array_i64(v->g, key, i, &type));
        bool special = type == TOKEN_CONTROL || (unknown && type == TOKEN_UNKNOWN);
        if (!special && type != TOKEN_USER) continue;
        json_t *t = json_pack("{s:I, s:O, s:b, s:b, s:b, s:b, s:b}", "id", (json_int_t)i, "content",
                              json_array_get(v->pieces, (size_t)i), "single_word", 0, "lstrip", 0,
                              "rstrip", 0, "normalized", 0, "special", special);
        if (json_array_append_new(v->added, t) != 0) return QL_NOMEM(v->path);
    }
    return QL_OK;
}

static ql_status read_ids(ql_gguf_vocab *v) {
    const struct {
        const char *key;
        int64_t *id;
    } ids[] = {{KEY("bos_token_id"), &v->bos},     {KEY("eos_token_id"), &v->eos},
               {KEY("padding_token_id"), &v->pad}, {KEY("unknown_token_id"), &v->unk},
               {KEY("cls_token_id"), &v->cls},     {KEY("seperator_token_id"), &v->sep},
               {KEY("mask_token_id"), &v->mask}};
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++) {
        QL_TRY(ql_gguf_token_id(v->g, v->path, ids[i].key, v->n, ids[i].id));
    }
    if (v->cls < 0) v->cls = v->bos; /* newer files keep [CLS] there */
    if (v->sep < 0) v->sep = v->eos;
    return QL_OK;
}

static ql_status read_vocabulary(ql_gguf_vocab *v, ql_str model) {
    v->n = ql_gguf_array_len(v->g, KEY("tokens"));
    if (v->n < 1) return QL_FAIL(QL_ERR_FORMAT, "%s: tokenizer.ggml.tokens is missing", v->path);
    int64_t types = ql_gguf_array_len(v->g, KEY("token_type"));
    if (types >= 0 && types != v->n) {
        return QL_FAIL(QL_ERR_FORMAT, "%s: '%s' has %lld entries, the vocabulary %lld", v->path,
                       KEY("token_type"), (long long)types, (long long)v->n);
    }
    QL_TRY(read_kind(v, model));
    if (v->kind == QL_GGUF_BYTE_BPE) QL_TRY(ql_gguf_pre_read(v->g, v->path, &v->pre));
    v->add_bos = v->pre ? v->pre->add_bos : v->kind == QL_GGUF_SPM_BPE;
    v->add_eos = v->kind == QL_GGUF_UNIGRAM;
    v->space_prefix = v->squeeze = true;
    QL_TRY(ql_gguf_get_bool(v->g, KEY("add_bos_token"), &v->add_bos));
    QL_TRY(ql_gguf_get_bool(v->g, KEY("add_eos_token"), &v->add_eos));
    QL_TRY(ql_gguf_get_bool(v->g, KEY("add_space_prefix"), &v->space_prefix));
    QL_TRY(ql_gguf_get_bool(v->g, KEY("remove_extra_whitespaces"), &v->squeeze));
    if (ql_gguf_array_len(v->g, KEY("precompiled_charsmap")) > 0) {
        int64_t byte = 0; /* one type for all elements: the first tells whether they are bytes */
        QL_TRY(ql_gguf_array_i64(v->g, KEY("precompiled_charsmap"), 0, &byte));
    }
    QL_TRY(read_ids(v));
    v->pieces = json_array();
    v->added = json_array();
    if (!v->pieces || !v->added) return QL_NOMEM(v->path);
    QL_TRY(read_pieces(v));
    return read_added(v);
}

json_t *ql_gguf_piece_or_null(const ql_gguf_vocab *v, int64_t id) {
    return id < 0 ? json_null() : json_incref(json_array_get(v->pieces, (size_t)id));
}

/* ---------------------------------------------------------------- documents */

static ql_status make_tokenizer(const ql_gguf_vocab *v, json_t **out) {
    json_t *model = NULL;
    QL_TRY(ql_gguf_model(v, &model));
    *out =
        json_pack("{s:s, s:n, s:n, s:O, s:o, s:o, s:o, s:o, s:o}", "version", "1.0", "truncation",
                  "padding", "added_tokens", v->added, "normalizer", ql_gguf_normalizer(v),
                  "pre_tokenizer", ql_gguf_pre_tokenizer(v), "post_processor",
                  ql_gguf_post_processor(v), "decoder", ql_gguf_decoder(v), "model", model);
    return *out ? QL_OK : QL_NOMEM(v->path);
}

/* {"0": {content ...}}: the added tokens by id, without the id inside. */
static json_t *added_by_id(const ql_gguf_vocab *v) {
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

static json_t *additional_special(const ql_gguf_vocab *v) {
    json_t *a = json_array();
    if (v->bos >= 0) json_array_append_new(a, ql_gguf_piece_or_null(v, v->bos));
    if (v->eos >= 0) json_array_append_new(a, ql_gguf_piece_or_null(v, v->eos));
    return a;
}

/* "<architecture>.context_length", 0 when absent. */
static ql_status context_length(const ql_gguf_vocab *v, int64_t *out) {
    char key[96];
    ql_str arch = {"", 0};
    QL_TRY(ql_gguf_get_str(v->g, "general.architecture", &arch));
    snprintf(key, sizeof key, "%.*s.context_length", (int)(arch.len > 64 ? 64 : arch.len), arch.s);
    return ql_gguf_get_i64(v->g, key, out);
}

static ql_status make_config(const ql_gguf_vocab *v, json_t **out) {
    int64_t context = 0;
    ql_str template = {NULL, 0};
    QL_TRY(context_length(v, &context));
    QL_TRY(ql_gguf_get_str(v->g, "tokenizer.chat_template", &template));
    json_t *chat = NULL;
    if (template.s) {
        QL_TRY(ql_gguf_json_string(v->path, "tokenizer.chat_template", template, &chat));
    }
    json_t *j =
        json_pack("{s:s, s:b, s:o, s:o, s:o, s:o, s:I, s:b, s:o, s:o}", "tokenizer_class",
                  "PreTrainedTokenizerFast", "add_prefix_space", !v->pre && v->space_prefix,
                  "bos_token", ql_gguf_piece_or_null(v, v->bos), "eos_token",
                  ql_gguf_piece_or_null(v, v->eos), "pad_token", ql_gguf_piece_or_null(v, v->pad),
                  "unk_token", ql_gguf_piece_or_null(v, v->unk), "model_max_length",
                  (json_int_t)context, "clean_up_tokenization_spaces", 0, "added_tokens_decoder",
                  added_by_id(v), "additional_special_tokens", additional_special(v));
    if (j && v->kind == QL_GGUF_WORDPIECE) {
        json_object_set_new(j, "cls_token", ql_gguf_piece_or_null(v, v->cls));
        json_object_set_new(j, "sep_token", ql_gguf_piece_or_null(v, v->sep));
        json_object_set_new(j, "mask_token", ql_gguf_piece_or_null(v, v->mask));
    }
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
    ql_gguf_vocab v = {.g = g, .path = path};
    ql_str model = {NULL, 0};
    *tokenizer = *config = NULL;
    QL_TRY(ql_gguf_get_str(g, KEY("model"), &model));
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
