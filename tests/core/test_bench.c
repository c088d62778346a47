/* test_bench.c - what `qlora bench` counts and how it samples; no speed is judged. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/bench/ops.h"
#include "core/bench/work.h"

typedef struct counts {
    int prepared, run, fail_at;
} counts;

static ql_status prepare(void *user) {
    ((counts *)user)->prepared++;
    return QL_OK;
}

static ql_status run(void *user) {
    counts *c = user;
    return ++c->run == c->fail_at ? QL_FAIL(QL_ERR_DRIVER, "it broke") : QL_OK;
}

/* Two runs for warming up and five samples, each with its preparation. */
static void test_samples(void **state) {
    (void)state;
    counts c = {0};
    ql_bench_time t;
    const ql_bench_job job = {.run = run, .prepare = prepare, .user = &c};
    assert_int_equal(ql_bench_measure(&job, 0, &t), QL_OK);
    assert_int_equal(t.repeats, QL_BENCH_REPEATS);
    assert_int_equal(c.run, 2 + QL_BENCH_REPEATS);
    assert_int_equal(c.prepared, c.run);
}

static void test_failure_ends(void **state) {
    (void)state;
    for (int at = 1; at <= 4; at++) {
        counts c = {.fail_at = at};
        ql_bench_time t;
        const ql_bench_job job = {.run = run, .prepare = prepare, .user = &c};
        assert_int_equal(ql_bench_measure(&job, 0, &t), QL_ERR_DRIVER);
        assert_int_equal(c.run, at);
    }
}

static void test_peaks(void **state) {
    (void)state;
    ql_bench_peaks p;
    assert_int_equal(ql_bench_measure_peaks(1, 0, &p), QL_OK);
    assert_true(p.gflops > 0 && p.gflops < 1e6 && p.gbps > 0 && p.gbps < 1e6);
    assert_int_equal(p.threads, 1);
    assert_non_null(p.isa);
}

/* SmolLM2-135M, 512 tokens, rank 16: 629 MFLOP per token, 869 with checkpointing (counted apart
 * from this code, by the shapes alone). */
static void test_step_flop(void **state) {
    (void)state;
    json_t *config = json_pack(
        "{s:s, s:[s], s:s, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:f, s:f, s:b}", "model_type",
        "llama", "architectures", "LlamaForCausalLM", "hidden_act", "silu", "hidden_size", 576,
        "intermediate_size", 1536, "num_hidden_layers", 30, "num_attention_heads", 9,
        "num_key_value_heads", 3, "vocab_size", 49152, "max_position_embeddings", 8192,
        "rms_norm_eps", 1e-5, "rope_theta", 1e5, "tie_word_embeddings", 1);
    assert_non_null(config);
    ql_source *source = NULL;
    ql_model *m = NULL;
    const ql_model_opts o = ql_model_opts_default();
    assert_int_equal(ql_source_open_json("smollm2", config, &source), QL_OK);
    json_decref(config);
    assert_int_equal(ql_model_open(source, &o, &m), QL_OK);
    ql_lora_config c = ql_lora_config_default();
    c.r = 16;
    assert_int_equal(ql_model_attach_lora(m, &c), QL_OK);
    ql_lora_config_free(&c);
    assert_true(fabs(1e-6 * ql_bench_step_flop(m, 512, false) - 629) < 0.5);
    assert_true(fabs(1e-6 * ql_bench_step_flop(m, 512, true) - 869) < 0.5);
    ql_model_close(m);
}

static void test_choice(void **state) {
    (void)state;
    const struct {
        ql_bench_choice choice;
        ql_status want;
        const char *word;
    } cases[] = {
        {{.table = QL_BENCH_OPS}, QL_OK, NULL},
        {{.table = QL_BENCH_OPS, .only = "gemv_nf4", .shape = "1x4096x11008"}, QL_OK, NULL},
        {{.table = QL_BENCH_QUANTIZE, .only = "quantize_nf4_dq"}, QL_OK, NULL},
        {{.table = QL_BENCH_QUANTIZE, .only = "gemm_nf4"}, QL_ERR_NOT_FOUND, "quantize_nf4_dq"},
        {{.table = QL_BENCH_OPS, .only = "gemm"}, QL_ERR_NOT_FOUND, " gemm_nf4 gemm_nf4_t "},
        {{.table = QL_BENCH_OPS, .only = "rope", .shape = "512"}, QL_ERR_NOT_FOUND, " 512x576"},
        {{.table = QL_BENCH_OPS, .shape = "1x1x1"}, QL_ERR_NOT_FOUND, " 512x576 "},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(ql_bench_check_choice(&cases[i].choice), cases[i].want);
        if (cases[i].word) assert_non_null(strstr(ql_last_error(), cases[i].word));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_samples), cmocka_unit_test(test_failure_ends),
        cmocka_unit_test(test_peaks),   cmocka_unit_test(test_step_flop),
        cmocka_unit_test(test_choice),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
