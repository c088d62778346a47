/* loftq_page.c - the split of a model as a page: what each layer loses, and over the iterations. */
#include <math.h>

#include "core/base/hostmem.h"
#include "tools/loftq_report.h"
#include "tools/plot.h"

static double real_of(const json_t *o, const char *key) {
    return json_number_value(json_object_get(o, key));
}

/* residual[t] / norm of one layer; the last value stands for iterations that it did not need. */
static double relative(const json_t *tensor, size_t t) {
    const json_t *list = json_object_get(tensor, "residual");
    size_t n = json_array_size(list);
    double norm = real_of(tensor, "norm");
    if (n == 0 || norm <= 0) return 0;
    return json_number_value(json_array_get(list, t < n ? t : n - 1)) / norm;
}

/* Relative error by layer: plain and kept. */
static ql_status plot_layers(ql_html *h, const json_t *tensors) {
    size_t n = json_array_size(tensors);
    double *x = ql_host_calloc(n * 3 + 1, sizeof *x);
    if (!x) return QL_NOMEM("a plot");
    for (size_t i = 0; i < n; i++) {
        const json_t *t = json_array_get(tensors, i);
        x[i] = (double)i + 1;
        x[n + i] = relative(t, 0);
        x[2 * n + i] = relative(t, (size_t)real_of(t, "best"));
    }
    const ql_series lines[] = {{.name = "plain", .x = x, .y = x + n, .n = n, .dots = true},
                               {.name = "kept", .x = x, .y = x + 2 * n, .n = n, .dots = true}};
    ql_plot_write(h, &(ql_plot){.title = "Relative error by layer",
                                .remark = "|W - Q - sBA| / |W|",
                                .x_name = "layer",
                                .y_name = "error",
                                .from_zero = true,
                                .series = lines,
                                .n_series = 2});
    ql_host_free(x);
    return QL_OK;
}

/* Error over the iterations, relative to plain quantization: mean, best and worst layer. */
static ql_status plot_iterations(ql_html *h, const json_t *tensors) {
    enum { MOST = QL_LOFTQ_MAX_ITER + 1 };
    double t[MOST], mean[MOST], low[MOST], high[MOST];
    size_t n = json_array_size(tensors), most = 0;
    for (size_t i = 0; i < n; i++) {
        size_t have = json_array_size(json_object_get(json_array_get(tensors, i), "residual"));
        if (have > most) most = have;
    }
    if (most > MOST) most = MOST;
    for (size_t k = 0; k < most; k++) {
        t[k] = (double)k;
        mean[k] = high[k] = 0;
        low[k] = INFINITY;
        for (size_t i = 0; i < n; i++) {
            const json_t *x = json_array_get(tensors, i);
            double plain = relative(x, 0), part = plain > 0 ? relative(x, k) / plain : 1;
            mean[k] += part / (double)n;
            low[k] = part < low[k] ? part : low[k];
            high[k] = part > high[k] ? part : high[k];
        }
    }
    const ql_series lines[] = {{.name = "mean", .x = t, .y = mean, .n = most, .dots = true},
                               {.name = "best layer", .x = t, .y = low, .n = most},
                               {.name = "worst layer", .x = t, .y = high, .n = most}};
    ql_plot_write(h, &(ql_plot){.title = "Error over the iterations",
                                .remark = "1 = plain quantization",
                                .x_name = "T",
                                .y_name = "part",
                                .series = lines,
                                .n_series = 3});
    return QL_OK;
}

static void layer_table(ql_html *h, const json_t *tensors) {
    static const char *const heads[] = {"layer",  "type",  "#rank", "#|W|",
                                        "#plain", "#kept", "#T",    "#gain"};
    char rank[32], norm[32], plain[32], kept[32], best[32], gain[32];
    size_t i;
    const json_t *t;
    ql_html_table_begin(h, heads, sizeof heads / sizeof *heads);
    json_array_foreach((json_t *)(uintptr_t)tensors, i, t) {
        double was = relative(t, 0), is = relative(t, (size_t)real_of(t, "best"));
        snprintf(rank, sizeof rank, "%.0f", real_of(t, "r"));
        ql_plot_number(real_of(t, "norm"), 0, norm);
        ql_plot_number(was, 0, plain);
        ql_plot_number(is, 0, kept);
        snprintf(best, sizeof best, "%.0f", real_of(t, "best"));
        snprintf(gain, sizeof gain, "%.1f %%", was > 0 ? 100.0 * (1.0 - is / was) : 0.0);
        const char *cells[] = {json_string_value(json_object_get(t, "module")),
                               json_string_value(json_object_get(t, "type")),
                               rank,
                               norm,
                               plain,
                               kept,
                               best,
                               gain};
        ql_html_row(h, cells);
    }
    ql_html_table_end(h);
}

static void tiles(ql_html *h, const json_t *doc) {
    char plain[32], kept[32], bits[32];
    double norm = real_of(doc, "norm");
    ql_plot_number(norm > 0 ? real_of(doc, "residual_plain") / norm : 0, 0, plain);
    ql_plot_number(norm > 0 ? real_of(doc, "residual") / norm : 0, 0, kept);
    ql_plot_number(real_of(doc, "bits_per_weight"), 0, bits);
    ql_html_tiles_begin(h);
    ql_html_tile(h, "plain quantization", plain, "relative error of all layers");
    ql_html_tile(h, "with the adapter", kept, "the kept iteration of each");
    ql_html_tile(h, "bits per weight", bits, "scales included");
    ql_html_tiles_end(h);
}

ql_status ql_loftq_page(const json_t *doc, const char *path) {
    const json_t *tensors = json_object_get(doc, "tensors");
    ql_html *h;
    QL_TRY(ql_html_open(path, "Base and adapter", &h));
    tiles(h, doc);
    ql_html_figures_begin(h);
    ql_status s = plot_layers(h, tensors);
    if (s == QL_OK) s = plot_iterations(h, tensors);
    ql_html_figures_end(h);
    ql_html_section(h, "Layers");
    layer_table(h, tensors);
    if (s == QL_OK) return ql_html_commit(h);
    ql_html_abort(h);
    return s;
}
