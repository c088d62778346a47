/*
 * test_fd.c - the reference backward operators against central differences of the reference
 * forward, all in double.
 *
 * For an operator y = f(x) and a random cotangent w, L(x) = sum w y. The backward operator, fed
 * with w as dy, must give dL/dx, which is compared element by element with (L(x + h) - L(x - h)) /
 * 2h. h = 1e-5: the truncation h^2 f''' / 6 and the rounding 1e-16 |L| / h are both about 1e-10
 * here.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/ref/ref.h"

#define STEP      1e-5
#define TOLERANCE 1e-7 /* of 1 + |gradient|: a thousand times the error of the method */

/* ------------------------------------------------------------------------- matrices */

enum { MAX_MATS = 64 };
static struct {
    ql_buffer bufs[MAX_MATS];
    int n;
    uint64_t random;
} pool;

/* Starts anew: at the beginning of a test, and of each turn of its loop. */
static void reset(void) {
    for (int i = 0; i < pool.n; i++) free(pool.bufs[i].host);
    pool.n = 0;
    pool.random = 12345;
}

static int clean(void **state) {
    (void)state;
    reset();
    return 0;
}

/* uniform in [-1, 1) */
static double draw(void) {
    pool.random = pool.random * 6364136223846793005u + 1442695040888963407u;
    return (double)(pool.random >> 11) * 0x1p-52 - 1.0;
}

static ql_mat zeros(ql_dtype t, int64_t rows, int64_t cols) {
    assert_true(pool.n < MAX_MATS);
    ql_buffer *b = &pool.bufs[pool.n++];
    *b = (ql_buffer){.host = calloc((size_t)(rows * cols), sizeof(double))};
    assert_non_null(b->host);
    return (ql_mat){.buf = b, .rows = rows, .cols = cols, .ld = cols, .dtype = t};
}

static ql_mat randoms(int64_t rows, int64_t cols) {
    ql_mat m = zeros(QL_F32, rows, cols);
    for (int64_t e = 0; e < rows * cols; e++) ref_values(&m)[e] = draw();
    return m;
}

static ql_mat like(const ql_mat *m) {
    return zeros(m->dtype, m->rows, m->cols);
}

static ql_mat integers(int64_t cols, const int *v) {
    ql_mat m = zeros(QL_I32, 1, cols);
    for (int64_t e = 0; e < cols; e++) ref_values(&m)[e] = v[e];
    return m;
}

/* ----------------------------------------------------------------------- differences */

/* y of a forward call, and the weight of each element in L. */
typedef struct forward {
    ql_op op;
    const ql_op_args *args;
    const ql_mat *y, *cotangent;
} forward;

static double loss_of(const forward *f) {
    double sum = 0.0;
    ql_ref_run(f->op, f->args);
    for (int64_t e = 0; e < f->y->rows * f->y->cols; e++)
        sum += ref_values(f->y)[e] * ref_values(f->cotangent)[e];
    return sum;
}

static void check_gradient(const forward *f, const char *name, const ql_mat *x, const ql_mat *dx) {
    for (int64_t e = 0; e < x->rows * x->cols; e++) {
        double *v = ref_values(x) + e, kept = *v, up, down;
        *v = kept + STEP;
        up = loss_of(f);
        *v = kept - STEP;
        down = loss_of(f);
        *v = kept;
        double want = (up - down) / (2.0 * STEP), got = ref_values(dx)[e];
        if (!(fabs(got - want) <= TOLERANCE * (1.0 + fabs(want))))
            fail_msg("%s: d%s[%lld] is %.12g, differences give %.12g", "gradient", name,
                     (long long)e, got, want);
    }
}

/* ------------------------------------------------------------------------------ elem */

static void axpby_is_its_own_backward(void **state) {
    (void)state;
    for (int broadcast = 0; broadcast < 2; broadcast++) {
        ql_mat x = randoms(broadcast ? 1 : 3, 5), y = zeros(QL_F32, 3, 5);
        ql_mat w = randoms(3, 5), dx = like(&w), dx_row = like(&x);
        ql_op_args a = {.axpby = {.x = x, .y = y, .alpha = 2.0f, .beta = 0.0f}};
        forward f = {QL_OP_AXPBY, &a, &y, &w};
        ql_ref_axpby(&(ql_axpby_args){.x = w, .y = dx, .alpha = 2.0f});
        if (broadcast) ql_ref_sum_rows(&(ql_sum_rows_args){.x = dx, .y = dx_row});
        check_gradient(&f, "x", &x, broadcast ? &dx_row : &dx);
    }
}

