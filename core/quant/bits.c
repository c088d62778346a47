/* bits.c - see bits.h. */
#include "core/quant/bits.h"

#include <stdio.h>
#include <string.h>

enum { MAX_RULES = 1 << 16, MAX_TEXT = 1 << 22, LAST_LAYER = 1 << 20 };

typedef enum where { WHERE_ALL, WHERE_LAYERS, WHERE_NAME } where;

typedef struct rule {
    const char *text; /* "0-3:4", for messages                     */
    where where;
    int32_t first, last;   /* layers                                 */
    const char *name;      /* WHERE_NAME                             */
    ql_quant_opts opts;    /* storage, unless plain                  */
    bool plain;            /* 16                                     */
    int64_t fits, decides; /* weights that it fits, and those that no earlier rule fits */
} rule;

struct ql_bits {
    rule *rules;
    int32_t n;
    int32_t last_layer; /* largest number seen, -1 = none */
    ql_arena memory;
};

/* ------------------------------------------------------------------------------------ families */

const ql_qtype *ql_qtype_like(ql_qtype_id like, int64_t bits) {
    const ql_qtype *type = ql_qtype_at(like);
    bool even = type != NULL && strncmp(type->name, "int", 3) == 0;
    if (!even) return ql_qtype_of_bits(bits);
    if (bits == 8) return ql_qtype_at(QL_QT_INT8);
    if (bits < 2 || bits > 4) return NULL;
    char name[8];
    const char *form = type->bits < 8 ? type->name + 4 : ""; /* "", "s" or "a" */
    snprintf(name, sizeof name, "int%d%.1s", (int)bits, form);
    return ql_qtype_find(name);
}

ql_quant_opts ql_quant_opts_of(const ql_quant_opts *usual, ql_qtype_id id) {
    const ql_qtype *type = ql_qtype_at(id);
    ql_quant_opts o = *usual;
    o.type = id;
    if (type->per_row || id == QL_QT_DYN8) o.double_quant = false;
    return o;
}

/* ------------------------------------------------------------------------------------- parsing */

/* A decimal number that ends at *end; -1 when there is none. */
static int64_t number(const char *s, const char **end) {
    int64_t n = 0;
    *end = s;
    while (**end >= '0' && **end <= '9' && n <= LAST_LAYER) n = 10 * n + (*(*end)++ - '0');
    return *end == s ? -1 : n;
}

static ql_status parse_where(char *s, rule *r) {
    const char *end;
    if (strcmp(s, "*") == 0) {
        r->where = WHERE_ALL;
        return QL_OK;
    }
    int64_t first = number(s, &end), last = first;
    if (first >= 0 && *end == '-') last = number(end + 1, &end);
    if (first < 0 || *end != '\0') {
        r->where = WHERE_NAME;
        r->name = s;
        bool whole = s[0] != '\0' && s[0] != '.' && s[strlen(s) - 1] != '.' &&
                     strstr(s, "..") == NULL && strpbrk(s, " \t*") == NULL;
        if (whole) return QL_OK;
        return QL_FAIL(QL_ERR_INVALID,
                       "bits_by_layer: '%.80s': expected layers (3 or 0-3), whole parts of a "
                       "weight's name (mlp, self_attn.q_proj) or *",
                       r->text);
    }
    if (last < 0 || last > LAST_LAYER || first > LAST_LAYER)
        return QL_FAIL(QL_ERR_INVALID, "bits_by_layer: '%.80s': expected a range such as 0-3",
                       r->text);
    if (last < first)
        return QL_FAIL(QL_ERR_INVALID,
                       "bits_by_layer: '%.80s' holds no layer: it ends before it begins", r->text);
    r->where = WHERE_LAYERS;
    r->first = (int32_t)first;
    r->last = (int32_t)last;
    return QL_OK;
}

static ql_status parse_storage(const char *s, const ql_quant_opts *usual, rule *r) {
    const char *end;
    int64_t bits = number(s, &end);
    if (bits < 0 || *end != '\0') bits = -1;
    r->plain = bits == 16;
    if (r->plain) return QL_OK;
    const ql_qtype *type = bits >= 0 ? ql_qtype_like(usual->type, bits) : ql_qtype_find(s);
    if (type == NULL)
        return QL_FAIL(QL_ERR_INVALID,
                       "bits_by_layer: '%.80s': a weight is stored in 2, 3, 4, 8 or 16 bits, or as "
                       "one of %s",
                       r->text, ql_qtype_names());
    r->opts = ql_quant_opts_of(usual, type->id);
    return ql_quant_opts_check(&r->opts);
}

static char *trim(char *s) {
    while (*s == ' ' || *s == '\t') s++;
    size_t n = strlen(s);
    while (n > 0 && (s[n - 1] == ' ' || s[n - 1] == '\t')) n--;
    s[n] = '\0';
    return s;
}

