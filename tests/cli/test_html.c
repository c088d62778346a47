/* test_html.c - a page is whole, fetches nothing, and no text of a user becomes markup. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "core/base/fs.h"
#include "core/base/hostmem.h"
#include "tests/support/temp_folder.h"
#include "tools/html.h"

/* The file's text; borrowed, until the next call. */
static const char *read_page(const char *path) {
    static char page[1u << 16];
    char *text = NULL;
    size_t len = 0;
    assert_int_equal(ql_file_read(path, sizeof page - 1, &text, &len), QL_OK);
    memcpy(page, text, len + 1);
    ql_host_free(text);
    return page;
}

/* What escaping makes of text[0..len), between two marks of the test's own. */
static void assert_escaped(const char *text, size_t len, const char *want) {
    const char *path = temp_path("escape.html");
    ql_html *h;
    assert_int_equal(ql_html_open(path, "t", &h), QL_OK);
    ql_html_raw(h, "[[");
    ql_html_text(h, text, len);
    ql_html_raw(h, "]]");
    assert_int_equal(ql_html_commit(h), QL_OK);
    const char *page = read_page(path), *from = strstr(page, "[[");
    assert_non_null(from);
    size_t n = strlen(want);
    assert_true(strlen(from) > n + 4);
    assert_memory_equal(from + 2, want, n);
    assert_memory_equal(from + 2 + n, "]]", 2);
}

static void markup_in_text_is_shown_and_not_obeyed(void **state) {
    (void)state;
    static const struct {
        const char *text, *want;
    } cases[] = {
        {"", ""},
        {"plain", "plain"},
        {"<script src=http://x>", "&lt;script src=http://x&gt;"},
        {"a & b && c", "a &amp; b &amp;&amp; c"},
        {"\" onload='x'", "&quot; onload=&#39;x&#39;"},
        {"</style></pre>-->]]>", "&lt;/style&gt;&lt;/pre&gt;--&gt;"},
        {"&lt;", "&amp;lt;"},
        {"line\n\ttab", "line\n\ttab"},
        {"\x1b[31m\r\x7f", "\xE2\x90\x9B[31m\xE2\x90\x8D\xE2\x90\xA1"},
        {"gr\xC3\xBC\xC3\x9F \xE2\x82\xAC \xF0\x9F\x98\x80",
         "gr\xC3\xBC\xC3\x9F \xE2\x82\xAC \xF0\x9F\x98\x80"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t len = strlen(cases[i].text);
        if (strstr(cases[i].text, "]]>")) len -= 3; /* the test's own mark */
        assert_escaped(cases[i].text, len, cases[i].want);
    }
    assert_escaped("a\0b", 3,
                   "a\xE2\x90\x80"
                   "b");
}

static void bytes_that_are_no_utf8_become_the_replacement_character(void **state) {
    (void)state;
#define R "\xEF\xBF\xBD"
    static const struct {
        const char *text, *want;
    } cases[] = {
        {"\x80", R},                               /* continuation alone    */
        {"a\xC3", "a" R},                          /* cut off               */
        {"\xC0\xBC", R R},                         /* overlong '<'          */
        {"\xE0\x80\xBC", R R R},                   /* the same in three     */
        {"\xF0\x80\x80\xBC", R R R R},             /* and in four           */
        {"\xED\xA0\x80", R R R},                   /* surrogate             */
        {"\xF4\x90\x80\x80", R R R R},             /* beyond U+10FFFF       */
        {"\xFF<", R "&lt;"},                       /* never valid, then '<' */
        {"\xE2\x82<\xC3\xBC", R R "&lt;\xC3\xBC"}, /* a sequence that swallows nothing */
    };
#undef R
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_escaped(cases[i].text, strlen(cases[i].text), cases[i].want);
    }
}

static size_t count(const char *text, const char *word) {
    size_t n = 0;
    for (const char *at = text; (at = strstr(at, word)) != NULL; at += strlen(word)) n++;
    return n;
}

#define EVIL "</title></h2></td></span>\"'><img src=//evil>"