static void dropout_is_its_own_backward(void **state) {
    (void)state;
    ql_mat x = randoms(4, 9), y = like(&x), w = randoms(4, 9), dx = like(&x);
    const ql_rng rng = {.seed = 7, .stream = 3};
    ql_op_args a = {.dropout = {.x = x, .y = y, .p = 0.3f, .rng = rng}};
    forward f = {QL_OP_DROPOUT, &a, &y, &w};
    ql_ref_dropout(&(ql_dropout_args){.x = w, .y = dx, .p = 0.3f, .rng = rng});
    check_gradient(&f, "x", &x, &dx);
}

static void act_bwd_is_the_gradient_of_act_fwd(void **state) {
    (void)state;
    for (int gated = 0; gated < 2; gated++)
        for (int kind = QL_ACT_IDENTITY; kind <= QL_ACT_TANH; kind++) {
            reset();
            ql_mat x = randoms(3, 7), y = like(&x), w = randoms(3, 7), dx = like(&x);
            ql_mat up = {0}, dup = {0};
            for (int64_t e = 0; e < 21; e++) ref_values(&x)[e] *= 3.0;
            if (gated) up = randoms(3, 7), dup = like(&x);
            ql_op_args a = {.act_fwd = {.kind = (ql_act_kind)kind, .x = x, .up = up, .y = y}};
            forward f = {QL_OP_ACT_FWD, &a, &y, &w};
            ql_ref_act_bwd(&(ql_act_bwd_args){
                .kind = (ql_act_kind)kind, .x = x, .up = up, .dy = w, .dx = dx, .dup = dup});
            check_gradient(&f, "x", &x, &dx);
            if (gated) check_gradient(&f, "up", &up, &dup);
        }
}

/* ------------------------------------------------------------------------------ rows */

static void scatter_add_is_the_gradient_of_gather(void **state) {
    (void)state;
    ql_mat table = randoms(5, 4), index = integers(6, (int[]){3, 0, 3, 4, 1, 3});
    ql_mat y = zeros(QL_F32, 6, 4), w = randoms(6, 4), dtable = like(&table);
    ql_op_args a = {.gather = {.table = table, .index = index, .y = y, .scale = 1.5f}};
    forward f = {QL_OP_GATHER, &a, &y, &w};
    ql_ref_scatter_add(
        &(ql_scatter_add_args){.dy = w, .index = index, .dtable = dtable, .scale = 1.5f});
    check_gradient(&f, "table", &table, &dtable);
}

static void scale_cols_backward_is_its_gradient(void **state) {
    (void)state;
    ql_mat x = randoms(4, 6), m = randoms(1, 6), norm = randoms(1, 6), y = like(&x);
    ql_mat w = randoms(4, 6), dx = like(&x), dm = like(&m);
    for (int64_t e = 0; e < 6; e++) ref_values(&norm)[e] += 2.0;
    ql_op_args a = {.scale_cols = {.x = x, .m = m, .norm = norm, .y = y}};
    forward f = {QL_OP_SCALE_COLS, &a, &y, &w};
    ql_ref_scale_cols(
        &(ql_scale_cols_args){.x = x, .m = m, .norm = norm, .y = dx, .dy = w, .dm = dm});
    check_gradient(&f, "x", &x, &dx);
    check_gradient(&f, "m", &m, &dm);
}

/* ------------------------------------------------------------------------ norm, rope */

static void check_norm(ql_norm_kind kind, int32_t groups, float w_offset) {
    ql_mat x = randoms(3, 12), residual = randoms(3, 12), w = randoms(1, 12 / groups);
    ql_mat b = randoms(1, 12 / groups), sum = like(&x), y = like(&x), c = randoms(3, 12);
    ql_mat mean = zeros(QL_F32, 1, 3 * groups), rstd = like(&mean);
    ql_mat dx = like(&x), dw = like(&w), db = like(&b);
    ql_op_args a = {.norm_fwd = {.kind = kind,
                                 .eps = 1e-3f,
                                 .w_offset = w_offset,
                                 .groups = groups,
                                 .x = x,
                                 .residual = residual,
                                 .w = w,
                                 .b = b,
                                 .sum = sum,
                                 .y = y,
                                 .mean = mean,
                                 .rstd = rstd}};
    forward f = {QL_OP_NORM_FWD, &a, &y, &c};
    ql_ref_run(QL_OP_NORM_FWD, &a);
    ql_ref_norm_bwd(&(ql_norm_bwd_args){.kind = kind,
                                        .w_offset = w_offset,
                                        .s = sum,
                                        .w = w,
                                        .mean = mean,
                                        .rstd = rstd,
                                        .dy = c,
                                        .dx = dx,
                                        .dw = dw,
                                        .db = db});
    check_gradient(&f, "x", &x, &dx);
    check_gradient(&f, "residual", &residual, &dx);
    check_gradient(&f, "w", &w, &dw);
    check_gradient(&f, "b", &b, &db);
}

