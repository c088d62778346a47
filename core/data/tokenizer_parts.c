/*
 * tokenizer_parts.c - normalizer, pre-tokenizer, decoder and post-processor of tokenizer.json.
 *
 * Each is null, one component, or a Sequence of components (Sequences may nest a little). A
 * component that is not known is refused by its type.
 */
#include <string.h>

#include "core/base/json.h"
#include "core/data/tokenizer_impl.h"

#define NEST_MAX       8u
#define COMPONENTS_MAX 64u

typedef struct string {
    const char *s;
    size_t n;
} string;

static ql_status need_string(const json_t *o, const char *what, const char *key, string *out) {
    const json_t *v = json_object_get(o, key);
    if (!json_is_string(v)) {
        return QL_FAIL(QL_ERR_FORMAT, "%s: '%s' of a tokenizer component must be a string", what,
                       key);
    }
    *out = (string){json_string_value(v), json_string_length(v)};
    return QL_OK;
}

/* {"String": text} or {"Regex": expression}. */
static ql_status compile_pattern(const json_t *o, const char *what, string *text, bool *literal) {
    const json_t *p = json_object_get(o, "pattern");
    *literal = json_object_get(p, "String") != NULL;
    return need_string(p, what, *literal ? "String" : "Regex", text);
}

/* ------------------------------------------------------------------- sequences */

typedef ql_status (*component_fn)(ql_tokenizer *t, const json_t *o, const char *type,
                                  const char *what);

typedef struct level {
    const json_t *list;
    size_t i;
} level;

typedef struct walker {
    level stack[NEST_MAX];
    size_t depth, seen;
    const char *list_key, *part, *what;
    component_fn visit;
} walker;

static ql_status visit(walker *w, ql_tokenizer *t, const json_t *o) {
    const char *type = json_string_value(json_object_get(o, "type"));
    if (!type) {
        return QL_FAIL(QL_ERR_FORMAT, "%s: a component of '%s' has no 'type'", w->what, w->part);
    }
    if (++w->seen > COMPONENTS_MAX) {
        return QL_FAIL(QL_ERR_FORMAT, "%s: '%s' has more than %u components", w->what, w->part,
                       COMPONENTS_MAX);
    }
    if (strcmp(type, "Sequence") != 0) return w->visit(t, o, type, w->what);
    const json_t *list = json_object_get(o, w->list_key);
    if (!json_is_array(list) || w->depth == NEST_MAX) {
        return QL_FAIL(QL_ERR_FORMAT,
                       "%s: a Sequence in '%s' must hold an array '%s' and nest at "
                       "most %u deep",
                       w->what, w->part, w->list_key, NEST_MAX);
    }
    w->stack[w->depth++] = (level){list, 0};
    return QL_OK;
}

/* Calls visit for every component of root[part], in order. */
static ql_status for_components(ql_tokenizer *t, const json_t *root, walker *w) {
    const json_t *o = json_object_get(root, w->part);
    if (!o || json_is_null(o)) return QL_OK;
    QL_TRY(visit(w, t, o));
    while (w->depth) {
        level *top = &w->stack[w->depth - 1];
        if (top->i == json_array_size(top->list)) {
            w->depth--;
        } else {
            QL_TRY(visit(w, t, json_array_get(top->list, top->i++)));
        }
    }
    return QL_OK;
}

static ql_status unknown(const char *part, const char *type, const char *what) {
    return QL_FAIL(QL_ERR_UNSUPPORTED, "%s: %s '%s' is not supported", what, part, type);
}

/* ------------------------------------------------------------------ normalizer */

static ql_status fill_normalizer(ql_normalize_step *step, const json_t *o, const char *type,
                                 const char *what) {
    string s;
    if (strcmp(type, "Prepend") == 0) {
        step->kind = QL_NORMALIZE_PREPEND;
        QL_TRY(need_string(o, what, "prepend", &s));
        return ql_text_append(&step->text, s.s, s.n);
    }
    if (strcmp(type, "Replace") == 0) {
        bool literal;
        step->kind = QL_NORMALIZE_REPLACE;
        QL_TRY(need_string(o, what, "content", &s));
        QL_TRY(ql_text_append(&step->text, s.s, s.n));
        QL_TRY(compile_pattern(o, what, &s, &literal));
        return ql_pattern_compile(s.s, s.n, literal, what, &step->pattern);
    }
    if (strcmp(type, "Strip") == 0) {
        step->kind = QL_NORMALIZE_STRIP;
        step->left = step->right = true;
        QL_TRY(ql_json_get_bool(o, what, "strip_left", &step->left));
        return ql_json_get_bool(o, what, "strip_right", &step->right);
    }
    if (strcmp(type, "Lowercase") == 0) {
        step->kind = QL_NORMALIZE_LOWERCASE;
        return QL_OK;
    }
    step->kind = QL_NORMALIZE_UNICODE;
    step->form = ql_normalize_form(type);
    return step->form ? QL_OK : unknown("normalizer", type, what);
}

