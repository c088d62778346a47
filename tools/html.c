/* html.c - the page, escaping and the building blocks; see html.h. */
#include "tools/html.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "core/base/fs.h"
#include "core/base/hostmem.h"

struct ql_html {
    ql_writer *w;
    ql_status failed; /* the first failure ... */
    char why[512];    /* ... and its sentence  */
    bool in_section;
    bool number[QL_HTML_MAX_COLUMNS]; /* columns of the open table    */
    size_t n_columns, column;         /* of the open table; next cell */
};

/* ----------------------------------------------------------------------- bytes */

static void put(ql_html *h, const char *data, size_t len) {
    if (h->failed != QL_OK) return;
    h->failed = ql_writer_write(h->w, data, len);
    if (h->failed != QL_OK) snprintf(h->why, sizeof h->why, "%s", ql_last_error());
}

void ql_html_raw(ql_html *h, const char *markup) {
    put(h, markup, strlen(markup));
}

static void formatted(ql_html *h, void (*how)(ql_html *, const char *, size_t), const char *fmt,
                      va_list ap) QL_PRINTF(3, 0);

/* Formats and hands the text to `how`; more than 512 bytes come from the heap. */
static void formatted(ql_html *h, void (*how)(ql_html *, const char *, size_t), const char *fmt,
                      va_list ap) {
    char small[512];
    va_list again;
    va_copy(again, ap);
    int n = vsnprintf(small, sizeof small, fmt, ap);
    if (n >= 0 && (size_t)n < sizeof small) {
        how(h, small, (size_t)n);
    } else if (n >= 0 && h->failed == QL_OK) {
        char *big = ql_host_calloc((size_t)n + 1, 1);
        if (big) {
            vsnprintf(big, (size_t)n + 1, fmt, again);
            how(h, big, (size_t)n);
            ql_host_free(big);
        } else {
            h->failed = QL_ERR_NOMEM_HOST;
            snprintf(h->why, sizeof h->why, "out of host memory for a page");
        }
    }
    va_end(again);
}

void ql_html_rawf(ql_html *h, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    formatted(h, put, fmt, ap);
    va_end(ap);
}

/* -------------------------------------------------------------------- escaping */

/* Bytes of the UTF-8 sequence at s[0..len), 0 = none that Unicode allows (overlong, surrogate,
 * beyond U+10FFFF, cut off). */
static size_t utf8_len(const unsigned char *s, size_t len) {
    if (s[0] < 0x80) return 1;
    size_t n = s[0] >= 0xC2 && s[0] <= 0xDF   ? 2
               : s[0] >= 0xE0 && s[0] <= 0xEF ? 3
               : s[0] >= 0xF0 && s[0] <= 0xF4 ? 4
                                              : 0;
    if (n == 0 || n > len) return 0;
    for (size_t i = 1; i < n; i++) {
        if ((s[i] & 0xC0) != 0x80) return 0;
    }
    bool ok = !(s[0] == 0xE0 && s[1] < 0xA0) && !(s[0] == 0xED && s[1] > 0x9F) &&
              !(s[0] == 0xF0 && s[1] < 0x90) && !(s[0] == 0xF4 && s[1] > 0x8F);
    return ok ? n : 0;
}

/* What stands for the one-byte character c, NULL = c itself. Control characters: U+2400 + c. */
static const char *escape_of(unsigned char c, char picture[4]) {
    switch (c) {
    case '&': return "&amp;";
    case '<': return "&lt;";
    case '>': return "&gt;";
    case '"': return "&quot;";
    case '\'': return "&#39;";
    case '\n':
    case '\t': return NULL;
    case 0x7F: return "\xE2\x90\xA1";
    default: break;
    }
    if (c >= 0x20) return NULL;
    picture[0] = '\xE2';
    picture[1] = '\x90';
    picture[2] = (char)(0x80 + c);
    picture[3] = '\0';
    return picture;
}

