/* report_run.c - the page of one run; see report_html.h. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "tools/engine.h"
#include "tools/report_html.h"

/* -------------------------------------------------------------------- at first sight */

static void state_notice(ql_html *h, const ql_run_data *r) {
    const char *state = json_string_value(json_object_get(r->about, "state"));
    double step = ql_run_last(r, "step");
    char text[160];
    if (!state || isnan(step)) return;
    bool good = strcmp(state, "complete") == 0 || strcmp(state, "stopped early") == 0;
    bool bad = strcmp(state, "diverged") == 0 || strcmp(state, "failed") == 0;
    snprintf(text, sizeof text, "%s at step %s%s.",
             strcmp(state, "complete") == 0        ? "Complete"
             : strcmp(state, "stopped early") == 0 ? "Stopped early, the evaluation got no better,"
             : strcmp(state, "stopped") == 0       ? "Stopped"
             : strcmp(state, "diverged") == 0      ? "Diverged"
             : strcmp(state, "failed") == 0        ? "Failed"
                                                   : "At work when this was written,",
             ql_text_count((int64_t)step).s,
             strcmp(state, "stopped") == 0 ? "; the same command continues" : "");
    ql_html_notice(h, good ? "good" : bad ? "bad" : "warn", text);
}

#define MOST_WARNINGS 8 /* shown at first sight; the others fold */

static void warning_notices(ql_html *h, const ql_run_data *r) {
    size_t n = json_array_size(r->warnings), i;
    json_t *w;
    if (n > MOST_WARNINGS) {
        char text[64];
        snprintf(text, sizeof text, "%zu warnings", n);
        ql_html_fold_begin(h, text);
    }
    json_array_foreach(r->warnings, i, w) {
        ql_html_notice(h, "warn", json_string_value(json_object_get(w, "text")));
    }
    if (n > MOST_WARNINGS) ql_html_fold_end(h);
}

static void loss_tiles(ql_html *h, const ql_run_data *r) {
    char remark[300] = "";
    double value = 0, step = 0;
    snprintf(remark, sizeof remark, "at first %s", ql_report_number(ql_run_first(r, "loss"), "").s);
    ql_html_tile(h, "Loss", ql_report_number(ql_run_last(r, "loss"), "").s, remark);
    if (!ql_run_smallest(r, "eval_loss", &value, &step)) return;
    snprintf(remark, sizeof remark, "best, at step %s", ql_text_count((int64_t)step).s);
    ql_html_tile(h, "Evaluation loss", ql_report_number(value, "").s, remark);
}

static void tiles(ql_html *h, const ql_run_data *r) {
    char text[96], remark[96];
    double step = ql_run_last(r, "step"), memory = ql_run_last(r, "mem_bytes");
    double planned = json_number_value(json_object_get(r->plan, "peak_bytes"));
    json_int_t total = json_integer_value(json_object_get(r->about, "total_steps"));
    ql_html_tiles_begin(h);
    loss_tiles(h, r);
    snprintf(text, sizeof text, "%s", isnan(step) ? "0" : ql_text_count((int64_t)step).s);
    snprintf(remark, sizeof remark, "of %s", ql_text_count(total).s);
    ql_html_tile(h, "Steps", text, total ? remark : NULL);
    double speed = ql_run_median(r, "tok_s");
    ql_html_tile(h, "Tokens per second", isnan(speed) ? "" : ql_text_count((int64_t)speed).s,
                 "median of the logged steps");
    snprintf(remark, sizeof remark, planned == memory ? "as planned" : "planned %s",
             ql_report_bytes(planned).s);
    if (!isnan(memory))
        ql_html_tile(h, "Device memory", ql_report_bytes(memory).s, planned > 0 ? remark : NULL);
    double seconds = ql_run_seconds(r);
    size_t sessions = json_array_size(json_object_get(r->about, "sessions"));
    snprintf(remark, sizeof remark, "in %zu sessions", sessions);
    if (seconds > 0)
        ql_html_tile(h, "Time", ql_report_time(seconds).s, sessions > 1 ? remark : NULL);
    ql_html_tiles_end(h);
}

