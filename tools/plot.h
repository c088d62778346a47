/*
 * plot.h - line charts as SVG inside a page (html.h).
 *
 * Axes are linear or logarithmic with ticks at 1, 2 or 5 times a power of ten. Values that are not
 * finite (or not positive on a logarithmic axis) interrupt the line; where y is not finite, a cross
 * at the top says so. Long series are drawn by the lowest and highest value of each column of
 * pixels, so that a spike never disappears; hovering shows values. Colours come from the page's
 * style, are told apart by colour-blind eyes, and follow light and dark.
 */
#ifndef QLORA_TOOLS_PLOT_H
#define QLORA_TOOLS_PLOT_H

#include <stdbool.h>
#include <stddef.h>

#include "tools/html.h"

typedef struct ql_series {
    const char *name; /* for the legend, escaped; NULL = not in the legend */
    const double *x, *y;
    size_t n;
    int colour; /* 1 .. QL_PLOT_COLOURS; 0 = by its place among the series   */
    bool faint; /* thin and pale: raw values behind a smoothed line          */
    bool dots;  /* every point marked: few values, such as evaluations       */
} ql_series;

typedef struct ql_plot {
    const char *title;           /* escaped                                 */
    const char *remark;          /* paler behind the title; NULL = none     */
    const char *x_name, *y_name; /* for the hover text, "step" and "loss"   */
    bool log_x, log_y;
    bool from_zero; /* a linear y axis begins at 0             */
    const ql_series *series;
    size_t n_series;
} ql_plot;

#define QL_PLOT_COLOURS 8

/* One figure; between ql_html_figures_begin and _end several stand side by side. A plot without a
 * finite point says so instead of drawing. */
void ql_plot_write(ql_html *h, const ql_plot *p);

/* The ticks of an axis over [lo, hi], ascending, inside the range widened to them: *lo and *hi
 * become the axis' ends. A range of one value is widened around it. Logarithmic: lo > 0. Returns
 * how many, 2 .. QL_PLOT_MAX_TICKS. */
#define QL_PLOT_MAX_TICKS 16
size_t ql_plot_ticks(double *lo, double *hi, bool logarithmic, double out[QL_PLOT_MAX_TICKS]);
/* A tick or value as short text: "0.25", "1,200", "2e-4". `step` is the distance of the ticks, 0 =
 * four significant digits. */
void ql_plot_number(double value, double step, char out[32]);

#endif /* QLORA_TOOLS_PLOT_H */
