/*
 * components.c - walking over components and reading what several kinds of them share.
 */
#include "core/data/components.h"

#include <string.h>

#include "core/base/json.h"

#define NEST_MAX       8u
#define COMPONENTS_MAX 64u

ql_status ql_component_string(const json_t *o, const char *what, const char *key, ql_string *out) {
    const json_t *v = json_object_get(o, key);
    if (!json_is_string(v)) {
        return QL_FAIL(QL_ERR_FORMAT, "%s: '%s' of a tokenizer component must be a string", what,
                       key);
    }
    *out = (ql_string){json_string_value(v), json_string_length(v)};
    return QL_OK;
}

ql_status ql_component_pattern(const json_t *o, const char *what, ql_string *text, bool *literal) {
    const json_t *p = json_object_get(o, "pattern");
    *literal = json_object_get(p, "String") != NULL;
    return ql_component_string(p, what, *literal ? "String" : "Regex", text);
}

ql_status ql_component_unknown(const char *part, const char *type, const char *what) {
    return QL_FAIL(QL_ERR_UNSUPPORTED, "%s: %s '%s' is not supported", what, part, type);
}

ql_status ql_component_metaspace(const json_t *o, const char *what, ql_string *mark,
                                 const char **scheme) {
    bool prefix = true;
    *scheme = NULL;
    QL_TRY(ql_component_string(o, what, "replacement", mark));
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
    return ql_component_unknown("prepend scheme", *scheme, what);
}

/* ------------------------------------------------------------------- sequences */

typedef struct level {
    const json_t *list;
    size_t i;
} level;

typedef struct walker {
    level stack[NEST_MAX];
    size_t depth, seen;
    const ql_part *part;
    const char *what;
} walker;

static ql_status visit(walker *w, ql_tokenizer *t, const json_t *o) {
    const char *type = json_string_value(json_object_get(o, "type"));
    if (!type) {
        return QL_FAIL(QL_ERR_FORMAT, "%s: a component of '%s' has no 'type'", w->what,
                       w->part->name);
    }
    if (++w->seen > COMPONENTS_MAX) {
        return QL_FAIL(QL_ERR_FORMAT, "%s: '%s' has more than %u components", w->what,
                       w->part->name, COMPONENTS_MAX);
    }
    if (strcmp(type, "Sequence") != 0) return w->part->visit(t, o, type, w->what);
    const json_t *list = json_object_get(o, w->part->list_key);
    if (!json_is_array(list) || w->depth == NEST_MAX) {
        return QL_FAIL(QL_ERR_FORMAT,
                       "%s: a Sequence in '%s' must hold an array '%s' and nest at "
                       "most %u deep",
                       w->what, w->part->name, w->part->list_key, NEST_MAX);
    }
    w->stack[w->depth++] = (level){list, 0};
    return QL_OK;
}

ql_status ql_components_each(ql_tokenizer *t, const json_t *root, const ql_part *part,
                             const char *what) {
    walker w = {.part = part, .what = what};
    const json_t *o = json_object_get(root, part->name);
    if (!o || json_is_null(o)) return QL_OK;
    QL_TRY(visit(&w, t, o));
    while (w.depth) {
        level *top = &w.stack[w.depth - 1];
        if (top->i == json_array_size(top->list)) {
            w.depth--;
        } else {
            QL_TRY(visit(&w, t, json_array_get(top->list, top->i++)));
        }
    }
    return QL_OK;
}
