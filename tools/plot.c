/* plot.c - drawing; see plot.h. */
#include "tools/plot.h"

#include <math.h>

/* The picture in units of the SVG, which the page scales to the width it has. */
#define WIDTH  480.0
#define HEIGHT 270.0
#define LEFT   52.0
#define RIGHT  14.0
#define TOP    10.0
#define BOTTOM 26.0
#define HOVERS 160 /* points of a series that answer to the pointer */

typedef struct axis {
    double lo, hi;
    bool logarithmic;
    double at, length; /* position of lo, signed length to hi */
    double ticks[QL_PLOT_MAX_TICKS];
    size_t n;
} axis;

/* Beyond this a value is as good as infinite, and no arithmetic on the axis overflows. */
#define HUGEST 1e100

static bool is_number(double v) {
    return fabs(v) <= HUGEST; /* false for NaN */
}

static bool usable(double v, bool logarithmic) {
    return is_number(v) && (!logarithmic || v >= 1 / HUGEST);
}

static double place(const axis *a, double v) {
    double part =
        a->logarithmic ? log(v / a->lo) / log(a->hi / a->lo) : (v - a->lo) / (a->hi - a->lo);
    return a->at + part * a->length;
}

/* The range of the points; false = there is none that can be drawn. A point whose y is not finite
 * has its place on the x axis. */
static bool measure(const ql_plot *p, axis *x, axis *y) {
    *x = (axis){.lo = INFINITY, .hi = -INFINITY, .logarithmic = p->log_x};
    *y = (axis){.lo = INFINITY, .hi = -INFINITY, .logarithmic = p->log_y};
    for (size_t i = 0; i < p->n_series; i++) {
        const ql_series *s = &p->series[i];
        for (size_t k = 0; k < s->n; k++) {
            if (!usable(s->x[k], p->log_x)) continue;
            x->lo = fmin(x->lo, s->x[k]);
            x->hi = fmax(x->hi, s->x[k]);
            if (!usable(s->y[k], p->log_y)) continue;
            y->lo = fmin(y->lo, s->y[k]);
            y->hi = fmax(y->hi, s->y[k]);
        }
    }
    return y->lo <= y->hi;
}

static void fit(axis *a, double at, double length) {
    a->n = ql_plot_ticks(&a->lo, &a->hi, a->logarithmic, a->ticks);
    a->at = at;
    a->length = length;
}

/* The x axis ends with the data, not with a tick: ticks outside are left out. */
static void fit_x(axis *x) {
    double lo = x->lo, hi = x->hi;
    fit(x, LEFT, WIDTH - LEFT - RIGHT);
    if (lo == hi) return;
    x->lo = lo;
    x->hi = hi;
    size_t n = 0;
    for (size_t i = 0; i < x->n; i++) {
        double slack = 1e-9 * (hi - lo);
        if (x->ticks[i] >= lo - slack && x->ticks[i] <= hi + slack) x->ticks[n++] = x->ticks[i];
    }
    x->n = n;
}

static double tick_step(const axis *a) {
    return !a->logarithmic && a->n > 1 ? a->ticks[1] - a->ticks[0] : 0;
}

static void draw_axes(ql_html *h, const axis *x, const axis *y) {
    char text[32];
    double bottom = HEIGHT - BOTTOM;
    for (size_t i = 0; i < y->n; i++) {
        double v = place(y, y->ticks[i]);
        ql_plot_number(y->ticks[i], tick_step(y), text);
        ql_html_rawf(h,
                     "<line class=\"%s\" x1=\"%g\" x2=\"%g\" y1=\"%.1f\" y2=\"%.1f\"/>"
                     "<text x=\"%g\" y=\"%.1f\" text-anchor=\"end\">%s</text>\n",
                     i == 0 ? "a" : "g", LEFT, WIDTH - RIGHT, v, v, LEFT - 6, v + 4.5, text);
    }
    for (size_t i = 0; i < x->n; i++) {
        double v = place(x, x->ticks[i]);
        const char *anchor = v > WIDTH - RIGHT - 16 ? "end" : "middle";
        ql_plot_number(x->ticks[i], tick_step(x), text);
        ql_html_rawf(h,
                     "<line class=\"a\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%g\" y2=\"%g\"/>"
                     "<text x=\"%.1f\" y=\"%g\" text-anchor=\"%s\">%s</text>\n",
                     v, v, bottom, bottom + 4, v > WIDTH - RIGHT - 16 ? WIDTH - 2 : v, bottom + 19,
                     anchor, text);
    }
}

/* ---------------------------------------------------------------------- series */

typedef struct pen {
    ql_html *h;
    const axis *x, *y;
    bool down; /* a line has begun and goes on */
    bool open; /* the path element is open     */
} pen;

static void pen_to(pen *p, double x, double y) {
    if (!p->open) ql_html_raw(p->h, " d=\"");
    ql_html_rawf(p->h, "%c%.1f %.1f", p->down ? 'L' : 'M', place(p->x, x), place(p->y, y));
    p->open = p->down = true;
}

/* Points of one column of pixels: first, lowest, highest, last, in the order of the series. */
static void draw_column(pen *p, const ql_series *s, size_t from, size_t to) {
    size_t low = from, high = from;
    for (size_t k = from; k < to; k++) {
        if (s->y[k] < s->y[low]) low = k;
        if (s->y[k] > s->y[high]) high = k;
    }
    size_t order[4] = {from, low < high ? low : high, low < high ? high : low, to - 1};
    for (size_t i = 0; i < 4; i++) {
        if (i == 0 || order[i] != order[i - 1]) pen_to(p, s->x[order[i]], s->y[order[i]]);
    }
}

