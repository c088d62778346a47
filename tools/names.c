/* names.c - see names.h. */
#include "tools/names.h"

#include <stdint.h>
#include <string.h>

size_t ql_next_name(const char **list) {
    *list += strspn(*list, " |");
    return strcspn(*list, " |");
}

bool ql_names_have(const char *names, const char *word) {
    size_t len = strlen(word);
    for (size_t n = ql_next_name(&names); n > 0; names += n, n = ql_next_name(&names)) {
        if (n == len && memcmp(names, word, n) == 0) return true;
    }
    return false;
}

/* Edits that turn a into b: insert, delete, replace, swap neighbours. O(|a| |b|), names are short.
 */
static size_t edit_distance(const char *a, size_t na, const char *b, size_t nb) {
    size_t row[3][QL_NAME_MAX + 1];
    if (na > QL_NAME_MAX || nb > QL_NAME_MAX) return SIZE_MAX;
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

bool ql_plain_name(const char *word, size_t len, char out[QL_NAME_MAX + 1]) {
    while (len > 0 && *word == '-') {
        word++;
        len--;
    }
    if (len > QL_NAME_MAX) return false;
    for (size_t i = 0; i < len; i++) out[i] = word[i] == '-' ? '_' : word[i];
    out[len] = '\0';
    return true;
}

/* A name is near when it is below this many edits away. */
static size_t near_limit(size_t len) {
    return len < 6 ? 3 : len / 3 + 2;
}

bool ql_nearest_name(const char *names, const char *word, char *out, size_t size) {
    char plain[QL_NAME_MAX + 1];
    if (!ql_plain_name(word, strlen(word), plain)) return false;
    size_t len = strlen(plain), best = near_limit(len);
    bool found = false;
    for (size_t n = ql_next_name(&names); n > 0; names += n, n = ql_next_name(&names)) {
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

size_t ql_name_distance(const char *word, const char *name) {
    size_t len = strlen(word), d = edit_distance(word, len, name, strlen(name));
    return d < near_limit(len) ? d : SIZE_MAX;
}
