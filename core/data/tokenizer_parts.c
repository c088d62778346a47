/*
 * tokenizer_parts.c - normalizer and decoder of tokenizer.json.
 *
 * A component that is not known is refused by its type.
 */
#include <string.h>

#include "core/base/json.h"
#include "core/data/components.h"

/* ------------------------------------------------------------------ normalizer */

static ql_status add_step(ql_tokenizer *t, ql_normalize_kind kind, ql_normalize_step **out) {
    ql_normalizer *z = &t->normalizer;
    QL_TRY(ql_host_grow((void **)&z->steps, &z->cap, z->n + 1, sizeof *z->steps));
    ql_normalize_step *step = &z->steps[z->n++]; /* half-filled steps are freed with the rest */
    *step = (ql_normalize_step){.kind = kind};
    if (out) *out = step;
    return QL_OK;
}

static ql_status add_replace(ql_tokenizer *t, const json_t *o, const char *what) {
    ql_normalize_step *step;
    ql_string s;
    bool literal;
    QL_TRY(add_step(t, QL_NORMALIZE_REPLACE, &step));
    QL_TRY(ql_component_string(o, what, "content", &s));
    QL_TRY(ql_text_append(&step->text, s.s, s.n));
    QL_TRY(ql_component_pattern(o, what, &s, &literal));
    return ql_pattern_compile(s.s, s.n, literal, what, &step->pattern);
}

static ql_status add_strip(ql_tokenizer *t, const json_t *o, const char *what) {
    ql_normalize_step *step;
    QL_TRY(add_step(t, QL_NORMALIZE_STRIP, &step));
    step->left = step->right = true;
    QL_TRY(ql_json_get_bool(o, what, "strip_left", &step->left));
    return ql_json_get_bool(o, what, "strip_right", &step->right);
}

static ql_status add_form(ql_tokenizer *t, int form) {
    ql_normalize_step *step;
    QL_TRY(add_step(t, QL_NORMALIZE_UNICODE, &step));
    step->form = form;
    return QL_OK;
}

static ql_status add_drop(ql_tokenizer *t, ql_uniset set) {
    ql_normalize_step *step;
    QL_TRY(add_step(t, QL_NORMALIZE_DROP, &step));
    step->set = set;
    return QL_OK;
}

/* strip_accents null means: as lowercase. */
static ql_status add_bert(ql_tokenizer *t, const json_t *o, const char *what) {
    bool clean = true, cjk = true, lower = true;
    QL_TRY(ql_json_get_bool(o, what, "clean_text", &clean));
    QL_TRY(ql_json_get_bool(o, what, "handle_chinese_chars", &cjk));
    QL_TRY(ql_json_get_bool(o, what, "lowercase", &lower));
    bool accents = lower;
    QL_TRY(ql_json_get_bool(o, what, "strip_accents", &accents));
    if (clean) QL_TRY(add_step(t, QL_NORMALIZE_CLEAN, NULL));
    if (cjk) QL_TRY(add_step(t, QL_NORMALIZE_SPACE_CJK, NULL));
    if (accents) {
        QL_TRY(add_form(t, ql_normalize_form("NFD")));
        QL_TRY(add_drop(t, QL_UNISET_NONSPACING));
    }
    return lower ? add_step(t, QL_NORMALIZE_LOWERCASE, NULL) : QL_OK;
}

static ql_status add_charsmap(ql_tokenizer *t, const json_t *o, const char *what) {
    ql_normalize_step *step;
    ql_string s;
    QL_TRY(add_step(t, QL_NORMALIZE_CHARSMAP, &step));
    QL_TRY(ql_component_string(o, what, "precompiled_charsmap", &s));
    return ql_charsmap_open(s.s, s.n, what, &step->map);
}

static ql_status add_prepend(ql_tokenizer *t, const json_t *o, const char *what) {
    ql_normalize_step *step;
    ql_string s;
    QL_TRY(add_step(t, QL_NORMALIZE_PREPEND, &step));
    QL_TRY(ql_component_string(o, what, "prepend", &s));
    return ql_text_append(&step->text, s.s, s.n);
}

