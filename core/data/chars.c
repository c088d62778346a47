/* chars.c - see chars.h. */
#include "core/data/chars.h"

#include "core/data/text.h"

int32_t ql_text_chars(const char *s, size_t len) {
    size_t n = 0;
    for (size_t i = 0; i < len; i++) n += ((unsigned char)s[i] & 0xc0) != 0x80;
    return n > INT32_MAX ? INT32_MAX : (int32_t)n;
}

bool ql_text_is_utf8(const char *s, size_t len) {
    return ql_utf8_valid(s, len) == len;
}

int32_t ql_text_bad_char(const char *s, size_t len) {
    for (size_t i = 0; i < len;) {
        int32_t code = 0;
        size_t n = ql_utf8_decode(s + i, len - i, &code);
        bool control = code < 32 && code != '\t' && code != '\n' && code != '\r';
        if (n == 0 || control || code == 127 || code == 0xfffd || code == 0xfeff) return code;
        i += n;
    }
    return -1;
}
