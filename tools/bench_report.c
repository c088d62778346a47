/* bench_report.c - see bench_report.h. */
#include "tools/bench_report.h"

#include <stdio.h>

#include "tools/engine.h"

/* null for a rate that the row does not have. */
static json_t *rate(double x) {
    return x > 0 ? json_real(x) : json_null();
}

static json_t *row_json(const ql_bench_report *r, const ql_bench_row *row) {
    json_t *doc = json_pack("{s:s, s:s, s:s, s:o, s:o, s:o, s:o, s:f, s:i}", "name", row->name,
                            "shape", row->shape, "device", r->device, "gflops", rate(row->gflops),
                            "gbps", rate(row->gbps), "peak_share", rate(row->peak_share),
                            "weights_per_s", rate(row->weights_per_s), "seconds",
                            row->time.median_s, "repeats", row->time.repeats);
    if (row->tokens_per_s > 0)
        json_object_set_new(doc, "tokens_per_s", json_real(row->tokens_per_s));
    if (row->peak_bytes)
        json_object_set_new(doc, "peak_bytes", json_integer((json_int_t)row->peak_bytes));
    return doc;
}

/* A number in its column, or the column left empty. */
static ql_text cell(double x, int decimals) {
    ql_text t = {""};
    if (x > 0) snprintf(t.s, sizeof t.s, "%.*f", decimals, x);
    return t;
}

/* What the rows are measured on, and the head of the table. */
static void show_heading(ql_bench_report *r) {
    const ql_bench_peaks *p = r->peaks;
    ql_print(r->out, "%s, %s, %u threads; measured on %s\n", r->cpu->name, r->cpu->isa,
             (unsigned)r->cpu->compute_units, r->device);
    if (p)
        ql_print(r->out, "peak %.1f GFLOP/s fp32 (%s, %d threads), %.2f GB/s read\n", p->gflops,
                 p->isa, p->threads, p->gbps);
    ql_print(r->out, "%-18s %-16s %10s %9s %8s %7s %9s %10s %10s\n", "name", "shape", "ms",
             "GFLOP/s", "GB/s", "share %", "Mweight/s", "token/s", "memory");
    r->heading = true;
}

static void show_row(void *user, const ql_bench_row *row) {
    ql_bench_report *r = user;
    ql_text share = cell(100 * row->peak_share, 1);
    json_array_append_new(r->rows, row_json(r, row));
    if (!r->heading) show_heading(r);
    ql_print(r->out, "%-18s %-16s %10.3f %9s %8s %7s %9s %10s %10s\n", row->name, row->shape,
             1e3 * row->time.median_s, cell(row->gflops, 1).s, cell(row->gbps, 2).s, share.s,
             cell(1e-6 * row->weights_per_s, 1).s, cell(row->tokens_per_s, 1).s,
             row->peak_bytes ? ql_text_bytes(row->peak_bytes).s : "");
}

static void show_skipped(void *user, const char *name, const char *shape, const char *why) {
    const ql_bench_report *r = user;
    ql_note(r->out, "skipped %s %s: %s", name, shape, why);
}

ql_bench_sink ql_bench_report_sink(ql_bench_report *r) {
    return (ql_bench_sink){.row = show_row, .skipped = show_skipped, .user = r};
}

ql_exit ql_bench_report_end(ql_bench_report *r) {
    const ql_bench_peaks *peaks = r->peaks;
    const ql_device_props *cpu = r->cpu;
    json_t *measured = peaks ? json_pack("{s:f, s:f, s:s, s:i}", "gflops", peaks->gflops, "gbps",
                                         peaks->gbps, "isa", peaks->isa, "threads", peaks->threads)
                             : json_null();
    json_t *doc =
        json_pack("{s:{s:s, s:s, s:i}, s:o, s:o}", "machine", "cpu", cpu->name, "isa", cpu->isa,
                  "threads", (int)cpu->compute_units, "peaks", measured, "rows", r->rows);
    r->rows = NULL;
    return ql_print_json(r->out, doc);
}
