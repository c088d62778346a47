/* ops.c - the tables of cases and the loop over them (see ops.h). */
#include "core/bench/ops.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/base/hostmem.h"
#include "core/device/device.h"

#define GEMM_SHAPES(NAME, FN)                                                                      \
    {NAME, 512, 4096, 4096, FN, QL_QT_NF4}, {NAME, 512, 11008, 4096, FN, QL_QT_NF4},               \
        {NAME, 512, 4096, 11008, FN, QL_QT_NF4}, {NAME, 512, 576, 576, FN, QL_QT_NF4},             \
        {NAME, 512, 1536, 576, FN, QL_QT_NF4}, {                                                   \
        NAME, 512, 576, 1536, FN, QL_QT_NF4                                                        \
    }
#define OTHER_TYPE(TYPE, ID)                                                                       \
    {"gemm_" TYPE, 512, 4096, 4096, ql_bench_gemm_q, ID},                                          \
        {"gemm_" TYPE, 512, 576, 576, ql_bench_gemm_q, ID},                                        \
        {"gemm_" TYPE "_t", 512, 576, 576, ql_bench_gemm_q_t, ID}, {                               \
        "gemv_" TYPE, 1, 4096, 11008, ql_bench_gemv_q, ID                                          \
    }

/* Shapes: LLaMA-7B and SmolLM2-135M (9 query and 3 key-value heads of 64; all-linear adapters of
 * rank 16 have 4,884,480 values). The type matters to quantized weights only. */
static const ql_bench_case ops_table[] = {
    GEMM_SHAPES("gemm_nf4", ql_bench_gemm_q),
    GEMM_SHAPES("gemm_nf4_t", ql_bench_gemm_q_t),
    {"gemm_f32", 512, 49152, 576, ql_bench_gemm_f32, QL_QT_NF4},
    {"gemm_bf16", 512, 49152, 576, ql_bench_gemm_bf16, QL_QT_NF4},
    {"gemv_nf4", 1, 4096, 11008, ql_bench_gemv_q, QL_QT_NF4},
    OTHER_TYPE("nf3", QL_QT_NF3),
    OTHER_TYPE("nf2", QL_QT_NF2),
    OTHER_TYPE("int2a", QL_QT_INT2A),
    {"attention", 512, 576, 192, ql_bench_attention, QL_QT_NF4},
    {"attention_fwd", 512, 576, 192, ql_bench_attn_fwd, QL_QT_NF4},
    {"norm_fwd", 512, 576, 0, ql_bench_norm_fwd, QL_QT_NF4},
    {"norm_bwd", 512, 576, 0, ql_bench_norm_bwd, QL_QT_NF4},
    {"rope", 512, 576, 0, ql_bench_rope, QL_QT_NF4},
    {"act_fwd", 512, 1536, 0, ql_bench_act_fwd, QL_QT_NF4},
    {"act_bwd", 512, 1536, 0, ql_bench_act_bwd, QL_QT_NF4},
    {"loss", 64, 49152, 0, ql_bench_loss, QL_QT_NF4},
    {"adamw", 1, 4884480, 0, ql_bench_adamw, QL_QT_NF4},
};
static const ql_bench_case quantize_table[] = {
    {"quantize_nf4_dq", 0, 4096, 11008, ql_bench_quantize, QL_QT_NF4},
    {"dequantize_nf4_dq", 0, 4096, 11008, ql_bench_dequantize, QL_QT_NF4},
    {"quantize_nf3_dq", 0, 4096, 11008, ql_bench_quantize, QL_QT_NF3},
    {"dequantize_nf3_dq", 0, 4096, 11008, ql_bench_dequantize, QL_QT_NF3},
    {"quantize_nf2_dq", 0, 4096, 11008, ql_bench_quantize, QL_QT_NF2},
    {"dequantize_nf2_dq", 0, 4096, 11008, ql_bench_dequantize, QL_QT_NF2},
};

static const ql_bench_case *table_at(ql_bench_table t, size_t *n) {
    *n = t == QL_BENCH_OPS ? sizeof ops_table / sizeof *ops_table
                           : sizeof quantize_table / sizeof *quantize_table;
    return t == QL_BENCH_OPS ? ops_table : quantize_table;
}

/* Sizes that a case does not have are left out. */
static void write_shape(const ql_bench_case *c, char out[64]) {
    const int64_t size[3] = {c->m, c->n, c->k};
    size_t len = 0;
    out[0] = '\0';
    for (int i = 0; i < 3; i++)
        if (size[i])
            len += (size_t)snprintf(out + len, 64 - len, "%s%" PRId64, len ? "x" : "", size[i]);
}

/* The case's shape or its name. */
static void write_word(const ql_bench_case *c, bool shape, char out[64]) {
    if (shape)
        write_shape(c, out);
    else
        snprintf(out, 64, "%s", c->name);
}

