/*
 * test_jinja.c - the interpreter's bounds, its sentences, and where the bytes of its output come
 * from.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "core/base/hostmem.h"
#include "core/data/jinja.h"

static ql_status render_with(const char *text, const ql_jinja_input *in, ql_jinja_output *out) {
    ql_jinja *j = NULL;
    ql_status s = ql_jinja_compile(text, strlen(text), &j);
    if (s == QL_OK) s = ql_jinja_render(j, in, out);
    ql_jinja_free(j);
    return s;
}

static ql_status render(const char *text, ql_jinja_output *out) {
    const ql_jinja_input in = {.limits = ql_jinja_limits_default()};
    return render_with(text, &in, out);
}

/* ----------------------------------------------------------------------- bounds */

#define M3(x) x x x
#define RANGE "{% for i in range(100000) %}"
#define END   "{% endfor %}"

static void hostile_templates_end_within_their_bounds(void **state) {
    (void)state;
    static const struct {
        const char *text, *sentence;
    } CASES[] = {
        {M3(RANGE) "{{ i }}" M3(END), "line 1: the template "},
        {M3(RANGE) M3(END), "line 1: the template "},
        {RANGE RANGE "{% if i is odd %}{% continue %}{% endif %}" END END, "line 1: the template "},
        {"{% macro f() %}{{ f() }}{{ f() }}{% endmacro %}\n{{ f() }}", "line 1: calls and"},
        {"{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) "
         "}}",
         "line 1: the template "},
        {"{% set ns = namespace(s='ab') %}\n" RANGE "{% set ns.s = ns.s ~ ns.s %}" END,
         "line 2: a text grows beyond 16 MiB"},
        {"{% set ns = namespace(s=[1]) %}\n" RANGE "{% set ns.s = ns.s + ns.s %}" END, "line 2: "},
        {"{% set ns = namespace(s=[]) %}" RANGE "{% set ns.s = [ns.s] %}" END "{{ ns.s }}",
         "nested more than 100 deep"},
        {"{% set ns = namespace(s=[]) %}" RANGE "{% set ns.s = [ns.s] %}" END
         "{{ ns.s == [ns.s] }}",
         "nested more than 100 deep"},
        {"{% set ns = namespace(s={}) %}" RANGE "{% set ns.s = {1: ns.s} %}" END
         "{{ ns.s|tojson }}",
         "nested more than 100 deep"},
        {"{% set ns = namespace() %}{% set ns.a = ns %}{{ ns|tojson }}", "is not JSON"},
        {"{{ 'x' * 1000000000000 }}", "grows beyond"},
        {"{{ [1] * 1000000000000 }}", "line 1: the template "},
        {"{{ 'x'|center(10000000000) }}", "grows beyond"},
        {"{{ 'x'.ljust(10000000000) }}", "grows beyond"},
        {"{{ 'a'|indent(10000000000, true) }}", "grows beyond"},
        {"{{ 2 ** 62 * 4 }}", "does not fit in 64 bits"},
        {"{{ 3 ** 100000000000 }}", "does not fit in 64 bits"},
        {"{{ 9223372036854775807 + 1 }}", "does not fit in 64 bits"},
        {"{{ (-9223372036854775807 - 1) // -1 }}", "does not fit in 64 bits"},
        {"{{ (-9223372036854775807 - 1)|abs }}", "does not fit in 64 bits"},
        {"{{ 99999999999999999999 }}", "does not fit in 64 bits"},
        {"{{ range(10000000000) }}", "a range of more than 100000"},
        {RANGE "{{ range(100000)|sum }}" END, "line 1: the template "},
        {"{% set s = 'a' * 16000000 %}" RANGE "{% if s.find('b') %}{% endif %}" END,
         "line 1: the template "},
        {"{% set s = 'a' * 16000000 %}" RANGE "{% if s|length %}{% endif %}" END,
         "line 1: the template "},
        {"{% set s = 'a' * 16000000 %}" RANGE "{% if s == s ~ '' %}{% endif %}" END, "line 1: "},
        {"{% set s = 'a' * 3000000 %}{{ s.replace('', s) }}", "grows beyond"},
        {"{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}", "nested more than"},
        {"{% macro m() %}{% call m() %}{% endcall %}{{ caller }}{% endmacro %}{% call m() %}{% "
         "endcall %}",
         "nested more than"},
        {"{% set l = range(100000)|list %}" RANGE "{% if l|sort %}{% endif %}" END, "line 1: "},
        {"{% set l = range(100000)|list %}{{ l|unique|list|length }}", "line 1: the template "},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        ql_jinja_output o = {0};
        size_t live = ql_hostmem_live();
        clock_t begin = clock();
        ql_status s = render(CASES[i].text, &o);
        double seconds = (double)(clock() - begin) / CLOCKS_PER_SEC;
        if (s != QL_ERR_FORMAT || !strstr(ql_last_error(), CASES[i].sentence))
            fail_msg("%s\n  %s", CASES[i].text, s == QL_OK ? "rendered" : ql_last_error());
        assert_non_null(strstr(ql_last_error(), "line "));
        if (seconds > 30) fail_msg("%s took %g s", CASES[i].text, seconds);
        assert_int_equal(ql_hostmem_live(), live);
    }
}