static void norm_bwd_is_the_gradient_of_norm_fwd(void **state) {
    (void)state;
    for (int kind = QL_NORM_LAYER; kind <= QL_NORM_RMS; kind++)
        for (int32_t groups = 1; groups <= 3; groups += 2) {
            reset();
            check_norm((ql_norm_kind)kind, groups, groups == 1 ? 0.0f : 1.0f);
        }
}

static void rope_with_sign_minus_is_the_gradient_of_rope(void **state) {
    (void)state;
    for (int interleaved = 0; interleaved < 2; interleaved++) {
        reset();
        ql_mat x = randoms(3, 20), table = zeros(QL_F32, 8, 6), y = like(&x), dx = like(&x);
        ql_mat w = randoms(3, 20), pos = integers(3, (int[]){5, 0, 2});
        for (int p = 0; p < 8; p++)
            for (int i = 0; i < 3; i++) {
                ref_row(&table, p)[i] = cos(p * pow(10.0, -i));
                ref_row(&table, p)[3 + i] = sin(p * pow(10.0, -i));
            }
        ql_op_args a = {.rope = {.x = x,
                                 .table = table,
                                 .pos = pos,
                                 .y = y,
                                 .heads = 2,
                                 .head_dim = 10,
                                 .rot = 6,
                                 .sign = 1.0f,
                                 .interleaved = interleaved != 0}};
        ql_rope_args back = a.rope;
        forward f = {QL_OP_ROPE, &a, &y, &w};
        back.x = w, back.y = dx, back.sign = -1.0f;
        ql_ref_rope(&back);
        check_gradient(&f, "x", &x, &dx);
    }
}

/* ------------------------------------------------------------------------------ attn */

typedef struct attn_kind {
    int hq, hk;
    bool causal, cross;
    int window;
    float softcap, dropout;
    ql_attn_bias bias;
} attn_kind;

enum { BUCKETS = 3, D = 4, DV = 3 };

static ql_attn_spec spec_of(const attn_kind *k, int64_t nq, int64_t nk) {
    ql_attn_spec s = {.heads_q = k->hq,
                      .heads_kv = k->hk,
                      .dim_qk = D,
                      .dim_v = DV,
                      .scale = 0.5f,
                      .softcap = k->softcap,
                      .window = k->window,
                      .causal = k->causal,
                      .dropout = k->dropout,
                      .max_q = 5,
                      .max_kv = 6,
                      .bias = k->bias};
    s.rng = (ql_rng){.seed = 99, .stream = 5};
    s.start_q = integers(3, (int[]){0, 4, 9}); /* packed: sequences of 4 and 5 */
    s.start_kv = k->cross ? integers(3, (int[]){0, 3, 9}) : s.start_q;
    if (k->bias == QL_BIAS_NONE) return s;
    s.bucket = integers(11, (int[]){0, 1, 2, 2, 1, 0, 1, 1, 2, 0, 2});
    if (k->bias == QL_BIAS_TABLE) {
        s.table = randoms(BUCKETS, k->hq);
    } else {
        s.c2p = randoms(nq, (int64_t)BUCKETS * k->hq);
        s.p2c = randoms(nk, (int64_t)BUCKETS * k->hk);
    }
    return s;
}

static void check_attn(const attn_kind *k) {
    ql_mat q = randoms(9, (int64_t)k->hq * D), key = randoms(9, (int64_t)k->hk * D);
    ql_mat v = randoms(9, (int64_t)k->hk * DV), o = zeros(QL_F32, 9, (int64_t)k->hq * DV);
    ql_mat lse = zeros(QL_F32, k->hq, 9), w = randoms(9, (int64_t)k->hq * DV);
    ql_attn_spec spec = spec_of(k, 9, 9);
    ql_op_args a = {.attn_fwd = {.spec = spec, .q = q, .k = key, .v = v, .o = o, .lse = lse}};
    forward f = {QL_OP_ATTN_FWD, &a, &o, &w};
    ql_attn_bwd_args b = {.spec = spec,
                          .q = q,
                          .k = key,
                          .v = v,
                          .o = o,
                          .lse = lse,
                          .d_o = w,
                          .dq = like(&q),
                          .dk = like(&key),
                          .dv = like(&v)};
    if (k->bias == QL_BIAS_TABLE) b.dtable = like(&spec.table);
    if (k->bias == QL_BIAS_DISENT) b.dc2p = like(&spec.c2p), b.dp2c = like(&spec.p2c);
    ql_ref_run(QL_OP_ATTN_FWD, &a);
    ql_ref_attn_bwd(&b);
    check_gradient(&f, "q", &q, &b.dq);
    check_gradient(&f, "k", &key, &b.dk);
    check_gradient(&f, "v", &v, &b.dv);
    if (b.dtable.buf) check_gradient(&f, "table", &spec.table, &b.dtable);
    if (b.dc2p.buf) check_gradient(&f, "c2p", &spec.c2p, &b.dc2p);
    if (b.dp2c.buf) check_gradient(&f, "p2c", &spec.p2c, &b.dp2c);
}

