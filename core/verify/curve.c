/*
 * curve.c - a recorded training run, step by step: loss and gradient norm of each step, final
 * adapter.
 *
 * Step s, row b = tokens [(s * batch + b) * seq, + seq) of tokens.safetensors; targets are the seq
 * - 1 shifted tokens of each row. Bar: 1e-4 relative per step (equivalent runs differ by 2.3e-7).
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/base/hostmem.h"
#include "core/verify/oracle.h"

typedef struct run {
    int64_t batch, seq, steps, offset;
    double lr, decay, clip, beta1, beta2, eps;
    int64_t *tokens, n_tokens;
    json_t *curve;
} run;

static ql_status read_run(const char *dir, run *r) {
    char path[QL_PATH_MAX];
    QL_TRY(ql_path_join(path, dir, "curve.json"));
    QL_TRY(ql_json_read(path, &r->curve));
    const json_t *s = json_object_get(r->curve, "settings");
    if (!json_is_object(s)) return QL_FAIL(QL_ERR_FORMAT, "%s: key 'settings' is missing", path);
    const struct {
        const char *key;
        int64_t *out;
    } ints[] = {
        {"batch", &r->batch}, {"seq", &r->seq}, {"steps", &r->steps}, {"token_offset", &r->offset}};
    for (size_t i = 0; i < 4; i++)
        QL_TRY(ql_json_get_i64(s, path, ints[i].key, 0, 1 << 20, ints[i].out));
    const struct {
        const char *key;
        double *out;
    } reals[] = {{"lr", &r->lr},       {"weight_decay", &r->decay}, {"max_grad_norm", &r->clip},
                 {"beta1", &r->beta1}, {"beta2", &r->beta2},        {"eps", &r->eps}};
    for (size_t i = 0; i < 6; i++)
        QL_TRY(ql_json_get_f64(s, path, reals[i].key, 0, 1e6, reals[i].out));
    if (r->batch < 1 || r->seq < 2 || r->steps < 1 || r->batch > 4096 || r->seq > 65536)
        return QL_FAIL(QL_ERR_FORMAT, "%s: batch, seq and steps must be positive", path);
    QL_TRY(ql_path_join(path, dir, "tokens.safetensors"));
    ql_st_file *f = NULL;
    QL_TRY(ql_st_open(path, &f));
    const ql_st_tensor *t = ql_st_count(f) ? ql_st_at(f, 0) : NULL;
    ql_status status = QL_OK;
    if (!t || t->numel < r->offset + r->steps * r->batch * r->seq)
        status = QL_FAIL(QL_ERR_FORMAT, "%s: too few tokens for the run of curve.json", path);
    if (status == QL_OK) {
        r->n_tokens = t->numel;
        r->tokens = ql_host_calloc((size_t)t->numel, sizeof(int64_t));
        status = r->tokens ? ql_st_read_i64(t, 0, t->numel, r->tokens) : QL_NOMEM("tokens");
    }
    ql_st_close(f);
    return status;
}

static ql_train_opts options(const run *r, const ql_verify_opts *v) {
    ql_train_opts o = ql_train_opts_default();
    o.batch = (int32_t)r->batch;
    o.accumulate = 1;
    o.max_len = (int32_t)r->seq;
    o.max_steps = r->steps;
    o.schedule = (ql_schedule){QL_SCHEDULE_CONSTANT, r->lr, 0, r->steps};
    o.weight_decay = r->decay;
    o.max_grad_norm = r->clip;
    o.beta1 = r->beta1;
    o.beta2 = r->beta2;
    o.epsilon = r->eps;
    o.checkpoint = v->checkpoint;
    o.compute = v->compute;
    return o;
}

static ql_status take_steps(const run *r, ql_trainer *t, float *losses, float *norms) {
    for (int64_t s = 0; s < r->steps; s++) {
        const int64_t *at = r->tokens + r->offset + s * r->batch * r->seq;
        ql_batch b = {0};
        ql_oracle_inputs in = {.rows = r->batch, .cols = r->seq, .label_cols = r->seq};
        in.ids = in.labels = (int64_t *)(uintptr_t)at; /* read only */
        QL_TRY(ql_oracle_batch(&in, &ql_trainer_model(t)->arch, &b));
        const ql_batch *one = &b;
        ql_step_metrics m;
        ql_status status = ql_trainer_step_on(t, &one, 1, &m);
        ql_batch_free(&b);
        QL_TRY(status);
        losses[s] = (float)m.loss;
        norms[s] = (float)m.grad_norm;
    }
    return QL_OK;
}

