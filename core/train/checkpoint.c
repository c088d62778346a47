/*
 * checkpoint.c - saving and restoring a trainer bit for bit (layout: trainer.h,
 * docs/file-formats.md).
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/fs.h"
#include "core/base/hostmem.h"
#include "core/base/json.h"
#include "core/base/stage.h"
#include "core/train/manifest.h"
#include "core/train/trainer_impl.h"

#define VERSION 1

/* ---------------------------------------------------------------- moments */

/* A region as rows of the optimizer file: name, device buffer, element offset. */
typedef struct region {
    const char *name;
    ql_buffer *buf;
    uint64_t first;
} region;

static int regions_of(const ql_trainer *t, region out[3]) {
    out[0] = (region){"m", t->m->moments, 0};
    out[1] = (region){"v", t->m->moments, t->m->n_trained};
    out[2] = (region){"trained", t->m->trained, 0};
    return t->m->opts.full ? 3 : 2; /* adapters are in adapter/ */
}

#define PIECE (1u << 20) /* elements moved at once */

static ql_status write_region(ql_trainer *t, ql_st_writer *w, const region *r, float *piece) {
    for (uint64_t at = 0; at < t->m->n_trained; at += PIECE) {
        uint64_t n = t->m->n_trained - at < PIECE ? t->m->n_trained - at : PIECE;
        QL_TRY(t->dev->backend->read(t->queue, r->buf, (r->first + at) * sizeof(float), piece,
                                     n * sizeof(float)));
        QL_TRY(ql_st_writer_data(w, piece, n * sizeof(float)));
    }
    return QL_OK;
}

static ql_status write_moments(ql_trainer *t, const char *path) {
    region r[3];
    int n = regions_of(t, r);
    ql_st_writer *w = NULL;
    QL_TRY(ql_st_writer_create(path, &w));
    float *piece = ql_host_calloc(PIECE, sizeof(float));
    ql_status s = piece ? QL_OK : QL_NOMEM("optimizer state");
    int64_t shape[1] = {(int64_t)t->m->n_trained};
    for (int i = 0; i < n && s == QL_OK; i++)
        s = ql_st_writer_declare(w, r[i].name, QL_ST_F32, 1, shape);
    for (int i = 0; i < n && s == QL_OK; i++) s = write_region(t, w, &r[i], piece);
    ql_host_free(piece);
    if (s != QL_OK) {
        ql_st_writer_abort(w);
        return s;
    }
    return ql_st_writer_commit(w);
}

static ql_status read_region(ql_trainer *t, const ql_st_file *f, const char *path, const region *r,
                             float *piece) {
    const ql_st_tensor *x = ql_st_find(f, r->name);
    if (!x || x->dtype != QL_ST_F32 || (uint64_t)x->numel != t->m->n_trained)
        return QL_FAIL(QL_ERR_FORMAT, "%s: tensor '%s' of %llu F32 values expected", path, r->name,
                       (unsigned long long)t->m->n_trained);
    for (uint64_t at = 0; at < t->m->n_trained; at += PIECE) {
        uint64_t n = t->m->n_trained - at < PIECE ? t->m->n_trained - at : PIECE;
        QL_TRY(ql_st_read_f32(x, (int64_t)at, (int64_t)n, piece));
        QL_TRY(t->dev->backend->write(t->queue, r->buf, (r->first + at) * sizeof(float), piece,
                                      n * sizeof(float)));
        QL_TRY(t->dev->backend->queue_sync(t->queue));
    }
    return QL_OK;
}

static ql_status read_moments(ql_trainer *t, const char *path) {
    region r[3];
    int n = regions_of(t, r);
    ql_st_file *f = NULL;
    QL_TRY(ql_st_open(path, &f));
    float *piece = ql_host_calloc(PIECE, sizeof(float));
    ql_status s = piece ? QL_OK : QL_NOMEM("optimizer state");
    for (int i = 0; i < n && s == QL_OK; i++) s = read_region(t, f, path, &r[i], piece);
    ql_host_free(piece);
    ql_st_close(f);
    return s;
}

/* ---------------------------------------------------------------- state */

/* Settings that must be the same for the continuation to be the same run. */
static json_t *settings(const ql_trainer *t) {
    const ql_train_opts *o = &t->o;
    return json_pack(
        "{s:i,s:i,s:i,s:b,s:b,s:I,s:I,s:i,s:f,s:f,s:f,s:f,s:f,s:f,s:I,s:I,s:i,s:i,s:f,s:I,s:I}",
        "batch", (int)o->batch, "accumulate", (int)o->accumulate, "max_len", (int)o->max_len,
        "packing", (int)o->packing, "shuffle", (int)o->shuffle, "seed", (json_int_t)o->seed,
        "data_seed", (json_int_t)o->data_seed, "schedule", (int)o->schedule.kind, "learning_rate",
        o->schedule.lr, "weight_decay", o->weight_decay, "max_grad_norm", o->max_grad_norm, "beta1",
        o->beta1, "beta2", o->beta2, "epsilon", o->epsilon, "warmup",
        (json_int_t)o->schedule.warmup, "total_steps", (json_int_t)o->schedule.total, "compute",
        (int)o->compute, "lora_r", (int)t->m->lora.r, "lora_dropout", t->m->lora.dropout, "trained",
        (json_int_t)t->m->n_trained, "rows", (json_int_t)(t->has_feed ? t->feed.data->n : 0));
}

