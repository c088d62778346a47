/* args.c - tables of flags: finding one, setting one, defaults, help. The command line: argv.c. */
#include "tools/args.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ------------------------------------------------------------------- tables */

const ql_arg *ql_arg_find(const ql_arg *args, size_t n, const char *name) {
    char plain[QL_NAME_MAX + 1];
    bool is_short = name[0] == '-' && name[1] != '-';
    if (!ql_plain_name(name, strlen(name), plain)) return NULL;
    for (size_t i = 0; i < n; i++) {
        if (!is_short && strcmp(args[i].name, plain) == 0) return &args[i];
        const char *also = args[i].also ? args[i].also : "";
        for (size_t w = ql_next_name(&also); w > 0; also += w, w = ql_next_name(&also)) {
            char other[QL_NAME_MAX + 1];
            bool other_short = also[0] == '-' && also[1] != '-';
            if (other_short != is_short || !ql_plain_name(also, w, other)) continue;
            if (strcmp(other, plain) == 0) return &args[i];
        }
    }
    return NULL;
}

/* ------------------------------------------------------------------- values */

bool ql_text_is_bool(const char *text, bool *out) {
    static const char *const words[] = {"false", "true", "no", "yes", "off", "on", "0", "1"};
    char low[8];
    size_t len = strlen(text);
    if (len >= sizeof low) return false;
    for (size_t i = 0; i <= len; i++) {
        low[i] = (char)(text[i] >= 'A' && text[i] <= 'Z' ? text[i] - 'A' + 'a' : text[i]);
    }
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        if (strcmp(low, words[i]) == 0) {
            *out = i % 2 == 1;
            return true;
        }
    }
    return false;
}

/* Bytes with an optional unit in powers of 1024: 4096, 512M, 8G, 1.5GiB, 8GB. */
static bool parse_size(const char *text, uint64_t *out) {
    static const char units[] = "kmgt";
    char *end;
    double x = strtod(text, &end);
    if (end == text || !isfinite(x) || x < 0) return false;
    char unit = (char)(*end >= 'A' && *end <= 'Z' ? *end - 'A' + 'a' : *end);
    const char *at = unit ? strchr(units, unit) : NULL;
    if (at) {
        x = ldexp(x, 10 * (int)(at - units + 1));
        end++;
        if (*end == 'i') end++;
    }
    if (*end == 'B' || *end == 'b') end++;
    if (*end != '\0' || x >= 0x1p63) return false;
    *out = (uint64_t)x;
    return true;
}

static bool has_range(const ql_arg *a) {
    return a->lo != 0 || a->hi != 0;
}

/* "1e3", "100.0": whole numbers that a program wrote as real ones. */
static bool whole_real(const char *text, long long *out) {
    char *end;
    double x = strtod(text, &end);
    if (*end != '\0' || !(fabs(x) < 0x1p53) || x != floor(x) || strpbrk(text, "xXpP")) return false;
    *out = (long long)x;
    return true;
}

static ql_status set_int(const ql_arg *a, int64_t *out, const char *flag, const char *text) {
    char *end;
    errno = 0;
    long long v = strtoll(text, &end, 10);
    if (end == text || errno == ERANGE || (*end != '\0' && !whole_real(text, &v))) {
        return QL_FAIL(QL_ERR_INVALID, "%s takes a whole number, not '%s'", flag, text);
    }
    if (has_range(a) && ((double)v < a->lo || (double)v > a->hi)) {
        return QL_FAIL(QL_ERR_INVALID, "%s is %lld; it must be from %.0f to %.0f", flag, v, a->lo,
                       a->hi);
    }
    *out = v;
    return QL_OK;
}

static ql_status set_real(const ql_arg *a, double *out, const char *flag, const char *text) {
    char *end;
    double v = strtod(text, &end);
    if (end == text || *end != '\0' || !isfinite(v)) {
        return QL_FAIL(QL_ERR_INVALID, "%s takes a number, not '%s'", flag, text);
    }
    if (has_range(a) && (v < a->lo || v > a->hi)) {
        return QL_FAIL(QL_ERR_INVALID, "%s is %g; it must be from %g to %g", flag, v, a->lo, a->hi);
    }
    *out = v;
    return QL_OK;
}

static ql_status set_choice(const ql_arg *a, const char **out, const char *flag, const char *text) {
    const char *later = strchr(a->choices, '|');
    size_t now_len = later ? (size_t)(later - a->choices) : strlen(a->choices);
    bool on;
    if (ql_names_have(a->choices, "true") && ql_text_is_bool(text, &on))
        text = on ? "true" : "false";
    if (later && ql_names_have(later, text)) {
        return QL_FAIL(QL_ERR_INVALID, "%s %s is known, not available in this version", flag, text);
    }
    if (!ql_names_have(a->choices, text) || *text == '\0') {
        return QL_FAIL(QL_ERR_INVALID, "%s takes one of '%.*s', not '%s'", flag, (int)now_len,
                       a->choices, text);
    }
    *out = text;
    return QL_OK;
}

