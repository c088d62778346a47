/* run_about.c - see run_about.h. */
#define _POSIX_C_SOURCE 200809L
#include "tools/run_about.h"

#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>

#include "core/base/hostmem.h"
#include "core/base/json.h"
#include "qlora/version.h"
#include "tools/fingerprint.h"

#define NAME "run.json"

/* "2026-01-31T12:00:00Z" */
static void now_text(char out[32]) {
    time_t now = time(NULL);
    struct tm t;
    if (!gmtime_r(&now, &t) || !strftime(out, 32, "%Y-%m-%dT%H:%M:%SZ", &t)) strcpy(out, "?");
}

static json_t *program(void) {
    return json_pack("{s:s, s:s, s:s, s:s, s:s}", "version", QL_VERSION, "git", QL_GIT_ID, "build",
                     QL_BUILD_TYPE, "compiler", QL_COMPILER, "flags", QL_BUILD_FLAGS);
}

static json_t *machine(const ql_cli *cli, const ql_device *dev) {
    struct utsname u;
    char system[256] = "unknown";
    if (uname(&u) == 0)
        snprintf(system, sizeof system, "%.64s %.64s %.64s", u.sysname, u.release, u.machine);
    return json_pack("{s:s, s:s, s:s, s:I, s:I, s:s}", "device", dev->backend->name, "name",
                     dev->props.name, "kernels", dev->props.isa, "threads",
                     (json_int_t)cli->threads, "memory_bytes", (json_int_t)dev->props.mem_total,
                     "system", system);
}

static json_t *model(const ql_job *job) {
    ql_model *m = job->model;
    const char *path = ql_source_path(m->source);
    char print[33];
    json_t *doc = json_pack("{s:s, s:s, s:I, s:I, s:s, s:f}", "path", path, "family",
                            m->arch.family, "parameters", (json_int_t)m->parameters,
                            "trainable_parameters", (json_int_t)m->trainable, "weight_type",
                            ql_model_weight_type(m), "weight_bits", ql_model_weight_bits(m));
    if (doc && ql_fingerprint(path, print) == QL_OK)
        json_object_set_new(doc, "fingerprint", json_string(print));
    return doc;
}

/* Sessions of the run so far; an unreadable file has none. */
static json_t *earlier_sessions(const ql_run *run) {
    char path[QL_PATH_MAX];
    json_t *doc = NULL, *list = NULL;
    if (ql_run_path(run, NAME, path) == QL_OK && ql_file_exists(path) &&
        ql_json_read(path, &doc) == QL_OK) {
        list = json_object_get(doc, "sessions");
        list = json_is_array(list) ? json_incref(list) : NULL;
    }
    json_decref(doc);
    return list ? list : json_array();
}

ql_status ql_run_about_begin(const ql_run *run, const ql_cli *cli, const ql_job *job,
                             const char *name, int64_t from, int64_t total, ql_run_about *out) {
    const char *slash = strrchr(run->dir, '/');
    char started[32];
    now_text(started);
    json_t *sessions = from > 0 ? earlier_sessions(run) : json_array();
    json_t *session = json_pack("{s:s, s:I}", "started", started, "from_step", (json_int_t)from);
    json_t *doc = json_pack("{s:s, s:I, s:o, s:o, s:o}", "run_name",
                            name                ? name
                            : slash && slash[1] ? slash + 1
                                                : run->dir,
                            "total_steps", (json_int_t)total, "program", program(), "machine",
                            machine(cli, job->dev), "model", model(job));
    ql_run_about a = {.run = run, .doc = doc, .session = session};
    bool whole = json_array_append_new(sessions, session) == 0;
    whole = json_object_set_new(doc, "sessions", sessions) == 0 && whole;
    ql_status s = whole ? ql_run_about_update(&a, "running", from, 0) : QL_NOMEM(NAME);
    if (s != QL_OK) {
        json_decref(doc);
        return s;
    }
    *out = a;
    return QL_OK;
}

ql_status ql_run_about_update(ql_run_about *a, const char *state, int64_t step, double seconds) {
    json_object_set_new(a->doc, "state", json_string(state));
    json_object_set_new(a->doc, "step", json_integer(step));
    json_object_set_new(a->session, "to_step", json_integer(step));
    json_object_set_new(a->session, "seconds", json_real(seconds));
    json_object_set_new(a->session, "state", json_string(state));
    return ql_run_write_json(a->run, NAME, a->doc);
}

ql_status ql_run_about_result(ql_run_about *a, const char *file) {
    char path[QL_PATH_MAX], print[33];
    QL_TRY(ql_run_path(a->run, file, path));
    QL_TRY(ql_fingerprint_whole(path, print));
    json_object_set_new(a->doc, "result", json_pack("{s:s, s:s}", "file", file, "xxh3_128", print));
    return QL_OK;
}

void ql_run_about_free(ql_run_about *a) {
    json_decref(a->doc);
    *a = (ql_run_about){0};
}