/* Every block with hostile text in every place that takes text. */
static void write_everything(ql_html *h) {
    static const char *const heads[] = {EVIL, "#" EVIL}, *const cells[] = {EVIL, NULL};
    ql_html_section(h, EVIL);
    ql_html_paragraph(h, EVIL);
    ql_html_notice(h, "warn", EVIL);
    ql_html_tiles_begin(h);
    ql_html_tile(h, EVIL, EVIL, EVIL);
    ql_html_tiles_end(h);
    ql_html_table_begin(h, heads, 2);
    ql_html_row(h, cells);
    ql_html_table_end(h);
    ql_html_pairs_begin(h);
    ql_html_pair(h, EVIL, EVIL);
    ql_html_pairs_end(h);
    ql_html_section(h, "second");
    ql_html_fold_begin(h, EVIL);
    ql_html_pre(h, EVIL, strlen(EVIL));
    ql_html_fold_end(h);
    ql_html_tokens_begin(h);
    ql_html_token(h, "on", EVIL, strlen(EVIL), EVIL);
    ql_html_tokens_end(h);
    ql_html_token_legend(h);
    ql_html_textf(h, "%s", EVIL);
}

static void no_building_block_lets_markup_through(void **state) {
    (void)state;
    const char *path = temp_path("all.html");
    ql_html *h;
    assert_int_equal(ql_html_open(path, EVIL, &h), QL_OK);
    write_everything(h);
    assert_int_equal(ql_html_commit(h), QL_OK);
    const char *page = read_page(path);
    assert_int_equal(count(page, "<img"), 0);
    assert_int_equal(count(page, "&lt;img src=//evil&gt;"), 18);
    static const char *const pairs[][2] = {
        {"<section", "</section>"},
        {"<table", "</table>"},
        {"<td", "</td>"},
        {"<dl", "</dl>"},
        {"<div", "</div>"},
        {"<span", "</span>"},
        {"<p", "</p"},
        {"<title", "</title>"},
        {"<details", "</details>"},
        {"<th ", "</th>"},
    };
    for (size_t i = 0; i + 1 < sizeof pairs / sizeof *pairs; i++) {
        assert_int_equal(count(page, pairs[i][0]), count(page, pairs[i][1]));
    }
    assert_non_null(strstr(page, "<th class=\"n\">&lt;")); /* the '#' is not shown */
}

static void a_page_fetches_nothing(void **state) {
    (void)state;
    const char *path = temp_path("frame.html");
    ql_html *h;
    assert_int_equal(ql_html_open(path, "frame", &h), QL_OK);
    assert_int_equal(ql_html_commit(h), QL_OK);
    const char *page = read_page(path);
    static const char *const never[] = {
        "http:", "https:", "url(", "src=", "@import", "<script", "<link"};
    for (size_t i = 0; i < sizeof never / sizeof *never; i++) {
        assert_int_equal(count(page, never[i]), 0);
    }
    assert_int_equal(count(page, "default-src 'none'"), 1);
    assert_int_equal(count(page, "prefers-color-scheme:dark"), 1);
    assert_int_equal(count(page, "width=device-width"), 1);
    assert_int_equal(count(page, "</html>"), 1);
}

static void formatted_text_may_be_long(void **state) {
    (void)state;
    const char *path = temp_path("long.html");
    char text[3000];
    memset(text, '<', sizeof text);
    text[sizeof text - 1] = '\0';
    ql_html *h;
    assert_int_equal(ql_html_open(path, "long", &h), QL_OK);
    ql_html_textf(h, "%s", text);
    assert_int_equal(ql_html_commit(h), QL_OK);
    const char *page = read_page(path);
    assert_int_equal(count(page, "&lt;"), sizeof text - 1);
}

static void a_failed_write_leaves_the_old_page(void **state) {
    (void)state;
    const char *path = temp_put("kept.html", "old", 3);
    ql_html *h;
    assert_int_equal(ql_html_open(path, "new", &h), QL_OK);
    ql_fs_fail_after(1);
    for (int i = 0; i < 40000; i++) ql_html_paragraph(h, "more than the writer's buffer holds");
    ql_fs_fail_after(0);
    assert_int_equal(ql_html_commit(h), QL_ERR_IO);
    assert_non_null(strstr(ql_last_error(), "kept.html"));
    const char *page = read_page(path);
    assert_string_equal(page, "old");

    assert_int_equal(ql_html_open(path, "new", &h), QL_OK);
    ql_html_abort(h);
    page = read_page(path);
    assert_string_equal(page, "old");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(markup_in_text_is_shown_and_not_obeyed),
        cmocka_unit_test(bytes_that_are_no_utf8_become_the_replacement_character),
        cmocka_unit_test(no_building_block_lets_markup_through),
        cmocka_unit_test(a_page_fetches_nothing),
        cmocka_unit_test(formatted_text_may_be_long),
        cmocka_unit_test(a_failed_write_leaves_the_old_page),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
