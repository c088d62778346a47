/*
 * checkpoint.c - saving and restoring a trainer bit for bit (layout: trainer.h,
 * docs/file-formats.md).
 */
#include "core/base/fs.h"
#include "core/base/stage.h"
#include "core/train/checkpoint_impl.h"
#include "core/train/manifest.h"

/* The files of a checkpoint: adapters are not there with --full. */
static int files_of(const ql_trainer *t, const char *out[4]) {
    int n = 0;
    if (!t->m->opts.full) {
        out[n++] = "adapter/adapter_config.json";
        out[n++] = "adapter/adapter_model.safetensors";
    }
    out[n++] = "optimizer.safetensors";
    out[n++] = "state.json";
    return n;
}

/* Reads a folder back that is about to become a checkpoint: the hashes are those of its files, and
 * the files hold what the trainer holds. ql_adapter_save has compared the adapter. */
static ql_status verify(ql_trainer *t, const char *dir) {
    char path[QL_PATH_MAX];
    const char *files[4];
    int n = files_of(t, files);
    for (int i = 0; i < n; i++) {
        QL_TRY(ql_path_join(path, dir, files[i]));
        ql_file_drop_cache(path);
    }
    QL_TRY(ql_manifest_check(dir, files, n));
    QL_TRY(ql_path_join(path, dir, "optimizer.safetensors"));
    QL_TRY(ql_moments_visit_file(t, path, QL_MOMENTS_COMPARE));
    QL_TRY(ql_path_join(path, dir, "state.json"));
    return ql_state_compare(t, path);
}

static ql_status build(ql_trainer *t, const char *dir) {
    char path[QL_PATH_MAX];
    if (!t->m->opts.full) {
        QL_TRY(ql_path_join(path, dir, "adapter"));
        QL_TRY(ql_adapter_save(t->m, path));
    }
    QL_TRY(ql_path_join(path, dir, "optimizer.safetensors"));
    QL_TRY(ql_moments_write(t, path));
    QL_TRY(ql_path_join(path, dir, "state.json"));
    QL_TRY(ql_state_write(t, path));
    const char *files[4];
    QL_TRY(ql_manifest_write(dir, files, files_of(t, files)));
    return verify(t, dir);
}

ql_status ql_trainer_save(ql_trainer *t, const char *dir) {
    char staged[QL_PATH_MAX];
    QL_TRY(ql_stage_begin(dir, staged));
    return ql_stage_end(build(t, staged), staged, dir);
}

ql_status ql_checkpoint_check(const char *dir) {
    return ql_manifest_check(dir, NULL, 0);
}

ql_status ql_checkpoint_hash(const char *dir, char out[33]) {
    return ql_manifest_hash(dir, out);
}

/* Everything is read and checked before anything is taken over. */
static ql_status take(ql_trainer *t, const char *moments, const char *adapter) {
    QL_TRY(ql_moments_visit_file(t, moments, QL_MOMENTS_CHECK));
    if (!t->m->opts.full) QL_TRY(ql_adapter_check(t->m, adapter));
    QL_TRY(ql_moments_visit_file(t, moments, QL_MOMENTS_TAKE));
    return t->m->opts.full ? QL_OK : ql_adapter_load(t->m, adapter);
}

ql_status ql_trainer_resume(ql_trainer *t, const char *dir) {
    char state[QL_PATH_MAX], moments[QL_PATH_MAX], adapter[QL_PATH_MAX];
    const char *files[4];
    ql_position at = {0};
    QL_TRY(ql_path_join(state, dir, "state.json"));
    QL_TRY(ql_path_join(moments, dir, "optimizer.safetensors"));
    QL_TRY(ql_path_join(adapter, dir, "adapter"));
    QL_TRY(ql_manifest_check(dir, files, files_of(t, files)));
    QL_TRY(ql_state_read(t, state, &at));
    ql_status s = take(t, moments, adapter);
    if (s != QL_OK) {
        json_decref(at.notes);
        return s;
    }
    t->done = at.step;
    t->feed.cursor = at.cursor;
    json_decref(t->notes);
    t->notes = at.notes;
    return QL_OK;
}
