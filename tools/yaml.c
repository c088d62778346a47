/* yaml.c - libyaml's events into the tree of yaml.h. */
#include "tools/yaml.h"

#include <string.h>
#include <yaml.h>

#include "tools/names.h"

typedef struct parse {
    yaml_parser_t parser;
    const char *what;
    ql_arena *arena;
    ql_yaml *open[QL_YAML_MAX_DEPTH];   /* lists and mappings that are not closed yet */
    ql_yaml *last[QL_YAML_MAX_DEPTH];   /* their newest values                        */
    const char *key[QL_YAML_MAX_DEPTH]; /* a key that waits for its value            */
    yaml_mark_t key_at[QL_YAML_MAX_DEPTH];
    int depth, nodes;
    ql_yaml *root;
} parse;

static ql_status refuse(const parse *p, yaml_mark_t at, const char *sentence, const char *word) {
    return QL_FAIL(QL_ERR_FORMAT, "%s:%zu:%zu: %s%.*s", p->what, at.line + 1, at.column + 1,
                   sentence, QL_NAME_MAX, word);
}

/* libyaml's own refusal. */
static ql_status parser_error(const parse *p) {
    const yaml_parser_t *y = &p->parser;
    const char *problem = y->problem ? y->problem : "it is not YAML";
    if (y->error == YAML_MEMORY_ERROR) return QL_NOMEM("a file of settings");
    if (y->error == YAML_READER_ERROR) {
        return QL_FAIL(QL_ERR_FORMAT, "%s: %s at byte %zu", p->what, problem,
                       y->problem_offset + 1);
    }
    return QL_FAIL(QL_ERR_FORMAT, "%s:%zu:%zu: %s%s%s", p->what, y->problem_mark.line + 1,
                   y->problem_mark.column + 1, problem, y->context ? " " : "",
                   y->context ? y->context : "");
}

/* -------------------------------------------------------------------- nodes */

static bool in_map(const parse *p) {
    return p->depth > 0 && p->open[p->depth - 1]->kind == QL_YAML_MAP;
}

/* Only the tags that say what a plain scalar or collection is anyway. */
static bool is_plain_tag(const yaml_char_t *tag) {
    static const char prefix[] = "tag:yaml.org,2002:";
    const char *text = (const char *)tag;
    return !tag || (strncmp(text, prefix, sizeof prefix - 1) == 0 &&
                    ql_names_have("str int float bool seq map", text + sizeof prefix - 1));
}

static ql_status check_start(const parse *p, const yaml_event_t *e, const yaml_char_t *anchor,
                             const yaml_char_t *tag) {
    if (anchor) {
        return refuse(p, e->start_mark,
                      "anchors are not read here; write the value out instead of &",
                      (const char *)anchor);
    }
    if (!is_plain_tag(tag))
        return refuse(p, e->start_mark, "settings are plain values; there is no tag ",
                      (const char *)tag);
    return QL_OK;
}

/* A name without control characters. */
static bool is_name(const char *text, size_t len) {
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)text[i] < ' ' || text[i] == 0x7f) return false;
    return len > 0;
}

static ql_status take_key(parse *p, const yaml_event_t *e) {
    const ql_yaml *map = p->open[p->depth - 1];
    const char *name = (const char *)e->data.scalar.value;
    size_t len = e->data.scalar.length;
    if (!is_name(name, len)) return refuse(p, e->start_mark, "a key is the name of a setting", "");
    if (strcmp(name, "<<") == 0)
        return refuse(p, e->start_mark, "mappings are not merged here; write the values out", "");
    for (const ql_yaml *y = map->first; y; y = y->next) {
        if (strcmp(y->key, name) != 0) continue;
        char sentence[64];
        snprintf(sentence, sizeof sentence, "the key stands on line %d already: ", y->line);
        return refuse(p, e->start_mark, sentence, name);
    }
    p->key[p->depth - 1] = ql_arena_strndup(p->arena, name, len);
    p->key_at[p->depth - 1] = e->start_mark;
    return p->key[p->depth - 1] ? QL_OK : QL_NOMEM("a key");
}

/* A new node in the innermost open list or mapping. */
static ql_status add_node(parse *p, ql_yaml_kind kind, const yaml_event_t *e, ql_yaml **out) {
    if (++p->nodes > QL_YAML_MAX_NODES)
        return refuse(p, e->start_mark, "more values than settings could need", "");
    if (p->depth == 0 && kind != QL_YAML_MAP)
        return refuse(p, e->start_mark, "expected settings, one 'key: value' a line", "");
    ql_yaml *y = ql_arena_alloc(p->arena, 1, sizeof *y);
    if (!y) return QL_NOMEM("a setting");
    yaml_mark_t at = in_map(p) ? p->key_at[p->depth - 1] : e->start_mark;
    *y = (ql_yaml){.kind = kind, .line = (int)at.line + 1, .column = (int)at.column + 1};
    *out = y;
    if (p->depth == 0) {
        p->root = y;
        return QL_OK;
    }
    ql_yaml *parent = p->open[p->depth - 1], *last = p->last[p->depth - 1];
    if (in_map(p)) y->key = p->key[p->depth - 1];
    p->key[p->depth - 1] = NULL;
    p->last[p->depth - 1] = y;
    parent->n++;
    if (last)
        last->next = y;
    else
        parent->first = y;
    return QL_OK;
}

