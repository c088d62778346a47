/*
 * decode.c - the steps of a decoder over a list of pieces.
 */
#include "core/data/decode.h"

#include <string.h>

#include "core/base/hostmem.h"
#include "core/data/bytemap.h"

ql_status ql_decoder_add(ql_decoder *d, ql_decode_kind kind, const char *text, size_t len,
                         ql_decode_step **out) {
    QL_TRY(ql_host_grow((void **)&d->steps, &d->cap, d->n + 1, sizeof *d->steps));
    ql_decode_step *step = &d->steps[d->n];
    *step = (ql_decode_step){.kind = kind};
    QL_TRY(ql_text_append(&step->text, text, len));
    d->n++;
    *out = step;
    return QL_OK;
}

void ql_decoder_free(ql_decoder *d) {
    for (size_t i = 0; i < d->n; i++) {
        ql_pattern_free(d->steps[i].pattern);
        ql_text_free(&d->steps[i].text);
    }
    ql_host_free(d->steps);
    *d = (ql_decoder){0};
}

/* -------------------------------------------------------------- byte fallback */

static int hex_digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

/* Value of a piece like "<0x41>"; -1 = any other piece. */
static int byte_piece(const char *s, size_t n) {
    if (n != 6 || memcmp(s, "<0x", 3) != 0 || s[5] != '>') return -1;
    int hi = hex_digit(s[3]), lo = hex_digit(s[4]);
    return hi < 0 || lo < 0 ? -1 : hi * 16 + lo;
}

/* The bytes of a finished run: the text they are, or one U+FFFD for each. */
static ql_status flush_bytes(ql_text *bytes, ql_pieces *out) {
    size_t begin = out->text.n;
    if (ql_utf8_valid(bytes->s, bytes->n) == bytes->n) {
        QL_TRY(ql_text_append(&out->text, bytes->s, bytes->n));
        QL_TRY(ql_pieces_push(out, begin, out->text.n));
    } else {
        for (size_t i = 0; i < bytes->n; i++) {
            begin = out->text.n;
            QL_TRY(ql_text_append_code(&out->text, 0xFFFD));
            QL_TRY(ql_pieces_push(out, begin, out->text.n));
        }
    }
    bytes->n = 0;
    return QL_OK;
}

static ql_status push_copy(ql_pieces *out, const char *s, size_t n) {
    size_t begin = out->text.n;
    QL_TRY(ql_text_append(&out->text, s, n));
    return ql_pieces_push(out, begin, out->text.n);
}

static ql_status byte_fallback(const ql_pieces *in, ql_text *bytes, ql_pieces *out) {
    for (size_t i = 0; i < in->n; i++) {
        const char *s = in->text.s + in->v[i].begin;
        size_t n = in->v[i].end - in->v[i].begin;
        int b = byte_piece(s, n);
        if (b >= 0) {
            QL_TRY(ql_text_append(bytes, &(char){(char)b}, 1));
        } else {
            QL_TRY(flush_bytes(bytes, out));
            QL_TRY(push_copy(out, s, n));
        }
    }
    return flush_bytes(bytes, out);
}

/* ----------------------------------------------------------------- byte level */

/* A piece with any character outside the byte alphabet is taken as it is. */
static ql_status append_bytes(const char *s, size_t n, ql_text *out) {
    size_t before = out->n;
    for (size_t i = 0; i < n;) {
        int32_t code = -1;
        size_t len = ql_utf8_decode(s + i, n - i, &code);
        int b = len ? ql_code_to_byte(code) : -1;
        if (b < 0) {
            out->n = before;
            return ql_text_append(out, s, n);
        }
        QL_TRY(ql_text_append(out, &(char){(char)b}, 1));
        i += len;
    }
    return QL_OK;
}

static ql_status byte_level(const ql_pieces *in, ql_text *bytes, ql_pieces *out) {
    for (size_t i = 0; i < in->n; i++)
        QL_TRY(append_bytes(in->text.s + in->v[i].begin, in->v[i].end - in->v[i].begin, bytes));
    QL_TRY(ql_text_append_lossy(&out->text, bytes->s, bytes->n));
    return ql_pieces_push(out, 0, out->text.n);
}

/* --------------------------------------------------------------- piece by piece */

static ql_status strip(const ql_decode_step *p, const char *s, size_t n, ql_text *out) {
    size_t k = p->text.n;
    for (size_t i = 0; i < p->start && n >= k && memcmp(s, p->text.s, k) == 0; i++) {
        s += k;
        n -= k;
    }
    for (size_t i = 0; i < p->stop && n >= k && memcmp(s + n - k, p->text.s, k) == 0; i++) n -= k;
    return ql_text_append(out, s, n);
}

static ql_status metaspace(const ql_decode_step *p, const char *s, size_t n, bool first,
                           ql_text *out) {
    size_t k = p->text.n;
    for (size_t i = 0; i < n;) {
        if (n - i >= k && memcmp(s + i, p->text.s, k) == 0) {
            if (!first || !p->start) QL_TRY(ql_text_append(out, " ", 1));
            i += k;
        } else {
            QL_TRY(ql_text_append(out, s + i, 1));
            i++;
        }
    }
    return QL_OK;
}

