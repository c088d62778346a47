/* spelling.c - what is done with the rows of spelling_table.c. */
#include "tools/spelling.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "tools/known.h"

/* --------------------------------------------------------------------- rows */

static bool is_below_one(const char *value) {
    char *end;
    double x = strtod(value, &end);
    return end != value && *end == '\0' && x > 0 && x < 1;
}

static bool same_value(const char *word, size_t len, const char *value) {
    bool a, b;
    char text[QL_NAME_MAX + 1];
    if (len > QL_NAME_MAX) return false;
    memcpy(text, word, len);
    text[len] = '\0';
    if (strcmp(text, "<1") == 0) return is_below_one(value);
    if (strcmp(text, "null") == 0 && !*value) return true;
    bool is_switch = strcmp(text, "true") == 0 || strcmp(text, "false") == 0;
    if (is_switch && ql_text_is_bool(value, &b)) return ql_text_is_bool(text, &a) && a == b;
    return strcmp(text, value) == 0;
}

static bool values_have(const char *values, const char *value) {
    for (size_t n = ql_next_name(&values); n > 0; values += n, n = ql_next_name(&values))
        if (same_value(values, n, value)) return true;
    return false;
}

const ql_spelling *ql_spelling_find(const char *name, const char *value) {
    const ql_spelling *row;
    for (size_t i = 0; (row = ql_spelling_at(i)); i++) {
        if (!ql_names_have(row->names, name)) continue;
        if (!value || !row->values || values_have(row->values, value)) return row;
    }
    return NULL;
}

bool ql_spelling_is_switch(const char *name) {
    const ql_spelling *row;
    for (size_t i = 0; (row = ql_spelling_at(i)); i++) {
        if (ql_names_have(row->names, name) && row->values &&
            (ql_names_have(row->values, "true") || ql_names_have(row->values, "false")))
            return true;
    }
    return false;
}

/* ------------------------------------------------------------------ remarks */

void ql_spellings_free(ql_spellings *sp) {
    ql_host_free(sp->notes);
    ql_arena_free(&sp->arena);
    *sp = (ql_spellings){0};
}

ql_status ql_spellings_note(ql_spellings *sp, const char *fmt, ...) {
    char text[512];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    size_t len = n < 0 ? 0 : (size_t)n < sizeof text ? (size_t)n : sizeof text - 1;
    QL_TRY(ql_host_grow((void **)&sp->notes, &sp->notes_cap, sp->n_notes + 1, sizeof *sp->notes));
    char *copy = ql_arena_strndup(&sp->arena, text, len);
    if (!copy) return QL_NOMEM("remarks on settings");
    sp->notes[sp->n_notes++] = copy;
    return QL_OK;
}

/* ------------------------------------------------------------------ mapping */

/* `text` with every '*' replaced by the value; lives in the arena. */
static const char *fill_in(ql_arena *a, const char *text, size_t len, const char *value) {
    size_t n_value = strlen(value), stars = 0, at = 0;
    for (size_t i = 0; i < len; i++) stars += text[i] == '*';
    char *out = ql_arena_alloc(a, len + stars * n_value + 1, 1);
    for (size_t i = 0; out && i < len; i++) {
        if (text[i] == '*') {
            memcpy(out + at, value, n_value);
            at += n_value;
        } else {
            out[at++] = text[i];
        }
    }
    return out;
}

static ql_status map_value(const ql_spelling *row, const ql_arg_table *tables, size_t n_tables,
                           const char *name, const char *value, ql_spellings *sp, ql_arg_value *out,
                           size_t most, size_t *n) {
    const char *to = row->to;
    for (size_t len = ql_next_name(&to); len > 0; to += len, len = ql_next_name(&to)) {
        char flag[QL_NAME_MAX + 1];
        size_t n_flag = strcspn(to, "=");
        ql_arg_ref ref;
        if (n_flag >= len || !ql_plain_name(to, n_flag, flag))
            return QL_FAIL(QL_ERR_INTERNAL, "the row of '%s' is malformed", row->names);
        if (!ql_args_find(tables, n_tables, flag, &ref)) continue;
        const char *text = fill_in(&sp->arena, to + n_flag + 1, len - n_flag - 1, value);
        if (!text) return QL_NOMEM("settings");
        if (*n == most) return QL_FAIL(QL_ERR_INTERNAL, "the row of '%s' is too long", row->names);
        out[(*n)++] = (ql_arg_value){ref, name, text};
    }
    return QL_OK;
}

ql_status ql_spelling_apply(const ql_spelling *row, const ql_arg_table *tables, size_t n_tables,
                            const char *name, const char *value, ql_spellings *sp,
                            ql_arg_value *out, size_t most, size_t *n) {
    *n = 0;
    switch (row->fate) {
    case QL_FATE_MAPS: return map_value(row, tables, n_tables, name, value, sp, out, most, n);
    case QL_FATE_NOTED: return ql_spellings_note(sp, "%s means nothing here: %s", name, row->to);
    case QL_FATE_REFUSED: return QL_FAIL(QL_ERR_INVALID, "%s %.80s: %s", name, value, row->to);
    case QL_FATE_OPENS: return QL_FAIL(QL_ERR_INVALID, "%s takes a mapping of settings", name);
    case QL_FATE_FOREIGN: break;
    }
    return QL_FAIL(QL_ERR_INTERNAL, "the row of '%s' has no fate", row->names);
}

/* ------------------------------------------------------------ unknown names */

ql_status ql_spelling_unknown(const ql_arg_table *tables, size_t n_tables, const char *where,
                              const char *kind, const char *name, const char *dashes) {
    char plain[QL_NAME_MAX + 1];
    if (!ql_plain_name(name, strlen(name), plain))
        return QL_FAIL(QL_ERR_INVALID, "%sunknown %s '%.40s...'", where, kind, name);
    const ql_spelling *row = ql_spelling_find(plain, NULL);
    if (row && row->fate == QL_FATE_FOREIGN) {
        return QL_FAIL(QL_ERR_INVALID, "%sunknown %s '%s': what other programs call so is here %s",
                       where, kind, name, row->to);
    }
    if (ql_known_flag(plain)) {
        return QL_FAIL(QL_ERR_INVALID,
                       "%sthe %s '%s%s' is known, not available in this version for this command",
                       where, kind, dashes, plain);
    }
    const char *near = ql_args_nearest(tables, n_tables, plain);
    if (near) {
        return QL_FAIL(QL_ERR_INVALID, "%sunknown %s '%s'; did you mean '%s%s'?", where, kind, name,
                       dashes, near);
    }
    return QL_FAIL(QL_ERR_INVALID, "%sunknown %s '%s'; --help lists the flags", where, kind, name);
}
