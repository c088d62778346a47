/* keys.c - see keys.h. */
#include "core/quant/keys.h"

#include <string.h>

#define WEIGHT ".weight"

static bool ends_with(const char *s, const char *end) {
    size_t n = strlen(s), m = strlen(end);
    return n >= m && strcmp(s + n - m, end) == 0;
}

/* The first `n` bytes of name, then `part`. */
static bool join(char out[QL_KEY_MAX], const char *name, size_t n, const char *part) {
    size_t m = strlen(part);
    if (n + m >= QL_KEY_MAX) return false;
    memcpy(out, name, n);
    memcpy(out + n, part, m + 1);
    return true;
}

bool ql_key_join(char out[QL_KEY_MAX], const char *name, const char *part) {
    return join(out, name, strlen(name), part);
}

static size_t stem(const char *name) {
    return strlen(name) - (ends_with(name, WEIGHT) ? strlen(WEIGHT) : 0);
}

bool ql_key_scb(char out[QL_KEY_MAX], const char *name) {
    return join(out, name, stem(name), ".SCB");
}

bool ql_key_format(char out[QL_KEY_MAX], const char *name) {
    return join(out, name, stem(name), ".weight_format");
}

bool ql_key_base(char out[QL_KEY_MAX], const char *part) {
    static const char *const own[] = {QL_KEY_ABSMAX, QL_KEY_MAP, QL_KEY_NESTED, QL_KEY_NESTED_MAP,
                                      QL_KEY_ZERO};
    static const char *const row[] = {".SCB", ".weight_format"};
    for (size_t i = 0; i < sizeof own / sizeof own[0]; i++)
        if (ends_with(part, own[i])) return join(out, part, strlen(part) - strlen(own[i]), "");
    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++)
        if (ends_with(part, row[i])) return join(out, part, strlen(part) - strlen(row[i]), WEIGHT);
    const char *state = strstr(part, QL_KEY_STATE);
    return state != NULL && join(out, part, (size_t)(state - part), "");
}