static bool is_chosen(const ql_bench_choice *o, const ql_bench_case *c) {
    char shape[64];
    write_shape(c, shape);
    return (!o->only || !strcmp(o->only, c->name)) && (!o->shape || !strcmp(o->shape, shape));
}

/* The distinct names of the table, or the distinct shapes of the chosen name. */
static void list_choices(const ql_bench_choice *o, bool shapes, char *out, size_t size) {
    size_t n, len = 0;
    const ql_bench_case *table = table_at(o->table, &n);
    out[0] = '\0';
    for (size_t i = 0; i < n; i++) {
        char word[64], earlier[64];
        bool known = shapes && o->only && strcmp(table[i].name, o->only) != 0;
        write_word(&table[i], shapes, word);
        for (size_t j = 0; j < i && !known; j++) {
            write_word(&table[j], shapes, earlier);
            known = !strcmp(word, earlier) && (!o->only || !strcmp(table[j].name, table[i].name));
        }
        if (!known && len < size) len += (size_t)snprintf(out + len, size - len, " %s", word);
    }
}

ql_status ql_bench_check_choice(const ql_bench_choice *o) {
    size_t n;
    const ql_bench_case *table = table_at(o->table, &n);
    bool name = false;
    char list[1024];
    for (size_t i = 0; i < n; i++) {
        if (is_chosen(o, &table[i])) return QL_OK;
        name = name || !o->only || !strcmp(o->only, table[i].name);
    }
    list_choices(o, name, list, sizeof list);
    if (name)
        return QL_FAIL(QL_ERR_NOT_FOUND, "nothing is measured with shape '%s'; there are%s",
                       o->shape, list);
    return QL_FAIL(QL_ERR_NOT_FOUND, "nothing that is measured is called '%s'; there are%s",
                   o->only, list);
}

/* ------------------------------------------------------------------- one case */

static ql_status run_op(void *user) {
    ql_bench_op *op = user;
    ql_queue *q = op->lab->queue;
    if (op->host) return op->host(op);
    if (op->rotate) op->args[0].gemm_q.w = op->rotate[op->turn++ % op->n_rotate];
    for (int i = 0; i < op->calls; i++) QL_TRY(ql_run_op(q, op->id[i], &op->args[i]));
    return q->dev->backend->queue_sync(q);
}

/* NULL when the device can do all of it, else why not. */
static const char *refusal(const ql_bench_op *op) {
    ql_device *dev = op->lab->queue->dev;
    for (int i = 0; i < op->calls; i++) {
        const char *why = "not available on this device";
        if (dev->backend->supports(dev, op->id[i], &op->args[i], &why) == QL_SUPPORT_NO) return why;
    }
    return NULL;
}

static double rate(double work, const ql_bench_time *t) {
    return t->median_s > 0 ? work / t->median_s : 0;
}

static ql_status measure_op(const ql_bench_case *c, const ql_bench_choice *o, ql_bench_op *op,
                            const ql_bench_peaks *peaks, const ql_bench_sink *sink) {
    ql_bench_row row = {.name = c->name};
    const ql_bench_job job = {.run = run_op, .user = op};
    write_shape(c, row.shape);
    const char *why = refusal(op);
    if (why) {
        sink->skipped(sink->user, c->name, row.shape, why);
        return QL_OK;
    }
    QL_TRY(ql_bench_measure(&job, o->seconds, &row.time));
    row.gflops = 1e-9 * rate(op->flop, &row.time);
    row.gbps = 1e-9 * rate(op->bytes, &row.time);
    row.weights_per_s = rate(op->weights, &row.time);
    if (peaks)
        row.peak_share =
            op->bound == QL_BENCH_COMPUTE ? row.gflops / peaks->gflops : row.gbps / peaks->gbps;
    sink->row(sink->user, &row);
    return QL_OK;
}

static ql_status run_case(ql_device *dev, const ql_bench_case *c, const ql_bench_choice *o,
                          const ql_bench_peaks *peaks, const ql_bench_sink *sink) {
    ql_bench_lab lab = {0};
    ql_bench_op op = {.lab = &lab};
    QL_TRY(ql_bench_lab_open(dev, o->seed, &lab));
    ql_status s = c->build(c, &op);
    if (s == QL_OK) s = measure_op(c, o, &op, peaks, sink);
    ql_host_free(op.rotate);
    ql_host_free(op.host_weights);
    ql_bench_lab_close(&lab);
    return s;
}

ql_status ql_bench_run_ops(ql_device *dev, const ql_bench_choice *o, const ql_bench_peaks *peaks,
                           const ql_bench_sink *sink) {
    size_t n;
    const ql_bench_case *table = table_at(o->table, &n);
    QL_TRY(ql_bench_check_choice(o));
    for (size_t i = 0; i < n; i++)
        if (is_chosen(o, &table[i])) QL_TRY(run_case(dev, &table[i], o, peaks, sink));
    return QL_OK;
}
