/* argv.c - the command line behind argv.h. */
#include "tools/argv.h"

#include <string.h>

typedef struct reader {
    const ql_arg_table *tables;
    size_t n_tables;
    int argc, at;
    char **argv;
    size_t positional; /* words without a name so far */
    ql_spellings *sp;
    ql_argv *out;
} reader;

/* ------------------------------------------------------------------- values */

/* The list has room for QL_SPELLING_MOST values of every word. */
static void take(reader *r, ql_arg_value v) {
    r->out->values[r->out->n++] = v;
}

static const char *keep(reader *r, const char *flag) {
    const char *copy = ql_arena_strndup(&r->sp->arena, flag, strlen(flag));
    return copy ? copy : "the flag";
}

/* The value behind a flag that stands alone: the next word. */
static ql_status next_value(reader *r, const char *flag, bool is_switch, const char **out) {
    const char *next = r->at + 1 < r->argc ? r->argv[r->at + 1] : NULL;
    bool ignored;
    if (is_switch && (!next || !ql_text_is_bool(next, &ignored))) {
        *out = "true";
        return QL_OK;
    }
    if (!next || (next[0] == '-' && next[1] == '-')) {
        return QL_FAIL(QL_ERR_INVALID, "%s needs a value%s", flag,
                       next ? " (one that begins with -- is written behind '=')" : "");
    }
    r->at++;
    *out = next;
    return QL_OK;
}

/* ------------------------------------------------------------ words and flags */

/* The word without a name goes to the next positional flag that has none yet. */
static ql_status take_positional(reader *r, const char *word) {
    size_t seen = 0;
    for (size_t t = 0; t < r->n_tables; t++) {
        for (size_t i = 0; i < r->tables[t].n; i++) {
            const ql_arg *a = &r->tables[t].args[i];
            if (!(a->flags & QL_ARG_POSITIONAL) || seen++ < r->positional) continue;
            r->positional++;
            take(r, (ql_arg_value){{&r->tables[t], a}, a->name, word});
            return QL_OK;
        }
    }
    return QL_FAIL(QL_ERR_INVALID, "unexpected argument '%s'; flags begin with --", word);
}

/* A name that some other program has, with the value that gives it a row; NULL = none. */
static const ql_spelling *find_spelling(const char *flag, const char *value) {
    char plain[QL_NAME_MAX + 1];
    bool is_short = flag[0] == '-' && flag[1] != '-';
    if (!ql_plain_name(flag, strlen(flag), plain)) return NULL;
    if (is_short && strlen(plain) < 3) return NULL; /* -b is ours, -ngl is llama.cpp's */
    const ql_spelling *row = ql_spelling_find(plain, value);
    return row && row->fate != QL_FATE_FOREIGN ? row : NULL;
}

static ql_status apply_spelling(reader *r, const ql_spelling *row, const char *flag,
                                const char *value) {
    ql_arg_value *at = r->out->values + r->out->n;
    size_t n;
    QL_TRY(ql_spelling_apply(row, r->tables, r->n_tables, keep(r, flag), value, r->sp, at,
                             QL_SPELLING_MOST, &n));
    r->out->n += n;
    if (n == 0 && row->fate == QL_FATE_MAPS && *row->to)
        return ql_spelling_unknown(r->tables, r->n_tables, "", "flag", flag, "--");
    return QL_OK;
}

static ql_status take_flag(reader *r) {
    const char *word = r->argv[r->at], *eq = strchr(word, '=');
    char flag[QL_NAME_MAX + 3];
    size_t len = eq ? (size_t)(eq - word) : strlen(word);
    if (len >= sizeof flag)
        return ql_spelling_unknown(r->tables, r->n_tables, "", "flag", word, "--");
    memcpy(flag, word, len);
    flag[len] = '\0';
    ql_arg_ref ref = {NULL, NULL};
    bool ours = ql_args_find(r->tables, r->n_tables, flag, &ref);
    if (!ours && !find_spelling(flag, NULL))
        return ql_spelling_unknown(r->tables, r->n_tables, "", "flag", flag, "--");
    char plain[QL_NAME_MAX + 1];
    bool is_switch = ours ? ref.arg->kind == QL_ARG_BOOL
                          : ql_plain_name(flag, len, plain) && ql_spelling_is_switch(plain);
    const char *value = eq ? eq + 1 : NULL;
    if (!value) QL_TRY(next_value(r, flag, is_switch, &value));
    const ql_spelling *row = find_spelling(flag, value);
    if (row && (row->values || !ours)) return apply_spelling(r, row, flag, value);
    if (!ours) {
        return QL_FAIL(QL_ERR_INVALID, "%s has no value '%.40s' here; --help lists the flags", flag,
                       value);
    }
    take(r, (ql_arg_value){ref, keep(r, flag), value});
    return QL_OK;
}

/* ---------------------------------------------------------------- the line */

static ql_status read_line(reader *r) {
    bool only_positional = false;
    for (r->at = 0; r->at < r->argc; r->at++) {
        const char *word = r->argv[r->at];
        if (only_positional || word[0] != '-' || word[1] == '\0') {
            QL_TRY(take_positional(r, word));
        } else if (strcmp(word, "--") == 0) {
            only_positional = true;
        } else if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0) {
            bool all = r->at + 1 < r->argc && strcmp(r->argv[r->at + 1], "all") == 0;
            r->out->help = all ? 2 : 1;
            return QL_OK;
        } else {
            QL_TRY(take_flag(r));
        }
    }
    return QL_OK;
}

ql_status ql_argv_read(const ql_arg_table *tables, size_t n_tables, int argc, char **argv,
                       ql_spellings *sp, ql_argv *out) {
    ql_argv line = {.n = 0};
    size_t room = ((size_t)argc + 1) * QL_SPELLING_MOST;
    line.values = ql_arena_alloc(&sp->arena, room, sizeof *line.values);
    if (!line.values) return QL_NOMEM("the command line");
    reader r = {tables, n_tables, argc, 0, argv, 0, sp, &line};
    QL_TRY(read_line(&r));
    *out = line;
    return QL_OK;
}

ql_status ql_args_parse(const ql_arg_table *tables, size_t n_tables, int argc, char **argv,
                        ql_spellings *sp, int *help) {
    ql_argv line;
    *help = 0;
    QL_TRY(ql_argv_read(tables, n_tables, argc, argv, sp, &line));
    *help = line.help;
    if (line.help) return QL_OK;
    for (size_t i = 0; i < line.n; i++) QL_TRY(ql_arg_store(&line.values[i]));
    return ql_args_check_required(tables, n_tables);
}