static void compiling_is_bounded_too(void **state) {
    (void)state;
    static const struct {
        const char *begin, *middle, *end, *sentence;
    } CASES[] = {
        {"{{ ", "(", "1 }}", "nested"},
        {"{{ ", "[", "1 }}", "nested"},
        {"{{ ", "-", "1 }}", "nested"},
        {"{{ ", "not ", "1 }}", "nested"},
        {"{{ x", ".a", " }}", "in a row"},
        {"{{ x", "|upper", " }}", "in a row"},
        {"", "{% if x %}", "", "nested"},
        {"", "{% for i in x %}", "", "nested"},
        {"{{ 2", "**2", " }}", "in a row"},
        {"{{ x", "[0]", " }}", "in a row"},
        {"{{ ", "1 if 2 else ", "3 }}", "nested"},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        size_t n = 50000, len = strlen(CASES[i].middle);
        char *text = calloc(n * len + 64, 1), *at = text;
        assert_non_null(text);
        at += sprintf(at, "%s", CASES[i].begin);
        for (size_t k = 0; k < n; k++, at += len) memcpy(at, CASES[i].middle, len);
        (void)sprintf(at, "%s", CASES[i].end);
        ql_jinja *j = NULL;
        assert_int_equal(ql_jinja_compile(text, strlen(text), &j), QL_ERR_FORMAT);
        if (!strstr(ql_last_error(), CASES[i].sentence))
            fail_msg("%s: %s", CASES[i].middle, ql_last_error());
        free(text);
    }
    char *large = calloc(QL_JINJA_MAX_BYTES + 1, 1);
    ql_jinja *j = NULL;
    assert_int_equal(ql_jinja_compile(large, QL_JINJA_MAX_BYTES + 1, &j), QL_ERR_FORMAT);
    assert_int_equal(ql_jinja_compile("a\xff", 2, &j), QL_ERR_FORMAT);
    free(large);
}

/* A long chain of sums is a deep tree: refused when rendered, not a crash. */
static void a_chain_of_ten_thousand_sums_is_refused(void **state) {
    (void)state;
    char *text = calloc(40064, 1), *at = text;
    assert_non_null(text);
    at += sprintf(at, "{{ 1");
    for (int i = 0; i < 10000; i++) at += sprintf(at, " + 1");
    (void)sprintf(at, " }}");
    ql_jinja_output o = {0};
    assert_int_equal(render(text, &o), QL_ERR_FORMAT);
    assert_non_null(strstr(ql_last_error(), "nested more than 400 deep"));
    free(text);
}

