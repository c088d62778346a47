/* run_dir.c - see run_dir.h. */
#include "tools/run_dir.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/base/hostmem.h"
#include "core/base/json.h"
#include "tools/config_text.h"
#include "tools/lines.h"

/* "runs/<time>", with a number behind it when that is there: a clock that was set back must not
 * make this run the continuation of another. */
static void name_by_time(char out[64]) {
    char base[40];
    time_t now = time(NULL);
    const struct tm *t = localtime(&now);
    if (!t || !strftime(base, sizeof base, "runs/%Y%m%d-%H%M%S", t)) strcpy(base, "runs/new");
    snprintf(out, 64, "%s", base);
    for (int i = 2; ql_dir_exists(out); i++) snprintf(out, 64, "%s-%d", base, i);
}

/* What a killed run left half done; only the names that this program gives, and only here. */
static ql_status clear_leftovers(const ql_run *r) {
    static const char *const staged[] = {"adapter.tmp", "model.tmp"};
    char path[QL_PATH_MAX], **names;
    size_t n;
    QL_TRY(ql_dir_list(r->dir, &names, &n));
    ql_status s = QL_OK;
    for (size_t i = 0; i < n && s == QL_OK; i++) {
        bool ours = ql_is_temporary(names[i]) || ql_run_is_staged_checkpoint(names[i]);
        for (size_t k = 0; k < 2; k++) ours = ours || strcmp(names[i], staged[k]) == 0;
        if (!ours) continue;
        s = ql_run_path(r, names[i], path);
        if (s == QL_OK) s = ql_path_remove(path);
    }
    ql_host_free(names);
    return s;
}

static ql_status lock(ql_run *r) {
    char path[QL_PATH_MAX];
    QL_TRY(ql_dir_create(r->dir));
    QL_TRY(ql_run_path(r, ".lock", path));
    return ql_lock_take(path, &r->lock);
}

ql_status ql_run_open(const char *dir, ql_run *out) {
    char name[64];
    if (!dir) {
        name_by_time(name);
        dir = name;
    }
    ql_run r = {.log = NULL};
    if (strlen(dir) >= sizeof r.dir) return QL_FAIL(QL_ERR_INVALID, "--output_dir is too long");
    strcpy(r.dir, dir);
    QL_TRY(lock(&r));
    ql_status s = clear_leftovers(&r);
    if (s != QL_OK) {
        ql_run_close(&r);
        return s;
    }
    *out = r;
    return QL_OK;
}

ql_status ql_run_keep_open(ql_run *r, ql_out *notes) {
    char path[QL_PATH_MAX];
    if (ql_lock_is_there(r->lock)) return QL_OK;
    ql_note(notes,
            "warning: %s was moved or removed while this run was at work; what follows goes to "
            "a new folder of that name",
            r->dir);
    ql_run_close(r);
    QL_TRY(lock(r));
    QL_TRY(ql_run_path(r, "train.jsonl", path));
    return ql_append_open(path, &r->log);
}

void ql_run_close(ql_run *r) {
    ql_append_close(r->log);
    ql_lock_release(r->lock);
    r->log = NULL;
    r->lock = NULL;
}

ql_status ql_run_path(const ql_run *r, const char *name, char out[QL_PATH_MAX]) {
    return ql_path_join(out, r->dir, name);
}

/* ----------------------------------------------------------------- settings */

ql_status ql_run_write_config(const ql_run *r, const ql_cli *cli, const void *opts) {
    char path[QL_PATH_MAX], *text;
    QL_TRY(ql_run_path(r, "config.yaml", path));
    QL_TRY(ql_config_text(cli, opts, false, &text));
    ql_status s = ql_file_replace(path, text, strlen(text));
    ql_host_free(text);
    return s;
}

ql_status ql_run_write_json(const ql_run *r, const char *name, const json_t *doc) {
    char path[QL_PATH_MAX];
    QL_TRY(ql_run_path(r, name, path));
    return ql_json_write(path, doc);
}