/* ------------------------------------------------------------------- events */

static ql_status take_scalar(parse *p, const yaml_event_t *e) {
    QL_TRY(check_start(p, e, e->data.scalar.anchor, e->data.scalar.tag));
    if (in_map(p) && !p->key[p->depth - 1]) return take_key(p, e);
    ql_yaml *y;
    QL_TRY(add_node(p, QL_YAML_SCALAR, e, &y));
    const char *text = (const char *)e->data.scalar.value;
    size_t len = e->data.scalar.length;
    if (memchr(text, '\0', len)) return refuse(p, e->start_mark, "a value holds a zero byte", "");
    y->text = ql_arena_strndup(p->arena, text, len);
    y->plain = e->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    return y->text ? QL_OK : QL_NOMEM("a setting");
}

static ql_status open_node(parse *p, ql_yaml_kind kind, const yaml_event_t *e,
                           const yaml_char_t *anchor, const yaml_char_t *tag) {
    ql_yaml *y;
    QL_TRY(check_start(p, e, anchor, tag));
    if (in_map(p) && !p->key[p->depth - 1])
        return refuse(p, e->start_mark, "a key is the name of a setting", "");
    if (p->depth == QL_YAML_MAX_DEPTH)
        return refuse(p, e->start_mark, "settings are not nested as deep as this", "");
    QL_TRY(add_node(p, kind, e, &y));
    p->open[p->depth] = y;
    p->last[p->depth] = NULL;
    p->key[p->depth] = NULL;
    p->depth++;
    return QL_OK;
}

static ql_status take_event(parse *p, const yaml_event_t *e) {
    switch (e->type) {
    case YAML_SCALAR_EVENT: return take_scalar(p, e);
    case YAML_SEQUENCE_START_EVENT:
        return open_node(p, QL_YAML_LIST, e, e->data.sequence_start.anchor,
                         e->data.sequence_start.tag);
    case YAML_MAPPING_START_EVENT:
        return open_node(p, QL_YAML_MAP, e, e->data.mapping_start.anchor,
                         e->data.mapping_start.tag);
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT: p->depth--; return QL_OK;
    case YAML_ALIAS_EVENT:
        return refuse(p, e->start_mark,
                      "aliases are not read here; write the value out instead of *",
                      (const char *)e->data.alias.anchor);
    case YAML_DOCUMENT_START_EVENT:
        return p->root ? refuse(p, e->start_mark, "a second document; one file holds one", "")
                       : QL_OK;
    default: return QL_OK;
    }
}

static ql_status take_events(parse *p) {
    for (bool more = true; more;) {
        yaml_event_t e;
        if (!yaml_parser_parse(&p->parser, &e)) return parser_error(p);
        more = e.type != YAML_STREAM_END_EVENT;
        ql_status s = take_event(p, &e);
        yaml_event_delete(&e);
        QL_TRY(s);
    }
    if (p->root) return QL_OK;
    return QL_FAIL(QL_ERR_FORMAT, "%s: it holds no settings", p->what);
}

ql_status ql_yaml_parse(const char *text, size_t len, const char *what, ql_arena *a,
                        ql_yaml **out) {
    static const char bom[] = "\xEF\xBB\xBF";
    parse p = {.what = what, .arena = a};
    if (len > QL_YAML_MAX_BYTES) {
        return QL_FAIL(QL_ERR_FORMAT, "%s: %zu bytes, settings have at most %d", what, len,
                       QL_YAML_MAX_BYTES);
    }
    if (len >= 3 && memcmp(text, bom, 3) == 0) {
        text += 3;
        len -= 3;
    }
    if (!yaml_parser_initialize(&p.parser)) return QL_NOMEM("a file of settings");
    yaml_parser_set_encoding(&p.parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&p.parser, (const unsigned char *)text, len);
    ql_status s = take_events(&p);
    yaml_parser_delete(&p.parser);
    if (s == QL_OK) *out = p.root;
    return s;
}

bool ql_yaml_is_null(const ql_yaml *y) {
    static const char *const words[] = {"", "~", "null", "Null", "NULL"};
    if (y->kind != QL_YAML_SCALAR) return y->n == 0;
    for (size_t i = 0; y->plain && i < sizeof words / sizeof *words; i++)
        if (strcmp(y->text, words[i]) == 0) return true;
    return false;
}