void ql_html_text(ql_html *h, const char *text, size_t len) {
    const unsigned char *s = (const unsigned char *)text;
    size_t plain = 0; /* start of what is copied unchanged */
    for (size_t i = 0; i < len;) {
        char picture[4];
        size_t n = utf8_len(s + i, len - i);
        const char *other = n == 0 ? "\xEF\xBF\xBD" : n == 1 ? escape_of(s[i], picture) : NULL;
        if (other) {
            put(h, text + plain, i - plain);
            put(h, other, strlen(other));
        }
        i += n ? n : 1;
        if (other) plain = i;
    }
    if (len > plain) put(h, text + plain, len - plain);
}

void ql_html_puts(ql_html *h, const char *text) {
    if (text) ql_html_text(h, text, strlen(text));
}

void ql_html_textf(ql_html *h, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    formatted(h, ql_html_text, fmt, ap);
    va_end(ap);
}

/* -------------------------------------------------------------------- the page */

/* Nothing may be fetched from anywhere, not even by markup that slipped through. */
#define POLICY "default-src 'none'; style-src 'unsafe-inline'"

ql_status ql_html_open(const char *path, const char *title, ql_html **out) {
    ql_html *h = ql_host_calloc(1, sizeof *h);
    if (!h) return QL_NOMEM("a page");
    ql_status s = ql_writer_open(path, &h->w);
    if (s != QL_OK) {
        ql_host_free(h);
        return s;
    }
    ql_html_raw(h, "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
                   "<meta http-equiv=\"Content-Security-Policy\" content=\"" POLICY "\">\n"
                   "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
                   "<title>");
    ql_html_puts(h, title);
    ql_html_raw(h, "</title>\n<style>\n");
    for (size_t i = 0; ql_html_style[i]; i++) ql_html_raw(h, ql_html_style[i]);
    ql_html_raw(h, "</style>\n</head>\n<body>\n<main>\n<h1>");
    ql_html_puts(h, title);
    ql_html_raw(h, "</h1>\n");
    *out = h;
    return QL_OK;
}

ql_status ql_html_commit(ql_html *h) {
    if (h->in_section) ql_html_raw(h, "</section>\n");
    ql_html_raw(h, "</main>\n</body>\n</html>\n");
    if (h->failed == QL_OK) {
        ql_status s = ql_writer_commit(h->w);
        ql_host_free(h);
        return s;
    }
    ql_status s = QL_FAIL(h->failed, "%s", h->why);
    ql_html_abort(h);
    return s;
}

void ql_html_abort(ql_html *h) {
    if (!h) return;
    ql_writer_abort(h->w);
    ql_host_free(h);
}

/* ------------------------------------------------------------- building blocks */

/* <tag class="...">escaped text</tag> */
static void element(ql_html *h, const char *open, const char *text, const char *close) {
    ql_html_raw(h, open);
    ql_html_puts(h, text);
    ql_html_raw(h, close);
}

void ql_html_section(ql_html *h, const char *heading) {
    if (h->in_section) ql_html_raw(h, "</section>\n");
    h->in_section = true;
    element(h, "<section>\n<h2>", heading, "</h2>\n");
}

void ql_html_paragraph(ql_html *h, const char *text) {
    element(h, "<p>", text, "</p>\n");
}

void ql_html_notice(ql_html *h, const char *class, const char *text) {
    ql_html_rawf(h, "<p class=\"notice %s\">", class);
    element(h, "", text, "</p>\n");
}

void ql_html_tiles_begin(ql_html *h) {
    ql_html_raw(h, "<dl class=\"tiles\">\n");
}

void ql_html_tile(ql_html *h, const char *label, const char *value, const char *remark) {
    element(h, "<div><dt>", label, "</dt>");
    element(h, "<dd>", value, "</dd>");
    if (remark) element(h, "<dd class=\"remark\">", remark, "</dd>");
    ql_html_raw(h, "</div>\n");
}

void ql_html_tiles_end(ql_html *h) {
    ql_html_raw(h, "</dl>\n");
}

