/*
 * test_cpu_opt.c - optimizer steps on the CPU device against three recorded steps of bitsandbytes.
 *
 * Moments, their codes and their absmax must be equal. A float32 parameter may differ by one
 * unit in the last place per step (of the larger of its first value and this one): the package
 * groups the update's last operations in its own way. bfloat16 parameters must be equal.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "backends/common/ql_math.inc"
#include "qlora/backend.h"
#include "tests/core/quant_fixture.h"

typedef struct run {
    const char *name;
    ql_opt_kind kind;
    float lr, beta1, beta2, eps, decay;
    bool bf16, coded;
} run;

static const run runs[] = {
    {"adamw8bit_f32", QL_OPT_ADAMW, 2e-4f, 0.9f, 0.999f, 1e-8f, 0.01f, false, true},
    {"adamw8bit_small_f32", QL_OPT_ADAMW, 2e-4f, 0.9f, 0.999f, 1e-8f, 0.01f, false, false},
    {"paged_adamw32bit_bf16", QL_OPT_ADAMW, 1e-3f, 0.9f, 0.999f, 1e-8f, 0.0f, true, false},
    {"lion8bit_f32", QL_OPT_LION, 1e-4f, 0.9f, 0.99f, 0.0f, 0.1f, false, true},
};

static ql_mat wrap(ql_device *dev, void *host, int64_t cols, ql_dtype t) {
    ql_mat m = {.rows = 1, .cols = cols, .ld = cols, .dtype = t};
    uint64_t size = t == QL_U8 ? 1 : t == QL_BF16 ? 2 : 4;
    assert_int_equal(dev->backend->buffer_wrap(dev, host, (uint64_t)cols * size, &m.buf), QL_OK);
    return m;
}
static void unwrap(ql_mat *m) {
    if (m->buf) m->buf->dev->backend->buffer_free(m->buf);
    m->buf = NULL;
}

static uint16_t *as_bf16(const float *x, int64_t n) {
    uint16_t *h = malloc((size_t)n * sizeof *h);
    for (int64_t i = 0; i < n; i++) h[i] = ql_bf16_from_f32(x[i]);
    return h;
}

/* One moment: codes and absmax, or floats. */
typedef struct moment {
    uint8_t *codes;
    float *absmax, *values, *map;
} moment;

static moment moment_zero(const run *r, int64_t n, const ql_st_file *maps, const char *map) {
    moment m = {.values = calloc((size_t)n, sizeof(float))};
    if (!r->coded) return m;
    m.codes = calloc((size_t)n, 1);
    m.absmax = calloc((size_t)(n / 256 + 1), sizeof(float));
    m.map = fixture_floats(fixture_find(maps, "%s", map));
    return m;
}
static void moment_free(moment *m) {
    free(m->codes);
    free(m->absmax);
    free(m->values);
    free(m->map);
}
static void moment_bind(ql_device *dev, const run *r, moment *m, int64_t n, ql_mat *values,
                        ql_mat *absmax, ql_mat *map) {
    if (!r->coded) {
        *values = wrap(dev, m->values, n, QL_F32);
        return;
    }
    *values = wrap(dev, m->codes, n, QL_U8);
    *absmax = wrap(dev, m->absmax, (n + 255) / 256, QL_F32);
    *map = wrap(dev, m->map, 256, QL_F32);
}
static void moment_check(const ql_st_file *f, const run *r, const moment *m, int64_t n, int which,
                         int t) {
    const ql_st_tensor *want = fixture_find(f, "%s.state%d_%d", r->name, which, t);
    if (r->coded) {
        float *absmax = fixture_floats(fixture_find(f, "%s.absmax%d_%d", r->name, which, t));
        assert_bytes_equal(m->codes, want->data, (uint64_t)n, "codes");
        assert_floats_equal(m->absmax, absmax, (n + 255) / 256, "absmax");
        free(absmax);
    } else {
        float *values = fixture_floats(want);
        assert_floats_equal(m->values, values, n, "moment");
        free(values);
    }
}

/* p after step t. */
static void check_p(const ql_st_file *f, const run *r, const void *p, int64_t n, int t) {
    float *want = fixture_floats(fixture_find(f, "%s.p%d", r->name, t));
    float *before = fixture_floats(fixture_find(f, "%s.p0", r->name));
    for (int64_t i = 0; i < n; i++) {
        float got = r->bf16 ? ql_f32_from_bf16(((const uint16_t *)p)[i]) : ((const float *)p)[i];
        float unit = 1.1920929e-7f * fmaxf(fabsf(want[i]), fabsf(before[i]));
        float limit = r->bf16 ? 0.0f : unit * (float)t;
        if (!(fabsf(got - want[i]) <= limit))
            fail_msg("%s step %d element %d: %.9g, recorded %.9g", r->name, t, (int)i, (double)got,
                     (double)want[i]);
    }
    free(want);
    free(before);
}

