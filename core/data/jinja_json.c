/*
 * jinja_json.c - JSON to values with their origin, and values to JSON as Python's json.dumps writes
 * it (transformers replaces Jinja's own tojson by that).
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/data/jinja_run.h"
#include "core/data/text.h"

/* --------------------------------------------------------------------- from JSON */

static ql_status string_value(ql_jrun *r, const char *s, size_t n, uint16_t origin, ql_jval *out) {
    ql_jstr *t;
    QL_TRY(ql_jalloc(r, 1, sizeof *t, &t));
    *t = (ql_jstr){.s = s, .n = n, .origin = origin};
    *out = ql_jstring(t);
    return QL_OK;
}

static ql_status from_array(ql_jrun *r, const json_t *j, uint16_t origin, ql_jval *out) {
    ql_jlist *l;
    QL_TRY(ql_jlist_new(r, QL_JSHAPE_LIST, &l));
    for (size_t i = 0; i < json_array_size(j); i++) {
        ql_jval v;
        QL_TRY(ql_jfrom_json(r, json_array_get(j, i), origin, &v));
        QL_TRY(ql_jlist_push(r, l, v));
    }
    *out = ql_jlist_value(l);
    return QL_OK;
}

static ql_status from_object(ql_jrun *r, const json_t *j, uint16_t origin, ql_jval *out) {
    ql_jdict *d;
    json_t *object = (json_t *)(uintptr_t)j; /* jansson's iterators are not const */
    QL_TRY(ql_jdict_new(r, &d));
    for (void *it = json_object_iter(object); it; it = json_object_iter_next(object, it)) {
        ql_jval key, v;
        const char *name = json_object_iter_key(it);
        QL_TRY(string_value(r, name, strlen(name), origin, &key));
        QL_TRY(ql_jfrom_json(r, json_object_iter_value(it), origin, &v));
        QL_TRY(ql_jdict_set(r, d, key, v));
    }
    *out = (ql_jval){.kind = QL_JDICT, .u.dict = d};
    return QL_OK;
}

ql_status ql_jfrom_json(ql_jrun *r, const json_t *j, uint16_t origin, ql_jval *out) {
    QL_TRY(ql_jstep(r, 1));
    switch (json_typeof(j)) {
    case JSON_NULL: *out = QL_JNULL; break;
    case JSON_TRUE: *out = ql_jbool(true); break;
    case JSON_FALSE: *out = ql_jbool(false); break;
    case JSON_INTEGER: *out = ql_jint(json_integer_value(j)); break;
    case JSON_REAL: *out = ql_jfloat(json_real_value(j)); break;
    case JSON_STRING:
        return string_value(r, json_string_value(j), json_string_length(j), origin, out);
    case JSON_ARRAY:
    case JSON_OBJECT:
        if (r->value_depth >= QL_JVALUE_DEPTH)
            return QL_FAIL(QL_ERR_FORMAT, "a value is nested more than %d deep", QL_JVALUE_DEPTH);
        r->value_depth++;
        QL_TRY(json_is_array(j) ? from_array(r, j, origin, out) : from_object(r, j, origin, out));
        r->value_depth--;
        break;
    }
    out->origin = origin;
    return QL_OK;
}

/* The words that stand for who speaks: marks may be made of them ("<|" + role + "|>"). */
static bool known_role(const ql_jstr *s) {
    static const char *const ROLES[] = {"system", "user",     "assistant", "tool",
                                        "model",  "function", "developer", "ipython"};
    for (size_t i = 0; i < sizeof ROLES / sizeof *ROLES; i++)
        if (ql_jstr_is(s, ROLES[i])) return true;
    return false;
}

static ql_status from_message(ql_jrun *r, const json_t *j, size_t index, ql_jval *out) {
    uint16_t origin = (uint16_t)(QL_ORIGIN_MESSAGE + index);
    QL_TRY(ql_jfrom_json(r, j, origin, out));
    if (out->kind != QL_JDICT) return QL_OK;
    ql_jdict *d = out->u.dict;
    size_t at = ql_jdict_find_text(d, "role");
    if (at == SIZE_MAX || d->values[at].kind != QL_JSTR || !known_role(d->values[at].u.s))
        return QL_OK;
    const ql_jstr *role = d->values[at].u.s;
    return string_value(r, role->s, role->n, QL_ORIGIN_TEMPLATE, &d->values[at]);
}

