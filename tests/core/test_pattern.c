/*
 * test_pattern.c - the Unicode sets behind \s \S \w \d, over every code point or at their edges.
 * The lists are Unicode's own (PropList, Oniguruma's doc/RE), written down here.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "core/data/pattern.h"

/* Whether the pattern matches the text of one code point. */
static bool matches(const ql_pattern *p, ql_match_work *w, int32_t code) {
    char text[4];
    bool found = false;
    ql_span match;
    size_t n = ql_utf8_encode(code, text);
    assert_int_equal(ql_pattern_find(p, w, text, n, 0, &match, &found), QL_OK);
    return found;
}

static bool white_space(int32_t c) {
    static const int32_t single[] = {0x20,   0x85,   0xA0,   0x1680, 0x2028,
                                     0x2029, 0x202F, 0x205F, 0x3000};
    for (size_t i = 0; i < sizeof single / sizeof *single; i++)
        if (c == single[i]) return true;
    return (c >= 0x09 && c <= 0x0D) || (c >= 0x2000 && c <= 0x200A);
}

static void white_space_is_unicodes_in_and_out_of_brackets(void **state) {
    (void)state;
    static const struct {
        const char *pattern;
        bool space;
    } cases[] = {{"\\s", true},    {"\\S", false},    {"[\\s]", true},
                 {"[\\S]", false}, {"[^\\s]", false}, {"[^\\S]", true}};
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        ql_pattern *p = NULL;
        ql_match_work work = {0};
        const char *s = cases[k].pattern;
        assert_int_equal(ql_pattern_compile(s, strlen(s), false, "pattern", &p), QL_OK);
        for (int32_t c = 0; c < 0x110000; c++) {
            if (c >= 0xD800 && c < 0xE000) continue;
            if (matches(p, &work, c) != (white_space(c) == cases[k].space)) {
                fail_msg("%s and U+%04X", s, (unsigned)c);
            }
        }
        ql_match_free(&work);
        ql_pattern_free(p);
    }
}

/* Letters, marks and decimal digits; letter-like numbers and circled letters, but not circled
 * digits. */
static void words_are_onigurumas(void **state) {
    (void)state;
    static const int32_t in[] = {'a',     'Z',     '0',     '_',     0xAA,    0xB2,    0xBE,
                                 0xE9,    0x301,   0x345,   0x903,   0x660,   0x2160,  0x2188,
                                 0x24B6,  0x24E9,  0x4E2D,  0x3007,  0x203F,  0x1F130, 0x1F149,
                                 0x1F150, 0x1F169, 0x1F170, 0x1F189, 0x10400, 0x20000};
    static const int32_t out[] = {' ',     '-',     '$',     0xB4,   0xBF,   0xD7,
                                  0x200C,  0x2460,  0x24B5,  0x24EA, 0x2153, 0x1F12F,
                                  0x1F14A, 0x1F16A, 0x1F18A, 0x1F600};
    ql_pattern *p = NULL;
    ql_match_work work = {0};
    assert_int_equal(ql_pattern_compile("\\w", 2, false, "pattern", &p), QL_OK);
    for (size_t i = 0; i < sizeof in / sizeof *in; i++) {
        if (!matches(p, &work, in[i])) fail_msg("U+%04X is no word character", (unsigned)in[i]);
    }
    for (size_t i = 0; i < sizeof out / sizeof *out; i++) {
        if (matches(p, &work, out[i])) fail_msg("U+%04X is a word character", (unsigned)out[i]);
    }
    ql_match_free(&work);
    ql_pattern_free(p);
}

static void a_hyphen_beside_white_space_makes_no_range(void **state) {
    (void)state;
    ql_pattern *p = NULL;
    ql_match_work work = {0};
    assert_int_equal(ql_pattern_compile("[\\s-a]", 6, false, "pattern", &p), QL_OK);
    assert_true(matches(p, &work, ' ') && matches(p, &work, '-') && matches(p, &work, 'a'));
    assert_false(matches(p, &work, '0') || matches(p, &work, 0x2FFF));
    ql_match_free(&work);
    ql_pattern_free(p);
    assert_int_equal(ql_pattern_compile("[!-\\s]", 6, false, "pattern", &p), QL_ERR_FORMAT);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(white_space_is_unicodes_in_and_out_of_brackets),
        cmocka_unit_test(words_are_onigurumas),
        cmocka_unit_test(a_hyphen_beside_white_space_makes_no_range),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
