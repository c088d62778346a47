/* train_samples.c - samples.jsonl: what the model writes before, during and after; see
 * train_session.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/hostmem.h"
#include "core/base/json.h"
#include "tools/engine.h"
#include "tools/lines.h"
#include "tools/train_session.h"

#define NAME "samples.jsonl"

/* Does the file hold samples of `step`? */
static ql_status sampled_at(const char *path, int64_t step, bool *out) {
    ql_lines in;
    const char *text;
    size_t len;
    *out = false;
    if (!ql_file_exists(path)) return QL_OK;
    QL_TRY(ql_lines_open(path, &in));
    while (!*out && ql_lines_next(&in, &text, &len)) {
        json_t *line = NULL;
        if (ql_json_parse(text, len, path, &line) != QL_OK) continue;
        *out = json_integer_value(json_object_get(line, "step")) == step;
        json_decref(line);
    }
    ql_lines_close(&in);
    return QL_OK;
}

static ql_status append(ql_appender *file, const json_t *line) {
    char *text = json_dumps(line, JSON_COMPACT);
    if (!text) return QL_NOMEM("a sample");
    size_t n = strlen(text);
    text[n] = '\n'; /* in place of the end: the record has its length */
    ql_status s = ql_append(file, text, n + 1);
    free(text); /* jansson's own allocation */
    return s;
}

static ql_status one_sample(ql_session *s, ql_appender *file, size_t i, int64_t step) {
    char tag[32];
    json_t *line;
    QL_TRY(ql_sampler_write(&s->job.sampler, ql_trainer_generator(s->trainer), i, step, &line));
    const char *text = json_string_value(json_object_get(line, "text"));
    snprintf(tag, sizeof tag, "samples/%zu", i + 1);
    ql_status st = append(file, line);
    if (st == QL_OK) st = ql_report_to_text(&s->report_to, tag, step, text);
    json_decref(line);
    return st;
}

ql_status ql_session_sample(ql_session *s) {
    char path[QL_PATH_MAX];
    int64_t step = ql_trainer_done(s->trainer);
    ql_appender *file;
    bool done;
    if (!ql_trainer_generator(s->trainer)) return QL_OK;
    QL_TRY(ql_run_path(&s->run, NAME, path));
    QL_TRY(sampled_at(path, step, &done));
    if (done) return QL_OK;
    QL_TRY(ql_append_open(path, &file));
    ql_status st = QL_OK;
    for (size_t i = 0; i < s->job.sampler.n && st == QL_OK; i++) st = one_sample(s, file, i, step);
    if (st == QL_OK) st = ql_append_sync(file);
    ql_append_close(file);
    return st;
}
