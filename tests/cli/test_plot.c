/* test_plot.c - ticks, numbers, and drawings of series that are empty, broken, single or long. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/fs.h"
#include "core/base/hostmem.h"
#include "tests/support/temp_folder.h"
#include "tools/plot.h"

static void ticks_are_one_two_or_five_times_a_power_of_ten(void **state) {
    (void)state;
    static const struct {
        double lo, hi;
        bool logarithmic;
        size_t n;
        double first, second, last;
    } cases[] = {
        {0, 10, false, 6, 0, 2, 10},
        {0.13, 0.87, false, 6, 0, 0.2, 1},
        {-1, 1, false, 5, -1, -0.5, 1},
        {1, 1875, false, 5, 0, 500, 2000},
        {3, 3, false, 5, 0, 0, 0},
        {1, 1e6, true, 0, 1, 0, 1e6},
        {1.5, 2.5, true, 3, 1, 2, 3},
        {3, 70, true, 6, 2, 5, 100},
        {2e-5, 2e-4, true, 4, 2e-5, 5e-5, 2e-4},
        {0.2, 0.41, true, 4, 0.2, 0.3, 0.5},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        double ticks[QL_PLOT_MAX_TICKS], lo = cases[i].lo, hi = cases[i].hi;
        size_t n = ql_plot_ticks(&lo, &hi, cases[i].logarithmic, ticks);
        assert_in_range(n, 2, QL_PLOT_MAX_TICKS);
        assert_true(lo <= cases[i].lo && hi >= cases[i].hi && lo < hi);
        assert_true(lo == ticks[0] && hi == ticks[n - 1]);
        for (size_t k = 0; k + 1 < n; k++) assert_true(ticks[k] < ticks[k + 1]);
        if (cases[i].lo == cases[i].hi) continue;
        if (cases[i].n) assert_int_equal(n, cases[i].n);
        assert_true(fabs(ticks[0] - cases[i].first) < 1e-12);
        assert_true(fabs(ticks[n - 1] / cases[i].last - 1) < 1e-12);
        if (cases[i].second != 0) assert_true(fabs(ticks[1] - cases[i].second) < 1e-12);
    }
}

/* Any range at all has few ticks that enclose it. */
static void every_range_gets_few_ticks_that_enclose_it(void **state) {
    (void)state;
    uint64_t s = 12345;
    for (int i = 0; i < 20000; i++) {
        double v[2];
        for (int k = 0; k < 2; k++) {
            s = s * 6364136223846793005u + 1442695040888963407u;
            double mantissa = (double)(s >> 40) / 0x1p24 + 0.01;
            s = s * 6364136223846793005u + 1442695040888963407u;
            v[k] = mantissa * pow(10, (double)(s >> 33) / 0x1p31 * 200 - 100);
            if (i % 3 == 0) v[k] = 1 + v[0] * 1e-13 * k; /* next to no range */
        }
        for (int logarithmic = 0; logarithmic < 2; logarithmic++) {
            double ticks[QL_PLOT_MAX_TICKS], lo = fmin(v[0], v[1]), hi = fmax(v[0], v[1]);
            double a = lo, b = hi;
            size_t n = ql_plot_ticks(&a, &b, logarithmic, ticks);
            assert_in_range(n, 2, 9);
            assert_true(a <= lo * (1 + 1e-8) && b >= hi * (1 - 1e-8) && a < b);
        }
    }
}

