/*
 * bytemap.h - the byte alphabet of byte-level BPE: every byte as one visible character.
 *
 * The 188 bytes that print (33-126, 161-172, 174-255) stand for themselves as code points; the
 * other 68, in order, are U+0100 to U+0143. The mapping is GPT-2's.
 */
#ifndef QLORA_CORE_DATA_BYTEMAP_H
#define QLORA_CORE_DATA_BYTEMAP_H

#include <stdint.h>

static inline int32_t ql_byte_to_code(unsigned char b) {
    if (b < 33) return 0x100 + b;
    if (b >= 127 && b < 161) return 0x100 + 33 + (b - 127);
    if (b == 173) return 0x100 + 33 + 34;
    return b;
}

/* The byte that `code` stands for; -1 = none. */
static inline int ql_code_to_byte(int32_t code) {
    if (code >= 0x100 && code < 0x100 + 33) return code - 0x100;
    if (code >= 0x100 + 33 && code < 0x100 + 67) return code - 0x100 - 33 + 127;
    if (code == 0x100 + 67) return 173;
    if (code < 0 || code > 255 || ql_byte_to_code((unsigned char)code) != code) return -1;
    return code;
}

#endif
