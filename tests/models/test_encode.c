/* test_encode.c - a device's encoder gives the bytes of the scalar one, for every type and rule. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/hostmem.h"
#include "core/base/rng.h"
#include "core/model/encode.h"
#include "tests/support/engine.h"

static void compare(ql_queue *q, const ql_quant_opts *o, const float *w, int64_t n, int64_t k) {
    ql_qbytes size;
    OK(ql_quant_bytes(o, n, k, &size));
    uint8_t *codes[2];
    float *scale[2], *zero[2];
    for (int i = 0; i < 2; i++) {
        codes[i] = ql_host_calloc((size_t)size.codes, 1);
        scale[i] = ql_host_calloc((size_t)size.n_blocks, sizeof(float));
        zero[i] = ql_host_calloc((size_t)size.n_blocks, sizeof(float));
        assert_true(codes[i] && scale[i] && zero[i]);
    }
    OK(ql_encode_scalar(NULL, o, w, n, k, codes[0], scale[0], zero[0]));
    OK(ql_encode_on_queue(q, o, w, n, k, codes[1], scale[1], zero[1]));
    if (memcmp(codes[0], codes[1], size.codes) != 0 ||
        memcmp(scale[0], scale[1], (size_t)size.n_blocks * sizeof(float)) != 0 ||
        memcmp(zero[0], zero[1], (size_t)size.n_blocks * sizeof(float)) != 0)
        fail_msg("%s, rule %d, block %d, %d x %d: other bytes", ql_qtype_at(o->type)->name,
                 (int)o->rule, (int)o->block, (int)n, (int)k);
    for (int i = 0; i < 2; i++) {
        ql_host_free(codes[i]);
        ql_host_free(scale[i]);
        ql_host_free(zero[i]);
    }
}

static void the_device_gives_the_same_bytes(void **state) {
    (void)state;
    static const struct {
        int64_t n, k;
    } shape[] = {{1, 1}, {3, 64}, {7, 30}, {65, 96}, {40, 1000}, {9, 33}};
    enum { BLOCKS = 5 };
    static const int32_t block[BLOCKS] = {64, 8, 33, 96, 5000}; /* 33: blocks end inside a byte */
    ql_device *dev = engine_device(2);
    ql_queue *q = NULL;
    OK(dev->backend->queue_create(dev, &q));
    int compared = 0;
    for (size_t s = 0; s < sizeof shape / sizeof *shape; s++) {
        int64_t n = shape[s].n, k = shape[s].k;
        float *w = ql_host_calloc((size_t)(n * k), sizeof(float));
        assert_non_null(w);
        ql_stream r = ql_stream_make(9, QL_STREAM_SAMPLE, s);
        for (int64_t i = 0; i < n * k; i++)
            w[i] = i % 97 == 5 ? 0.0f : 0.05f * ql_stream_normal(&r);
        for (int t = 0; t < QL_QT_COUNT; t++) {
            if (t == QL_QT_GGML) continue;
            for (int v = 0; v < 2 * BLOCKS; v++) {
                ql_quant_opts o = ql_quant_opts_default();
                o.type = (ql_qtype_id)t;
                o.rule = v < BLOCKS ? QL_RULE_CPU : QL_RULE_CUDA;
                o.block = block[v % BLOCKS];
                o.double_quant = false;
                if (ql_quant_opts_check(&o) != QL_OK) continue;
                compare(q, &o, w, n, k);
                compared++;
            }
        }
        ql_host_free(w);
    }
    assert_true(compared > 800);
    assert_int_equal(engine_counts(dev).device_bytes, 0);
    dev->backend->queue_destroy(q);
    engine_close(dev);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(the_device_gives_the_same_bytes)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
