/* loftq_report.c - see loftq_report.h. */
#include "tools/loftq_report.h"

#include <math.h>

#include "tools/engine.h"

static const char *method_name(ql_split_method m) {
    return m == QL_SPLIT_PISSA ? "pissa" : m == QL_SPLIT_OLORA ? "olora" : "loftq";
}

static json_t *numbers(const double *x, int32_t n) {
    json_t *list = json_array();
    for (int32_t i = 0; list && i < n; i++) json_array_append_new(list, json_real(x[i]));
    return list;
}

static const char *type_of(const ql_prepare_row *row, int *bits) {
    *bits = row->type ? (int)row->type->bits : 16;
    return row->type ? row->type->name : "dense";
}

static json_t *tensor_json(const ql_prepare_row *row) {
    int bits;
    const char *type = type_of(row, &bits);
    const ql_split *x = &row->split;
    json_t *j =
        json_pack("{s:s, s:s, s:s, s:i, s:I, s:I, s:i, s:f, s:f, s:o, s:o, s:i, s:s, s:f, s:f}",
                  "name", row->l->tensor, "module", row->l->module, "type", type, "bits", bits,
                  "rows", (json_int_t)x->n, "cols", (json_int_t)x->k, "r", (int)x->r, "scaling",
                  (double)row->l->scaling, "norm", x->norm, "residual",
                  numbers(x->residual, x->iters + 1), "drift", numbers(x->drift, x->iters + 1),
                  "best", (int)x->best, "svd", x->rounds ? "randomized" : "exact", "excess_bound",
                  isfinite(x->bound) ? x->bound : -1.0, "excess_estimate", x->excess);
    return j;
}

ql_loftq_total ql_loftq_total_of(const ql_loftq_made *m) {
    ql_loftq_total t = {0};
    for (int64_t i = 0; i < m->report.n; i++) {
        const ql_split *x = &m->report.rows[i].split;
        t.norm += x->norm * x->norm;
        t.plain += x->residual[0] * x->residual[0];
        t.left += x->residual[x->best] * x->residual[x->best];
        t.bound = x->bound > t.bound ? x->bound : t.bound;
        t.weights += x->n * x->k;
    }
    t.norm = sqrt(t.norm);
    t.plain = sqrt(t.plain);
    t.left = sqrt(t.left);
    return t;
}

json_t *ql_loftq_json(const ql_loftq_made *m, const char *output_dir) {
    ql_loftq_total t = ql_loftq_total_of(m);
    json_t *tensors = json_array();
    for (int64_t i = 0; tensors && i < m->report.n; i++)
        json_array_append_new(tensors, tensor_json(&m->report.rows[i]));
    char adapter[QL_PATH_MAX];
    if (ql_path_join(adapter, output_dir, "adapter") != QL_OK) adapter[0] = '\0';
    return json_pack("{s:s, s:s, s:s, s:f, s:f, s:f, s:I, s:I, s:f, s:o}", "output_dir", output_dir,
                     "adapter", adapter, "method", method_name(m->method), "norm", t.norm,
                     "residual_plain", t.plain, "residual", t.left, "untouched",
                     (json_int_t)m->report.untouched, "bytes_out",
                     (json_int_t)m->report.folder.bytes_out, "bits_per_weight",
                     m->report.folder.bits_per_weight, "tensors", tensors);
}

void ql_loftq_print(ql_cli *cli, const ql_loftq_made *m, const char *output_dir) {
    ql_out *out = &cli->out;
    ql_print(out, "%-44s %-8s %10s %10s %10s  %s\n", "layer", "type", "|W|", "|W-Q(W)|",
             "|W-Q-sBA|", "T");
    for (int64_t i = 0; i < m->report.n; i++) {
        const ql_prepare_row *row = &m->report.rows[i];
        const ql_split *x = &row->split;
        int bits;
        ql_print(out, "%-44s %-8s %10.4f %10.4f %10.4f  %d of %d\n", row->l->module,
                 type_of(row, &bits), x->norm, x->residual[0], x->residual[x->best], (int)x->best,
                 (int)x->iters);
    }
    ql_loftq_total t = ql_loftq_total_of(m);
    ql_print(out,
             "%s of %s layers: relative error %.4f -> %.4f (%+.1f %%), factors within %.2g of the "
             "best\n",
             method_name(m->method), ql_text_count(m->report.n).s, t.plain / t.norm,
             t.left / t.norm, t.plain > 0 ? 100.0 * (t.left / t.plain - 1.0) : 0.0, t.bound);
    ql_print(out, "base %s · adapter %s/adapter\n", output_dir, output_dir);
}