static ql_status parse_rule(ql_bits *b, char *s, const ql_quant_opts *usual) {
    rule *r = &b->rules[b->n++];
    s = trim(s);
    r->text = ql_arena_strndup(&b->memory, s, strlen(s));
    if (r->text == NULL) return QL_NOMEM("bits_by_layer");
    char *colon = strrchr(s, ':');
    if (colon == NULL)
        return QL_FAIL(QL_ERR_INVALID,
                       "bits_by_layer: '%.80s': expected WHERE:BITS, as in 0-3:4,*:2", r->text);
    *colon = '\0';
    QL_TRY(parse_where(trim(s), r));
    return parse_storage(trim(colon + 1), usual, r);
}

static ql_status parse(ql_bits *b, const char *text, const ql_quant_opts *usual) {
    size_t len = strlen(text), rules = 1;
    for (size_t i = 0; i < len; i++) rules += text[i] == ',';
    if (len > MAX_TEXT || rules > MAX_RULES)
        return QL_FAIL(QL_ERR_INVALID, "bits_by_layer: more than %d rules", MAX_RULES);
    char *s = ql_arena_strndup(&b->memory, text, len);
    b->rules = ql_arena_alloc(&b->memory, rules, sizeof *b->rules);
    if (s == NULL || b->rules == NULL) return QL_NOMEM("bits_by_layer");
    while (s != NULL) {
        char *comma = strchr(s, ',');
        if (comma != NULL) *comma = '\0';
        QL_TRY(parse_rule(b, s, usual));
        s = comma != NULL ? comma + 1 : NULL;
    }
    return QL_OK;
}

ql_status ql_bits_parse(const char *text, const ql_quant_opts *usual, ql_bits **out) {
    ql_bits *b = ql_host_calloc(1, sizeof *b);
    if (b == NULL) return QL_NOMEM("bits_by_layer");
    b->last_layer = -1;
    ql_status s = parse(b, text, usual);
    if (s != QL_OK) {
        ql_bits_free(b);
        return s;
    }
    *out = b;
    return QL_OK;
}

void ql_bits_free(ql_bits *b) {
    if (b == NULL) return;
    ql_arena_free(&b->memory);
    ql_host_free(b);
}

/* ------------------------------------------------------------------------------------ choosing */

/* The first part of a path that is a number; -1 = none. */
static int32_t layer_of(const char *module) {
    for (const char *p = module; p != NULL; p = strchr(p, '.')) {
        const char *end;
        p += *p == '.';
        int64_t n = number(p, &end);
        if (n >= 0 && n <= LAST_LAYER && (*end == '.' || *end == '\0')) return (int32_t)n;
    }
    return -1;
}

/* Is `name` a run of whole parts of the path? */
static bool has_parts(const char *module, const char *name) {
    size_t n = strlen(name);
    for (const char *p = module; (p = strstr(p, name)) != NULL; p++) {
        bool begins = p == module || p[-1] == '.', ends = p[n] == '\0' || p[n] == '.';
        if (begins && ends) return true;
    }
    return false;
}

static bool fits(const rule *r, const char *module, int32_t layer) {
    switch (r->where) {
    case WHERE_LAYERS: return layer >= r->first && layer <= r->last;
    case WHERE_NAME: return has_parts(module, r->name);
    default: return true;
    }
}

ql_bits_choice ql_bits_choose(ql_bits *b, const char *module, ql_quant_opts *out) {
    int32_t layer = layer_of(module);
    rule *first = NULL;
    if (layer > b->last_layer) b->last_layer = layer;
    for (int32_t i = 0; i < b->n; i++) {
        rule *r = &b->rules[i];
        if (!fits(r, module, layer)) continue;
        r->fits++;
        if (first == NULL) first = r;
    }
    if (first == NULL) return QL_BITS_USUAL;
    first->decides++;
    if (first->plain) return QL_BITS_PLAIN;
    *out = first->opts;
    return QL_BITS_TYPE;
}

ql_status ql_bits_finish(const ql_bits *b) {
    for (int32_t i = 0; i < b->n; i++) {
        const rule *r = &b->rules[i];
        if (r->where == WHERE_LAYERS && r->last > b->last_layer)
            return QL_FAIL(QL_ERR_INVALID,
                           "bits_by_layer: '%.80s' names layer %d; the last layer whose weights "
                           "are quantized here is %d",
                           r->text, (int)r->last, (int)b->last_layer);
        if (r->fits == 0)
            return QL_FAIL(QL_ERR_INVALID,
                           "bits_by_layer: '%.80s' fits no weight that is quantized here", r->text);
        if (r->decides == 0)
            return QL_FAIL(
                QL_ERR_INVALID,
                "bits_by_layer: '%.80s' decides nothing: an earlier rule fits all of its "
                "weights, and the first that fits decides",
                r->text);
    }
    return QL_OK;
}