static void attn_bwd_is_the_gradient_of_attn_fwd(void **state) {
    (void)state;
    static const attn_kind kinds[] = {
        {2, 2, true, false, 0, 0, 0, QL_BIAS_NONE},
        {2, 2, false, false, 0, 0, 0, QL_BIAS_NONE},
        {4, 2, true, false, 0, 0, 0, QL_BIAS_NONE},
        {2, 1, true, false, 2, 0, 0, QL_BIAS_NONE},
        {2, 1, true, false, 0, 0.7f, 0, QL_BIAS_NONE},
        {2, 1, true, false, 0, 0, 0.3f, QL_BIAS_NONE},
        {2, 1, true, false, 3, 0.7f, 0.3f, QL_BIAS_TABLE},
        {2, 2, false, false, 0, 0, 0, QL_BIAS_TABLE},
        {2, 2, false, false, 0, 0, 0, QL_BIAS_DISENT},
        {4, 2, false, false, 0, 0.7f, 0.2f, QL_BIAS_DISENT},
        {2, 1, false, true, 0, 0, 0, QL_BIAS_NONE},
    };
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        reset();
        check_attn(&kinds[i]);
    }
}

/* ------------------------------------------------------------------ gemm, gemm_q, lora */

/* The gradients of c = op(a) op(b) are products again. */
static void gemm_gradients_are_gemms(void **state) {
    (void)state;
    for (int trans = 0; trans < 4; trans++) {
        reset();
        bool ta = trans & 1, tb = trans & 2;
        ql_mat a = ta ? randoms(4, 3) : randoms(3, 4), b = tb ? randoms(5, 4) : randoms(4, 5);
        ql_mat c = zeros(QL_F32, 3, 5), w = randoms(3, 5), bias = randoms(1, 5);
        ql_mat da = like(&a), db = like(&b), dbias = like(&bias);
        ql_op_args args = {.gemm = {.a = a,
                                    .b = b,
                                    .c = c,
                                    .bias = bias,
                                    .trans_a = ta,
                                    .trans_b = tb,
                                    .alpha = 2.0f,
                                    .batch = 1}};
        forward f = {QL_OP_GEMM, &args, &c, &w};
        ql_gemm_args ga = {.a = ta ? b : w,
                           .b = ta ? w : b,
                           .c = da,
                           .trans_a = ta && tb,
                           .trans_b = ta || !tb,
                           .alpha = 2.0f,
                           .batch = 1};
        ql_gemm_args gb = {.a = tb ? w : a,
                           .b = tb ? a : w,
                           .c = db,
                           .trans_a = tb || !ta,
                           .trans_b = tb && ta,
                           .alpha = 2.0f,
                           .batch = 1};
        ql_ref_gemm(&ga);
        ql_ref_gemm(&gb);
        ql_ref_sum_rows(&(ql_sum_rows_args){.x = w, .y = dbias});
        check_gradient(&f, "a", &a, &da);
        check_gradient(&f, "b", &b, &db);
        check_gradient(&f, "bias", &bias, &dbias);
    }
}

/* An 8-bit weight [n, k] with blocks of 7, so that they straddle rows. */
static ql_qmat weight(int64_t n, int64_t k) {
    ql_qmat w = {.n = n, .k = k, .bits = 8, .block = 7};
    w.codes = zeros(QL_U8, 1, n * k);
    w.table = randoms(1, 256);
    w.scale = randoms(1, (n * k + 6) / 7);
    for (int64_t e = 0; e < n * k; e++) ref_values(&w.codes)[e] = (double)(e * 37 % 256);
    return w;
}

static void gemm_q_transposed_is_the_gradient_wrt_x(void **state) {
    (void)state;
    ql_mat x = randoms(3, 6), y = zeros(QL_F32, 3, 5), c = randoms(3, 5), dx = like(&x);
    ql_qmat w = weight(5, 6);
    ql_op_args a = {.gemm_q = {.x = x, .y = y, .w = w, .alpha = 1.5f}};
    forward f = {QL_OP_GEMM_Q, &a, &y, &c};
    ql_ref_gemm_q(&(ql_gemm_q_args){.x = c, .y = dx, .w = w, .trans_w = true, .alpha = 1.5f});
    check_gradient(&f, "x", &x, &dx);
}

