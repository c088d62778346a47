/* run_dir.c - see run_dir.h. */
#include "tools/run_dir.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/base/hostmem.h"
#include "core/base/json.h"
#include "core/train/trainer.h"
#include "tools/lines.h"

#define CHECKPOINT "checkpoint-"

ql_status ql_run_open(const char *dir, ql_run *out) {
    char name[64];
    if (!dir) {
        time_t now = time(NULL);
        const struct tm *t = localtime(&now);
        if (!t || !strftime(name, sizeof name, "runs/%Y%m%d-%H%M%S", t)) strcpy(name, "runs/new");
        dir = name;
    }
    ql_run r = {.log = NULL};
    if (strlen(dir) >= sizeof r.dir) return QL_FAIL(QL_ERR_INVALID, "--output_dir is too long");
    strcpy(r.dir, dir);
    QL_TRY(ql_dir_create(r.dir));
    *out = r;
    return QL_OK;
}

void ql_run_close(ql_run *r) {
    if (r->log) fclose(r->log);
    r->log = NULL;
}

ql_status ql_run_path(const ql_run *r, const char *name, char out[QL_PATH_MAX]) {
    return ql_path_join(out, r->dir, name);
}

/* ----------------------------------------------------------------- settings */

static json_t *value_of(const ql_arg *a, const void *opts) {
    const void *field = (const char *)opts + a->at;
    const char *text = NULL;
    switch (a->kind) {
    case QL_ARG_BOOL: return json_boolean(*(const bool *)field);
    case QL_ARG_INT: return json_integer(*(const int64_t *)field);
    case QL_ARG_REAL: return json_real(*(const double *)field);
    case QL_ARG_SIZE: return json_integer((json_int_t) * (const uint64_t *)field);
    case QL_ARG_TEXT:
    case QL_ARG_CHOICE: text = *(const char *const *)field; break;
    }
    return text ? json_string(text) : json_null();
}

/* "name: value\n"; a JSON scalar is a YAML scalar. */
static ql_status write_setting(ql_writer *w, const char *name, json_t *value) {
    char *text = value ? json_dumps(value, JSON_ENCODE_ANY | JSON_REAL_PRECISION(9)) : NULL;
    json_decref(value);
    if (!text) return QL_NOMEM("config.yaml");
    ql_status s = ql_writer_write(w, name, strlen(name));
    if (s == QL_OK) s = ql_writer_write(w, ": ", 2);
    if (s == QL_OK) s = ql_writer_write(w, text, strlen(text));
    if (s == QL_OK) s = ql_writer_write(w, "\n", 1);
    free(text);
    return s;
}

static ql_status write_settings(ql_writer *w, const ql_cli *cli, const void *opts) {
    for (size_t i = 0; i < cli->command->n_args; i++) {
        const ql_arg *a = &cli->command->args[i];
        QL_TRY(write_setting(w, a->name, value_of(a, opts)));
    }
    QL_TRY(write_setting(w, "device", json_string(cli->device)));
    QL_TRY(write_setting(w, "threads", json_integer(cli->threads)));
    return write_setting(w, "seed", json_integer(cli->seed));
}