/* ---------------------------------------------------------------------- log */

/* Copies lines of steps up to `keep`; a torn or foreign last line is dropped. */
static ql_status keep_lines(ql_lines *in, int64_t keep, ql_writer *out) {
    const char *text;
    size_t len;
    while (ql_lines_next(in, &text, &len)) {
        json_t *line = NULL;
        if (ql_json_parse(text, len, in->path, &line) != QL_OK) continue;
        const json_t *step = json_object_get(line, "step");
        bool kept = json_is_integer(step) && json_integer_value(step) <= keep;
        json_decref(line);
        if (!kept) continue;
        QL_TRY(ql_writer_write(out, text, len));
        QL_TRY(ql_writer_write(out, "\n", 1));
    }
    return QL_OK;
}

ql_status ql_run_cut_lines(const ql_run *r, const char *name, int64_t keep) {
    char path[QL_PATH_MAX];
    ql_lines in;
    ql_writer *out;
    QL_TRY(ql_run_path(r, name, path));
    if (!ql_file_exists(path)) return QL_OK;
    QL_TRY(ql_lines_open(path, &in));
    ql_status s = ql_writer_open(path, &out);
    if (s == QL_OK) {
        s = keep_lines(&in, keep, out);
        if (s == QL_OK)
            s = ql_writer_commit(out);
        else
            ql_writer_abort(out);
    }
    ql_lines_close(&in);
    return s;
}

ql_status ql_run_log_open(ql_run *r, int64_t keep) {
    char path[QL_PATH_MAX];
    QL_TRY(ql_run_path(r, "train.jsonl", path));
    QL_TRY(ql_run_cut_lines(r, "train.jsonl", keep));
    return ql_append_open(path, &r->log);
}

ql_status ql_run_log(ql_run *r, json_t *line) {
    char *text = line ? json_dumps(line, JSON_COMPACT | JSON_REAL_PRECISION(9)) : NULL;
    json_decref(line);
    if (!text) return QL_NOMEM("a line of train.jsonl");
    size_t n = strlen(text);
    text[n] = '\n'; /* in place of the end: the record has its length */
    ql_status s = ql_append(r->log, text, n + 1);
    free(text);
    return s;
}

ql_status ql_run_log_sync(ql_run *r) {
    return ql_append_sync(r->log);
}

/* ----------------------------------------------------------------- beginning and end */

/* Event files of TensorBoard, whose names hold time and host. */
static ql_status remove_events(const ql_run *r) {
    static const char prefix[] = "events.out.tfevents.";
    char path[QL_PATH_MAX], **names;
    size_t n;
    QL_TRY(ql_dir_list(r->dir, &names, &n));
    ql_status s = QL_OK;
    for (size_t i = 0; i < n && s == QL_OK; i++) {
        if (strncmp(names[i], prefix, sizeof prefix - 1) != 0) continue;
        s = ql_run_path(r, names[i], path);
        if (s == QL_OK) s = ql_file_remove(path);
    }
    ql_host_free(names);
    return s;
}

ql_status ql_run_start_anew(const ql_run *r) {
    static const char *const files[] = {"completed", "train.jsonl", "train.csv",
                                        "best",      "report.html", "samples.jsonl"};
    char path[QL_PATH_MAX];
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        QL_TRY(ql_run_path(r, files[i], path));
        QL_TRY(ql_file_remove(path));
    }
    QL_TRY(remove_events(r));
    return ql_run_forget_checkpoints(r);
}

bool ql_run_is_complete(const ql_run *r) {
    char path[QL_PATH_MAX];
    return ql_run_path(r, "completed", path) == QL_OK && ql_file_exists(path);
}

ql_status ql_run_set_complete(const ql_run *r, int64_t step) {
    char path[QL_PATH_MAX], text[32];
    QL_TRY(ql_run_path(r, "completed", path));
    int n = snprintf(text, sizeof text, "step %lld\n", (long long)step);
    return ql_file_replace(path, text, (size_t)n);
}