static bool can_draw(const ql_plot *p, const ql_series *s, size_t k) {
    return usable(s->x[k], p->log_x) && usable(s->y[k], p->log_y);
}

static void draw_line(ql_html *h, const ql_plot *p, const ql_series *s, const axis *x,
                      const axis *y) {
    pen line = {.h = h, .x = x, .y = y};
    ql_html_rawf(h, "<path class=\"l%s\"", s->faint ? " f" : "");
    for (size_t k = 0; k < s->n;) {
        if (!can_draw(p, s, k)) {
            line.down = false;
            k++;
            continue;
        }
        size_t end = k + 1;
        double column = floor(place(x, s->x[k]));
        while (end < s->n && can_draw(p, s, end) && floor(place(x, s->x[end])) == column) end++;
        draw_column(&line, s, k, end);
        k = end;
    }
    ql_html_raw(h, line.open ? "\"/>\n" : "/>\n");
}

static void draw_title(ql_html *h, const ql_plot *p, const ql_series *s, size_t k) {
    char x[32], y[32];
    ql_plot_number(s->x[k], 0, x);
    ql_plot_number(s->y[k], 0, y);
    if (s->x[k] == floor(s->x[k])) ql_plot_number(s->x[k], 1, x);
    ql_html_raw(h, "<title>");
    if (s->name) ql_html_textf(h, "%s\n", s->name);
    ql_html_textf(h, "%s %s: %s %s", p->x_name, x, p->y_name, y);
    ql_html_raw(h, "</title>");
}

/* Dots, what answers to the pointer, and crosses where a value is not finite. A point between two
 * interruptions has no line, so it gets a dot in any case. */
static void draw_points(ql_html *h, const ql_plot *p, const ql_series *s, const axis *x,
                        const axis *y) {
    size_t every = s->n > HOVERS ? (s->n + HOVERS - 1) / HOVERS : 1;
    for (size_t k = 0; k < s->n; k++) {
        if (!usable(s->x[k], p->log_x)) continue;
        if (!is_number(s->y[k])) {
            ql_html_rawf(h, "<path class=\"x\" d=\"M%.1f %gl8 8m0 -8l-8 8\">",
                         place(x, s->x[k]) - 4, TOP + 1);
            draw_title(h, p, s, k);
            ql_html_raw(h, "</path>\n");
            continue;
        }
        if (!can_draw(p, s, k)) continue;
        bool alone =
            (k == 0 || !can_draw(p, s, k - 1)) && (k + 1 == s->n || !can_draw(p, s, k + 1));
        bool dot = s->dots || alone;
        if (!dot && (s->faint || k % every != 0)) continue;
        ql_html_rawf(h, "<circle class=\"%s\" cx=\"%.1f\" cy=\"%.1f\" r=\"%s\">", dot ? "d" : "h",
                     place(x, s->x[k]), place(y, s->y[k]), dot ? "3.5" : "5");
        draw_title(h, p, s, k);
        ql_html_raw(h, "</circle>\n");
    }
}

static int colour_of(const ql_plot *p, size_t i) {
    int c = p->series[i].colour;
    return c > 0 ? (c - 1) % QL_PLOT_COLOURS + 1 : (int)(i % QL_PLOT_COLOURS) + 1;
}

static void draw(ql_html *h, const ql_plot *p, axis *x, axis *y) {
    if (p->from_zero && !p->log_y) y->lo = fmin(y->lo, 0);
    fit_x(x);
    fit(y, HEIGHT - BOTTOM, -(HEIGHT - BOTTOM - TOP));
    ql_html_rawf(h, "<svg viewBox=\"0 0 %g %g\" role=\"img\" aria-label=\"", WIDTH, HEIGHT);
    ql_html_puts(h, p->title);
    ql_html_raw(h, "\">\n");
    draw_axes(h, x, y);
    for (size_t i = 0; i < p->n_series; i++) {
        ql_html_rawf(h, "<g class=\"k%d\">\n", colour_of(p, i));
        draw_line(h, p, &p->series[i], x, y);
        ql_html_raw(h, "</g>\n");
    }
    for (size_t i = 0; i < p->n_series; i++) {
        ql_html_rawf(h, "<g class=\"k%d\">\n", colour_of(p, i));
        draw_points(h, p, &p->series[i], x, y);
        ql_html_raw(h, "</g>\n");
    }
    ql_html_raw(h, "</svg>\n");
}

static void draw_legend(ql_html *h, const ql_plot *p) {
    size_t named = 0;
    for (size_t i = 0; i < p->n_series; i++) named += p->series[i].name != NULL;
    if (named < 2) return;
    ql_html_raw(h, "<ul class=\"keys\">");
    for (size_t i = 0; i < p->n_series; i++) {
        if (!p->series[i].name) continue;
        ql_html_rawf(h, "<li class=\"k%d\"><i%s></i><span>", colour_of(p, i),
                     p->series[i].faint ? " class=\"f\"" : "");
        ql_html_puts(h, p->series[i].name);
        ql_html_raw(h, "</span></li>");
    }
    ql_html_raw(h, "</ul>\n");
}

void ql_plot_write(ql_html *h, const ql_plot *p) {
    axis x, y;
    ql_html_raw(h, "<figure><figcaption>");
    ql_html_puts(h, p->title);
    if (p->remark) {
        ql_html_raw(h, " <span>");
        ql_html_puts(h, p->remark);
        ql_html_raw(h, "</span>");
    }
    ql_html_raw(h, "</figcaption>\n");
    if (measure(p, &x, &y)) {
        draw(h, p, &x, &y);
        draw_legend(h, p);
    } else {
        ql_html_raw(h, "<p class=\"dim\">no values</p>\n");
    }
    ql_html_raw(h, "</figure>\n");
}
