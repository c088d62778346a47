/*
 * cl.h - private header of the OpenCL backend: its device, its objects, and how a kernel is called.
 *
 * Programs: one per kernel family (kernels/<family>.cl behind ql_math.inc and common.cl), built
 * when a kernel of it is first needed. Each exists in two builds of one text: for matrices in one
 * piece, and for matrices that straddle the pieces of a buffer beyond the device's largest
 * allocation (common.cl).
 *
 * Threads: different queues of a device may be used from different threads. Kernels carry their
 * arguments, so one lock of the device covers setting them and enqueuing.
 */
#ifndef QLORA_BACKENDS_OPENCL_CL_H
#define QLORA_BACKENDS_OPENCL_CL_H

#define CL_TARGET_OPENCL_VERSION 120
#include <CL/cl.h>
#include <pthread.h>

#include "qlora/backend.h"

/* --------------------------------------------------------------------- limits */

enum {
    QL_CL_WG = 64,         /* work-items of a work-group outside gemm                 */
    QL_CL_ATTN_DIMS = 512, /* largest head size; 9 KiB of local memory                */
    QL_CL_GEMV_ROWS = 4,   /* products of up to so many rows go row by row            */
    QL_CL_CHUNK_ROWS = 64, /* rows per partial sum                                    */
    QL_CL_PIECE = 4096,    /* columns per partial sum of squares                      */
    QL_CL_PIECES = 4,      /* pieces that one matrix may reach into                   */
    QL_CL_ALIGN = 64,      /* of the pieces of a buffer, and of offsets core chooses  */
    QL_CL_MAX_ARGS = 64
};

/* --------------------------------------------------------- families and kernels */

/* clang-format off */
#define QL_CL_FAMILIES(X)                                                                          \
    X(elem) X(rows) X(norm) X(rope) X(attn) X(gemm) X(quant) X(loss) X(reduce) X(opt)
/* clang-format on */
typedef enum ql_cl_family {
#define QL_X(name) QL_CL_FAMILY_##name,
    QL_CL_FAMILIES(QL_X)
#undef QL_X
        QL_CL_FAMILY_COUNT
} ql_cl_family;

/* X(kernel, family) */
/* clang-format off */
#define QL_CL_KERNELS(X)                                                                           \
    X(fill, elem) X(axpby, elem) X(dropout, elem) X(act_fwd, elem) X(act_bwd, elem)                \
    X(gather, rows) X(scatter_init, rows) X(scatter_link, rows) X(scatter_add, rows)               \
    X(row_norm, rows) X(scale_cols, rows) X(scale_cols_dm, rows) X(row_copy, rows)                 \
    X(col_copy, rows)                                                                              \
    X(norm_fwd, norm) X(norm_bwd, norm) X(norm_bwd_dw, norm)                                       \
    X(rope, rope)                                                                                  \
    X(attn_fwd, attn) X(attn_bwd_q, attn) X(attn_bwd_table, attn) X(attn_bwd_kv, attn)             \
    X(gemm, gemm) X(gemm_q, gemm) X(gemv, gemm)                                                    \
    X(q_dequantize, quant) X(quant_scales, quant) X(quant_codes, quant)                            \
    X(loss_xent, loss) X(loss_mse, loss)                                                           \
    X(sum_chunks, reduce) X(combine_cols, reduce) X(square_pieces, reduce) X(square_total, reduce) \
    X(clip, opt) X(opt_step, opt) X(opt_step8, opt)
/* clang-format on */
typedef enum ql_cl_kernel {
#define QL_X(name, family) QL_CL_##name,
    QL_CL_KERNELS(QL_X)
#undef QL_X
        QL_CL_KERNEL_COUNT
} ql_cl_kernel;

/* sources.c, made at build time from kernels: the text of a family, complete. */
typedef struct ql_cl_source {
    const char *text;
    size_t len;
} ql_cl_source;
extern const ql_cl_source ql_cl_math_source, ql_cl_common_source, ql_cl_decode_source;
extern const ql_cl_source ql_cl_family_sources[QL_CL_FAMILY_COUNT];

/* --------------------------------------------------------------------- objects */

/* The tile of a product; work-items = tm / rm * tn / rn. */
typedef struct ql_cl_tile {
    int tm, tn, tk, rm, rn;
} ql_cl_tile;
static inline int ql_cl_tile_items(const ql_cl_tile *t) {
    return t->tm / t->rm * (t->tn / t->rn);
}

/* What probing found out about one device (probe.c); plain bytes, they come through a pipe. */
typedef struct ql_cl_info {
    ql_device_props props;
    char platform[64], platform_version[64], version[64];
    uint64_t chunk;       /* CL_DEVICE_MAX_MEM_ALLOC_SIZE, rounded down to QL_CL_ALIGN */
    uint32_t max_group;   /* work-items */
    uint32_t platform_at; /* place in clGetPlatformIDs ... */
    uint32_t device_at;   /* ... and in clGetDeviceIDs of it */
    bool exact_divide, fma, unified, available;
} ql_cl_info;