ql_status ql_jfrom_var(ql_jrun *r, const ql_jinja_var *var, ql_jval *out) {
    if (var->kind != QL_JINJA_MESSAGES) {
        uint16_t origin = var->kind == QL_JINJA_TRUSTED ? QL_ORIGIN_TEMPLATE : QL_ORIGIN_DATA;
        return ql_jfrom_json(r, var->value, origin, out);
    }
    ql_jlist *l;
    size_t n = json_array_size(var->value);
    if (n > QL_ORIGIN_MESSAGES - QL_ORIGIN_MESSAGE) {
        return QL_FAIL(QL_ERR_FORMAT, "the conversation has %zu messages, at most %d are rendered",
                       n, QL_ORIGIN_MESSAGES - QL_ORIGIN_MESSAGE);
    }
    QL_TRY(ql_jlist_new(r, QL_JSHAPE_LIST, &l));
    for (size_t i = 0; i < n; i++) {
        ql_jval v;
        QL_TRY(from_message(r, json_array_get(var->value, i), i, &v));
        QL_TRY(ql_jlist_push(r, l, v));
    }
    *out = ql_jlist_value(l);
    out->origin = QL_ORIGIN_DATA;
    return QL_OK;
}

/* ----------------------------------------------------------------------- to JSON */

typedef struct dumper {
    ql_jrun *r;
    ql_jbuf b;
    bool ascii, sort;
    const ql_jstr *indent; /* of one level; NULL = all on one line */
    const ql_jstr *comma, *colon;
} dumper;

static ql_status put(dumper *d, const char *s, uint16_t origin) {
    return ql_jput(d->r, &d->b, s, strlen(s), origin);
}

static ql_status put_code(dumper *d, const ql_jstr *s, size_t at, size_t n, int32_t code) {
    static const char FROM[] = "\"\\\n\r\t\f\b", TO[] = "\"\\nrtfb";
    char out[16];
    const char *plain = code > 0 && code < 0x80 ? strchr(FROM, (char)code) : NULL;
    if (plain)
        (void)snprintf(out, sizeof out, "\\%c", TO[plain - FROM]);
    else if (code >= 0x20 && (code < 0x7f || !d->ascii))
        return ql_jput_part(d->r, &d->b, s, at, n);
    else if (code == 0x7f)
        return ql_jput_part(d->r, &d->b, s, at, n);
    else if (code < 0x10000)
        (void)snprintf(out, sizeof out, "\\u%04x", (unsigned)code);
    else
        (void)snprintf(out, sizeof out, "\\u%04x\\u%04x", 0xd7c0u + ((unsigned)code >> 10),
                       0xdc00u + ((unsigned)code & 0x3ffu));
    return put(d, out, ql_jorigin_at(s, at));
}

static ql_status dump_string(dumper *d, const ql_jstr *s) {
    uint16_t first = s->n ? ql_jorigin_at(s, 0) : s->origin;
    uint16_t last = s->n ? ql_jorigin_at(s, s->n - 1) : s->origin;
    QL_TRY(put(d, "\"", first));
    for (size_t i = 0, n; i < s->n; i += n) {
        int32_t code = 0;
        size_t plain = 0; /* bytes that stand as they are */
        while (i + plain < s->n && (unsigned char)s->s[i + plain] >= 0x20 &&
               s->s[i + plain] != '"' && s->s[i + plain] != '\\' &&
               ((unsigned char)s->s[i + plain] < 0x80 || !d->ascii)) {
            plain++;
        }
        n = plain;
        if (plain) {
            QL_TRY(ql_jput_part(d->r, &d->b, s, i, plain));
            continue;
        }
        n = ql_utf8_decode(s->s + i, s->n - i, &code);
        if (n == 0) n = 1;
        QL_TRY(put_code(d, s, i, n, code));
    }
    return put(d, "\"", last);
}

static ql_status new_line(dumper *d, int level, uint16_t origin) {
    if (!d->indent) return QL_OK;
    QL_TRY(put(d, "\n", origin));
    for (int i = 0; i < level; i++)
        QL_TRY(ql_jput(d->r, &d->b, d->indent->s, d->indent->n, origin));
    return QL_OK;
}

static ql_status dump(dumper *d, ql_jval v, int level);

static ql_status dump_list(dumper *d, ql_jval v, int level) {
    const ql_jlist *l = v.u.list;
    if (l->shape > QL_JSHAPE_TUPLE)
        return QL_JFAIL(d->r, "Object of type %s is not JSON serializable", ql_jtype(v));
    QL_TRY(put(d, "[", v.origin));
    for (size_t i = 0; i < l->n; i++) {
        if (i) QL_TRY(ql_jput(d->r, &d->b, d->comma->s, d->comma->n, v.origin));
        QL_TRY(new_line(d, level + 1, v.origin));
        QL_TRY(dump(d, l->items[i], level + 1));
    }
    if (l->n) QL_TRY(new_line(d, level, v.origin));
    return put(d, "]", v.origin);
}

static ql_status dump_key(dumper *d, ql_jval key) {
    if (key.kind == QL_JSTR) return dump_string(d, key.u.s);
    if (key.kind != QL_JNONE && !ql_jis_number(key))
        return QL_JFAIL(d->r, "keys must be str, int, float, bool or None, not %s", ql_jtype(key));
    QL_TRY(put(d, "\"", key.origin));
    QL_TRY(dump(d, key, 0));
    return put(d, "\"", key.origin);
}

