/*
 * charsmap.c - base64, the trie and the walk over graphemes.
 *
 * As `tokenizers` does it: a grapheme of less than six bytes is replaced as a whole when the trie
 * has a prefix of it - the shortest one decides, what follows in the grapheme is dropped; otherwise
 * each of its characters is looked up alone.
 */
#include "core/data/charsmap.h"

#include <string.h>
#include <utf8proc.h>

#include "core/base/hostmem.h"

#define BASE64_MAX_BYTES ((size_t)64 << 20)
#define GRAPHEME_BELOW   6u
#define TEXT_MAX_BYTES   4096u /* of one replacement */

struct ql_charsmap {
    uint8_t *bytes; /* the decoded file; units and blob lie inside */
    const uint8_t *units;
    size_t n_units;
    const char *blob;
    size_t blob_len;
};

/* ------------------------------------------------------------------------ base64 */

static int sextet(unsigned char c) {
    if (c >= 'A' && c <= 'Z') return c - 'A';
    if (c >= 'a' && c <= 'z') return c - 'a' + 26;
    if (c >= '0' && c <= '9') return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* Bytes of a group of four; 0 = malformed. `last`: '=' may stand at its end. */
static size_t decode_group(const char *s, bool last, uint8_t out[3]) {
    size_t n = 4;
    while (last && n > 2 && s[n - 1] == '=') n--;
    uint32_t bits = 0;
    for (size_t i = 0; i < 4; i++) {
        int v = i < n ? sextet((unsigned char)s[i]) : 0;
        if (v < 0) return 0;
        bits = bits << 6 | (uint32_t)v;
    }
    for (size_t i = 0; i < 3; i++) out[i] = (uint8_t)(bits >> (16 - 8 * i));
    return n - 1;
}

static bool decode_base64(const char *s, size_t len, uint8_t *out, size_t *n) {
    *n = 0;
    for (size_t i = 0; i < len; i += 4) {
        size_t got = len - i < 4 ? 0 : decode_group(s + i, i + 4 == len, out + *n);
        if (got == 0) return false;
        *n += got;
    }
    return true;
}

/* ------------------------------------------------------------------------ opening */

static uint32_t load32(const uint8_t *p) {
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static ql_status place(ql_charsmap *m, size_t n, const char *what) {
    size_t trie = n >= 4 ? load32(m->bytes) : 0;
    if (n < 4 || trie == 0 || trie % 4 != 0 || trie > n - 4) {
        return QL_FAIL(QL_ERR_FORMAT,
                       "%s: precompiled_charsmap has %zu bytes and says that its trie has %zu, "
                       "expected a multiple of 4 that fits",
                       what, n, trie);
    }
    m->units = m->bytes + 4;
    m->n_units = trie / 4;
    m->blob = (const char *)m->units + trie;
    m->blob_len = n - 4 - trie;
    size_t valid = ql_utf8_valid(m->blob, m->blob_len);
    if (valid == m->blob_len) return QL_OK;
    return QL_FAIL(QL_ERR_FORMAT, "%s: the texts of precompiled_charsmap are not UTF-8 at byte %zu",
                   what, valid);
}

ql_status ql_charsmap_open(const char *base64, size_t len, const char *what, ql_charsmap **out) {
    if (len > BASE64_MAX_BYTES) {
        return QL_FAIL(QL_ERR_FORMAT,
                       "%s: precompiled_charsmap has %zu bytes, at most %zu are taken", what, len,
                       BASE64_MAX_BYTES);
    }
    ql_charsmap *m = ql_host_calloc(1, sizeof *m);
    if (m) m->bytes = ql_host_calloc(len / 4 * 3 + 3, 1);
    if (!m || !m->bytes) {
        ql_charsmap_close(m);
        return QL_NOMEM("a character map");
    }
    size_t n;
    ql_status st = decode_base64(base64, len, m->bytes, &n)
                       ? place(m, n, what)
                       : QL_FAIL(QL_ERR_FORMAT, "%s: precompiled_charsmap is not base64", what);
    if (st != QL_OK) {
        ql_charsmap_close(m);
        return st;
    }
    *out = m;
    return QL_OK;
}

void ql_charsmap_close(ql_charsmap *m) {
    if (!m) return;
    ql_host_free(m->bytes);
    ql_host_free(m);
}

/* ------------------------------------------------------------------------ lookup
 * A unit: bits 0 to 7 and 31 are its label, bit 8 says that a value hangs below it, bit 9 scales
 * its offset (bits 10 up) by 256. A value is bits 0 to 30. */

static ql_status unit_at(const ql_charsmap *m, size_t i, uint32_t *out) {
    if (i >= m->n_units) {
        return QL_FAIL(QL_ERR_FORMAT,
                       "tokenizer: the trie of precompiled_charsmap points to unit %zu of %zu", i,
                       m->n_units);
    }
    *out = load32(m->units + 4 * i);
    return QL_OK;
}

static size_t unit_offset(uint32_t unit) {
    return (size_t)(unit >> 10) << ((unit & 0x200u) >> 6);
}

/* The text at offset `at` of the blob. */
static ql_status text_at(const ql_charsmap *m, size_t at, ql_span *out) {
    if (at > m->blob_len || (at < m->blob_len && ((unsigned char)m->blob[at] & 0xC0) == 0x80)) {
        return QL_FAIL(QL_ERR_FORMAT,
                       "tokenizer: the trie of precompiled_charsmap points to byte %zu of %zu, "
                       "where no text begins",
                       at, m->blob_len);
    }
    size_t rest = m->blob_len - at, most = rest < TEXT_MAX_BYTES ? rest : TEXT_MAX_BYTES;
    const char *end = memchr(m->blob + at, 0, most);
    if (!end && most < rest) {
        return QL_FAIL(
            QL_ERR_FORMAT,
            "tokenizer: a text of precompiled_charsmap (byte %zu) has more than %u bytes", at,
            TEXT_MAX_BYTES);
    }
    *out = (ql_span){at, end ? (size_t)(end - m->blob) : m->blob_len};
    return QL_OK;
}

/* What the shortest prefix of s in the trie becomes. */
static ql_status transform(const ql_charsmap *m, const char *s, size_t n, ql_span *text,
                           bool *found) {
    uint32_t unit;
    *found = false;
    QL_TRY(unit_at(m, 0, &unit));
    size_t at = unit_offset(unit);
    for (size_t i = 0; i < n && s[i] != 0; i++) {
        uint32_t b = (unsigned char)s[i];
        at ^= b;
        QL_TRY(unit_at(m, at, &unit));
        if ((unit & 0x800000FFu) != b) return QL_OK;
        at ^= unit_offset(unit);
        if (!(unit & 0x100u)) continue;
        QL_TRY(unit_at(m, at, &unit));
        *found = true;
        return text_at(m, unit & 0x7FFFFFFFu, text);
    }
    return QL_OK;
}

/* ------------------------------------------------------------------------ the walk */

/* Bytes of the extended grapheme cluster at s. */
static size_t grapheme_at(const char *s, size_t n) {
    int32_t state = 0, last, code;
    size_t i = ql_utf8_decode(s, n, &last);
    while (i < n) {
        size_t k = ql_utf8_decode(s + i, n - i, &code);
        if (utf8proc_grapheme_break_stateful(last, code, &state)) break;
        last = code;
        i += k;
    }
    return i;
}

typedef struct rewriter {
    const ql_charsmap *map;
    ql_text *out;
    bool *kept_start;
    size_t begin; /* of the output */
} rewriter;

/* Appends what s[0..n) becomes, if the trie knows. */
static ql_status replace(rewriter *r, const char *s, size_t n, bool *found) {
    ql_span text = {0, 0};
    QL_TRY(transform(r->map, s, n, &text, found));
    if (!*found) return QL_OK;
    if (text.begin == text.end && r->out->n == r->begin) *r->kept_start = false;
    return ql_text_append(r->out, r->map->blob + text.begin, text.end - text.begin);
}

static ql_status rewrite_grapheme(rewriter *r, const char *s, size_t n) {
    bool found = false;
    if (n < GRAPHEME_BELOW) QL_TRY(replace(r, s, n, &found));
    for (size_t i = 0; !found && i < n;) {
        int32_t code;
        size_t k = ql_utf8_decode(s + i, n - i, &code);
        bool known;
        QL_TRY(replace(r, s + i, k, &known));
        if (!known) QL_TRY(ql_text_append(r->out, s + i, k));
        i += k;
    }
    return QL_OK;
}

ql_status ql_charsmap_apply(const ql_charsmap *m, const char *s, size_t n, ql_text *out,
                            bool *kept_start) {
    rewriter r = {m, out, kept_start, out->n};
    for (size_t i = 0; i < n;) {
        size_t k = grapheme_at(s + i, n - i);
        QL_TRY(rewrite_grapheme(&r, s + i, k));
        i += k;
    }
    return QL_OK;
}
