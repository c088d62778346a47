/* args.c - the flag parser behind args.h. */
#include "tools/args.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tools/known.h"

#define MAX_NAME 64 /* longest flag or word that is compared */

/* -------------------------------------------------------------------- names */

/* Next word of a list separated by spaces (or '|'): length, 0 at the end. */
static size_t next_word(const char **list) {
    *list += strspn(*list, " |");
    return strcspn(*list, " |");
}

bool ql_names_have(const char *names, const char *word) {
    size_t len = strlen(word);
    for (size_t n = next_word(&names); n > 0; names += n, n = next_word(&names)) {
        if (n == len && memcmp(names, word, n) == 0) return true;
    }
    return false;
}

/* Edits that turn a into b: insert, delete, replace, swap neighbours. O(|a| |b|), names are short.
 */
static size_t edit_distance(const char *a, size_t na, const char *b, size_t nb) {
    size_t row[3][MAX_NAME + 1];
    if (na > MAX_NAME || nb > MAX_NAME) return SIZE_MAX;
    for (size_t j = 0; j <= nb; j++) row[0][j] = j;
    for (size_t i = 1; i <= na; i++) {
        size_t *cur = row[i % 3], *prev = row[(i + 2) % 3], *prev2 = row[(i + 1) % 3];
        cur[0] = i;
        for (size_t j = 1; j <= nb; j++) {
            size_t best = prev[j - 1] + (a[i - 1] != b[j - 1]);
            if (prev[j] + 1 < best) best = prev[j] + 1;
            if (cur[j - 1] + 1 < best) best = cur[j - 1] + 1;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
                prev2[j - 2] + 1 < best) {
                best = prev2[j - 2] + 1;
            }
            cur[j] = best;
        }
    }
    return row[na % 3][nb];
}

/* Copies `word` without leading dashes, hyphens as underscores; false when it is too long. */
static bool plain_name(const char *word, size_t len, char out[MAX_NAME + 1]) {
    while (len > 0 && *word == '-') {
        word++;
        len--;
    }
    if (len > MAX_NAME) return false;
    for (size_t i = 0; i < len; i++) out[i] = word[i] == '-' ? '_' : word[i];
    out[len] = '\0';
    return true;
}

/* A name is near when it is below this many edits away. */
static size_t near_limit(size_t len) {
    return len < 6 ? 3 : len / 3 + 2;
}

bool ql_nearest_name(const char *names, const char *word, char *out, size_t size) {
    char plain[MAX_NAME + 1];
    if (!plain_name(word, strlen(word), plain)) return false;
    size_t len = strlen(plain), best = near_limit(len);
    bool found = false;
    for (size_t n = next_word(&names); n > 0; names += n, n = next_word(&names)) {
        size_t d = edit_distance(plain, len, names, n);
        if (d < best && n < size) {
            best = d;
            memcpy(out, names, n);
            out[n] = '\0';
            found = true;
        }
    }
    return found;
}

const ql_arg *ql_arg_find(const ql_arg *args, size_t n, const char *name) {
    char plain[MAX_NAME + 1];
    bool is_short = name[0] == '-' && name[1] != '-';
    if (!plain_name(name, strlen(name), plain)) return NULL;
    for (size_t i = 0; i < n; i++) {
        if (!is_short && strcmp(args[i].name, plain) == 0) return &args[i];
        const char *also = args[i].also ? args[i].also : "";
        for (size_t w = next_word(&also); w > 0; also += w, w = next_word(&also)) {
            char other[MAX_NAME + 1];
            bool other_short = also[0] == '-' && also[1] != '-';
            if (other_short != is_short || !plain_name(also, w, other)) continue;
            if (strcmp(other, plain) == 0) return &args[i];
        }
    }
    return NULL;
}

/* ------------------------------------------------------------------- values */