static void smaller_limits_hold_as_well(void **state) {
    (void)state;
    ql_jinja_input in = {.limits = {.steps = 50, .bytes = 1 << 16, .text = 10, .depth = 20}};
    ql_jinja_output o = {0};
    assert_int_equal(render_with("{{ 'a' * 10 }}", &in, &o), QL_OK);
    assert_string_equal(o.text, "aaaaaaaaaa");
    ql_jinja_output_free(&o);
    assert_int_equal(render_with("{{ 'a' * 11 }}", &in, &o), QL_ERR_FORMAT);
    assert_int_equal(render_with("{% for i in range(40) %}{% endfor %}", &in, &o), QL_ERR_FORMAT);
    in.limits.steps = 100000;
    in.limits.bytes = 1000;
    assert_int_equal(render_with("{{ range(100) }}", &in, &o), QL_ERR_FORMAT);
    assert_non_null(strstr(ql_last_error(), "of memory"));
}

/* -------------------------------------------------------------------- sentences */

static void refusals_name_the_line_and_the_cause(void **state) {
    (void)state;
    static const struct {
        const char *text, *sentence;
    } CASES[] = {
        {"a\nb\n{{ raise_exception('roles must alternate') }}",
         "line 3: the template refuses the conversation: roles must alternate"},
        {"\n\n\n{{ x.y.z }}", "line 4: 'x' is undefined"},
        {"{{ {}.x.y }}", "line 1: 'dict object' has no attribute 'x'"},
        {"\n{% if a %}", "line 2: expected endif"},
        {"{% if a %}\n{% if b %}\n{% endfor %}", "line 3: expected a block that is known"},
        {"\n{{ a b }}", "line 2: expected something else"},
        {"{% include 'other' %}", "found 'include'"},
        {"{{ 1 +\n\n'a' }}", "line 1: unsupported operand types for +: 'int' and 'str'"},
        {"{{ [].append(1) }}", "has no attribute 'append'"},
        {"{{ ''.__class__.__mro__ }}", "has no attribute '__class__'"},
        {"{{ 'a'|nope }}", "No filter named 'nope'"},
        {"{{ f(*x) }}", "'*' and '**' are not supported"},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        ql_jinja_output o = {0};
        assert_int_equal(render(CASES[i].text, &o), QL_ERR_FORMAT);
        if (!strstr(ql_last_error(), CASES[i].sentence))
            fail_msg("%s: %s", CASES[i].text, ql_last_error());
    }
}

/* ---------------------------------------------------------------------- origins */

#define MESSAGES                                                                                   \
    "[{\"role\": \"user\", \"content\": \" ab \"}, {\"role\": \"assistant\", \"content\": "        \
    "\"cd\", "                                                                                     \
    "\"calls\": [{\"n\": 7}]}, {\"role\": \"odd\", \"content\": \"e\"}]"

/* t = the template's own text, d = data, 0 1 2 = a message; capital: inside {% generation %}. */
static void check_origins(const char *text, const char *want, const char *origins) {
    json_t *messages = json_loads(MESSAGES, 0, NULL), *bos = json_string("<s>"),
           *x = json_string("xy");
    const ql_jinja_var vars[] = {{"messages", messages, QL_JINJA_MESSAGES},
                                 {"bos_token", bos, QL_JINJA_TRUSTED},
                                 {"x", x, QL_JINJA_DATA}};
    const ql_jinja_input in = {.vars = vars, .n_vars = 3, .limits = ql_jinja_limits_default()};
    ql_jinja_output o = {0};
    char got[128] = "";
    if (render_with(text, &in, &o) != QL_OK) fail_msg("%s: %s", text, ql_last_error());
    assert_string_equal(o.text, want);
    assert_true(o.len < sizeof got);
    for (size_t i = 0; i < o.len; i++) {
        unsigned origin = o.origin[i] & ~(unsigned)QL_ORIGIN_GENERATION;
        char c = origin == 0 ? 't' : origin == 1 ? 'd' : (char)('0' + origin - QL_ORIGIN_MESSAGE);
        bool generated = o.origin[i] & QL_ORIGIN_GENERATION;
        got[i] = generated && c == 't' ? 'T' : generated ? (char)(c + 10) : c;
    }
    assert_string_equal(got, origins);
    ql_jinja_output_free(&o);
    json_decref(messages);
    json_decref(bos);
    json_decref(x);
}

