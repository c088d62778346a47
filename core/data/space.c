/* space.c - see space.h. */
#include "core/data/space.h"

#include <stdbool.h>

size_t ql_space_at(const char *s, size_t len) {
    const unsigned char *u = (const unsigned char *)s;
    if (len >= 1 &&
        (u[0] == ' ' || (u[0] >= 0x09 && u[0] <= 0x0d) || (u[0] >= 0x1c && u[0] <= 0x1f))) {
        return 1;
    }
    if (len >= 2 && u[0] == 0xc2 && (u[1] == 0x85 || u[1] == 0xa0)) return 2;
    if (len < 3) return 0;
    unsigned code = (unsigned)((u[0] & 0x0f) << 12 | (u[1] & 0x3f) << 6 | (u[2] & 0x3f));
    if ((u[0] & 0xf0) != 0xe0 || (u[1] & 0xc0) != 0x80 || (u[2] & 0xc0) != 0x80) return 0;
    bool space = code == 0x1680 || (code >= 0x2000 && code <= 0x200a) || code == 0x2028 ||
                 code == 0x2029 || code == 0x202f || code == 0x205f || code == 0x3000;
    return space ? 3 : 0;
}

size_t ql_space_before(const char *s, size_t len) {
    for (size_t n = 1; n <= 3 && n <= len; n++) {
        if (ql_space_at(s + len - n, n) == n) return n;
    }
    return 0;
}
