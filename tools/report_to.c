/* report_to.c - see report_to.h. */
#include "tools/report_to.h"

#include <stdio.h>
#include <string.h>

#include "tools/lines.h"

/* ------------------------------------------------------------------ --report_to */

static const char *const kinds[] = {"jsonl", "csv", "tensorboard"};

/* Does the list name `kind`? "all" names every one. */
static bool wants(const char *list, const char *kind) {
    size_t n = strlen(kind);
    if (strcmp(list, "all") == 0) return true;
    for (const char *at = list; *at;) {
        size_t len = strcspn(at, ", ");
        if (len == n && strncmp(at, kind, n) == 0) return true;
        at += len;
        at += strspn(at, ", ");
    }
    return false;
}

ql_status ql_report_to_check(const char *list) {
    if (strcmp(list, "all") == 0 || strcmp(list, "none") == 0) return QL_OK;
    for (const char *at = list + strspn(list, ", "); *at;) {
        size_t len = strcspn(at, ", "), i = 0;
        while (i < 3 && !(strlen(kinds[i]) == len && strncmp(at, kinds[i], len) == 0)) i++;
        if (i == 3)
            return QL_FAIL(QL_ERR_INVALID,
                           "--report_to takes a list of jsonl, csv and tensorboard, or all or "
                           "none, not '%.*s'",
                           (int)len, at);
        at += len;
        at += strspn(at, ", ");
    }
    return QL_OK;
}

/* --------------------------------------------------------------------------- csv */

/* The columns; a number that a line does not have is an empty field. */
static const char *const columns[] = {"step",      "epoch",     "loss",        "eval_loss",
                                      "grad_norm", "lr",        "tokens",      "supervised",
                                      "tok_s",     "mem_bytes", "paged_bytes", "eta_s"};
enum { N_COLUMNS = sizeof columns / sizeof *columns };

/* NULL: the head. */
static ql_status csv_line(ql_appender *csv, const json_t *line) {
    char text[N_COLUMNS * 32];
    size_t n = 0;
    for (int i = 0; i < N_COLUMNS; i++) {
        char *at = text + n;
        size_t room = sizeof text - n;
        const json_t *v = line ? json_object_get(line, columns[i]) : NULL;
        int len = 0;
        if (!line) len = snprintf(at, room, "%s", columns[i]);
        if (json_is_integer(v)) len = snprintf(at, room, "%lld", (long long)json_integer_value(v));
        if (json_is_real(v)) len = snprintf(at, room, "%.9g", json_real_value(v));
        n += (size_t)len;
        text[n++] = i + 1 < N_COLUMNS ? ',' : '\n';
    }
    return ql_append(csv, text, n);
}

static ql_status copy_lines(const char *path, ql_appender *csv) {
    ql_lines in;
    QL_TRY(ql_lines_open(path, &in));
    ql_status s = QL_OK;
    while (s == QL_OK) {
        json_t *line = NULL;
        s = ql_lines_next_object(&in, &line);
        if (s != QL_OK || !line) break;
        s = csv_line(csv, line);
        json_decref(line);
    }
    ql_lines_close(&in);
    return s;
}

/* The table anew from the lines that were kept. */
static ql_status open_csv(const ql_run *run, ql_appender **csv) {
    char path[QL_PATH_MAX], lines[QL_PATH_MAX];
    QL_TRY(ql_run_path(run, "train.csv", path));
    QL_TRY(ql_run_path(run, "train.jsonl", lines));
    QL_TRY(ql_file_remove(path));
    QL_TRY(ql_append_open(path, csv));
    QL_TRY(csv_line(*csv, NULL));
    return copy_lines(lines, *csv);
}

/* ------------------------------------------------------------------- tensorboard */

/* "loss" is train/loss, "eval_loss" eval/loss, "lr" as transformers calls it. */
static ql_status event_of(ql_events *events, int64_t step, const char *key, double value) {
    char tag[96];
    bool eval = strncmp(key, "eval_", 5) == 0;
    const char *name = eval ? key + 5 : strcmp(key, "lr") == 0 ? "learning_rate" : key;
    if (strcmp(key, "step") == 0) return QL_OK;
    snprintf(tag, sizeof tag, "%s/%s", eval ? "eval" : "train", name);
    return ql_events_scalar(events, tag, step, value);
}

static ql_status events_line(ql_events *events, json_t *line) {
    int64_t step = json_integer_value(json_object_get(line, "step"));
    const char *key;
    json_t *v;
    json_object_foreach(line, key, v) {
        if (json_is_number(v)) QL_TRY(event_of(events, step, key, json_number_value(v)));
    }
    return QL_OK;
}

/* -------------------------------------------------------------------------- life */

ql_status ql_report_to_open(const ql_run *run, const char *list, int64_t keep, ql_report_to *out) {
    ql_report_to r = {.csv = NULL};
    ql_status s = wants(list, "csv") ? open_csv(run, &r.csv) : QL_OK;
    if (s == QL_OK && wants(list, "tensorboard")) s = ql_events_open(run->dir, keep + 1, &r.events);
    if (s != QL_OK) {
        ql_report_to_close(&r);
        return s;
    }
    *out = r;
    return QL_OK;
}

ql_status ql_report_to_line(ql_report_to *r, json_t *line) {
    if (r->csv) QL_TRY(csv_line(r->csv, line));
    return r->events ? events_line(r->events, line) : QL_OK;
}

ql_status ql_report_to_text(ql_report_to *r, const char *tag, int64_t step, const char *text) {
    return r->events ? ql_events_text(r->events, tag, step, text, strlen(text)) : QL_OK;
}

void ql_report_to_close(ql_report_to *r) {
    ql_append_close(r->csv);
    ql_events_close(r->events);
    *r = (ql_report_to){0};
}