static ql_status add_normalizer(ql_tokenizer *t, const json_t *o, const char *type,
                                const char *what) {
    ql_normalizer *z = &t->normalizer;
    QL_TRY(ql_host_grow((void **)&z->steps, &z->cap, z->n + 1, sizeof *z->steps));
    ql_normalize_step *step = &z->steps[z->n++]; /* half-filled steps are freed with the rest */
    *step = (ql_normalize_step){0};
    return fill_normalizer(step, o, type, what);
}

ql_status ql_tokenizer_load_normalizer(ql_tokenizer *t, const json_t *root, const char *what) {
    walker w = {
        .list_key = "normalizers", .part = "normalizer", .what = what, .visit = add_normalizer};
    return for_components(t, root, &w);
}

/* --------------------------------------------------------------- pre-tokenizer */

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
    return unknown("split behavior", name, what);
}

static ql_status add_split(ql_tokenizer *t, const json_t *o, const char *what) {
    ql_split_behavior behavior = QL_SPLIT_ISOLATED;
    bool invert = false, literal;
    string s;
    QL_TRY(read_behavior(o, what, &behavior));
    QL_TRY(ql_json_get_bool(o, what, "invert", &invert));
    QL_TRY(compile_pattern(o, what, &s, &literal));
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

/* The mark that stands for a space, and whether and where one is put in front. */
static ql_status read_metaspace(const json_t *o, const char *what, string *mark,
                                const char **scheme) {
    bool prefix = true;
    *scheme = NULL;
    QL_TRY(need_string(o, what, "replacement", mark));
    int32_t code;
    if (mark->n == 0 || ql_utf8_decode(mark->s, mark->n, &code) != mark->n) {
        return QL_FAIL(QL_ERR_FORMAT, "%s: the replacement of Metaspace must be one character",
                       what);
    }
    QL_TRY(ql_json_get_bool(o, what, "add_prefix_space", &prefix)); /* the older key */
    QL_TRY(ql_json_get_str(o, what, "prepend_scheme", scheme));
    if (!*scheme) *scheme = prefix ? "always" : "never";
    if (strcmp(*scheme, "always") == 0 || strcmp(*scheme, "first") == 0 ||
        strcmp(*scheme, "never") == 0)
        return QL_OK;
    return unknown("prepend scheme", *scheme, what);
}

static ql_status add_metaspace(ql_tokenizer *t, const json_t *o, const char *what) {
    string mark;
    const char *scheme;
    bool cut = true;
    QL_TRY(read_metaspace(o, what, &mark, &scheme));
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
        return add_pattern(t, "[\\p{P}!-/:-@\\[-`{-~]", behavior, false, what);
    }
    if (strcmp(type, "Whitespace") == 0) {
        return add_pattern(t, "[" RUST_WORD "]+|[^" RUST_WORD "\\s]+", QL_SPLIT_REMOVED, true,
                           what);
    }
    if (strcmp(type, "WhitespaceSplit") == 0)
        return add_pattern(t, "\\s", QL_SPLIT_REMOVED, false, what);
    return unknown("pre-tokenizer", type, what);
}

ql_status ql_tokenizer_load_pretok(ql_tokenizer *t, const json_t *root, const char *what) {
    walker w = {
        .list_key = "pretokenizers", .part = "pre_tokenizer", .what = what, .visit = add_pretok};
    return for_components(t, root, &w);
}

/* --------------------------------------------------------------------- decoder */

static ql_status add_decoder(ql_tokenizer *t, const json_t *o, const char *type, const char *what) {
    ql_decode_step *step;
    string s;
    if (strcmp(type, "ByteFallback") == 0)
        return ql_decoder_add(&t->decoder, QL_DECODE_BYTE_FALLBACK, "", 0, &step);
    if (strcmp(type, "Fuse") == 0) return ql_decoder_add(&t->decoder, QL_DECODE_FUSE, "", 0, &step);
    if (strcmp(type, "ByteLevel") == 0)
        return ql_decoder_add(&t->decoder, QL_DECODE_BYTE_LEVEL, "", 0, &step);
    if (strcmp(type, "Replace") == 0) {
        bool literal;
        QL_TRY(need_string(o, what, "content", &s));
        QL_TRY(ql_decoder_add(&t->decoder, QL_DECODE_REPLACE, s.s, s.n, &step));
        QL_TRY(compile_pattern(o, what, &s, &literal));
        return ql_pattern_compile(s.s, s.n, literal, what, &step->pattern);
    }
    if (strcmp(type, "Strip") == 0) {
        int64_t start = 0, stop = 0;
        QL_TRY(need_string(o, what, "content", &s));
        if (s.n == 0) return QL_FAIL(QL_ERR_FORMAT, "%s: decoder Strip has no content", what);
        QL_TRY(ql_json_get_i64(o, what, "start", 0, INT32_MAX, &start));
        QL_TRY(ql_json_get_i64(o, what, "stop", 0, INT32_MAX, &stop));
        QL_TRY(ql_decoder_add(&t->decoder, QL_DECODE_STRIP, s.s, s.n, &step));
        step->start = (size_t)start;
        step->stop = (size_t)stop;
        return QL_OK;
    }
    if (strcmp(type, "Metaspace") == 0) {
        const char *scheme;
        QL_TRY(read_metaspace(o, what, &s, &scheme));
        QL_TRY(ql_decoder_add(&t->decoder, QL_DECODE_METASPACE, s.s, s.n, &step));
        step->start = strcmp(scheme, "never") != 0;
        return QL_OK;
    }
    return unknown("decoder", type, what);
}

