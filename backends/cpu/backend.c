/*
 * backend.c - the CPU device and the backend table.
 *
 * One device per machine. Its level, thread count and memory limit are fixed when it is opened. The
 * table's operators copy their arguments into a job of the queue; the inline queue runs it at once
 * from the device's picked operators.
 */
#include "backends/cpu/objects.h"

#include <stdio.h>
#include <stdlib.h>

enum { MAX_THREADS = 1024 };

/* -------------------------------------------------------------------- device */

static ql_status probe(int *count) {
    *count = 1;
    return QL_OK;
}

static void fill_props(ql_cpu_device *d) {
    static const uint32_t simd_width[QL_CPU_ISA_COUNT] = {4, 8, 16, 16, 4};
    ql_device_props *p = &d->base.props;
    snprintf(p->name, sizeof p->name, "%s", d->info.name[0] ? d->info.name : "CPU");
#ifdef _OPENMP
    snprintf(p->driver, sizeof p->driver, "OpenMP, %d threads", d->threads);
#else
    snprintf(p->driver, sizeof p->driver, "serial");
#endif
    p->kind = QL_DEV_CPU;
    p->caps = QL_CAP_COPY_OVERLAP | QL_CAP_UNIFIED | QL_CAP_WRAP_HOST | QL_CAP_TIMESTAMPS;
    p->mem_total = d->info.mem_total;
    p->mem_free = d->info.mem_free;
    p->max_alloc = (uint64_t)1 << 46;
    p->align = 64;
    p->simd_width = simd_width[d->isa];
    p->local_mem = (uint32_t)d->info.l1d;
    p->compute_units = (uint32_t)d->threads;
}

static ql_cpu_ledger *ledger_create(uint64_t limit) {
    ql_cpu_ledger *l = calloc(1, sizeof *l);
    if (!l) return NULL;
    pthread_mutex_init(&l->lock, NULL);
    pthread_cond_init(&l->changed, NULL);
    l->limit = limit;
    return l;
}

static void device_close(ql_device *dev) {
    ql_cpu_device *d = (ql_cpu_device *)dev;
    if (!d) return;
    pthread_cond_destroy(&d->ledger->changed);
    pthread_mutex_destroy(&d->ledger->lock);
    free(d->ledger);
    free(d);
}

static ql_status device_open(int index, const ql_device_opts *opts, ql_device **out) {
    static const ql_device_opts defaults = {0};
    ql_cpuinfo info;
    ql_cpu_isa isa;
    if (!opts) opts = &defaults;
    if (index != 0)
        return QL_FAIL(QL_ERR_NOT_FOUND, "cpu: there is one device, number 0; asked for %d", index);
    if (opts->threads < 0 || opts->threads > MAX_THREADS)
        return QL_FAIL(QL_ERR_INVALID, "cpu: threads is 0 (all) to %d, not %d", MAX_THREADS,
                       opts->threads);
    ql_cpuinfo_read(&info);
    QL_TRY(ql_cpu_isa_choose(&info, opts->isa, &isa));
    ql_cpu_device *d = calloc(1, sizeof *d);
    ql_cpu_ledger *ledger = ledger_create(opts->mem_limit);
    if (!d || !ledger) {
        free(d);
        free(ledger);
        return QL_FAIL(QL_ERR_NOMEM_HOST, "cpu: out of host memory for a device object");
    }
    d->base.backend = ql_cpu_backend();
    d->info = info;
    d->isa = isa;
    d->threads = opts->threads > 0 ? opts->threads : info.cores;
    d->ledger = ledger;
#ifndef _OPENMP
    d->threads = 1;
#endif
    fill_props(d);
    ql_cpu_pick(d);
    *out = &d->base;
    return QL_OK;
}

static ql_status device_memory(ql_device *dev, uint64_t *free_now, uint64_t *total) {
    ql_cpu_ledger *l = ((ql_cpu_device *)dev)->ledger;
    uint64_t system_free, system_total;
    ql_cpuinfo_memory(&system_free, &system_total);
    pthread_mutex_lock(&l->lock);
    uint64_t limit = l->limit, left = limit > l->used ? limit - l->used : 0;
    pthread_mutex_unlock(&l->lock);
    bool limited = limit > 0;
    *free_now = limited && left < system_free ? left : system_free;
    *total = limited && limit < system_total ? limit : system_total;
    return QL_OK;
}

/* ------------------------------------------------------------------ planning */

static ql_support supports(ql_device *dev, ql_op op, const ql_op_args *a, const char **why) {
    const ql_cpu_device *d = (const ql_cpu_device *)dev;
    (void)a;
    switch (op) {
    case QL_OP_LORA_FWD:
    case QL_OP_LORA_BWD: *why = "composed from dropout, gemm and gemm_q"; return QL_SUPPORT_NO;
    case QL_OP_GEMM:
    case QL_OP_GEMM_Q:
    case QL_OP_ATTN_FWD:
    case QL_OP_ATTN_BWD:
        if (d->isa != QL_CPU_PORTABLE) return QL_SUPPORT_NATIVE;
        *why = "portable code: no vector instructions beyond the compiler's baseline";
        return QL_SUPPORT_SLOW;
    default: return QL_SUPPORT_NATIVE;
    }
}