static void bytes_keep_their_origin_through_every_filter(void **state) {
    (void)state;
    check_origins("{{ bos_token }}{{ messages[0].role }}|{{ messages[0].content }}{{ x }}",
                  "<s>user| ab xy", "tttttttt0000dd");
    check_origins("{{ messages[2].role }}{{ messages[0].content|trim|upper ~ '!' }}", "oddAB!",
                  "22200t");
    check_origins("{{ ('<' + messages[1].content + '>').replace('c', 'ZZ')|replace('d', x) }}",
                  "<ZZxy>", "tttddt");
    check_origins("{{ messages|map(attribute='content')|join('+') }}", " ab +cd+e", "0000t11t2");
    check_origins("{{ messages[1]|tojson }}",
                  "{\"role\": \"assistant\", \"content\": \"cd\", \"calls\": [{\"n\": 7}]}",
                  "111111111ttttttttttt111111111111111111111111111111111111111");
    check_origins("{% set s %}a{{ x }}b{% endset %}{{ s[1:] }}{{ s[::-1] }}", "xybbyxa", "ddttddt");
    check_origins("{% macro m(v) %}({{ v }}){% endmacro %}{{ m(x)|title }}", "(Xy)", "tddt");
    check_origins("{{ 'n=%s;' % x }}{{ '{}'.format(x) }}{{ x.split('x')|last }}", "n=xy;xyy",
                  "ttddtddd");
    check_origins("{{ x|indent(1, true) }}{{ x|center(4) }}{{ x * 2 }}", " xy xy xyxy",
                  "tddtddtdddd");
    check_origins("{{ [x, 'a'] }}{{ messages[1].calls[0].n }}", "['xy', 'a']7", "tddddtttttt1");
}

static void generation_is_marked_through_captures(void **state) {
    (void)state;
    check_origins("a{% generation %}b{{ x }}{% endgeneration %}c", "abxyc", "tTnnt");
    check_origins("{% set s %}{% generation %} b {% endgeneration %}{% endset %}{{ s|trim }}.",
                  "b.", "Tt");
    check_origins("{% generation %}{{ messages[1].content }}{% endgeneration %}", "cd", ";;");
}

static void running_out_of_memory_leaks_nothing(void **state) {
    (void)state;
    size_t live = ql_hostmem_live();
    ql_status s = QL_ERR_NOMEM_HOST;
    long n = 0;
    while (s != QL_OK) {
        ql_jinja_output o = {0};
        ql_hostmem_fail_after(++n);
        s = render("{% for i in [1, 2] %}{{ {'a': i}|tojson }}{% endfor %}", &o);
        ql_hostmem_fail_after(0);
        assert_true(s == QL_OK || s == QL_ERR_NOMEM_HOST);
        ql_jinja_output_free(&o);
        assert_int_equal(ql_hostmem_live(), live);
        assert_true(n < 1000);
    }
    assert_true(n > 4);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hostile_templates_end_within_their_bounds),
        cmocka_unit_test(compiling_is_bounded_too),
        cmocka_unit_test(a_chain_of_ten_thousand_sums_is_refused),
        cmocka_unit_test(smaller_limits_hold_as_well),
        cmocka_unit_test(refusals_name_the_line_and_the_cause),
        cmocka_unit_test(bytes_keep_their_origin_through_every_filter),
        cmocka_unit_test(generation_is_marked_through_captures),
        cmocka_unit_test(running_out_of_memory_leaks_nothing),
    };
    return cmocka_run_group_tests_name("jinja", tests, NULL, NULL);
}
