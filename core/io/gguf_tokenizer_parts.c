/*
 * gguf_tokenizer_parts.c - normalizer, pre-tokenizer, post-processor, decoder and model of the
 * tokenizer.json that a GGUF vocabulary stands for.
 */
#include <stdlib.h>
#include <string.h>

#include "core/io/gguf_merges.h"
#include "core/io/gguf_tokenizer.h"
#include "core/io/source_internal.h"

#define MARK "\xE2\x96\x81" /* U+2581, SentencePiece's space */

static json_t *byte_level(bool space, bool use_regex) {
    return json_pack("{s:s, s:b, s:b, s:b}", "type", "ByteLevel", "add_prefix_space", space,
                     "trim_offsets", 1, "use_regex", use_regex);
}

static json_t *replace(const char *kind, const char *from, const char *to) {
    return json_pack("{s:s, s:{s:s}, s:s}", "type", "Replace", "pattern", kind, from, "content",
                     to);
}

static json_t *metaspace(const ql_gguf_vocab *v) {
    return json_pack("{s:s, s:s, s:s, s:b}", "type", "Metaspace", "replacement", MARK,
                     "prepend_scheme", v->space_prefix ? "always" : "never", "split", 1);
}

/* --------------------------------------------------------------- normalizer */

/* tokenizer.ggml.precompiled_charsmap in base64; none when absent. */
static json_t *charsmap(const ql_gguf_vocab *v) {
    static const char key[] = "tokenizer.ggml.precompiled_charsmap";
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    int64_t n = ql_gguf_array_len(v->g, key);
    if (n <= 0) return json_null();
    char *text = ql_host_calloc((size_t)n / 3 + 1, 4);
    size_t used = 0;
    for (int64_t i = 0; text && i < n; i += 3) {
        uint32_t word = 0;
        for (int64_t k = i; k < i + 3; k++) {
            int64_t byte = 0;
            if (k < n && ql_gguf_array_i64(v->g, key, k, &byte) != QL_OK) byte = 0;
            word = word << 8 | (uint32_t)(byte & 255);
        }
        for (int k = 0; k < 4; k++) {
            bool padding = i + k > n;
            text[used++] = padding ? '=' : digits[word >> (18 - 6 * k) & 63];
        }
    }
    json_t *j =
        text ? json_pack("{s:s, s:s%}", "type", "Precompiled", "precompiled_charsmap", text, used)
             : NULL;
    ql_host_free(text);
    return j;
}

json_t *ql_gguf_normalizer(const ql_gguf_vocab *v) {
    switch (v->kind) {
    case QL_GGUF_BYTE_BPE: return json_null();
    case QL_GGUF_UNIGRAM: return charsmap(v);
    case QL_GGUF_WORDPIECE: /* files are made of lower-case models only */
        return json_pack("{s:s, s:b, s:b, s:n, s:b}", "type", "BertNormalizer", "clean_text", 1,
                         "handle_chinese_chars", 1, "strip_accents", "lowercase", 1);
    case QL_GGUF_SPM_BPE: break;
    }
    if (!v->space_prefix) return replace("String", " ", MARK);
    return json_pack("{s:s, s:[{s:s, s:s}, o]}", "type", "Sequence", "normalizers", "type",
                     "Prepend", "prepend", MARK, replace("String", " ", MARK));
}

/* ------------------------------------------------------------ pre-tokenizer */

/* A scheme's steps; digits and GPT-2's words have components of their own. */
static json_t *byte_bpe_steps(const ql_gguf_pre *pre) {
    json_t *list = json_array();
    bool words = false;
    for (int i = 0; i < QL_GGUF_PRE_STEPS && pre->steps[i]; i++) {
        bool last = i + 1 == QL_GGUF_PRE_STEPS || !pre->steps[i + 1];
        json_t *step;
        if (strcmp(pre->steps[i], QL_GPT2_WORDS) == 0 && last) {
            words = true;
            continue;
        }
        if (strcmp(pre->steps[i], "\\p{N}") == 0) {
            step = json_pack("{s:s, s:b}", "type", "Digits", "individual_digits", 1);
        } else {
            step = json_pack("{s:s, s:{s:s}, s:s, s:b}", "type", "Split", "pattern", "Regex",
                             pre->steps[i], "behavior", "Isolated", "invert", 0);
        }
        json_array_append_new(list, step);
    }
    json_array_append_new(list, byte_level(false, words));
    return list;
}

json_t *ql_gguf_pre_tokenizer(const ql_gguf_vocab *v) {
    if (v->kind == QL_GGUF_SPM_BPE) return json_null();
    if (v->kind == QL_GGUF_UNIGRAM && !v->squeeze) return metaspace(v);
    if (v->kind == QL_GGUF_UNIGRAM) {
        return json_pack("{s:s, s:[{s:s}, o]}", "type", "Sequence", "pretokenizers", "type",
                         "WhitespaceSplit", metaspace(v));
    }
    if (v->kind == QL_GGUF_WORDPIECE) return json_pack("{s:s}", "type", "BertPreTokenizer");
    json_t *steps = byte_bpe_steps(v->pre);
    if (json_array_size(steps) == 1) {
        json_t *only = json_incref(json_array_get(steps, 0));
        json_decref(steps);
        return only;
    }
    return json_pack("{s:s, s:o}", "type", "Sequence", "pretokenizers", steps);
}

/* ------------------------------------------------------------------ decoder */