typedef struct ql_cl_device {
    ql_device base;
    ql_cl_info info;
    cl_device_id id;
    cl_context context;
    ql_cl_tile tile;
    pthread_mutex_t lock; /* guards all below                                         */
    cl_program program[2][QL_CL_FAMILY_COUNT];
    cl_kernel kernel[2][QL_CL_KERNEL_COUNT];
    cl_mem none;                /* stands in for absent operands                            */
    uint64_t limit, used;       /* bytes of device memory; limit 0 = none                   */
    struct ql_cl_buffer *hosts; /* list of pinned host buffers                        */
    bool told;                  /* "compiling kernels" was said                       */
    bool lost;                  /* sticky                                             */
} ql_cl_device;

typedef struct ql_cl_buffer {
    ql_buffer base;
    ql_cl_device *d; /* base.dev may name a device that wraps this one               */
    cl_mem *piece;   /* owned; ceil(size / info.chunk) of them; host memory: 0 or 1  */
    int n_pieces;
    uint64_t counted;        /* bytes taken from the device's limit                          */
    bool plain;              /* host memory from the allocator, not mapped                   */
    cl_command_queue mapper; /* host memory: queue that mapped it            */
    struct ql_cl_buffer *next_host; /* list of the device                           */
} ql_cl_buffer;

typedef struct ql_cl_queue {
    ql_queue base;
    cl_command_queue cl;
    ql_status failed; /* first failure since the last sync                             */
    char message[256];
} ql_cl_queue;

static inline ql_cl_device *ql_cl_dev(const ql_queue *q) {
    return (ql_cl_device *)q->dev;
}
static inline bool ql_cl_has(const ql_mat *m) {
    return m->buf != NULL;
}

/* ---------------------------------------------------------------------- errors */

/* "CL_OUT_OF_RESOURCES" for -5; "CL error" for an unknown number. */
const char *ql_cl_error_name(cl_int error);
/* Fails with a sentence: device, what was tried, the error's name and number, and advice where the
 * number allows it. Marks the device lost where the number says so. */
QL_NODISCARD ql_status ql_cl_fail(ql_cl_device *d, cl_int error, const char *what);
/* QL_ERR_DEVICE_LOST for every call on a device that was lost before. */
QL_NODISCARD ql_status ql_cl_alive(const ql_cl_device *d);
#define QL_CL_TRY(d, what, expr)                                                                   \
    do {                                                                                           \
        cl_int ql_e_ = (expr);                                                                     \
        if (ql_e_ != CL_SUCCESS) return ql_cl_fail((d), ql_e_, (what));                            \
    } while (0)

/* module.c: a remark for the user, through the program that loaded this module. */
void ql_cl_note(const char *fmt, ...) QL_PRINTF(1, 2);

/* --------------------------------------------------------------------- launching */

typedef struct ql_cl_arg {
    enum { QL_CL_ARG_MAT, QL_CL_ARG_BYTES } kind;
    ql_mat mat; /* buf NULL = absent */
    union {
        cl_int i;
        cl_long l;
        cl_ulong u;
        cl_float f;
    } value;
    size_t size;
} ql_cl_arg;

/* One launch: begin, arguments in the order of the kernel's parameters, run. */
typedef struct ql_cl_call {
    ql_queue *q;
    ql_cl_kernel kernel;
    int n;
    bool straddles; /* some matrix reaches into more than one piece */
    ql_status status;
    ql_cl_arg arg[QL_CL_MAX_ARGS];
} ql_cl_call;

void ql_cl_begin(ql_cl_call *c, ql_queue *q, ql_cl_kernel kernel);
void ql_cl_mat(ql_cl_call *c, const ql_mat *m);
void ql_cl_none(ql_cl_call *c); /* an absent matrix */
void ql_cl_int(ql_cl_call *c, int32_t v);
void ql_cl_long(ql_cl_call *c, int64_t v);
void ql_cl_ulong(ql_cl_call *c, uint64_t v);
void ql_cl_float(ql_cl_call *c, float v);
void ql_cl_qmat(ql_cl_call *c, const ql_qmat *w); /* QMAT of decode.cl; NULL = absent */
/* x work-items, rounded up to whole work-groups of QL_CL_WG, times y times z. */
QL_NODISCARD ql_status ql_cl_run_items(ql_cl_call *c, int64_t x, int64_t y);
/* x times y times z work-groups of `items`. */
QL_NODISCARD ql_status ql_cl_run_groups(ql_cl_call *c, int64_t x, int64_t y, int64_t z, int items);

/* Elements of a vector in scratch at *off bytes, which moves on. */
ql_mat ql_cl_carve(const ql_mat *scratch, uint64_t *off, int64_t count);