static json_t *state(const ql_trainer *t) {
    json_t *s =
        json_pack("{s:i,s:I,s:I,s:I}", "version", VERSION, "step", (json_int_t)t->done, "epoch",
                  (json_int_t)t->feed.cursor.epoch, "next", (json_int_t)t->feed.cursor.next);
    json_t *o = settings(t);
    if (!s || !o) {
        json_decref(s);
        json_decref(o);
        return NULL;
    }
    json_object_set_new(s, "settings", o);
    return s;
}

static ql_status compare_settings(const ql_trainer *t, const json_t *have, const char *path) {
    json_t *want = settings(t);
    if (!want) return QL_NOMEM("checkpoint settings");
    ql_status s = QL_OK;
    const char *key;
    json_t *value;
    json_object_foreach(want, key, value) {
        const json_t *other = json_object_get(have, key);
        bool same =
            other && (json_is_number(value) ? json_is_number(other) && json_number_value(value) ==
                                                                           json_number_value(other)
                                            : json_equal(value, other));
        if (same || s != QL_OK) continue;
        char *was = other ? json_dumps(other, JSON_ENCODE_ANY) : NULL,
             *is = json_dumps(value, JSON_ENCODE_ANY);
        s = QL_FAIL(QL_ERR_INVALID,
                    "%s: was saved with %s %s, this run has %s; use the same settings, or "
                    "--resume never",
                    path, key, was ? was : "(absent)", is ? is : "?");
        free(was); /* jansson's own allocation */
        free(is);
    }
    json_decref(want);
    return s;
}

static ql_status read_state(ql_trainer *t, const char *path) {
    json_t *s = NULL;
    QL_TRY(ql_json_read(path, &s));
    int64_t version = 0, step = -1, epoch = 0, next = 0, rows = t->has_feed ? t->feed.data->n : 0;
    ql_status r = ql_json_get_i64(s, path, "version", 0, 1 << 30, &version);
    if (r == QL_OK && version != VERSION)
        r = QL_FAIL(QL_ERR_FORMAT, "%s: version %lld, this program reads %d", path,
                    (long long)version, VERSION);
    if (r == QL_OK) r = compare_settings(t, json_object_get(s, "settings"), path);
    if (r == QL_OK) r = ql_json_get_i64(s, path, "step", 0, INT64_MAX / 2, &step);
    if (r == QL_OK) r = ql_json_get_i64(s, path, "epoch", 0, INT64_MAX / 2, &epoch);
    if (r == QL_OK) r = ql_json_get_i64(s, path, "next", 0, rows, &next);
    if (r == QL_OK && step < 0) r = QL_FAIL(QL_ERR_FORMAT, "%s: key 'step' is missing", path);
    json_decref(s);
    QL_TRY(r);
    t->done = step;
    t->feed.cursor = (ql_cursor){epoch, next};
    return QL_OK;
}

/* ---------------------------------------------------------------- folders */

static ql_status build(ql_trainer *t, const char *dir) {
    char path[QL_PATH_MAX];
    const char *files[8];
    int n = 0;
    if (!t->m->opts.full) {
        QL_TRY(ql_path_join(path, dir, "adapter"));
        QL_TRY(ql_adapter_save(t->m, path));
        files[n++] = "adapter/adapter_config.json";
        files[n++] = "adapter/adapter_model.safetensors";
    }
    QL_TRY(ql_path_join(path, dir, "optimizer.safetensors"));
    QL_TRY(write_moments(t, path));
    files[n++] = "optimizer.safetensors";
    json_t *s = state(t);
    if (!s) return QL_NOMEM("state.json");
    ql_status r = ql_path_join(path, dir, "state.json");
    if (r == QL_OK) r = ql_json_write(path, s);
    json_decref(s);
    QL_TRY(r);
    files[n++] = "state.json";
    return ql_manifest_write(dir, files, n);
}

ql_status ql_trainer_save(ql_trainer *t, const char *dir) {
    char staged[QL_PATH_MAX];
    QL_TRY(ql_stage_begin(dir, staged));
    return ql_stage_end(build(t, staged), staged, dir);
}

ql_status ql_checkpoint_check(const char *dir) {
    return ql_manifest_check(dir);
}

ql_status ql_trainer_resume(ql_trainer *t, const char *dir) {
    char path[QL_PATH_MAX];
    QL_TRY(ql_manifest_check(dir));
    QL_TRY(ql_path_join(path, dir, "state.json"));
    QL_TRY(read_state(t, path));
    QL_TRY(ql_path_join(path, dir, "optimizer.safetensors"));
    QL_TRY(read_moments(t, path));
    if (t->m->opts.full) return QL_OK;
    QL_TRY(ql_path_join(path, dir, "adapter"));
    return ql_adapter_load(t->m, path);
}