/* Compares a series with curve.json: the largest relative difference of any step. */
static void compare_series(const json_t *want, const float *have, int64_t n, double limit,
                           const char *group, ql_verify_report *out) {
    ql_verify_row *row = &out->rows[out->n_rows++];
    *row = (ql_verify_row){.tensors = 1, .elements = n, .rel_limit = limit, .ok = true};
    snprintf(row->group, sizeof row->group, "%s", group);
    for (int64_t i = 0; i < n; i++) {
        double w = json_number_value(json_array_get(want, (size_t)i));
        double diff = fabs(have[i] - w), rel = w != 0 ? diff / fabs(w) : INFINITY;
        if (!(diff <= 1e30)) diff = rel = INFINITY;
        if (diff > row->max_abs) row->max_abs = diff;
        if (rel > row->max_rel) row->max_rel = rel;
    }
    row->ok = row->max_rel <= limit;
    out->ok &= row->ok;
}

/* The trained adapter against adapter-final. */
static ql_status compare_final(ql_model *m, const char *dir, ql_verify_report *out) {
    char path[QL_PATH_MAX];
    QL_TRY(ql_path_join(path, dir, "adapter-final/adapter_model.safetensors"));
    ql_st_file *f = NULL;
    QL_TRY(ql_st_open(path, &f));
    ql_results now = {0};
    ql_status s = QL_OK;
    ql_verify_row *row = &out->rows[out->n_rows++];
    *row = (ql_verify_row){.group = "curve.final_adapter", .abs_limit = 2e-4, .ok = true};
    for (int32_t i = 0; i < m->n_params && s == QL_OK; i++) {
        const ql_param *p = &m->params[i];
        char name[256];
        snprintf(name, sizeof name, "base_model.model.%s", p->name);
        const ql_st_tensor *t = ql_st_find(f, name);
        int64_t shape[2] = {p->rows, p->cols};
        float *have = NULL, *want = NULL;
        if (!t || t->numel != p->rows * p->cols)
            s = QL_FAIL(QL_ERR_FORMAT, "%s: '%s' is missing", path, name);
        if (s == QL_OK) s = ql_results_add(&now, name, 2, shape, &have);
        if (s == QL_OK) s = ql_results_add(&now, name, 2, shape, &want);
        if (s == QL_OK) s = ql_param_read(m, i, have);
        if (s == QL_OK) s = ql_st_read_f32(t, 0, t->numel, want);
        for (int64_t k = 0; s == QL_OK && k < t->numel; k++) {
            double d = fabs((double)have[k] - (double)want[k]);
            if (!(d <= row->max_abs)) row->max_abs = d;
        }
        row->tensors++;
        row->elements += p->rows * p->cols;
    }
    row->ok = row->max_abs <= row->abs_limit;
    out->ok &= row->ok;
    ql_results_free(&now);
    ql_st_close(f);
    return s;
}

static ql_status run_curve(const char *dir, const run *r, ql_trainer *t, const ql_verify_opts *o,
                           ql_results *results, ql_verify_report *out) {
    float *losses = NULL, *norms = NULL;
    QL_TRY(ql_results_add(results, "curve.losses", 1, &r->steps, &losses));
    QL_TRY(ql_results_add(results, "curve.grad_norms", 1, &r->steps, &norms));
    QL_TRY(take_steps(r, t, losses, norms));
    double limit = o->compute == QL_F32 ? 1e-4 : 0x1p-5;
    compare_series(json_object_get(r->curve, "losses"), losses, r->steps, limit, "curve.losses",
                   out);
    if (o->compute != QL_F32) return QL_OK;
    compare_series(json_object_get(r->curve, "grad_norms"), norms, r->steps, 1e-3,
                   "curve.grad_norms", out);
    return compare_final(ql_trainer_model(t), dir, out);
}

ql_status ql_verify_curve(const char *dir, const ql_verify_opts *o, ql_device *dev,
                          ql_results *results, ql_verify_report *out) {
    char init[QL_PATH_MAX], base[QL_PATH_MAX];
    if (!(o->cases & QL_VERIFY_CURVE)) return QL_OK;
    QL_TRY(ql_path_join(init, dir, "adapter-init"));
    QL_TRY(ql_path_join(base, dir, "../stories260k"));
    run r = {.batch = 1, .seq = 2, .steps = 1, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8};
    ql_model *m = NULL;
    ql_trainer *t = NULL;
    ql_status s = read_run(dir, &r);
    ql_train_opts opts = options(&r, o);
    if (s == QL_OK) s = ql_oracle_model(base, 4, true, init, &m);
    if (s == QL_OK) s = ql_trainer_create(m, &opts, dev, NULL, &t);
    if (s == QL_OK) s = ql_adapter_load(m, init);
    if (s == QL_OK) s = run_curve(dir, &r, t, o, results, out);
    ql_trainer_free(t);
    ql_model_close(m);
    ql_host_free(r.tokens);
    json_decref(r.curve);
    return s;
}
