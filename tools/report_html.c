/* report_html.c - curves and tables that pages of runs share; see report_html.h. */
#include "tools/report_html.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/fs.h"
#include "core/base/hostmem.h"
#include "tools/engine.h"

/* --------------------------------------------------------------------- numbers */

ql_report_cell ql_report_number(double v, const char *unit) {
    ql_report_cell c = {""};
    char text[32];
    if (isnan(v)) return c;
    ql_plot_number(v, 0, text);
    snprintf(c.s, sizeof c.s, "%s%s", text, unit);
    return c;
}

ql_report_cell ql_report_bytes(double v) {
    ql_report_cell c = {""};
    if (v >= 0 && v < 0x1p62) snprintf(c.s, sizeof c.s, "%s", ql_text_bytes((uint64_t)v).s);
    return c;
}

ql_report_cell ql_report_time(double seconds) {
    ql_report_cell c = {""};
    if (seconds >= 0 && seconds < 1e12) snprintf(c.s, sizeof c.s, "%s", ql_text_seconds(seconds).s);
    return c;
}

ql_report_cell ql_report_scalar(const json_t *v) {
    ql_report_cell c = {""};
    if (json_is_string(v)) {
        snprintf(c.s, sizeof c.s, "%s", json_string_value(v));
    } else if (v) {
        char *text = json_dumps(v, JSON_ENCODE_ANY | JSON_COMPACT | JSON_REAL_PRECISION(9));
        snprintf(c.s, sizeof c.s, "%s", text ? text : "");
        free(text); /* jansson's own allocation */
    }
    return c;
}

/* A value as people read it: bytes with their unit, large counts in groups of three. */
static ql_report_cell value_of(const char *name, const json_t *v) {
    size_t n = strlen(name);
    ql_report_cell c = ql_report_scalar(v);
    if (!json_is_integer(v)) return c;
    if (n > 6 && strcmp(name + n - 6, "_bytes") == 0)
        return ql_report_bytes((double)json_integer_value(v));
    if (n > 10 && strcmp(name + n - 10, "parameters") == 0)
        snprintf(c.s, sizeof c.s, "%s", ql_text_count(json_integer_value(v)).s);
    return c;
}

#define DEEPEST 4 /* objects inside objects that are spelled out */

static void pairs(ql_html *h, json_t *object, const char *prefix, int depth) {
    const char *key;
    json_t *v;
    json_object_foreach(object, key, v) {
        char name[256];
        int n = snprintf(name, sizeof name, "%s%s%s", prefix, *prefix ? "." : "", key);
        if (n < 0 || (size_t)n >= sizeof name) continue;
        if (json_is_object(v) && depth < DEEPEST) {
            pairs(h, v, name, depth + 1);
        } else if (!json_is_null(v)) {
            ql_html_pair(h, name, value_of(name, v).s);
        }
    }
}

void ql_report_pairs(ql_html *h, json_t *object) {
    ql_html_pairs_begin(h);
    pairs(h, object, "", 0);
    ql_html_pairs_end(h);
}

/* ---------------------------------------------------------------------- curves */

#define SMOOTH_FROM 20 /* values from which on a mean is drawn beside them */
#define SMOOTH_PART 40 /* its width: this part of the values               */

/* Exponential running mean of the finite values, corrected for its start; owned. NULL: none. */
static double *running_mean(const ql_column *c) {
    if (c->n < SMOOTH_FROM) return NULL;
    double *out = ql_host_calloc(c->n, sizeof *out);
    double keep = 1 - 2 / ((double)c->n / SMOOTH_PART + 2), mean = 0, weight = 0;
    for (size_t i = 0; out && i < c->n; i++) {
        bool finite = isfinite(c->value[i]);
        if (finite) {
            mean = keep * mean + (1 - keep) * c->value[i];
            weight = keep * weight + (1 - keep);
        }
        out[i] = finite && weight > 0 ? mean / weight : (double)NAN;
    }
    return out;
}

/* What a plot draws. */
typedef struct curve {
    const char *column, *title, *unit; /* unit: in the hover text             */
    const char *remark;                /* behind the title; NULL = none       */
    const char *beside;                /* a second column, of one run only; NULL = none */
    bool smooth, log_y, from_zero, dots;
    double scale;
} curve;

#define MOST_SERIES (3 * QL_REPORT_MAX_RUNS)

typedef struct drawing {
    ql_series series[MOST_SERIES];
    double *owned[MOST_SERIES];
    size_t n;
} drawing;

static void add_series(drawing *d, ql_series s, double *owned) {
    d->owned[d->n] = owned;
    d->series[d->n++] = s;
}

/* Values times `scale`, owned. */
static double *scaled(const ql_column *c, double scale) {
    double *out = ql_host_calloc(c->n + 1, sizeof *out);
    for (size_t i = 0; out && i < c->n; i++) out[i] = c->value[i] * scale;
    return out;
}