/* program.c: the kernel, built if need be; the device's lock is held. */
QL_NODISCARD ql_status ql_cl_kernel_of(ql_cl_device *d, ql_cl_kernel id, bool straddles,
                                       cl_kernel *out);
void ql_cl_programs_free(ql_cl_device *d);

/* cache.c: binaries of built programs on disk. load: false = not there or damaged. */
bool ql_cl_cache_load(const ql_cl_device *d, uint64_t key, unsigned char **binary, size_t *size);
void ql_cl_cache_store(const ql_cl_device *d, uint64_t key, const unsigned char *binary,
                       size_t size);
uint64_t ql_cl_hash(uint64_t seed, const void *data, size_t size);

/* settings.c: the only place that reads the environment. NULL = not set. */
const char *ql_cl_setting(const char *name);

/* probe.c: what the child process found; out NULL only counts. The list stays. */
int ql_cl_probe(const ql_cl_info **out);
/* Why the last probe found nothing, "" if it found something. */
const char *ql_cl_probe_failure(void);
/* Finds the device that `info` describes in this process. */
QL_NODISCARD ql_status ql_cl_find(const ql_cl_info *info, cl_platform_id *platform,
                                  cl_device_id *id);

/* -------------------------------------------------------- entries of the table */

const ql_backend *ql_cl_backend(void); /* backend.c */

ql_status ql_cl_device_probe(int *count);
ql_status ql_cl_device_describe(int index, ql_device_props *out);
ql_status ql_cl_device_open(int index, const ql_device_opts *opts, ql_device **out);
void ql_cl_device_close(ql_device *dev);
ql_status ql_cl_device_memory(ql_device *dev, uint64_t *free_now, uint64_t *total);

ql_status ql_cl_buffer_alloc(ql_device *dev, ql_mem mem, uint64_t size, ql_buffer **out);
ql_status ql_cl_buffer_wrap(ql_device *dev, void *host, uint64_t size, ql_buffer **out);
void ql_cl_buffer_free(ql_buffer *buf);

ql_status ql_cl_queue_create(ql_device *dev, ql_queue **out);
void ql_cl_queue_destroy(ql_queue *q);
ql_status ql_cl_queue_flush(ql_queue *q);
ql_status ql_cl_queue_sync(ql_queue *q);

ql_status ql_cl_event_create(ql_device *dev, ql_event **out);
void ql_cl_event_destroy(ql_event *e);
ql_status ql_cl_event_record(ql_event *e, ql_queue *q);
ql_status ql_cl_event_wait(ql_queue *q, ql_event *e);
ql_status ql_cl_event_sync(ql_event *e);
ql_status ql_cl_event_elapsed(ql_event *from, ql_event *to, double *seconds);

ql_status ql_cl_write(ql_queue *q, ql_buffer *dst, uint64_t off, const void *src, uint64_t len);
ql_status ql_cl_read(ql_queue *q, ql_buffer *src, uint64_t off, void *dst, uint64_t len);
ql_status ql_cl_copy(ql_queue *q, ql_buffer *dst, uint64_t doff, ql_buffer *src, uint64_t soff,
                     uint64_t len);
ql_status ql_cl_advise(ql_queue *q, ql_buffer *buf, uint64_t off, uint64_t len, ql_advice what);

ql_support ql_cl_supports(ql_device *dev, ql_op op, const ql_op_args *a, const char **why);
uint64_t ql_cl_scratch_bytes(ql_device *dev, ql_op op, const ql_op_args *a);

/* What this backend has: all of QL_OPS but lora_*, which core composes. */
/* clang-format off */
#define QL_CL_OPS(X)                                                                               \
    X(fill) X(axpby) X(dropout) X(act_fwd) X(act_bwd) X(gather) X(scatter_add) X(norm_fwd)         \
    X(norm_bwd) X(rope) X(attn_fwd) X(attn_bwd) X(gemm) X(gemm_q) X(q_quantize) X(q_dequantize)    \
    X(row_norm) X(scale_cols) X(row_copy) X(col_copy) X(loss) X(sum_rows) X(sumsq) X(clip)         \
    X(opt_step)
/* clang-format on */
#define X(name) QL_NODISCARD ql_status ql_cl_op_##name(ql_queue *q, const ql_##name##_args *a);
QL_CL_OPS(X)
#undef X

/* reduce.c: y (=, +=) the column sums of `chunks` rows of partial sums. */
QL_NODISCARD ql_status ql_cl_combine(ql_queue *q, const ql_mat *partial, const ql_mat *y,
                                     int64_t chunks, int64_t cols, bool accumulate);
static inline int64_t ql_cl_chunks(int64_t rows) {
    return (rows + QL_CL_CHUNK_ROWS - 1) / QL_CL_CHUNK_ROWS;
}

#endif
