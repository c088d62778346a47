/* data_page.c - see data_page.h. */
#include "tools/data_page.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/hostmem.h"
#include "tools/engine.h"

/* -------------------------------------------------------------------- lengths */

static int by_length(const void *a, const void *b) {
    int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    return (x > y) - (x < y);
}

int32_t ql_length_quantile(const ql_check_report *r, double share) {
    if (r->n_lengths == 0) return 0;
    qsort(r->lengths, (size_t)r->n_lengths, sizeof *r->lengths, by_length);
    int64_t i = (int64_t)(share * (double)(r->n_lengths - 1) + 0.5);
    return r->lengths[i];
}

/* ---------------------------------------------------------------------- rows */

ql_status ql_lost_tokens(const ql_look *l, const ql_walk_row *row, int32_t **out, int32_t *n) {
    ql_dataset_opts o = l->o;
    ql_data_format format = o.format;
    ql_row_memory memory = {0};
    ql_example e = {0};
    *out = NULL;
    *n = 0;
    bool cut = o.task == QL_TASK_CAUSAL && o.max_len > 0 && o.truncation == QL_TRUNCATE_RIGHT;
    if (!cut || !row->object || row->example->n < o.max_len) return QL_OK;
    o.max_len = 0;
    if (format == QL_DATA_AUTO)
        QL_TRY(ql_row_detect(row->object, row->where, o.task, &format, NULL, 0));
    ql_status s =
        ql_example_make(l->data.tok, row->object, row->where, format, &o, &memory, NULL, &e);
    if (s == QL_OK && e.n > row->example->n) {
        *n = e.n - row->example->n;
        *out = ql_host_calloc((size_t)*n, sizeof **out);
        if (*out) memcpy(*out, e.ids + row->example->n, (size_t)*n * sizeof **out);
        if (!*out) s = QL_NOMEM("the tokens that were cut");
    }
    ql_example_free(&e);
    ql_row_memory_free(&memory);
    return s == QL_ERR_FORMAT ? QL_OK : s;
}

static void put_token(ql_html *h, const ql_look *l, const char *class, const int32_t *ids,
                      int32_t i) {
    char hover[64], *text = NULL;
    size_t len = 0;
    (void)snprintf(hover, sizeof hover, "token %d, id %d", i + 1, ids[i]);
    if (!l->data.tok || ql_token_text(l->data.tok, ids, i, &text, &len) != QL_OK) {
        (void)snprintf(hover, sizeof hover, "%d ", ids[i]);
        ql_html_token(h, class, hover, strlen(hover), NULL);
        return;
    }
    ql_html_token(h, class, text, len, hover);
    ql_host_free(text);
}

static void put_tokens(ql_html *h, const ql_look *l, const ql_walk_row *row) {
    const ql_example *e = row->example;
    int32_t *lost = NULL, n = 0;
    ql_html_tokens_begin(h);
    for (int32_t i = 0; i < e->n_source; i++) put_token(h, l, "off", e->source, i);
    for (int32_t i = 0; i < e->n; i++) put_token(h, l, ql_token_class(l, e, i), e->ids, i);
    if (ql_lost_tokens(l, row, &lost, &n) == QL_OK)
        for (int32_t i = 0; i < n; i++) put_token(h, l, "cut", lost, i);
    ql_host_free(lost);
    ql_html_tokens_end(h);
}

static void put_texts(ql_html *h, const ql_row *t) {
    for (size_t i = 0; i < t->n_messages; i++) {
        ql_html_paragraph(h, t->messages[i].role);
        ql_html_pre(h, t->messages[i].content, t->messages[i].content_len);
    }
    if (!t->messages && t->source_len) ql_html_pre(h, t->source, t->source_len);
    if (!t->messages) ql_html_pre(h, t->target, t->target_len);
}

void ql_page_row(ql_html *h, const ql_look *l, const ql_walk_row *row, const char *problem) {
    char head[96];
    const ql_example *e = row->example;
    (void)snprintf(head, sizeof head, "row %" PRId64, row->row);
    if (e && l->o.task == QL_TASK_CLASSIFY) {
        (void)snprintf(head, sizeof head, "row %" PRId64 " · %d tokens · class %d", row->row, e->n,
                       e->target);
    } else if (e) {
        (void)snprintf(head, sizeof head, "row %" PRId64 " · %d tokens, %d learned", row->row,
                       e->n + e->n_source, e->supervised);
    }
    ql_html_rawf(h, "<h3 id=\"row-%" PRId64 "\">", row->row);
    ql_html_puts(h, head);
    ql_html_raw(h, "</h3>\n");
    if (problem) ql_html_notice(h, "bad", problem);
    if (e) {
        put_tokens(h, l, row);
    } else if (row->texts) {
        put_texts(h, row->texts);
    }
}

/* -------------------------------------------------------------------- report */

void ql_page_report(ql_html *h, const ql_look *l, const ql_check_report *r) {
    char text[96];
    ql_html_tiles_begin(h);
    ql_html_tile(h, "rows", ql_text_count(r->rows).s, ql_data_format_name(r->format));
    (void)snprintf(text, sizeof text, "in %s rows", ql_text_count(r->rows - r->good).s);
    ql_html_tile(h, "problems", ql_text_count(r->n_problems).s, r->n_problems ? text : NULL);
    if (r->n_lengths) {
        (void)snprintf(text, sizeof text, "%.0f %% learned",
                       100 * (double)r->supervised / (double)r->tokens);
        ql_html_tile(h, "tokens", ql_text_short((double)r->tokens).s,
                     l->o.task == QL_TASK_CAUSAL ? text : NULL);
        (void)snprintf(text, sizeof text, "half of them up to %s",
                       ql_text_count(ql_length_quantile(r, 0.5)).s);
        ql_html_tile(h, "longest row", ql_text_count(ql_length_quantile(r, 1)).s, text);
    }
    ql_html_tiles_end(h);
    if (r->why[0]) {
        ql_html_raw(h, "<p>");
        ql_html_textf(h, "Format %s, %s.", ql_data_format_name(r->format), r->why);
        ql_html_raw(h, "</p>\n");
    }
    if (r->n_problems == 0) return;
    static const char *const heads[] = {"kind", "#problems"};
    ql_html_section(h, "Problems by kind");
    ql_html_table_begin(h, heads, 2);
    for (int k = 0; k < QL_PROBLEM_COUNT; k++) {
        if (!r->problems[k]) continue;
        const char *cells[2] = {ql_problem_name((ql_problem)k), ql_text_count(r->problems[k]).s};
        char count[32];
        (void)snprintf(count, sizeof count, "%s", cells[1]);
        cells[1] = count;
        ql_html_row(h, cells);
    }
    ql_html_table_end(h);
}
