/*
 * test_jinja_oracles.c - templates rendered by jinja2 as transformers sets it up, byte for byte.
 *
 * The first line of a file is {"conversations": {name: variables}}. A line {"t": template, "o":
 * text} is about the first of them; "g": [[from, to]] are the spans, in characters, that {%
 * generation %} marks. A line {"t": template, "r": {name: hash}} is about several, by
 * the FNV-1a hash of the text. Where jinja2 refuses there is no "o", and null in "r". Without
 * arguments: the recorded files of tests/data/jinja; with them: those files.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/hostmem.h"
#include "core/data/jinja.h"
#include "tests/core/data_fixture.h"

#define NOW      1767225845 /* 2026-01-01 00:04:05, as in make_jinja.py */
#define MAX_VARS 32

static const char **g_files;
static int g_n_files;

static size_t variables(const json_t *v, ql_jinja_var *out) {
    size_t n = 0;
    json_t *object = (json_t *)(uintptr_t)v;
    for (void *it = json_object_iter(object); it; it = json_object_iter_next(object, it)) {
        assert_true(n < MAX_VARS);
        const char *name = json_object_iter_key(it);
        bool messages = strcmp(name, "messages") == 0;
        out[n++] = (ql_jinja_var){name, json_object_iter_value(it),
                                  messages ? QL_JINJA_MESSAGES : QL_JINJA_DATA};
    }
    return n;
}

static ql_status render(const char *text, size_t len, const json_t *v, ql_jinja_output *out) {
    ql_jinja_var vars[MAX_VARS];
    ql_jinja_input in = {.vars = vars, .now = NOW, .limits = ql_jinja_limits_default()};
    in.n_vars = variables(v, vars);
    ql_jinja *j = NULL;
    ql_status s = ql_jinja_compile(text, len, &j);
    if (s == QL_OK) s = ql_jinja_render(j, &in, out);
    ql_jinja_free(j);
    return s;
}

/* Byte offset of character k. */
static size_t offset(const char *s, json_int_t k) {
    size_t at = 0;
    for (; k > 0; k--) do
            at++;
        while (((unsigned char)s[at] & 0xc0) == 0x80);
    return at;
}

static bool spans_equal(const json_t *spans, const ql_jinja_output *o) {
    size_t at = 0;
    for (size_t i = 0; i <= json_array_size(spans); i++) {
        const json_t *span = json_array_get(spans, i);
        size_t from = o->len, to = o->len;
        if (span) {
            from = offset(o->text, json_integer_value(json_array_get(span, 0)));
            to = offset(o->text, json_integer_value(json_array_get(span, 1)));
        }
        for (; at < from; at++)
            if (o->origin[at] & QL_ORIGIN_GENERATION) return false;
        for (; at < to; at++)
            if (!(o->origin[at] & QL_ORIGIN_GENERATION)) return false;
    }
    return true;
}

static uint64_t fnv1a(const char *s, size_t n) {
    uint64_t h = 0xcbf29ce484222325u;
    for (size_t i = 0; i < n; i++) h = (h ^ (unsigned char)s[i]) * 0x100000001b3u;
    return h;
}

/* One template over the conversations that its line names. */
static bool check_hashes(const json_t *line, const json_t *conversations) {
    const json_t *t = json_object_get(line, "t");
    json_t *results = json_object_get(line, "r"), *want;
    const char *name;
    bool all = true;
    json_object_foreach(results, name, want) {
        ql_jinja_output o = {0};
        char hash[32] = "";
        ql_status s = render(json_string_value(t), json_string_length(t),
                             json_object_get(conversations, name), &o);
        if (s == QL_OK)
            (void)snprintf(hash, sizeof hash, "%016llx", (unsigned long long)fnv1a(o.text, o.len));
        const char *hex = json_string_value(want);
        bool good = hex ? s == QL_OK && strcmp(hash, hex) == 0 : s == QL_ERR_FORMAT;
        if (!good)
            print_error("%s\n  on %s: %s\n", json_string_value(t), name,
                        s == QL_OK ? o.text : ql_last_error());
        all = all && good;
        ql_jinja_output_free(&o);
    }
    return all;
}

static bool check_line(const json_t *line, const json_t *conversations) {
    const json_t *t = json_object_get(line, "t"), *want = json_object_get(line, "o");
    const json_t *spans = json_object_get(line, "g");
    if (json_object_get(line, "r")) return check_hashes(line, conversations);
    json_t *all = (json_t *)(uintptr_t)conversations;
    ql_jinja_output o = {0};
    ql_status s = render(json_string_value(t), json_string_length(t),
                         json_object_iter_value(json_object_iter(all)), &o);
    bool good = want ? s == QL_OK && o.len == json_string_length(want) &&
                           memcmp(o.text, json_string_value(want), o.len) == 0
                     : s == QL_ERR_FORMAT;
    if (good && spans) good = spans_equal(spans, &o);
    if (!good) {
        char *shown = json_dumps(line, 0);
        print_error("%s\n  ours: %s\n", shown, s == QL_OK ? o.text : ql_last_error());
        free(shown);
    }
    ql_jinja_output_free(&o);
    return good;
}

static void check_file(const char *path) {
    json_t *lines = fixture_lines(path);
    if (!lines) fail_msg("%s: cannot be read", path);
    const json_t *conversations = json_object_get(json_array_get(lines, 0), "conversations");
    size_t bad = 0, n = json_array_size(lines), first = conversations ? 1 : 0;
    size_t live = ql_hostmem_live();
    for (size_t i = first; i < n; i++) bad += !check_line(json_array_get(lines, i), conversations);
    assert_int_equal(ql_hostmem_live(), live);
    json_decref(lines);
    print_message("%s: %zu of %zu lines equal\n", path, n - first - bad, n - first);
    assert_int_equal(bad, 0);
    assert_true(n > 1);
}

static void every_line_equals_what_jinja2_renders(void **state) {
    (void)state;
    for (int i = 0; i < g_n_files; i++) check_file(g_files[i]);
}

int main(int argc, char **argv) {
    static const char *const RECORDED[] = {QL_TEST_DATA "/jinja/probes.jsonl",
                                           QL_TEST_DATA "/jinja/templates.jsonl"};
    g_files = argc > 1 ? (const char **)(void *)(argv + 1) : (const char **)(uintptr_t)RECORDED;
    g_n_files = argc > 1 ? argc - 1 : 2;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_line_equals_what_jinja2_renders),
    };
    return cmocka_run_group_tests_name("jinja oracles", tests, NULL, NULL);
}