static ql_status add_normalizer(ql_tokenizer *t, const json_t *o, const char *type,
                                const char *what) {
    if (strcmp(type, "Prepend") == 0) return add_prepend(t, o, what);
    if (strcmp(type, "Replace") == 0) return add_replace(t, o, what);
    if (strcmp(type, "Strip") == 0) return add_strip(t, o, what);
    if (strcmp(type, "Lowercase") == 0) return add_step(t, QL_NORMALIZE_LOWERCASE, NULL);
    if (strcmp(type, "StripAccents") == 0) return add_drop(t, QL_UNISET_MARK);
    if (strcmp(type, "Nmt") == 0) return add_step(t, QL_NORMALIZE_NMT, NULL);
    if (strcmp(type, "BertNormalizer") == 0) return add_bert(t, o, what);
    if (strcmp(type, "Precompiled") == 0) return add_charsmap(t, o, what);
    int form = ql_normalize_form(type);
    return form ? add_form(t, form) : ql_component_unknown("normalizer", type, what);
}

ql_status ql_tokenizer_load_normalizer(ql_tokenizer *t, const json_t *root, const char *what) {
    static const ql_part part = {"normalizer", "normalizers", add_normalizer};
    return ql_components_each(t, root, &part, what);
}

/* --------------------------------------------------------------------- decoder */

static ql_status add_wordpiece_decoder(ql_tokenizer *t, const json_t *o, const char *what) {
    const char *prefix = "##";
    ql_decode_step *step;
    QL_TRY(ql_json_get_str(o, what, "prefix", &prefix));
    QL_TRY(ql_decoder_add(&t->decoder, QL_DECODE_WORDPIECE, prefix, strlen(prefix), &step));
    step->cleanup = true;
    return ql_json_get_bool(o, what, "cleanup", &step->cleanup);
}

static ql_status add_decoder(ql_tokenizer *t, const json_t *o, const char *type, const char *what) {
    ql_decode_step *step;
    ql_string s;
    if (strcmp(type, "ByteFallback") == 0)
        return ql_decoder_add(&t->decoder, QL_DECODE_BYTE_FALLBACK, "", 0, &step);
    if (strcmp(type, "Fuse") == 0) return ql_decoder_add(&t->decoder, QL_DECODE_FUSE, "", 0, &step);
    if (strcmp(type, "ByteLevel") == 0)
        return ql_decoder_add(&t->decoder, QL_DECODE_BYTE_LEVEL, "", 0, &step);
    if (strcmp(type, "Replace") == 0) {
        bool literal;
        QL_TRY(ql_component_string(o, what, "content", &s));
        QL_TRY(ql_decoder_add(&t->decoder, QL_DECODE_REPLACE, s.s, s.n, &step));
        QL_TRY(ql_component_pattern(o, what, &s, &literal));
        return ql_pattern_compile(s.s, s.n, literal, what, &step->pattern);
    }
    if (strcmp(type, "Strip") == 0) {
        int64_t start = 0, stop = 0;
        QL_TRY(ql_component_string(o, what, "content", &s));
        if (s.n == 0) return QL_FAIL(QL_ERR_FORMAT, "%s: decoder Strip has no content", what);
        QL_TRY(ql_json_get_i64(o, what, "start", 0, INT32_MAX, &start));
        QL_TRY(ql_json_get_i64(o, what, "stop", 0, INT32_MAX, &stop));
        QL_TRY(ql_decoder_add(&t->decoder, QL_DECODE_STRIP, s.s, s.n, &step));
        step->start = (size_t)start;
        step->stop = (size_t)stop;
        return QL_OK;
    }
    if (strcmp(type, "WordPiece") == 0) return add_wordpiece_decoder(t, o, what);
    if (strcmp(type, "Metaspace") == 0) {
        const char *scheme;
        QL_TRY(ql_component_metaspace(o, what, &s, &scheme));
        QL_TRY(ql_decoder_add(&t->decoder, QL_DECODE_METASPACE, s.s, s.n, &step));
        step->start = strcmp(scheme, "never") != 0;
        return QL_OK;
    }
    return ql_component_unknown("decoder", type, what);
}

ql_status ql_tokenizer_load_decoder(ql_tokenizer *t, const json_t *root, const char *what) {
    static const ql_part part = {"decoder", "decoders", add_decoder};
    return ql_components_each(t, root, &part, what);
}