/* Three steps; blocks [0, split) and the rest in two calls when split > 0. */
static void three_steps(ql_device *dev, const run *r, int64_t split) {
    ql_st_file *f = fixture_open("optimizers"), *maps = fixture_open("q8_blockwise");
    const ql_st_tensor *t0 = fixture_find(f, "%s.p0", r->name);
    int64_t n = t0->shape[0];
    float *p32 = fixture_floats(t0);
    void *p = r->bf16 ? (void *)as_bf16(p32, n) : (void *)p32;
    moment m = moment_zero(r, n, maps, "qmap_signed"), v = moment_zero(r, n, maps, "qmap_unsigned");
    ql_step_block step = {.lr = r->lr, .unscale = 1, .clip = 1};
    ql_dtype dtype = r->bf16 ? QL_BF16 : QL_F32;
    ql_queue *q;
    assert_int_equal(dev->backend->queue_create(dev, &q), QL_OK);
    ql_opt_step_args a = {.kind = r->kind,
                          .beta1 = r->beta1,
                          .beta2 = r->beta2,
                          .eps = r->eps,
                          .weight_decay = r->decay,
                          .lr_scale = 1};
    a.p = wrap(dev, p, n, dtype);
    a.step = wrap(dev, &step, QL_STEP_BLOCK_BYTES, QL_U8);
    moment_bind(dev, r, &m, n, &a.m, &a.m_absmax, &a.code8_m);
    if (r->kind == QL_OPT_ADAMW) moment_bind(dev, r, &v, n, &a.v, &a.v_absmax, &a.code8_v);
    for (int t = 1; t <= 3; t++) {
        float *g32 = fixture_floats(fixture_find(f, "%s.g%d", r->name, t));
        void *g = r->bf16 ? (void *)as_bf16(g32, n) : (void *)g32;
        step.bias1 = (float)(1.0 - pow(0.9, t));
        step.bias2 = (float)(1.0 - pow(0.999, t));
        a.g = wrap(dev, g, n, dtype);
        ql_opt_step_args first = a, rest = a;
        ql_mat *parts[2][6] = {
            {&first.p, &first.g, &first.m, &first.v, &first.m_absmax, &first.v_absmax},
            {&rest.p, &rest.g, &rest.m, &rest.v, &rest.m_absmax, &rest.v_absmax}};
        for (int i = 0; split > 0 && i < 6; i++) {
            int64_t at = i < 4 ? split : split / 256;
            uint64_t size = parts[1][i]->dtype == QL_U8 ? 1 : parts[1][i]->dtype == QL_BF16 ? 2 : 4;
            if (!parts[1][i]->buf) continue;
            parts[0][i]->cols = at;
            parts[1][i]->cols -= at;
            parts[1][i]->off += (uint64_t)at * size;
        }
        rest.first = split;
        if (split > 0) assert_int_equal(dev->backend->ops.opt_step(q, &first), QL_OK);
        assert_int_equal(dev->backend->ops.opt_step(q, &rest), QL_OK);
        check_p(f, r, p, n, t);
        moment_check(f, r, &m, n, 1, t);
        if (r->kind == QL_OPT_ADAMW) moment_check(f, r, &v, n, 2, t);
        unwrap(&a.g);
        if (r->bf16) free(g);
        free(g32);
    }
    ql_mat *bound[] = {&a.p, &a.step, &a.m, &a.v, &a.m_absmax, &a.v_absmax, &a.code8_m, &a.code8_v};
    for (size_t i = 0; i < sizeof bound / sizeof *bound; i++) unwrap(bound[i]);
    dev->backend->queue_destroy(q);
    moment_free(&m);
    moment_free(&v);
    if (r->bf16) free(p);
    free(p32);
    ql_st_close(f);
    ql_st_close(maps);
}

static void steps_equal_bitsandbytes(void **state) {
    const ql_backend *cpu = ql_cpu_backend();
    (void)state;
    for (int threads = 1; threads <= 3; threads++)
        for (size_t i = 0; i < sizeof runs / sizeof *runs; i++) {
            ql_device *dev;
            assert_int_equal(cpu->device_open(0, &(ql_device_opts){.threads = threads}, &dev),
                             QL_OK);
            three_steps(dev, &runs[i], 0);
            three_steps(dev, &runs[i], 512); /* a paged update in two chunks */
            cpu->device_close(dev);
        }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(steps_equal_bitsandbytes)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
