/* plot_ticks.c - where the ticks of an axis are and how they are written; see plot.h. */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/plot.h"

#define WANTED 5 /* gaps between ticks that look right at the size of a plot */

#define SMALLEST 1e-200 /* a range below is none */

/* The step of 1, 2 or 5 times a power of ten with at most WANTED gaps in `range`. */
static double nice_step(double range) {
    double rough = range / WANTED, power = pow(10, floor(log10(rough)));
    static const double steps[] = {1, 2, 5};
    for (size_t i = 0; i < 3; i++) {
        if (steps[i] * power >= rough * (1 - 1e-9)) return steps[i] * power;
    }
    return 10 * power;
}

static size_t linear_ticks(double *lo, double *hi, double out[QL_PLOT_MAX_TICKS]) {
    /* One value, or a range lost in rounding: half of the value on both sides. */
    double largest = fmax(fabs(*lo), fabs(*hi));
    if (!(*hi - *lo > fmax(1e-12 * largest, SMALLEST))) {
        double half = largest > SMALLEST ? largest / 2 : 1;
        *lo -= half;
        *hi += half;
    }
    double step = nice_step(*hi - *lo);
    double first = floor(*lo / step + 1e-9), last = ceil(*hi / step - 1e-9);
    size_t n = 0;
    int steps = (int)fmin(last - first, QL_PLOT_MAX_TICKS - 1);
    for (int i = 0; i <= steps; i++) out[n++] = (first + i) * step;
    *lo = out[0];
    *hi = out[n - 1];
    return n;
}

/* Powers of ten, thinned when there are many; 1-2-5 inside when there are few, every digit when
 * the range is one of 1-2-5's gaps or two. */
static size_t log_ticks(double *lo, double *hi, double out[QL_PLOT_MAX_TICKS]) {
    double first = floor(log10(*lo) + 1e-9), last = ceil(log10(*hi) - 1e-9);
    if (last <= first) last = first + 1;
    double every = fmax(1, ceil((last - first) / WANTED));
    last = first + every * ceil((last - first) / every);
    bool digits = last - first == 1 && *hi / *lo < 5;
    size_t n = 0;
    int decades = (int)fmin((last - first) / every, QL_PLOT_MAX_TICKS - 1);
    for (int i = 0; i <= decades; i++) {
        double e = first + every * i;
        out[n++] = pow(10, e);
        if (last - first > 2 || e >= last) continue;
        for (int m = 2; m <= 9; m++) {
            if (digits || m == 2 || m == 5) out[n++] = m * pow(10, e);
        }
    }
    size_t from = 0;
    while (from + 2 < n && out[from + 1] <= *lo) from++;
    while (n > from + 2 && out[n - 2] >= *hi) n--;
    memmove(out, out + from, (n - from) * sizeof *out);
    n -= from;
    *lo = out[0];
    *hi = out[n - 1];
    return n;
}

size_t ql_plot_ticks(double *lo, double *hi, bool logarithmic, double out[QL_PLOT_MAX_TICKS]) {
    return logarithmic ? log_ticks(lo, hi, out) : linear_ticks(lo, hi, out);
}

/* "1234567" to "1,234,567", before a point if there is one. */
static void group_digits(char text[32]) {
    size_t start = text[0] == '-', digits = strspn(text + start, "0123456789");
    for (size_t at = digits; at > 3; at -= 3) {
        size_t p = start + at - 3, rest = strlen(text + p);
        if (p + rest + 2 > 32) return;
        memmove(text + p + 1, text + p, rest + 1);
        text[p] = ',';
    }
}

/* "2e-04" to "2e-4", "1.50e+06" to "1.5e6". */
static void shorten_exponent(char text[32]) {
    char *e = strchr(text, 'e');
    if (!e) return;
    int power = (int)strtol(e + 1, NULL, 10);
    char *end = e;
    if (memchr(text, '.', (size_t)(e - text))) {
        while (end[-1] == '0') end--;
        if (end[-1] == '.') end--;
    }
    snprintf(end, 32 - (size_t)(end - text), "e%d", power);
}

void ql_plot_number(double value, double step, char out[32]) {
    double size = fabs(value);
    if (!isfinite(value)) {
        snprintf(out, 32, "%s", isnan(value) ? "not a number" : value < 0 ? "-inf" : "inf");
        return;
    }
    if (size < step * 1e-6 || size == 0) {
        snprintf(out, 32, "0");
        return;
    }
    bool tiny = step > 0 ? step < 1e-3 && size < 1e-2 : size < 1e-3;
    if (tiny || size >= 1e9) {
        int digits =
            step > 0 ? (int)fmax(0, floor(log10(size) + 1e-9) - floor(log10(step) + 1e-9)) : 3;
        snprintf(out, 32, "%.*e", digits < 6 ? digits : 6, value);
        shorten_exponent(out);
        return;
    }
    double of = step > 0 ? floor(log10(step) + 1e-9) : floor(log10(size)) - 3;
    snprintf(out, 32, "%.*f", of < 0 ? (int)fmin(-of, 9) : 0, value);
    if (step == 0 && strchr(out, '.')) {
        size_t n = strlen(out);
        while (out[n - 1] == '0') n--;
        out[out[n - 1] == '.' ? n - 1 : n] = '\0';
    }
    group_digits(out);
}