/* -------------------------------------------------------------------------- samples */

static json_int_t number_of(const json_t *o, const char *key) {
    return json_integer_value(json_object_get(o, key));
}

static void pre_of(ql_html *h, const json_t *sample, const char *key) {
    const json_t *text = json_object_get(sample, key);
    ql_html_pre(h, json_is_string(text) ? json_string_value(text) : "", json_string_length(text));
}

/* What the model wrote to prompt `index`, from the first to the last step. */
static void one_prompt(ql_html *h, const ql_run_data *r, json_int_t index) {
    const json_t *first = NULL, *last = NULL;
    size_t i, n = 0;
    json_t *s;
    json_array_foreach(r->samples, i, s) {
        if (number_of(s, "index") != index) continue;
        if (!first) first = s;
        last = s;
        n++;
    }
    if (!first) return;
    char text[64];
    ql_html_rawf(h, "<h3>Prompt %lld</h3>\n", (long long)index);
    pre_of(h, first, "prompt");
    if (json_is_string(json_object_get(first, "expected"))) {
        ql_html_raw(h, "<p class=\"dim\">expected</p>\n");
        pre_of(h, first, "expected");
    }
    ql_html_rawf(h, "<div class=\"sides\"><div><p class=\"dim\">step %lld</p>\n",
                 (long long)number_of(first, "step"));
    pre_of(h, first, "text");
    if (n > 1) {
        ql_html_rawf(h, "</div><div><p class=\"dim\">step %lld</p>\n",
                     (long long)number_of(last, "step"));
        pre_of(h, last, "text");
    }
    ql_html_raw(h, "</div></div>\n");
    if (n < 3) return;
    snprintf(text, sizeof text, "%zu in between", n - 2);
    ql_html_fold_begin(h, text);
    json_array_foreach(r->samples, i, s) {
        if (number_of(s, "index") != index || s == first || s == last) continue;
        ql_html_rawf(h, "<p class=\"dim\">step %lld</p>\n", (long long)number_of(s, "step"));
        pre_of(h, s, "text");
    }
    ql_html_fold_end(h);
}

#define MOST_PROMPTS 64

static void samples(ql_html *h, const ql_run_data *r) {
    json_int_t prompts = 0;
    size_t i;
    json_t *s;
    json_array_foreach(r->samples, i, s) {
        if (number_of(s, "index") > prompts) prompts = number_of(s, "index");
    }
    if (!prompts) return;
    ql_html_section(h, "What it writes");
    for (json_int_t k = 1; k <= prompts && k <= MOST_PROMPTS; k++) one_prompt(h, r, k);
}

/* --------------------------------------------------------------------------- memory */

/* The planned bytes by class as one bar and a table. */
static void memory(ql_html *h, const ql_run_data *r) {
    json_t *classes = json_object_get(r->plan, "device_bytes"), *v;
    double peak = json_number_value(json_object_get(r->plan, "peak_bytes"));
    static const char *const heads[] = {"what", "#bytes", "#share"};
    const char *key;
    int colour = 0;
    if (!classes || !(peak > 0)) return;
    ql_html_section(h, "Memory as planned");
    ql_html_raw(h, "<div class=\"bar\">");
    json_object_foreach(classes, key, v) {
        double share = 100 * json_number_value(v) / peak;
        if (share > 0)
            ql_html_rawf(h, "<i class=\"k%d\" style=\"width:%.3f%%\"></i>", colour % 8 + 1, share);
        colour += share > 0;
    }
    ql_html_raw(h, "</div>\n");
    ql_html_table_begin(h, heads, 3);
    colour = 0;
    json_object_foreach(classes, key, v) {
        double bytes = json_number_value(v);
        if (!(bytes > 0)) continue;
        ql_html_row_begin(h);
        ql_html_cell_begin(h);
        ql_html_rawf(h, "<i class=\"dot k%d\"></i>", colour++ % 8 + 1);
        ql_html_puts(h, key);
        ql_html_cell_end(h);
        ql_html_cell_begin(h);
        ql_html_puts(h, ql_report_bytes(bytes).s);
        ql_html_cell_end(h);
        ql_html_cell_begin(h);
        ql_html_textf(h, "%.1f %%", 100 * bytes / peak);
        ql_html_cell_end(h);
        ql_html_row_end(h);
    }
    ql_html_table_end(h);
}

