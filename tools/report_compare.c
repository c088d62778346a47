/* report_compare.c - the page of several runs; see report_html.h. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "tools/engine.h"
#include "tools/report_html.h"

/* ---------------------------------------------------------------------- table of runs */

static void cell(ql_html *h, const char *text) {
    ql_html_cell_begin(h);
    ql_html_puts(h, text);
    ql_html_cell_end(h);
}

static void run_row(ql_html *h, const ql_run_data *r, size_t i) {
    double best = (double)NAN, at = 0, speed = ql_run_median(r, "tok_s");
    double steps = ql_run_last(r, "step");
    char text[300] = "";
    ql_html_row_begin(h);
    ql_html_cell_begin(h);
    ql_html_rawf(h, "<span class=\"name\"><i class=\"dot k%d\"></i>", (int)i + 1);
    ql_html_puts(h, r->name);
    ql_html_raw(h, "</span>");
    ql_html_cell_end(h);
    cell(h, isnan(steps) ? "" : ql_text_count((int64_t)steps).s);
    cell(h, ql_report_number(ql_run_last(r, "loss"), "").s);
    if (ql_run_smallest(r, "eval_loss", &best, &at))
        snprintf(text, sizeof text, "%s at %s", ql_report_number(best, "").s,
                 ql_text_count((int64_t)at).s);
    cell(h, text);
    cell(h, isnan(speed) ? "" : ql_text_count((int64_t)speed).s);
    cell(h, ql_report_bytes(ql_run_last(r, "mem_bytes")).s);
    cell(h, ql_report_time(ql_run_seconds(r)).s);
    cell(h, ql_report_scalar(json_object_get(r->about, "state")).s);
    ql_html_row_end(h);
}

static void table_of_runs(ql_html *h, const ql_run_data *const *runs, size_t n) {
    static const char *const heads[] = {"run",       "#steps",         "#loss", "#best evaluation",
                                        "#tokens/s", "#device memory", "#time", "state"};
    ql_html_table_begin(h, heads, 8);
    for (size_t i = 0; i < n; i++) run_row(h, runs[i], i);
    ql_html_table_end(h);
}

/* ------------------------------------------------------------------------ differences */

static bool differs(const json_t *const *values, size_t n) {
    for (size_t i = 1; i < n; i++) {
        bool same =
            values[0] && values[i] ? json_equal(values[0], values[i]) : values[0] == values[i];
        if (!same) return true;
    }
    return false;
}

typedef struct difference {
    ql_html *h;
    const char *const *heads;
    size_t n;
    bool begun; /* the section and its table */
} difference;

/* Rows "name, value of each run" of the members that are not the same in all runs. */
static void different_members(difference *d, json_t *const *objects) {
    const char *key;
    json_t *v;
    json_object_foreach(objects[0], key, v) {
        const json_t *values[QL_REPORT_MAX_RUNS] = {NULL};
        for (size_t i = 0; i < d->n; i++) values[i] = json_object_get(objects[i], key);
        bool trivial = strcmp(key, "output_dir") == 0 || strcmp(key, "given") == 0;
        if (json_is_object(v) || trivial || !differs(values, d->n)) continue;
        if (!d->begun) {
            ql_html_section(d->h, "What differs");
            ql_html_table_begin(d->h, d->heads, d->n + 1);
            d->begun = true;
        }
        ql_html_row_begin(d->h);
        cell(d->h, key);
        for (size_t i = 0; i < d->n; i++) cell(d->h, ql_report_scalar(values[i]).s);
        ql_html_row_end(d->h);
    }
}

static void differences(ql_html *h, const ql_run_data *const *runs, size_t n) {
    const char *heads[QL_REPORT_MAX_RUNS + 1] = {""};
    json_t *settings[QL_REPORT_MAX_RUNS] = {NULL}, *data[QL_REPORT_MAX_RUNS] = {NULL},
           *model[QL_REPORT_MAX_RUNS] = {NULL}, *program[QL_REPORT_MAX_RUNS] = {NULL},
           *machine[QL_REPORT_MAX_RUNS] = {NULL};
    for (size_t i = 0; i < n; i++) {
        heads[i + 1] = runs[i]->name;
        settings[i] = runs[i]->settings;
        data[i] = runs[i]->data;
        model[i] = json_object_get(runs[i]->about, "model");
        program[i] = json_object_get(runs[i]->about, "program");
        machine[i] = json_object_get(runs[i]->about, "machine");
    }
    difference d = {.h = h, .heads = heads, .n = n};
    different_members(&d, settings);
    different_members(&d, data);
    different_members(&d, model);
    different_members(&d, program);
    different_members(&d, machine);
    if (d.begun) ql_html_table_end(h);
}

/* ---------------------------------------------------------------------------- samples */

/* The newest text of run r to a prompt, NULL = none. */
static const json_t *newest(const ql_run_data *r, const char *prompt) {
    const json_t *found = NULL;
    size_t i;
    json_t *s;
    json_array_foreach(r->samples, i, s) {
        const char *p = json_string_value(json_object_get(s, "prompt"));
        if (p && strcmp(p, prompt) == 0) found = s;
    }
    return found;
}

static void one_prompt(ql_html *h, const ql_run_data *const *runs, size_t n, const json_t *sample) {
    const char *prompt = json_string_value(json_object_get(sample, "prompt"));
    if (!prompt) return;
    ql_html_raw(h, "<p class=\"dim\">prompt</p>\n");
    ql_html_pre(h, prompt, strlen(prompt));
    ql_html_raw(h, "<div class=\"sides\">");
    for (size_t i = 0; i < n; i++) {
        const json_t *s = newest(runs[i], prompt);
        const char *text = json_string_value(json_object_get(s, "text"));
        if (!text) continue;
        ql_html_rawf(h, "<div><p class=\"dim\"><i class=\"dot k%d\"></i>", (int)i + 1);
        ql_html_puts(h, runs[i]->name);
        ql_html_textf(h, ", step %lld", (long long)json_integer_value(json_object_get(s, "step")));
        ql_html_raw(h, "</p>\n");
        ql_html_pre(h, text, strlen(text));
        ql_html_raw(h, "</div>\n");
    }
    ql_html_raw(h, "</div>\n");
}

/* Prompts of the first run, each once. */
static void samples(ql_html *h, const ql_run_data *const *runs, size_t n) {
    json_int_t shown = 0;
    size_t i;
    json_t *s;
    json_array_foreach(runs[0]->samples, i, s) {
        json_int_t index = json_integer_value(json_object_get(s, "index"));
        if (index <= shown) continue;
        if (!shown) ql_html_section(h, "What they write");
        shown = index;
        one_prompt(h, runs, n, s);
    }
}

void ql_report_several(ql_html *h, const ql_run_data *const *runs, size_t n) {
    table_of_runs(h, runs, n);
    ql_html_section(h, "Curves");
    ql_report_curves(h, runs, n);
    samples(h, runs, n);
    differences(h, runs, n);
}
