/*
 * html.h - self-contained HTML pages: one frame for every report, and text that cannot break out.
 *
 * A page loads nothing: style is inline, there is no script, and a Content-Security-Policy in the
 * head forbids every request. It follows the reader's light or dark setting and reads well on a
 * phone. Everything that comes from a user (names, paths, tokens, generated text) goes through
 * ql_html_text or a function documented to escape; ql_html_raw is for the program's own markup.
 *
 * Failures are sticky: after the first one the calls do nothing, and ql_html_commit returns it. The
 * file is replaced atomically, so a page is whole or the old one stays.
 */
#ifndef QLORA_TOOLS_HTML_H
#define QLORA_TOOLS_HTML_H

#include <stddef.h>

#include "qlora/status.h"

typedef struct ql_html ql_html;

/* Begins a page that will replace `path`; `title` is escaped and is the page's h1, too. */
QL_NODISCARD ql_status ql_html_open(const char *path, const char *title, ql_html **out);
/* Ends the page and puts it in place; frees h in every case. */
QL_NODISCARD ql_status ql_html_commit(ql_html *h);
void ql_html_abort(ql_html *h); /* frees h, `path` stays as it was; NULL ok */

/* Markup of the program's own. */
void ql_html_raw(ql_html *h, const char *markup);
/* The same with numbers; no argument may be text of a user. */
void ql_html_rawf(ql_html *h, const char *fmt, ...) QL_PRINTF(2, 3);
/* Escaped text. Bytes that are no UTF-8 become U+FFFD, control characters their visible picture
 * (newline and tab stay). */
void ql_html_text(ql_html *h, const char *text, size_t len);
void ql_html_puts(ql_html *h, const char *text); /* NUL-terminated; NULL = nothing */
void ql_html_textf(ql_html *h, const char *fmt, ...) QL_PRINTF(2, 3);

/* ----------------------------------------------------------------- building blocks
 * Text arguments are escaped. `class` is one of the program's own names, see below. */

/* Begins a section with a heading and ends the one before. */
void ql_html_section(ql_html *h, const char *heading);
void ql_html_paragraph(ql_html *h, const char *text);
/* A paragraph that warns (class "warn") or fails ("bad") or reassures ("good"). */
void ql_html_notice(ql_html *h, const char *class, const char *text);

/* Numbers to see first: a row of tiles, each a label, a value and a smaller remark (NULL = none).
 */
void ql_html_tiles_begin(ql_html *h);
void ql_html_tile(ql_html *h, const char *label, const char *value, const char *remark);
void ql_html_tiles_end(ql_html *h);

/* A table that scrolls sideways inside itself on a narrow screen. A head that begins with '#'
 * belongs to a column of numbers (right-aligned; the '#' is not shown). At most
 * QL_HTML_MAX_COLUMNS. */
#define QL_HTML_MAX_COLUMNS 32
void ql_html_table_begin(ql_html *h, const char *const *heads, size_t n);
void ql_html_row(ql_html *h, const char *const *cells); /* as many as heads; NULL = empty */
/* A row cell by cell, for cells with markup of their own. */
void ql_html_row_begin(ql_html *h);
void ql_html_cell_begin(ql_html *h);
void ql_html_cell_end(ql_html *h);
void ql_html_row_end(ql_html *h);
void ql_html_table_end(ql_html *h);

/* Names with values, in two columns. */
void ql_html_pairs_begin(ql_html *h);
void ql_html_pair(ql_html *h, const char *name, const char *value);
void ql_html_pairs_end(ql_html *h);

/* Something that opens on a click; it nests. */
void ql_html_fold_begin(ql_html *h, const char *summary);
void ql_html_fold_end(ql_html *h);

/* Text that keeps its spaces and line breaks, wrapped to the width. */
void ql_html_pre(ql_html *h, const char *text, size_t len);

/* A line of figures, for plots side by side (tools/plot.h). */
void ql_html_figures_begin(ql_html *h);
void ql_html_figures_end(ql_html *h);

/* ------------------------------------------------------------------ tokens and masks
 * Between tokens_begin and tokens_end: one span per token with a colour of its class. `hover` is
 * the text shown on hovering; NULL = none. Classes, also in the legend:
 *   on    supervised, counts in the loss      off   not supervised
 *   eos   the end that is learnt              cut   lost by truncation
 *   bad   an error                            sep   special token that is not supervised */
void ql_html_tokens_begin(ql_html *h);
void ql_html_token(ql_html *h, const char *class, const char *text, size_t len, const char *hover);
void ql_html_tokens_end(ql_html *h);
void ql_html_token_legend(ql_html *h);

/* The style sheet of all pages in parts, up to a NULL (html_style.c). */
extern const char *const ql_html_style[];

#endif /* QLORA_TOOLS_HTML_H */