/* The next key in order: the smallest above `last`, or the next in order of insertion. */
static ql_status sorted_keys(dumper *d, const ql_jdict *o, size_t *order) {
    for (size_t i = 0; i < o->n; i++) {
        size_t at = i;
        for (; d->sort && at > 0; at--) {
            int c;
            QL_TRY(ql_jorder(d->r, o->keys[order[at - 1]], o->keys[i], &c));
            if (c <= 0) break;
            order[at] = order[at - 1];
        }
        order[at] = i;
    }
    return QL_OK;
}

static ql_status dump_dict(dumper *d, ql_jval v, int level) {
    const ql_jdict *o = v.u.dict;
    size_t *order;
    QL_TRY(ql_jalloc(d->r, o->n + 1, sizeof *order, &order));
    QL_TRY(sorted_keys(d, o, order));
    QL_TRY(put(d, "{", v.origin));
    for (size_t i = 0; i < o->n; i++) {
        if (i) QL_TRY(ql_jput(d->r, &d->b, d->comma->s, d->comma->n, v.origin));
        QL_TRY(new_line(d, level + 1, v.origin));
        QL_TRY(dump_key(d, o->keys[order[i]]));
        QL_TRY(ql_jput(d->r, &d->b, d->colon->s, d->colon->n, v.origin));
        QL_TRY(dump(d, o->values[order[i]], level + 1));
    }
    if (o->n) QL_TRY(new_line(d, level, v.origin));
    return put(d, "}", v.origin);
}

static ql_status dump(dumper *d, ql_jval v, int level) {
    QL_TRY(ql_jstep(d->r, 1));
    if (level > QL_JVALUE_DEPTH) return QL_JFAIL(d->r, "values are nested more than 100 deep");
    switch ((ql_jkind)v.kind) {
    case QL_JNONE: return put(d, "null", v.origin);
    case QL_JBOOL: return put(d, v.u.b ? "true" : "false", v.origin);
    case QL_JINT: return ql_jput_repr(d->r, &d->b, v);
    case QL_JFLOAT:
        if (isnan(v.u.f)) return put(d, "NaN", v.origin);
        if (isinf(v.u.f)) return put(d, v.u.f < 0 ? "-Infinity" : "Infinity", v.origin);
        return ql_jput_repr(d->r, &d->b, v);
    case QL_JSTR: return dump_string(d, v.u.s);
    case QL_JLIST: return dump_list(d, v, level);
    case QL_JDICT: return dump_dict(d, v, level);
    default: return QL_JFAIL(d->r, "Object of type %s is not JSON serializable", ql_jtype(v));
    }
}

/* indent: None, a number of spaces, or the text of one level. */
static ql_status read_indent(ql_jrun *r, ql_jval v, const ql_jstr **out) {
    ql_jbuf b = {0};
    ql_jval made = v;
    *out = NULL;
    if (v.kind == QL_JNONE) return QL_OK;
    if (v.kind != QL_JSTR) {
        int64_t width = 0;
        QL_TRY(ql_jneed_int(r, "indent", v, &width));
        if (width > 1000) return QL_JFAIL(r, "tojson: an indent of %lld", (long long)width);
        for (int64_t i = 0; i < width; i++) QL_TRY(ql_jput(r, &b, " ", 1, QL_ORIGIN_TEMPLATE));
        QL_TRY(ql_jbuf_take(r, &b, &made));
    }
    *out = made.u.s;
    return QL_OK;
}

ql_status ql_jfilter_tojson(ql_jrun *r, ql_jval v, const ql_jargs *a, ql_jval *out) {
    static const ql_jstr COMMA = {.s = ", ", .n = 2}, SHORT = {.s = ",", .n = 1},
                         COLON = {.s = ": ", .n = 2};
    ql_jval p[] = {ql_jbool(false), QL_JNULL, QL_JNULL, ql_jbool(false)};
    dumper d = {.r = r, .comma = &COMMA, .colon = &COLON};
    QL_TRY(ql_jbind(r, "tojson", a, "ensure_ascii indent separators sort_keys", 0, p));
    d.ascii = ql_jtruth(p[0]);
    d.sort = ql_jtruth(p[3]);
    QL_TRY(read_indent(r, p[1], &d.indent));
    if (d.indent) d.comma = &SHORT;
    if (p[2].kind == QL_JLIST && p[2].u.list->n == 2) {
        QL_TRY(ql_jneed_str(r, "separators", p[2].u.list->items[0], &d.comma));
        QL_TRY(ql_jneed_str(r, "separators", p[2].u.list->items[1], &d.colon));
    } else if (p[2].kind != QL_JNONE) {
        return QL_JFAIL(r, "tojson: separators must be two texts");
    }
    QL_TRY(dump(&d, v, 0));
    return ql_jbuf_take(r, &d.b, out);
}