void ql_html_table_begin(ql_html *h, const char *const *heads, size_t n) {
    h->n_columns = n < QL_HTML_MAX_COLUMNS ? n : QL_HTML_MAX_COLUMNS;
    ql_html_raw(h, "<div class=\"scroll\"><table>\n<thead><tr>");
    for (size_t i = 0; i < h->n_columns; i++) {
        h->number[i] = heads[i][0] == '#';
        element(h, h->number[i] ? "<th class=\"n\">" : "<th>", heads[i] + h->number[i], "</th>");
    }
    ql_html_raw(h, "</tr></thead>\n<tbody>\n");
}

void ql_html_row_begin(ql_html *h) {
    h->column = 0;
    ql_html_raw(h, "<tr>");
}

void ql_html_cell_begin(ql_html *h) {
    bool number = h->column < h->n_columns && h->number[h->column];
    h->column++;
    ql_html_raw(h, number ? "<td class=\"n\">" : "<td>");
}

void ql_html_cell_end(ql_html *h) {
    ql_html_raw(h, "</td>");
}

void ql_html_row_end(ql_html *h) {
    ql_html_raw(h, "</tr>\n");
}

void ql_html_row(ql_html *h, const char *const *cells) {
    ql_html_row_begin(h);
    for (size_t i = 0; i < h->n_columns; i++) {
        ql_html_cell_begin(h);
        ql_html_puts(h, cells[i]);
        ql_html_cell_end(h);
    }
    ql_html_row_end(h);
}

void ql_html_table_end(ql_html *h) {
    ql_html_raw(h, "</tbody>\n</table></div>\n");
}

void ql_html_pairs_begin(ql_html *h) {
    ql_html_raw(h, "<dl class=\"pairs\">\n");
}

void ql_html_pair(ql_html *h, const char *name, const char *value) {
    element(h, "<dt>", name, "</dt>");
    element(h, "<dd>", value, "</dd>\n");
}

void ql_html_pairs_end(ql_html *h) {
    ql_html_raw(h, "</dl>\n");
}

void ql_html_fold_begin(ql_html *h, const char *summary) {
    element(h, "<details><summary>", summary, "</summary>\n");
}

void ql_html_fold_end(ql_html *h) {
    ql_html_raw(h, "</details>\n");
}

void ql_html_pre(ql_html *h, const char *text, size_t len) {
    ql_html_raw(h, "<pre>"); /* a parser drops one newline behind <pre>: keep a leading one */
    if (len && text[0] == '\n') ql_html_raw(h, "\n");
    ql_html_text(h, text, len);
    ql_html_raw(h, "</pre>\n");
}

void ql_html_figures_begin(ql_html *h) {
    ql_html_raw(h, "<div class=\"figures\">\n");
}

void ql_html_figures_end(ql_html *h) {
    ql_html_raw(h, "</div>\n");
}

/* ---------------------------------------------------------------------- tokens */

void ql_html_tokens_begin(ql_html *h) {
    ql_html_raw(h, "<div class=\"tokens\">");
}

void ql_html_token(ql_html *h, const char *class, const char *text, size_t len, const char *hover) {
    ql_html_rawf(h, "<span class=\"t-%s\"", class);
    if (hover) element(h, " title=\"", hover, "\"");
    ql_html_raw(h, ">");
    ql_html_text(h, text, len);
    ql_html_raw(h, "</span>");
}

void ql_html_tokens_end(ql_html *h) {
    ql_html_raw(h, "</div>\n");
}

void ql_html_token_legend(ql_html *h) {
    ql_html_raw(h, "<p class=\"legend\"><span class=\"t-on\">supervised</span> "
                   "<span class=\"t-eos\">end that is learnt</span> "
                   "<span class=\"t-off\">not supervised</span> "
                   "<span class=\"t-sep\">special, not supervised</span> "
                   "<span class=\"t-cut\">cut off</span> "
                   "<span class=\"t-bad\">error</span></p>\n");
}