json_t *ql_gguf_decoder(const ql_gguf_vocab *v) {
    if (v->kind == QL_GGUF_BYTE_BPE) return byte_level(true, true);
    if (v->kind == QL_GGUF_UNIGRAM) return metaspace(v);
    if (v->kind == QL_GGUF_WORDPIECE) {
        return json_pack("{s:s, s:s, s:b}", "type", "WordPiece", "prefix", "##", "cleanup", 1);
    }
    json_t *d = json_pack("{s:s, s:[o, {s:s}, {s:s}]}", "type", "Sequence", "decoders",
                          replace("String", MARK, " "), "type", "ByteFallback", "type", "Fuse");
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

/* ----------------------------------------------------------- post-processor */

static void special(const ql_gguf_vocab *v, json_t *list, int64_t id, int type, json_t *used) {
    json_t *piece = json_array_get(v->pieces, (size_t)id);
    json_array_append_new(
        list, json_pack("{s:{s:O, s:i}}", "SpecialToken", "id", piece, "type_id", type));
    json_object_set_new(
        used, json_string_value(piece),
        json_pack("{s:O, s:[I], s:[O]}", "id", piece, "ids", (json_int_t)id, "tokens", piece));
}

static void sequence(json_t *list, const char *id, int type) {
    json_array_append_new(list, json_pack("{s:{s:s, s:i}}", "Sequence", "id", id, "type_id", type));
}

/* Ids in front of and behind every text; -1 = none. A WordPiece pair opens once. */
json_t *ql_gguf_post_processor(const ql_gguf_vocab *v) {
    bool words = v->kind == QL_GGUF_WORDPIECE;
    int64_t front = words ? v->cls : v->add_bos ? v->bos : -1;
    int64_t back = words ? v->sep : v->add_eos ? v->eos : -1;
    if (front < 0 && back < 0) return json_null();
    int second = v->kind == QL_GGUF_UNIGRAM ? 0 : 1;
    json_t *single = json_array(), *pair = json_array(), *used = json_object();
    json_t *lists[2] = {single, pair};
    for (int i = 0; i < 2; i++) {
        if (front >= 0) special(v, lists[i], front, 0, used);
        sequence(lists[i], "A", 0);
        if (back >= 0) special(v, lists[i], back, 0, used);
    }
    if (front >= 0 && !words) special(v, pair, front, second, used);
    sequence(pair, "B", second);
    if (back >= 0) special(v, pair, back, second, used);
    return json_pack("{s:s, s:o, s:o, s:o}", "type", "TemplateProcessing", "single", single, "pair",
                     pair, "special_tokens", used);
}

/* -------------------------------------------------------------------- model */

static json_t *piece_ids(const ql_gguf_vocab *v) {
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

static ql_status bpe_model(const ql_gguf_vocab *v, json_t **out) {
    json_t *ids = piece_ids(v), *merges = NULL;
    bool spm = v->kind == QL_GGUF_SPM_BPE;
    if (!ids) return QL_NOMEM(v->path);
    ql_status s = spm ? ql_gguf_merges_from_scores(v->g, v->path, v->pieces, ids, &merges)
                      : ql_gguf_merges_stored(v->g, v->path, &merges);
    if (s != QL_OK) {
        json_decref(ids);
        return s;
    }
    *out = json_pack("{s:s, s:n, s:o, s:n, s:n, s:b, s:b, s:b, s:o, s:o}", "type", "BPE", "dropout",
                     "unk_token", spm ? ql_gguf_piece_or_null(v, v->unk) : json_null(),
                     "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk", spm,
                     "byte_fallback", spm, "ignore_merges", v->pre && v->pre->ignore_merges,
                     "vocab", ids, "merges", merges);
    return *out ? QL_OK : QL_NOMEM(v->path);
}

static ql_status unigram_model(const ql_gguf_vocab *v, json_t **out) {
    static const char key[] = "tokenizer.ggml.scores";
    if (ql_gguf_array_len(v->g, key) != v->n) {
        return QL_FAIL(QL_ERR_FORMAT, "%s: '%s' does not have %lld entries", v->path, key,
                       (long long)v->n);
    }
    json_t *list = json_array();
    ql_status s = list ? QL_OK : QL_NOMEM(v->path);
    for (int64_t i = 0; i < v->n && s == QL_OK; i++) {
        double score = 0;
        s = ql_gguf_array_f64(v->g, key, i, &score);
        if (s != QL_OK) break;
        json_t *pair = json_pack("[O, f]", json_array_get(v->pieces, (size_t)i), score);
        if (json_array_append_new(list, pair) != 0) {
            s = QL_FAIL(QL_ERR_FORMAT, "%s: the score of token %lld is not a number", v->path,
                        (long long)i);
        }
    }
    if (s != QL_OK) {
        json_decref(list);
        return s;
    }
    *out = json_pack("{s:s, s:o, s:o, s:b}", "type", "Unigram", "unk_id",
                     v->unk < 0 ? json_null() : json_integer(v->unk), "vocab", list,
                     "byte_fallback", 0);
    return *out ? QL_OK : QL_NOMEM(v->path);
}

static ql_status wordpiece_model(const ql_gguf_vocab *v, json_t **out) {
    json_t *ids = piece_ids(v);
    if (!ids) return QL_NOMEM(v->path);
    json_t *unk = v->unk < 0 ? json_string("[UNK]") : ql_gguf_piece_or_null(v, v->unk);
    *out =
        json_pack("{s:s, s:o, s:s, s:i, s:o}", "type", "WordPiece", "unk_token", unk,
                  "continuing_subword_prefix", "##", "max_input_chars_per_word", 100, "vocab", ids);
    return *out ? QL_OK : QL_NOMEM(v->path);
}

ql_status ql_gguf_model(const ql_gguf_vocab *v, json_t **out) {
    if (v->kind == QL_GGUF_UNIGRAM) return unigram_model(v, out);
    return v->kind == QL_GGUF_WORDPIECE ? wordpiece_model(v, out) : bpe_model(v, out);
}