static void add_run(drawing *d, const curve *k, const ql_run_data *r, size_t which, bool alone) {
    const ql_column *c = ql_run_column(r, k->column);
    int colour = alone ? 1 : (int)which + 1;
    if (!c) return;
    double *mean = k->smooth ? running_mean(c) : NULL;
    double *values = k->scale != 1 ? scaled(c, k->scale) : NULL;
    const char *name = alone ? k->unit : r->name;
    if (!mean || alone)
        add_series(d,
                   (ql_series){.name = name,
                               .x = c->step,
                               .y = values ? values : c->value,
                               .n = c->n,
                               .colour = colour,
                               .faint = mean != NULL,
                               .dots = k->dots},
                   values);
    if (mean)
        add_series(d,
                   (ql_series){.name = alone ? "running mean" : name,
                               .x = c->step,
                               .y = mean,
                               .n = c->n,
                               .colour = colour},
                   mean);
    const ql_column *beside = alone && k->beside ? ql_run_column(r, k->beside) : NULL;
    if (beside)
        add_series(d,
                   (ql_series){.name = "evaluation",
                               .x = beside->step,
                               .y = beside->value,
                               .n = beside->n,
                               .colour = 2,
                               .dots = true},
                   NULL);
}

static void draw(ql_html *h, const curve *k, const ql_run_data *const *runs, size_t n) {
    drawing d = {.n = 0};
    for (size_t i = 0; i < n; i++) add_run(&d, k, runs[i], i, n == 1);
    bool single = k->dots && n == 1 && d.n && d.series[0].n < 2; /* a tile shows it already */
    if (d.n && !single) {
        const ql_plot p = {.title = k->title,
                           .remark = k->remark,
                           .x_name = "step",
                           .y_name = k->unit,
                           .log_y = k->log_y,
                           .from_zero = k->from_zero,
                           .series = d.series,
                           .n_series = d.n};
        ql_plot_write(h, &p);
    }
    for (size_t i = 0; i < d.n; i++) ql_host_free(d.owned[i]);
}

/* Scores of evaluations: every eval_* but the loss. */
static void draw_scores(ql_html *h, const ql_run_data *const *runs, size_t n) {
    for (size_t i = 0; i < runs[0]->n_columns; i++) {
        const char *name = runs[0]->columns[i].name;
        char title[64];
        if (strncmp(name, "eval_", 5) != 0 || strcmp(name, "eval_loss") == 0) continue;
        snprintf(title, sizeof title, "Evaluation: %s", name + 5);
        draw(h,
             &(curve){.column = name, .title = title, .unit = name + 5, .dots = true, .scale = 1},
             runs, n);
    }
}

void ql_report_curves(ql_html *h, const ql_run_data *const *runs, size_t n) {
    static const curve curves[] = {
        {.column = "loss",
         .title = "Loss",
         .unit = "loss",
         .beside = "eval_loss",
         .smooth = true,
         .scale = 1},
        {.column = "eval_loss",
         .title = "Evaluation: loss",
         .unit = "loss",
         .dots = true,
         .scale = 1},
        {.column = "grad_norm",
         .title = "Gradient norm",
         .unit = "norm",
         .smooth = true,
         .log_y = true,
         .scale = 1},
        {.column = "lr", .title = "Learning rate", .unit = "rate", .from_zero = true, .scale = 1},
        {.column = "tok_s",
         .title = "Tokens per second",
         .unit = "tokens/s",
         .smooth = true,
         .from_zero = true,
         .scale = 1},
        {.column = "mem_bytes",
         .title = "Device memory",
         .unit = "MiB",
         .remark = "MiB",
         .from_zero = true,
         .scale = 0x1p-20},
    };
    ql_html_figures_begin(h);
    for (size_t i = 0; i < sizeof curves / sizeof *curves; i++) {
        draw(h, &curves[i], runs, n);
        if (strcmp(curves[i].column, "eval_loss") == 0) draw_scores(h, runs, n);
    }
    ql_html_figures_end(h);
}

/* ------------------------------------------------------------------------ page */

ql_status ql_report_write(const ql_run_data *const *runs, size_t n, const char *path) {
    char title[320];
    ql_html *h;
    if (n == 1) snprintf(title, sizeof title, "%s", runs[0]->name);
    if (n != 1) snprintf(title, sizeof title, "%zu runs", n);
    QL_TRY(ql_html_open(path, title, &h));
    if (n == 1) ql_report_one(h, runs[0]);
    if (n != 1) ql_report_several(h, runs, n);
    return ql_html_commit(h);
}

ql_status ql_report_refresh(const char *dir) {
    char path[QL_PATH_MAX];
    ql_run_data run;
    QL_TRY(ql_path_join(path, dir, "report.html"));
    QL_TRY(ql_run_read(dir, &run));
    const ql_run_data *const runs[] = {&run};
    ql_status s = ql_report_write(runs, 1, path);
    ql_run_data_free(&run);
    return s;
}