static bool parse_bool(const char *text, bool *out) {
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

static ql_status set_int(const ql_arg *a, int64_t *out, const char *flag, const char *text) {
    char *end;
    errno = 0;
    long long v = strtoll(text, &end, 10);
    if (end == text || *end != '\0' || errno == ERANGE) {
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
        if (parse_bool(text, field)) return QL_OK;
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

ql_status ql_args_defaults(const ql_arg_table *tables, size_t n_tables) {
    for (size_t t = 0; t < n_tables; t++) {
        for (size_t i = 0; i < tables[t].n; i++) {
            const ql_arg *a = &tables[t].args[i];
            if (a->fallback) QL_TRY(ql_arg_set(a, tables[t].opts, a->name, a->fallback));
        }
    }
    return QL_OK;
}

/* ------------------------------------------------------------------ parsing */

static ql_status unknown_flag(const ql_arg_table *tables, size_t n_tables, const char *flag) {
    char plain[MAX_NAME + 1] = "";
    if (!plain_name(flag, strlen(flag), plain)) {
        return QL_FAIL(QL_ERR_INVALID, "unknown flag '%.40s...'", flag);
    }
    if (ql_known_flag(plain)) {
        return QL_FAIL(QL_ERR_INVALID,
                       "the flag '--%s' is known, not available in this version for this command",
                       plain);
    }
    const char *near = NULL;
    size_t len = strlen(plain), best = near_limit(len);
    for (size_t t = 0; t < n_tables; t++) {
        for (size_t i = 0; i < tables[t].n; i++) {
            const char *name = tables[t].args[i].name;
            size_t d = edit_distance(plain, len, name, strlen(name));
            if (d >= best) continue;
            best = d;
            near = name;
        }
    }
    if (near) return QL_FAIL(QL_ERR_INVALID, "unknown flag '%s'; did you mean '--%s'?", flag, near);
    return QL_FAIL(QL_ERR_INVALID, "unknown flag '%s'; --help lists the flags", flag);
}

/* A place among the tables. */
typedef struct ql_arg_ref {
    const ql_arg_table *table;
    const ql_arg *arg;
} ql_arg_ref;

static bool find_arg(const ql_arg_table *tables, size_t n_tables, const char *name,
                     ql_arg_ref *out) {
    for (size_t t = 0; t < n_tables; t++) {
        const ql_arg *a = ql_arg_find(tables[t].args, tables[t].n, name);
        if (a) {
            *out = (ql_arg_ref){&tables[t], a};
            return true;
        }
    }
    return false;
}

static ql_status store(const ql_arg_ref *r, const char *flag, const char *text) {
    QL_TRY(ql_arg_set(r->arg, r->table->opts, flag, text));
    if (r->table->given) r->table->given[r->arg - r->table->args] = true;
    return QL_OK;
}

/* The word without a name at argv[i] goes to the next positional flag that has none yet. */
static ql_status take_positional(const ql_arg_table *tables, size_t n_tables, size_t *taken,
                                 const char *word) {
    size_t seen = 0;
    for (size_t t = 0; t < n_tables; t++) {
        for (size_t i = 0; i < tables[t].n; i++) {
            const ql_arg *a = &tables[t].args[i];
            if (!(a->flags & QL_ARG_POSITIONAL) || seen++ < *taken) continue;
            (*taken)++;
            return store(&(ql_arg_ref){&tables[t], a}, a->name, word);
        }
    }
    return QL_FAIL(QL_ERR_INVALID, "unexpected argument '%s'; flags begin with --", word);
}

/* A flag at argv[*i]; takes its value from behind '=' or from the next word. */
static ql_status take_flag(const ql_arg_table *tables, size_t n_tables, int argc, char **argv,
                           int *i) {
    const char *word = argv[*i], *eq = strchr(word, '=');
    char flag[MAX_NAME + 3];
    size_t len = eq ? (size_t)(eq - word) : strlen(word);
    if (len >= sizeof flag) return unknown_flag(tables, n_tables, word);
    memcpy(flag, word, len);
    flag[len] = '\0';
    ql_arg_ref r;
    if (!find_arg(tables, n_tables, flag, &r)) return unknown_flag(tables, n_tables, flag);
    if (eq) return store(&r, flag, eq + 1);
    const char *next = *i + 1 < argc ? argv[*i + 1] : NULL;
    if (r.arg->kind == QL_ARG_BOOL) {
        bool ignored;
        if (!next || !parse_bool(next, &ignored)) return store(&r, flag, "true");
    } else if (!next || (next[0] == '-' && next[1] == '-')) {
        return QL_FAIL(QL_ERR_INVALID, "%s needs a value%s", flag,
                       next ? " (one that begins with -- is written behind '=')" : "");
    }
    (*i)++;
    return store(&r, flag, next);
}

static ql_status check_required(const ql_arg_table *tables, size_t n_tables) {
    for (size_t t = 0; t < n_tables; t++) {
        for (size_t i = 0; i < tables[t].n; i++) {
            const ql_arg *a = &tables[t].args[i];
            if (!(a->flags & QL_ARG_REQUIRED) || !tables[t].given || tables[t].given[i]) continue;
            return QL_FAIL(QL_ERR_INVALID, "--%s is required: %s", a->name, a->help);
        }
    }
    return QL_OK;
}

ql_status ql_args_parse(const ql_arg_table *tables, size_t n_tables, int argc, char **argv,
                        int *help) {
    size_t taken = 0;
    bool only_positional = false;
    *help = 0;
    for (int i = 0; i < argc; i++) {
        const char *word = argv[i];
        if (only_positional || word[0] != '-' || word[1] == '\0') {
            QL_TRY(take_positional(tables, n_tables, &taken, word));
        } else if (strcmp(word, "--") == 0) {
            only_positional = true;
        } else if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0) {
            *help = i + 1 < argc && strcmp(argv[i + 1], "all") == 0 ? 2 : 1;
            return QL_OK;
        } else {
            QL_TRY(take_flag(tables, n_tables, argc, argv, &i));
        }
    }
    return check_required(tables, n_tables);
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