ql_status ql_run_write_config(const ql_run *r, const ql_cli *cli, const void *opts) {
    char path[QL_PATH_MAX];
    ql_writer *w;
    QL_TRY(ql_run_path(r, "config.yaml", path));
    QL_TRY(ql_writer_open(path, &w));
    ql_status s = write_settings(w, cli, opts);
    if (s == QL_OK) return ql_writer_commit(w);
    ql_writer_abort(w);
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

static ql_status cut_log(const char *path, int64_t keep) {
    ql_lines in;
    ql_writer *out;
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
    QL_TRY(cut_log(path, keep));
    r->log = fopen(path, "ab");
    if (!r->log) return QL_FAIL(QL_ERR_IO, "%s: cannot be opened: %s", path, strerror(errno));
    return QL_OK;
}

ql_status ql_run_log(ql_run *r, json_t *line) {
    if (!line) return QL_NOMEM("a line of train.jsonl");
    bool written = json_dumpf(line, r->log, JSON_COMPACT | JSON_REAL_PRECISION(9)) == 0 &&
                   fputc('\n', r->log) != EOF && fflush(r->log) == 0;
    json_decref(line);
    if (written) return QL_OK;
    return QL_FAIL(QL_ERR_IO, "%s/train.jsonl: cannot be written: %s", r->dir, strerror(errno));
}

/* -------------------------------------------------------------- checkpoints */

ql_status ql_run_checkpoint(const ql_run *r, int64_t step, char out[QL_PATH_MAX]) {
    char name[48];
    snprintf(name, sizeof name, CHECKPOINT "%lld", (long long)step);
    return ql_run_path(r, name, out);
}

static int by_step(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

/* Steps of the folder's checkpoints, ascending; owned. */
static ql_status list_checkpoints(const ql_run *r, int64_t **out, size_t *count) {
    char **names;
    size_t n_names, n = 0;
    QL_TRY(ql_dir_list(r->dir, &names, &n_names));
    int64_t *steps = ql_host_calloc(n_names + 1, sizeof *steps);
    for (size_t i = 0; steps && i < n_names; i++) {
        const char *digits = names[i] + sizeof CHECKPOINT - 1;
        if (strncmp(names[i], CHECKPOINT, sizeof CHECKPOINT - 1) != 0) continue;
        if (!*digits || digits[strspn(digits, "0123456789")] || strlen(digits) > 17) continue;
        steps[n++] = strtoll(digits, NULL, 10);
    }
    ql_host_free(names);
    if (!steps) return QL_NOMEM("the list of checkpoints");
    qsort(steps, n, sizeof *steps, by_step);
    *out = steps;
    *count = n;
    return QL_OK;
}

ql_status ql_run_newest(const ql_run *r, ql_out *notes, char out[QL_PATH_MAX]) {
    int64_t *steps;
    size_t n;
    QL_TRY(list_checkpoints(r, &steps, &n));
    ql_status s = QL_OK;
    bool found = false;
    for (size_t i = n; i-- > 0 && !found && s == QL_OK;) {
        s = ql_run_checkpoint(r, steps[i], out);
        if (s != QL_OK) break;
        found = ql_checkpoint_check(out) == QL_OK;
        if (!found) ql_note(notes, "warning: skipping a damaged checkpoint: %s", ql_last_error());
    }
    ql_host_free(steps);
    if (s != QL_OK || found) return s;
    out[0] = '\0';
    if (n == 0) return QL_OK;
    return QL_FAIL(QL_ERR_FORMAT,
                   "%s: none of its %zu checkpoints is whole; --resume never starts anew", r->dir,
                   n);
}

ql_status ql_run_prune(const ql_run *r, int64_t limit) {
    int64_t *steps;
    size_t n;
    if (limit <= 0) return QL_OK;
    QL_TRY(list_checkpoints(r, &steps, &n));
    ql_status s = QL_OK;
    char path[QL_PATH_MAX];
    for (size_t i = 0; i + (size_t)limit < n && s == QL_OK; i++) {
        s = ql_run_checkpoint(r, steps[i], path);
        if (s == QL_OK) s = ql_dir_remove(path);
    }
    ql_host_free(steps);
    return s;
}

/* ----------------------------------------------------------------- beginning and end */

static ql_status remove_file(const char *path) {
    if (remove(path) == 0 || errno == ENOENT) return QL_OK;
    return QL_FAIL(QL_ERR_IO, "%s: cannot be removed: %s", path, strerror(errno));
}

ql_status ql_run_start_anew(const ql_run *r) {
    static const char *const files[] = {"completed", "train.jsonl"};
    char path[QL_PATH_MAX];
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        QL_TRY(ql_run_path(r, files[i], path));
        QL_TRY(remove_file(path));
    }
    int64_t *steps;
    size_t n;
    QL_TRY(list_checkpoints(r, &steps, &n));
    ql_status s = QL_OK;
    for (size_t i = 0; i < n && s == QL_OK; i++) {
        s = ql_run_checkpoint(r, steps[i], path);
        if (s == QL_OK) s = ql_dir_remove(path);
    }
    ql_host_free(steps);
    return s;
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