ql_status ql_tokenizer_load_decoder(ql_tokenizer *t, const json_t *root, const char *what) {
    walker w = {.list_key = "decoders", .part = "decoder", .what = what, .visit = add_decoder};
    return for_components(t, root, &w);
}

/* -------------------------------------------------------------- post-processor */

static ql_status push_known(const ql_tokenizer *t, ql_ids *v, const json_t *id, const char *what) {
    json_int_t i = json_is_integer(id) ? json_integer_value(id) : -1;
    if (i < 0 || i >= ql_tokenizer_size(t) || !ql_tokenizer_piece(t, (int32_t)i)) {
        return QL_FAIL(QL_ERR_FORMAT,
                       "%s: the post-processor names id %lld, which is not in the "
                       "vocabulary",
                       what, (long long)i);
    }
    return ql_ids_push(v, (int32_t)i);
}

/* The ids of one {"SpecialToken": {"id": name}} of a template. */
static ql_status push_template_token(const ql_tokenizer *t, const json_t *processor,
                                     const json_t *piece, ql_ids *v, const char *what) {
    const json_t *token = json_object_get(piece, "SpecialToken");
    string name;
    QL_TRY(need_string(token, what, "id", &name));
    const json_t *all = json_object_get(processor, "special_tokens");
    const json_t *ids = json_object_get(json_object_get(all, name.s), "ids");
    if (!json_array_size(ids)) {
        return QL_FAIL(QL_ERR_FORMAT,
                       "%s: the template uses '%s', but 'special_tokens' gives no "
                       "ids for it",
                       what, name.s);
    }
    for (size_t i = 0; i < json_array_size(ids); i++)
        QL_TRY(push_known(t, v, json_array_get(ids, i), what));
    return QL_OK;
}

/* Puts what a processor adds around what is there: its prefix comes first, its suffix last. */
static ql_status wrap(ql_tokenizer *t, const ql_ids *prefix, const ql_ids *suffix) {
    ql_ids joined = {0};
    ql_status st = QL_OK;
    for (size_t i = 0; i < prefix->n && st == QL_OK; i++) st = ql_ids_push(&joined, prefix->ids[i]);
    for (size_t i = 0; i < t->prefix.n && st == QL_OK; i++)
        st = ql_ids_push(&joined, t->prefix.ids[i]);
    for (size_t i = 0; i < suffix->n && st == QL_OK; i++)
        st = ql_ids_push(&t->suffix, suffix->ids[i]);
    ql_ids old = t->prefix;
    t->prefix = joined;
    ql_ids_free(&old);
    return st;
}

static ql_status read_template(const ql_tokenizer *t, const json_t *o, ql_ids *prefix,
                               ql_ids *suffix, const char *what) {
    const json_t *single = json_object_get(o, "single");
    size_t texts = 0;
    for (size_t i = 0; i < json_array_size(single); i++) {
        const json_t *piece = json_array_get(single, i);
        if (json_object_get(piece, "Sequence")) {
            texts++;
        } else {
            QL_TRY(push_template_token(t, o, piece, texts ? suffix : prefix, what));
        }
    }
    if (texts == 1) return QL_OK;
    return QL_FAIL(QL_ERR_FORMAT,
                   "%s: the template 'single' holds the text %zu times, expected "
                   "once",
                   what, texts);
}

/* "cls" and "sep" are [text, id]. */
static ql_status read_pair_processor(const ql_tokenizer *t, const json_t *o, ql_ids *prefix,
                                     ql_ids *suffix, const char *what) {
    QL_TRY(push_known(t, prefix, json_array_get(json_object_get(o, "cls"), 1), what));
    return push_known(t, suffix, json_array_get(json_object_get(o, "sep"), 1), what);
}

static ql_status add_processor(ql_tokenizer *t, const json_t *o, const char *type,
                               const char *what) {
    if (strcmp(type, "ByteLevel") == 0) return QL_OK; /* only concerns character offsets */
    ql_ids prefix = {0}, suffix = {0};
    ql_status st;
    if (strcmp(type, "TemplateProcessing") == 0) {
        st = read_template(t, o, &prefix, &suffix, what);
    } else if (strcmp(type, "RobertaProcessing") == 0 || strcmp(type, "BertProcessing") == 0) {
        st = read_pair_processor(t, o, &prefix, &suffix, what);
    } else {
        st = unknown("post-processor", type, what);
    }
    if (st == QL_OK) st = wrap(t, &prefix, &suffix);
    ql_ids_free(&prefix);
    ql_ids_free(&suffix);
    return st;
}

ql_status ql_tokenizer_load_postprocessor(ql_tokenizer *t, const json_t *root, const char *what) {
    walker w = {
        .list_key = "processors", .part = "post_processor", .what = what, .visit = add_processor};
    return for_components(t, root, &w);
}