ql_status ql_arg_set(const ql_arg *a, void *opts, const char *flag, const char *text) {
    void *field = (char *)opts + a->at;
    switch (a->kind) {
    case QL_ARG_BOOL:
        if (ql_text_is_bool(text, field)) return QL_OK;
        return QL_FAIL(QL_ERR_INVALID, "%s takes true or false, not '%s'", flag, text);
    case QL_ARG_INT: return set_int(a, field, flag, text);
    case QL_ARG_REAL: return set_real(a, field, flag, text);
    case QL_ARG_SIZE:
        if (parse_size(text, field)) return QL_OK;
        return QL_FAIL(QL_ERR_INVALID, "%s takes a size such as 512M or 8G, not '%s'", flag, text);
    case QL_ARG_TEXT: *(const char **)field = text; return QL_OK;
    case QL_ARG_CHOICE: return set_choice(a, field, flag, text);
    }
    return QL_FAIL(QL_ERR_INTERNAL, "%s has the unknown kind %d", flag, (int)a->kind);
}

bool ql_args_find(const ql_arg_table *tables, size_t n_tables, const char *name, ql_arg_ref *out) {
    for (size_t t = 0; t < n_tables; t++) {
        const ql_arg *a = ql_arg_find(tables[t].args, tables[t].n, name);
        if (a) {
            *out = (ql_arg_ref){&tables[t], a};
            return true;
        }
    }
    return false;
}

bool ql_arg_is_default(const ql_arg *a, const char *text) {
    union {
        bool b;
        int64_t i;
        double x;
        uint64_t size;
        const char *text;
    } v = {.size = 0}, d = {.size = 0};
    ql_arg alone = *a;
    alone.at = 0;
    if (ql_arg_set(&alone, &v, a->name, text) != QL_OK) return false;
    if (a->fallback && ql_arg_set(&alone, &d, a->name, a->fallback) != QL_OK) return false;
    switch (a->kind) {
    case QL_ARG_BOOL: return v.b == d.b;
    case QL_ARG_INT: return v.i == d.i;
    case QL_ARG_REAL: return v.x == d.x;
    case QL_ARG_SIZE: return v.size == d.size;
    case QL_ARG_TEXT:
    case QL_ARG_CHOICE: break;
    }
    return d.text && strcmp(v.text, d.text) == 0;
}

ql_status ql_arg_store(const ql_arg_value *v) {
    const ql_arg_table *t = v->to.table;
    QL_TRY(ql_arg_set(v->to.arg, t->opts, v->flag, v->text));
    if (t->given) t->given[v->to.arg - t->args] = true;
    return QL_OK;
}

const char *ql_args_nearest(const ql_arg_table *tables, size_t n_tables, const char *plain) {
    const char *near = NULL;
    size_t best = SIZE_MAX;
    for (size_t t = 0; t < n_tables; t++) {
        for (size_t i = 0; i < tables[t].n; i++) {
            size_t d = ql_name_distance(plain, tables[t].args[i].name);
            if (d >= best) continue;
            best = d;
            near = tables[t].args[i].name;
        }
    }
    return near;
}

ql_status ql_args_check_required(const ql_arg_table *tables, size_t n_tables) {
    for (size_t t = 0; t < n_tables; t++) {
        for (size_t i = 0; i < tables[t].n; i++) {
            const ql_arg *a = &tables[t].args[i];
            if (!(a->flags & QL_ARG_REQUIRED) || !tables[t].given || tables[t].given[i]) continue;
            return QL_FAIL(QL_ERR_INVALID, "--%s is required: %s", a->name, a->help);
        }
    }
    return QL_OK;
}

ql_status ql_args_defaults(const ql_arg_table *tables, size_t n_tables) {
    for (size_t t = 0; t < n_tables; t++) {
        for (size_t i = 0; i < tables[t].n; i++) {
            const ql_arg *a = &tables[t].args[i];
            if (a->fallback) QL_TRY(ql_arg_set(a, tables[t].opts, a->name, a->fallback));
        }
    }
    return QL_OK;
}

/* --------------------------------------------------------------------- help */

static const char *value_word(const ql_arg *a) {
    static const char *const words[] = {"", "N", "X", "SIZE", "TEXT", "NAME"};
    return a->value ? a->value : words[a->kind];
}

void ql_args_help(FILE *f, const ql_arg *args, size_t n, bool all) {
    enum { COLUMN = 32 };
    for (size_t i = 0; i < n; i++) {
        const ql_arg *a = &args[i];
        char left[128], short_form[8] = "    ";
        if ((a->flags & QL_ARG_ADVANCED) && !all) continue;
        if (a->also && a->also[0] == '-' && a->also[1] != '-') {
            int w = (int)strcspn(a->also, " ");
            snprintf(short_form, sizeof short_form, "%.*s, ", w > 4 ? 4 : w, a->also);
        }
        snprintf(left, sizeof left, "  %s--%s %s", short_form, a->name, value_word(a));
        fprintf(f, "%-*s %s", COLUMN, left, a->help);
        if (a->choices) fprintf(f, ": %.*s", (int)strcspn(a->choices, "|"), a->choices);
        if (a->flags & QL_ARG_REQUIRED) {
            fprintf(f, "  (required)");
        } else if (a->fallback) {
            fprintf(f, "  [%s]", a->fallback);
        }
        fputc('\n', f);
    }
}