static void lora_bwd_is_the_gradient_of_lora_fwd(void **state) {
    (void)state;
    for (int quantized = 0; quantized < 2; quantized++) {
        reset();
        ql_mat x = randoms(3, 6), a = randoms(2, 6), b = randoms(5, 2), wd = {0};
        ql_mat y = zeros(QL_F32, 3, 5), u = zeros(QL_F32, 3, 2), c = randoms(3, 5);
        ql_mat dx = like(&x), da = like(&a), db = like(&b);
        ql_qmat w = {0};
        if (quantized)
            w = weight(5, 6);
        else
            wd = randoms(5, 6);
        const ql_rng rng = {.seed = 4, .stream = 9};
        ql_op_args args = {.lora_fwd = {.x = x,
                                        .wd = wd,
                                        .w = w,
                                        .a = a,
                                        .b = b,
                                        .u = u,
                                        .y = y,
                                        .s = 0.5f,
                                        .p = 0.25f,
                                        .rng = rng}};
        forward f = {QL_OP_LORA_FWD, &args, &y, &c};
        ql_ref_run(QL_OP_LORA_FWD, &args);
        ql_ref_lora_bwd(&(ql_lora_bwd_args){.x = x,
                                            .wd = wd,
                                            .w = w,
                                            .a = a,
                                            .b = b,
                                            .u = u,
                                            .dy = c,
                                            .dx = dx,
                                            .da = da,
                                            .db = db,
                                            .s = 0.5f,
                                            .p = 0.25f,
                                            .rng = rng});
        check_gradient(&f, "x", &x, &dx);
        check_gradient(&f, "a", &a, &da);
        check_gradient(&f, "b", &b, &db);
    }
}

/* ------------------------------------------------------------------------------ loss */

static void dlogits_is_the_gradient_of_the_sum_of_losses(void **state) {
    (void)state;
    static const struct {
        ql_loss_kind kind;
        float softcap, smoothing;
    } kinds[] = {{QL_LOSS_XENT, 0, 0},
                 {QL_LOSS_XENT, 1.5f, 0},
                 {QL_LOSS_XENT, 0, 0.2f},
                 {QL_LOSS_XENT, 1.5f, 0.2f},
                 {QL_LOSS_MSE, 0, 0}};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        reset();
        bool xent = kinds[i].kind == QL_LOSS_XENT;
        ql_mat x = randoms(4, 5), weight_ = randoms(1, 4), loss = zeros(QL_F32, 1, 4);
        ql_mat target = xent ? integers(4, (int[]){2, -100, 0, 4}) : randoms(4, 5);
        ql_mat ones = zeros(QL_F32, 1, 4), dx = like(&x), step = zeros(QL_F32, 1, REF_STEP_WORDS);
        for (int e = 0; e < 4; e++) ref_values(&ones)[e] = 0.5; /* loss_scale below */
        ref_values(&step)[REF_STEP_LOSS_SCALE] = 0.25;
        ql_op_args a = {.loss = {.kind = kinds[i].kind,
                                 .logits = x,
                                 .target = target,
                                 .weight = weight_,
                                 .loss = loss,
                                 .ignore = -100,
                                 .softcap = kinds[i].softcap,
                                 .smoothing = kinds[i].smoothing}};
        ql_loss_args b = a.loss;
        forward f = {QL_OP_LOSS, &a, &loss, &ones};
        b.dlogits = dx, b.grad_scale = 2.0f, b.step = step;
        ql_ref_loss(&b);
        check_gradient(&f, "logits", &x, &dx);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, clean, clean)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(axpby_is_its_own_backward),
        TEST(dropout_is_its_own_backward),
        TEST(act_bwd_is_the_gradient_of_act_fwd),
        TEST(scatter_add_is_the_gradient_of_gather),
        TEST(scale_cols_backward_is_its_gradient),
        TEST(norm_bwd_is_the_gradient_of_norm_fwd),
        TEST(rope_with_sign_minus_is_the_gradient_of_rope),
        TEST(attn_bwd_is_the_gradient_of_attn_fwd),
        TEST(gemm_gradients_are_gemms),
        TEST(gemm_q_transposed_is_the_gradient_wrt_x),
        TEST(lora_bwd_is_the_gradient_of_lora_fwd),
        TEST(dlogits_is_the_gradient_of_the_sum_of_losses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