static void numbers_are_short(void **state) {
    (void)state;
    static const struct {
        double value, step;
        const char *want;
    } cases[] = {
        {0, 0, "0"},
        {0.30000000000000004, 0.1, "0.3"},
        {1e-17, 0.1, "0"},
        {2e-4, 0, "2e-4"},
        {1e-3, 2e-4, "1e-3"},
        {1.5e-5, 5e-6, "1.5e-5"},
        {1200, 200, "1,200"},
        {1234567, 1, "1,234,567"},
        {-1234.5, 0, "-1,234"},
        {1.2137, 0, "1.214"},
        {0.0021, 0, "0.0021"},
        {2.5e12, 0, "2.5e12"},
        {12, 0, "12"},
        {NAN, 0, "not a number"},
        {INFINITY, 0, "inf"},
        {-INFINITY, 1, "-inf"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[32];
        ql_plot_number(cases[i].value, cases[i].step, text);
        assert_string_equal(text, cases[i].want);
    }
}

/* The figure of one series; freed by the caller. */
static char *figure(const double *x, const double *y, size_t n, bool log_y, const char *name) {
    const ql_series s[] = {{.name = name, .x = x, .y = y, .n = n},
                           {.name = "other", .x = x, .y = y, .n = 0}};
    const ql_plot p = {.title = "<loss>",
                       .x_name = "step",
                       .y_name = "loss",
                       .log_y = log_y,
                       .series = s,
                       .n_series = 2};
    const char *path = temp_path("plot.html");
    char *page;
    size_t len;
    ql_html *h;
    assert_int_equal(ql_html_open(path, "plot", &h), QL_OK);
    ql_plot_write(h, &p);
    assert_int_equal(ql_html_commit(h), QL_OK);
    assert_int_equal(ql_file_read(path, 16u << 20, &page, &len), QL_OK);
    char *body = strstr(page, "<figure>");
    assert_non_null(body);
    memmove(page, body, strlen(body) + 1);
    assert_null(strstr(page, "nan\""));
    assert_null(strstr(page, "inf\""));
    assert_null(strstr(page, "<loss>"));
    return page;
}

static size_t count(const char *text, const char *word) {
    size_t n = 0;
    for (const char *at = text; (at = strstr(at, word)) != NULL; at += strlen(word)) n++;
    return n;
}

static void a_series_without_values_says_so(void **state) {
    (void)state;
    static const double x[] = {1, 2}, y[] = {NAN, INFINITY}, negative[] = {-1, 0};
    char *svg = figure(x, y, 0, false, "a");
    assert_int_equal(count(svg, "no values"), 1);
    assert_int_equal(count(svg, "<svg"), 0);
    ql_host_free(svg);
    svg = figure(x, y, 2, false, "a");
    assert_int_equal(count(svg, "no values"), 1);
    ql_host_free(svg);
    svg = figure(x, negative, 2, true, "a");
    assert_int_equal(count(svg, "no values"), 1);
    ql_host_free(svg);
}

static void one_point_is_a_dot_with_its_value(void **state) {
    (void)state;
    static const double x[] = {7}, y[] = {0.25};
    char *svg = figure(x, y, 1, false, "a");
    assert_int_equal(count(svg, "class=\"d\""), 1);
    assert_int_equal(count(svg, "step 7: loss 0.25</title>"), 1);
    ql_host_free(svg);
}

/* Where a value is missing the line stops; a point between two gaps is still seen. */
static void values_that_are_not_finite_break_the_line_and_are_marked(void **state) {
    (void)state;
    static const double x[] = {1, 2, 3, 4, 5, 6, 7, 8}, y[] = {4, 3, NAN, 2, INFINITY, 2, 1, 1e200};
    char *svg = figure(x, y, 8, false, "a");
    assert_int_equal(count(svg, "class=\"x\""), 3); /* NaN, infinity, as good as infinity */
    assert_int_equal(count(svg, "step 3: loss not a number</title>"), 1);
    assert_int_equal(count(svg, "class=\"d\""), 1);
    const char *path = strstr(svg, " d=\"M");
    assert_non_null(path);
    char *end = strchr(strstr(svg, "class=\"l\""), '>');
    *end = '\0';
    assert_int_equal(count(strstr(svg, "class=\"l\""), "M"), 3);
    ql_host_free(svg);
}

static void a_spike_survives_in_a_long_series(void **state) {
    (void)state;
    enum { N = 100000 };
    double *x = malloc(N * sizeof *x), *y = malloc(N * sizeof *y);
    assert_non_null(x);
    assert_non_null(y);
    for (int i = 0; i < N; i++) {
        x[i] = i;
        y[i] = i == 54321 ? 100 : 1;
    }
    char *svg = figure(x, y, N, false, "a");
    /* y = 100 is the top of the axis, 10 units below the top edge */
    assert_non_null(strstr(svg, " 10.0L"));
    assert_true(strlen(svg) < 80000);
    ql_host_free(svg);
    free(x);
    free(y);
}

static void names_of_series_are_escaped(void **state) {
    (void)state;
    static const double x[] = {1, 2}, y[] = {1, 2};
    char *svg = figure(x, y, 2, false, "</svg><b>");
    assert_int_equal(count(svg, "<b>"), 0);
    assert_int_equal(count(svg, "&lt;/svg&gt;&lt;b&gt;"), 3); /* two hovers and the legend */
    assert_int_equal(count(svg, "</svg>"), 1);
    ql_host_free(svg);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ticks_are_one_two_or_five_times_a_power_of_ten),
        cmocka_unit_test(every_range_gets_few_ticks_that_enclose_it),
        cmocka_unit_test(numbers_are_short),
        cmocka_unit_test(a_series_without_values_says_so),
        cmocka_unit_test(one_point_is_a_dot_with_its_value),
        cmocka_unit_test(values_that_are_not_finite_break_the_line_and_are_marked),
        cmocka_unit_test(a_spike_survives_in_a_long_series),
        cmocka_unit_test(names_of_series_are_escaped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
