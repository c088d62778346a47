/*
 * tokenizer_pretok.c - the pre-tokenizer of tokenizer.json.
 */
#include <stdio.h>
#include <string.h>

#include "core/base/json.h"
#include "core/data/components.h"
#include "core/data/uniset.h"
#include "core/io/gguf_pre.h"

/* Rust's \w, which the Whitespace component uses. */
#define RUST_WORD QL_PATTERN_LETTERS "\\p{Nd}\\p{Pc}\\x{200C}\\x{200D}"

static ql_status read_behavior(const json_t *o, const char *what, ql_split_behavior *out) {
    static const char *const names[] = {
        [QL_SPLIT_REMOVED] = "Removed",
        [QL_SPLIT_ISOLATED] = "Isolated",
        [QL_SPLIT_MERGED_PREVIOUS] = "MergedWithPrevious",
        [QL_SPLIT_MERGED_NEXT] = "MergedWithNext",
        [QL_SPLIT_CONTIGUOUS] = "Contiguous",
    };
    const char *name = NULL;
    QL_TRY(ql_json_get_str(o, what, "behavior", &name));
    if (!name) return QL_OK;
    for (int i = 0; i < (int)(sizeof names / sizeof *names); i++) {
        if (strcmp(name, names[i]) == 0) {
            *out = (ql_split_behavior)i;
            return QL_OK;
        }
    }
    return ql_component_unknown("split behavior", name, what);
}

static ql_status add_split(ql_tokenizer *t, const json_t *o, const char *what) {
    ql_split_behavior behavior = QL_SPLIT_ISOLATED;
    bool invert = false, literal;
    ql_string s;
    QL_TRY(read_behavior(o, what, &behavior));
    QL_TRY(ql_json_get_bool(o, what, "invert", &invert));
    QL_TRY(ql_component_pattern(o, what, &s, &literal));
    return ql_pretok_add_split(&t->pretok, s.s, s.n, literal, behavior, invert, what);
}

static ql_status add_byte_level(ql_tokenizer *t, const json_t *o, const char *what) {
    bool prefix = true, words = true;
    QL_TRY(ql_json_get_bool(o, what, "add_prefix_space", &prefix));
    QL_TRY(ql_json_get_bool(o, what, "use_regex", &words));
    if (prefix) QL_TRY(ql_pretok_add(&t->pretok, QL_PRETOK_PREFIX, " ", false));
    if (words) {
        QL_TRY(ql_pretok_add_split(&t->pretok, QL_GPT2_WORDS, strlen(QL_GPT2_WORDS), false,
                                   QL_SPLIT_ISOLATED, false, what));
    }
    return ql_pretok_add(&t->pretok, QL_PRETOK_BYTES, "", false);
}

static ql_status add_metaspace(ql_tokenizer *t, const json_t *o, const char *what) {
    ql_string mark;
    const char *scheme;
    bool cut = true;
    QL_TRY(ql_component_metaspace(o, what, &mark, &scheme));
    QL_TRY(ql_json_get_bool(o, what, "split", &cut));
    QL_TRY(ql_pretok_add(&t->pretok, QL_PRETOK_SPACES, mark.s, false));
    if (strcmp(scheme, "never") != 0) {
        QL_TRY(ql_pretok_add(&t->pretok, QL_PRETOK_PREFIX, mark.s, strcmp(scheme, "first") == 0));
    }
    if (!cut) return QL_OK;
    return ql_pretok_add_split(&t->pretok, mark.s, mark.n, true, QL_SPLIT_MERGED_NEXT, false, what);
}

static ql_status add_pattern(ql_tokenizer *t, const char *pattern, ql_split_behavior behavior,
                             bool invert, const char *what) {
    return ql_pretok_add_split(&t->pretok, pattern, strlen(pattern), false, behavior, invert, what);
}

/* The package's own set of punctuation, as members of brackets. */
static ql_status add_punctuation(ql_tokenizer *t, ql_split_behavior behavior, const char *what) {
    size_t n;
    const ql_code_range *v = ql_uniset_ranges(QL_UNISET_PUNCTUATION, &n);
    ql_text s = {0};
    ql_status st = ql_text_append(&s, "[", 1);
    for (size_t i = 0; i < n && st == QL_OK; i++) {
        char range[40];
        int len = snprintf(range, sizeof range, "\\x{%X}-\\x{%X}", (unsigned)v[i].first,
                           (unsigned)v[i].last);
        st = ql_text_append(&s, range, (size_t)len);
    }
    if (st == QL_OK) st = ql_text_append(&s, "]", 1);
    if (st == QL_OK) st = ql_pretok_add_split(&t->pretok, s.s, s.n, false, behavior, false, what);
    ql_text_free(&s);
    return st;
}

static ql_status add_pretok(ql_tokenizer *t, const json_t *o, const char *type, const char *what) {
    ql_split_behavior behavior = QL_SPLIT_ISOLATED;
    bool each = false;
    if (strcmp(type, "Split") == 0) return add_split(t, o, what);
    if (strcmp(type, "ByteLevel") == 0) return add_byte_level(t, o, what);
    if (strcmp(type, "Metaspace") == 0) return add_metaspace(t, o, what);
    if (strcmp(type, "Digits") == 0) {
        QL_TRY(ql_json_get_bool(o, what, "individual_digits", &each));
        return add_pattern(t, "\\p{N}", each ? QL_SPLIT_ISOLATED : QL_SPLIT_CONTIGUOUS, false,
                           what);
    }
    if (strcmp(type, "Punctuation") == 0) {
        QL_TRY(read_behavior(o, what, &behavior));
        return add_punctuation(t, behavior, what);
    }
    if (strcmp(type, "BertPreTokenizer") == 0) {
        QL_TRY(add_pattern(t, "\\s", QL_SPLIT_REMOVED, false, what));
        return add_punctuation(t, QL_SPLIT_ISOLATED, what);
    }
    if (strcmp(type, "Whitespace") == 0) {
        return add_pattern(t, "[" RUST_WORD "]+|[^" RUST_WORD "\\s]+", QL_SPLIT_REMOVED, true,
                           what);
    }
    if (strcmp(type, "WhitespaceSplit") == 0)
        return add_pattern(t, "\\s", QL_SPLIT_REMOVED, false, what);
    return ql_component_unknown("pre-tokenizer", type, what);
}

ql_status ql_tokenizer_load_pretok(ql_tokenizer *t, const json_t *root, const char *what) {
    static const ql_part part = {"pre_tokenizer", "pretokenizers", add_pretok};
    return ql_components_each(t, root, &part, what);
}
