/* config_text.c - see config_text.h. Scalars are written as JSON writes them, which is YAML too. */
#include "tools/config_text.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/hostmem.h"

typedef struct writer {
    char *text;
    size_t len, cap;
    bool json;
    size_t keys; /* written so far */
} writer;

static ql_status put(writer *w, const char *fmt, ...) QL_PRINTF(2, 3);

static ql_status put(writer *w, const char *fmt, ...) {
    va_list ap, again;
    va_start(ap, fmt);
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    ql_status s = n < 0 ? QL_FAIL(QL_ERR_INTERNAL, "a setting cannot be written")
                        : ql_host_grow((void **)&w->text, &w->cap, w->len + (size_t)n + 1, 1);
    if (s == QL_OK) vsnprintf(w->text + w->len, (size_t)n + 1, fmt, again);
    va_end(again);
    QL_TRY(s);
    w->len += (size_t)n;
    return QL_OK;
}

/* The shortest decimal that reads back as x. */
static ql_status put_real(writer *w, double x) {
    char text[40];
    for (int digits = 1; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, x);
        if (strtod(text, NULL) == x) break;
    }
    /* "0.0002" and "2e-05" are numbers to JSON and to both versions of YAML, once there is a point
     */
    const char *e = strchr(text, 'e');
    if (strchr(text, '.')) return put(w, "%s", text);
    if (!e) return put(w, "%s.0", text);
    return put(w, "%.*s.0%s", (int)(e - text), text, e);
}

/* Bytes of the UTF-8 sequence at s, valid by itself; 0 = none. */
static size_t sequence(const unsigned char *s, uint32_t *code) {
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    size_t n = s[0] < 0x80 ? 1 : s[0] >> 5 == 6 ? 2 : s[0] >> 4 == 14 ? 3 : s[0] >> 3 == 30 ? 4 : 0;
    if (n == 0) return 0;
    *code = n == 1 ? s[0] : s[0] & (0x7fu >> n);
    for (size_t i = 1; i < n; i++) {
        if (s[i] >> 6 != 2) return 0;
        *code = *code << 6 | (s[i] & 0x3fu);
    }
    bool surrogate = *code >= 0xd800 && *code < 0xe000;
    return *code < least[n] || surrogate || *code > 0x10ffff ? 0 : n;
}

static bool is_printable(uint32_t c) {
    return (c >= 0x20 && c < 0x7f) || (c >= 0xa0 && c < 0xfeff) || (c > 0xfeff && c < 0xfffe) ||
           c >= 0x10000;
}

static ql_status put_text(writer *w, const char *name, const char *text) {
    QL_TRY(put(w, "\""));
    for (const unsigned char *s = (const unsigned char *)text; *s;) {
        uint32_t c = 0;
        size_t n = sequence(s, &c);
        if (n == 0) {
            return QL_FAIL(QL_ERR_INVALID, "--%s is not UTF-8; a file of settings cannot hold it",
                           name);
        }
        if (c == '"' || c == '\\')
            QL_TRY(put(w, "\\%c", (int)c));
        else if (is_printable(c))
            QL_TRY(put(w, "%.*s", (int)n, (const char *)s));
        else
            QL_TRY(put(w, "\\u%04" PRIx32, c));
        s += n;
    }
    return put(w, "\"");
}

static ql_status put_key(writer *w, const char *name) {
    bool first = w->keys++ == 0;
    if (!w->json) return put(w, "%s: ", name);
    return put(w, "%s\"%s\": ", first ? "{\n  " : ",\n  ", name);
}

static ql_status put_value(writer *w, const ql_arg *a, const void *opts) {
    const void *field = (const char *)opts + a->at;
    const char *text = NULL;
    switch (a->kind) {
    case QL_ARG_BOOL: return put(w, "%s", *(const bool *)field ? "true" : "false");
    case QL_ARG_INT: return put(w, "%" PRId64, *(const int64_t *)field);
    case QL_ARG_REAL: return put_real(w, *(const double *)field);
    case QL_ARG_SIZE: return put(w, "%" PRIu64, *(const uint64_t *)field);
    case QL_ARG_TEXT:
    case QL_ARG_CHOICE: text = *(const char *const *)field; break;
    }
    return text ? put_text(w, a->name, text) : put(w, "null");
}

static ql_status put_table(writer *w, const ql_arg_table *t) {
    for (size_t i = 0; i < t->n; i++) {
        if (t->args[i].flags & QL_ARG_SESSION) continue;
        QL_TRY(put_key(w, t->args[i].name));
        QL_TRY(put_value(w, &t->args[i], t->opts));
        if (!w->json) QL_TRY(put(w, "\n"));
    }
    return QL_OK;
}

static ql_status put_given(writer *w, const ql_arg_table *tables, size_t n_tables) {
    bool first = true;
    QL_TRY(put_key(w, "given"));
    QL_TRY(put(w, "["));
    for (size_t t = 0; t < n_tables; t++) {
        for (size_t i = 0; i < tables[t].n; i++) {
            const ql_arg *a = &tables[t].args[i];
            if (!tables[t].given[i] || a->flags & QL_ARG_SESSION) continue;
            QL_TRY(put(w, w->json ? "%s\"%s\"" : "%s%s", first ? "" : ", ", a->name));
            first = false;
        }
    }
    return put(w, "]%s", w->json ? "\n}\n" : "\n");
}

static ql_status put_all(writer *w, const ql_cli *cli, const void *opts) {
    QL_TRY(put_key(w, "command"));
    QL_TRY(put(w, w->json ? "\"%s\"" : "%s\n", cli->command->name));
    ql_arg_table tables[QL_CLI_TABLES];
    ql_cli_tables(cli, opts, tables);
    for (size_t i = 0; i < QL_CLI_TABLES; i++) QL_TRY(put_table(w, &tables[i]));
    return put_given(w, tables, QL_CLI_TABLES);
}

ql_status ql_config_text(const ql_cli *cli, const void *opts, bool json, char **out) {
    writer w = {.json = json};
    ql_status s = put_all(&w, cli, opts);
    if (s != QL_OK) {
        ql_host_free(w.text);
        return s;
    }
    *out = w.text;
    return QL_OK;
}