/* One replacement after the other over the piece, each over what the one before left. */
static ql_status clean_up(ql_text *text, ql_text *scratch) {
    static const struct {
        const char *from, *to;
    } rules[] = {{" .", "."},   {" ?", "?"},     {" !", "!"},    {" ,", ","},
                 {" ' ", "'"},  {" n't", "n't"}, {" 'm", "'m"},  {" do not", " don't"},
                 {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"}};
    for (size_t r = 0; r < sizeof rules / sizeof *rules; r++) {
        size_t k = strlen(rules[r].from);
        scratch->n = 0;
        for (size_t i = 0; i < text->n;) {
            bool hit = text->n - i >= k && memcmp(text->s + i, rules[r].from, k) == 0;
            QL_TRY(hit ? ql_text_append(scratch, rules[r].to, strlen(rules[r].to))
                       : ql_text_append(scratch, text->s + i, 1));
            i += hit ? k : 1;
        }
        ql_text t = *text;
        *text = *scratch;
        *scratch = t;
    }
    return QL_OK;
}

static ql_status wordpiece(const ql_decode_step *p, const ql_pieces *in, ql_text *work,
                           ql_text *scratch, ql_pieces *out) {
    for (size_t i = 0; i < in->n; i++) {
        const char *s = in->text.s + in->v[i].begin;
        size_t n = in->v[i].end - in->v[i].begin, k = p->text.n;
        bool goes_on = i > 0 && n >= k && memcmp(s, p->text.s, k) == 0;
        work->n = 0;
        if (i > 0 && !goes_on) QL_TRY(ql_text_append(work, " ", 1));
        QL_TRY(ql_text_append(work, goes_on ? s + k : s, goes_on ? n - k : n));
        if (p->cleanup) QL_TRY(clean_up(work, scratch));
        QL_TRY(push_copy(out, work->s, work->n));
    }
    return QL_OK;
}

static ql_status each_piece(const ql_decode_step *p, ql_match_work *w, const ql_pieces *in,
                            ql_pieces *out) {
    for (size_t i = 0; i < in->n; i++) {
        const char *s = in->text.s + in->v[i].begin;
        size_t n = in->v[i].end - in->v[i].begin, begin = out->text.n;
        switch (p->kind) {
        case QL_DECODE_REPLACE:
            QL_TRY(ql_pattern_replace(p->pattern, w, s, n, &p->text, &out->text, NULL));
            break;
        case QL_DECODE_STRIP: QL_TRY(strip(p, s, n, &out->text)); break;
        default: QL_TRY(metaspace(p, s, n, i == 0, &out->text)); break;
        }
        QL_TRY(ql_pieces_push(out, begin, out->text.n));
    }
    return QL_OK;
}

static ql_status run_step(const ql_decode_step *p, ql_match_work *w, ql_text *bytes,
                          ql_text *scratch, const ql_pieces *in, ql_pieces *out) {
    bytes->n = 0;
    switch (p->kind) {
    case QL_DECODE_BYTE_FALLBACK: return byte_fallback(in, bytes, out);
    case QL_DECODE_BYTE_LEVEL: return byte_level(in, bytes, out);
    case QL_DECODE_WORDPIECE: return wordpiece(p, in, bytes, scratch, out);
    case QL_DECODE_FUSE:
        QL_TRY(ql_text_append(&out->text, in->text.s, in->text.n));
        return ql_pieces_push(out, 0, out->text.n);
    case QL_DECODE_REPLACE:
    case QL_DECODE_STRIP:
    case QL_DECODE_METASPACE: return each_piece(p, w, in, out);
    }
    return QL_FAIL(QL_ERR_INTERNAL, "decode: unknown step %d", (int)p->kind);
}

static ql_status join(const ql_decoder *d, const ql_pieces *p, ql_text *out) {
    if (d->n) return ql_text_append(out, p->text.s, p->text.n);
    for (size_t i = 0; i < p->n; i++) {
        if (i) QL_TRY(ql_text_append(out, " ", 1));
        QL_TRY(ql_text_append(out, p->text.s + p->v[i].begin, p->v[i].end - p->v[i].begin));
    }
    return QL_OK;
}

ql_status ql_decoder_run(const ql_decoder *d, ql_pieces *pieces, ql_text *out) {
    ql_match_work w = {0};
    ql_pieces next = {0};
    ql_text bytes = {0}, scratch = {0};
    ql_status st = QL_OK;
    for (size_t i = 0; i < d->n && st == QL_OK; i++) {
        ql_pieces_clear(&next);
        st = run_step(&d->steps[i], &w, &bytes, &scratch, pieces, &next);
        ql_pieces t = *pieces;
        *pieces = next;
        next = t;
    }
    if (st == QL_OK) st = join(d, pieces, out);
    ql_match_free(&w);
    ql_pieces_free(&next);
    ql_text_free(&bytes);
    ql_text_free(&scratch);
    return st;
}