static uint64_t scratch_bytes(ql_device *dev, ql_op op, const ql_op_args *a) {
    const ql_cpu_device *d = (const ql_cpu_device *)dev;
    switch (op) {
    case QL_OP_SCATTER_ADD: return ql_cpu_scratch_scatter_add(d, &a->scatter_add);
    case QL_OP_NORM_BWD: return ql_cpu_scratch_norm_bwd(d, &a->norm_bwd);
    case QL_OP_ATTN_FWD: return ql_cpu_scratch_attn_fwd(d, &a->attn_fwd);
    case QL_OP_ATTN_BWD: return ql_cpu_scratch_attn_bwd(d, &a->attn_bwd);
    case QL_OP_GEMM: return ql_cpu_scratch_gemm(d, &a->gemm);
    case QL_OP_GEMM_Q: return ql_cpu_scratch_gemm_q(d, &a->gemm_q);
    case QL_OP_SCALE_COLS: return ql_cpu_scratch_scale_cols(d, &a->scale_cols);
    case QL_OP_SUM_ROWS: return ql_cpu_scratch_sum_rows(d, &a->sum_rows);
    case QL_OP_SUMSQ: return ql_cpu_scratch_sumsq(d, &a->sumsq);
    default: return 0;
    }
}

/* ----------------------------------------------------------------- operators */

ql_status ql_cpu_run_op(ql_queue *q, ql_op id, const ql_op_args *args) {
    const ql_op_table *ops = &ql_cpu_dev(q)->ops;
    switch (id) {
#define QL_X(ID, name, family)                                                                     \
    case QL_OP_##ID:                                                                               \
        if (ops->name) return ops->name(q, &args->name);                                           \
        break;
        QL_OPS(QL_X)
#undef QL_X
    case QL_OP_COUNT: break;
    }
    return QL_FAIL(QL_ERR_UNSUPPORTED, "cpu: operator %d does not exist here", (int)id);
}

/* What this backend has: all of QL_OPS but lora_*, which core composes. */
#define CPU_OPS(X)                                                                                 \
    X(FILL, fill)                                                                                  \
    X(AXPBY, axpby)                                                                                \
    X(DROPOUT, dropout)                                                                            \
    X(ACT_FWD, act_fwd)                                                                            \
    X(ACT_BWD, act_bwd)                                                                            \
    X(GATHER, gather)                                                                              \
    X(SCATTER_ADD, scatter_add)                                                                    \
    X(NORM_FWD, norm_fwd)                                                                          \
    X(NORM_BWD, norm_bwd)                                                                          \
    X(ROPE, rope)                                                                                  \
    X(ATTN_FWD, attn_fwd)                                                                          \
    X(ATTN_BWD, attn_bwd)                                                                          \
    X(GEMM, gemm)                                                                                  \
    X(GEMM_Q, gemm_q)                                                                              \
    X(Q_QUANTIZE, q_quantize)                                                                      \
    X(Q_DEQUANTIZE, q_dequantize)                                                                  \
    X(ROW_NORM, row_norm)                                                                          \
    X(SCALE_COLS, scale_cols)                                                                      \
    X(ROW_COPY, row_copy)                                                                          \
    X(COL_COPY, col_copy)                                                                          \
    X(LOSS, loss)                                                                                  \
    X(SUM_ROWS, sum_rows)                                                                          \
    X(SUMSQ, sumsq)                                                                                \
    X(CLIP, clip)                                                                                  \
    X(OPT_STEP, opt_step)

#define X(ID, name)                                                                                \
    static ql_status submit_##name(ql_queue *q, const ql_##name##_args *a) {                       \
        ql_cpu_job job = {.kind = QL_CPU_JOB_OP};                                                  \
        job.u.op.id = QL_OP_##ID;                                                                  \
        job.u.op.args.name = *a;                                                                   \
        return ql_cpu_submit(q, &job);                                                             \
    }
CPU_OPS(X)
#undef X

const ql_backend *ql_cpu_backend(void) {
    static const ql_backend backend = {
        .abi = QL_BACKEND_ABI,
        .size = sizeof(ql_backend),
        .name = "cpu",
        .probe = probe,
        .device_open = device_open,
        .device_close = device_close,
        .device_memory = device_memory,
        .buffer_alloc = ql_cpu_buffer_alloc,
        .buffer_wrap = ql_cpu_buffer_wrap,
        .buffer_free = ql_cpu_buffer_free,
        .advise = ql_cpu_advise,
        .queue_create = ql_cpu_queue_create,
        .queue_destroy = ql_cpu_queue_destroy,
        .queue_flush = ql_cpu_queue_flush,
        .queue_sync = ql_cpu_queue_sync,
        .event_create = ql_cpu_event_create,
        .event_destroy = ql_cpu_event_destroy,
        .event_record = ql_cpu_event_record,
        .event_wait = ql_cpu_event_wait,
        .event_sync = ql_cpu_event_sync,
        .event_elapsed = ql_cpu_event_elapsed,
        .write = ql_cpu_write,
        .read = ql_cpu_read,
        .copy = ql_cpu_copy,
        .supports = supports,
        .scratch_bytes = scratch_bytes,
        .ops =
            {
#define X(ID, name) .name = submit_##name,
                CPU_OPS(X)
#undef X
            },
    };
    return &backend;
}
