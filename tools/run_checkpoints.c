/*
 * run_checkpoints.c - which checkpoints a run's folder holds, which to continue from, which to
 * remove (see run_dir.h). Steps decide what is newer, never the clock.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/hostmem.h"
#include "core/train/trainer.h"
#include "tools/run_dir.h"

#define CHECKPOINT "checkpoint-"
#define BEST       "best"

/* The step of "checkpoint-<step><end>", -1 = another name. */
static int64_t step_of(const char *name, const char *end) {
    if (strncmp(name, CHECKPOINT, sizeof CHECKPOINT - 1) != 0) return -1;
    const char *digits = name + sizeof CHECKPOINT - 1;
    size_t n = strspn(digits, "0123456789");
    if (n == 0 || n > 17 || strcmp(digits + n, end) != 0) return -1;
    return strtoll(digits, NULL, 10);
}

bool ql_run_is_staged_checkpoint(const char *name) {
    return step_of(name, ".tmp") >= 0;
}

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
        int64_t step = step_of(names[i], "");
        if (step >= 0) steps[n++] = step;
    }
    ql_host_free(names);
    if (!steps) return QL_NOMEM("the list of checkpoints");
    qsort(steps, n, sizeof *steps, by_step);
    *out = steps;
    *count = n;
    return QL_OK;
}

/* Looks at checkpoints from the newest on; QL_OK with "" in out when all are damaged. */
static ql_status first_whole(const ql_run *r, ql_out *notes, const int64_t *steps, size_t n,
                             char out[QL_PATH_MAX]) {
    for (size_t i = n; i-- > 0;) {
        QL_TRY(ql_run_checkpoint(r, steps[i], out));
        ql_status s = ql_checkpoint_check(out);
        /* A later version's is no damage: going on from an older one would lose steps unasked. */
        if (s == QL_OK || s == QL_ERR_UNSUPPORTED || s == QL_ERR_NOMEM_HOST) return s;
        ql_note(notes, "warning: skipping a damaged checkpoint: %s", ql_last_error());
    }
    out[0] = '\0';
    return QL_OK;
}

ql_status ql_run_newest(const ql_run *r, ql_out *notes, char out[QL_PATH_MAX]) {
    int64_t *steps;
    size_t n;
    QL_TRY(list_checkpoints(r, &steps, &n));
    ql_status s = first_whole(r, notes, steps, n, out);
    ql_host_free(steps);
    if (s != QL_OK || out[0] || n == 0) return s;
    return QL_FAIL(QL_ERR_FORMAT,
                   "%s: none of its %zu checkpoints is whole; --resume never starts anew", r->dir,
                   n);
}

/* The step that `best` names, -1 = none. */
static int64_t best_step(const ql_run *r) {
    char path[QL_PATH_MAX], target[QL_PATH_MAX];
    if (ql_run_path(r, BEST, path) != QL_OK || ql_link_read(path, target) != QL_OK) return -1;
    return step_of(target, "");
}

ql_status ql_run_set_best(const ql_run *r, int64_t step) {
    char path[QL_PATH_MAX], target[48];
    QL_TRY(ql_run_path(r, BEST, path));
    snprintf(target, sizeof target, CHECKPOINT "%lld", (long long)step);
    return ql_link_replace(target, path);
}

static ql_status discard(const ql_run *r, int64_t step) {
    char path[QL_PATH_MAX];
    QL_TRY(ql_run_checkpoint(r, step, path));
    return ql_dir_discard(path);
}

/* Those of later steps are left over from a time before a resume: damaged, or not yet overtaken.
 * They do not count, or they would push out what this run has just saved. */
ql_status ql_run_prune(const ql_run *r, int64_t limit, int64_t newest) {
    int64_t *steps, best = best_step(r);
    size_t n;
    if (limit <= 0) return QL_OK;
    QL_TRY(list_checkpoints(r, &steps, &n));
    while (n && steps[n - 1] > newest) n--;
    ql_status s = QL_OK;
    for (size_t i = 0; i + (size_t)limit < n && s == QL_OK; i++)
        if (steps[i] != best) s = discard(r, steps[i]);
    ql_host_free(steps);
    return s;
}

ql_status ql_run_forget_checkpoints(const ql_run *r) {
    int64_t *steps;
    size_t n;
    QL_TRY(list_checkpoints(r, &steps, &n));
    ql_status s = QL_OK;
    for (size_t i = 0; i < n && s == QL_OK; i++) s = discard(r, steps[i]);
    ql_host_free(steps);
    return s;
}