/* ------------------------------------------------------------------- what it was made of */

/* Those that people look for first. */
static void main_settings(ql_html *h, const ql_run_data *r) {
    static const char *const names[] = {"model_name_or_path",
                                        "dataset",
                                        "eval_dataset",
                                        "bits",
                                        "quant_type",
                                        "double_quant",
                                        "compute_dtype",
                                        "lora_r",
                                        "lora_alpha",
                                        "lora_dropout",
                                        "lora_target_modules",
                                        "learning_rate",
                                        "lr_scheduler_type",
                                        "optim",
                                        "per_device_train_batch_size",
                                        "gradient_accumulation_steps",
                                        "max_steps",
                                        "num_train_epochs",
                                        "packing",
                                        "seed"};
    ql_html_pairs_begin(h);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const json_t *v = json_object_get(r->settings, names[i]);
        if (v && strcmp(json_string_value(v), "null") != 0)
            ql_html_pair(h, names[i], json_string_value(v));
    }
    ql_html_pairs_end(h);
}

static void sessions(ql_html *h, const ql_run_data *r) {
    static const char *const heads[] = {"started", "#from step", "#to step", "#time", "end"};
    json_t *list = json_object_get(r->about, "sessions"), *s;
    size_t i;
    if (json_array_size(list) < 2) return;
    ql_html_table_begin(h, heads, 5);
    json_array_foreach(list, i, s) {
        const ql_report_cell started = ql_report_scalar(json_object_get(s, "started")),
                             from = ql_report_scalar(json_object_get(s, "from_step")),
                             to = ql_report_scalar(json_object_get(s, "to_step")),
                             time =
                                 ql_report_time(json_number_value(json_object_get(s, "seconds"))),
                             end = ql_report_scalar(json_object_get(s, "state"));
        const char *const cells[] = {started.s, from.s, to.s, time.s, end.s};
        ql_html_row(h, cells);
    }
    ql_html_table_end(h);
}

static void origin(ql_html *h, const ql_run_data *r) {
    static const struct {
        const char *key, *heading;
    } parts[] = {
        {"model", "Model"}, {"result", "Result"}, {"program", "Program"}, {"machine", "Machine"}};
    if (json_object_size(r->settings)) {
        ql_html_section(h, "Settings");
        main_settings(h, r);
        ql_html_fold_begin(h, "every setting");
        ql_report_pairs(h, r->settings);
        ql_html_fold_end(h);
    }
    if (!r->data && !r->about) return;
    ql_html_section(h, "Data, model, program");
    if (r->data) {
        ql_html_raw(h, "<h3>Data</h3>\n");
        ql_report_pairs(h, r->data);
    }
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        json_t *part = json_object_get(r->about, parts[i].key);
        if (!part) continue;
        ql_html_rawf(h, "<h3>%s</h3>\n", parts[i].heading);
        ql_report_pairs(h, part);
    }
    sessions(h, r);
}

void ql_report_one(ql_html *h, const ql_run_data *r) {
    const ql_run_data *const runs[] = {r};
    ql_html_raw(h, "<p class=\"dim\">");
    ql_html_puts(h, r->dir);
    ql_html_raw(h, "</p>\n");
    state_notice(h, r);
    warning_notices(h, r);
    tiles(h, r);
    ql_html_section(h, "Curves");
    ql_report_curves(h, runs, 1);
    samples(h, r);
    memory(h, r);
    origin(h, r);
}
