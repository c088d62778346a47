/*
 * opcase.h - building one operator case (internal to tests/support).
 *
 * A family file fills in an operator's argument struct by declaring its operands: tc_in, tc_out,
 * tc_update. Each answers the operand's values (double, rows * cols, zero) to be filled, in the
 * form of tests/ref/ref.h. The harness rounds them to the dtype, lays them out, runs and compares.
 */
#ifndef QLORA_TESTS_SUPPORT_OPCASE_H
#define QLORA_TESTS_SUPPORT_OPCASE_H

#include "core/base/hostmem.h"
#include "tests/support/opcases.h"

enum { OPCASE_MAX_TENSORS = 32 };

typedef enum tensor_form {
    FORM_PLAIN,
    FORM_PACKED, /* no gaps between rows: codes                            */
    FORM_STEP    /* step block: [1, 16] numbers here, U8 [1, 64] on a device */
} tensor_form;

typedef struct tensor {
    const char *name;
    uint64_t at;        /* where its ql_mat sits in the arguments             */
    bool input, output; /* both: updated in place                             */
    tensor_form form;
    ql_dtype dtype;
    int64_t rows, cols, count; /* count > 1: a batch of matrices               */
    double *values;            /* before: what goes in; after the reference: truth   */
    double limit;              /* < 0: that of the operator and dtype                */
    const double *map;         /* U8 codes are compared as the values map[code]      */
    struct tensor *same;       /* shares everything with this one (in place), or NULL */
    int64_t *stride;           /* receives the elements between matrices of a batch  */
    /* layout, by the harness */
    int64_t ld, matrix_stride;
    uint64_t off, size;
    uint8_t *image, *got, *got_again; /* whole buffers: before, after, after again */
    ql_buffer *buf;
    ql_buffer ref_buf;
} tensor;

typedef struct opcase {
    ql_op op;
    ql_op_args args; /* matrices with shapes and dtypes, buf NULL until placed */
    tensor tensors[OPCASE_MAX_TENSORS];
    int n_tensors;
    bool strided;
    bool out_of_memory;
    uint64_t random; /* state */
    ql_arena arena;
    char label[112];
} opcase;

/* A family: `n` rows, each built once plain and once strided. */
typedef struct opfamily {
    const char *name;
    int n;
    void (*build)(opcase *c, int row);
} opfamily;
const opfamily *ql_opfamily_at(int family);
extern const opfamily ql_opfamily_elem, ql_opfamily_rows, ql_opfamily_norm, ql_opfamily_rope,
    ql_opfamily_attn, ql_opfamily_gemm, ql_opfamily_quant, ql_opfamily_lora, ql_opfamily_loss,
    ql_opfamily_reduce, ql_opfamily_opt;

/* Declares the operand at `m` (inside c->args). */
tensor *tc_add(opcase *c, ql_mat *m, const char *name, ql_dtype t, int64_t rows, int64_t cols);
double *tc_in(opcase *c, ql_mat *m, const char *name, ql_dtype t, int64_t rows, int64_t cols);
void tc_out(opcase *c, ql_mat *m, const char *name, ql_dtype t, int64_t rows, int64_t cols);
double *tc_update(opcase *c, ql_mat *m, const char *name, ql_dtype t, int64_t rows, int64_t cols);
/* The operand at `m` is the same matrix as the one at `other`, which becomes an output. */
void tc_same(opcase *c, ql_mat *m, const ql_mat *other);
/* A step block with ordinary numbers; answers its 16 values. */
double *tc_step(opcase *c, ql_mat *m, const char *name);
/* Row keys {sample, position} of `rows` rows: several samples, gaps in the positions. */
void tc_key(opcase *c, ql_mat *m, const char *name, int64_t rows);
/* The operand at `m`, to set its form, map, limit or batch. */
tensor *tc_find(opcase *c, const ql_mat *m);

/* Quantized weights: the storage types of spec/quantization.md, section 9, and the GGUF blocks. */
int tc_weight_find(const char *name); /* -1 = unknown */
/* A weight [n, k] in storage type `type` with random codes and scales. block 0 = one per row;
 * doubled: two levels of scales. row0: it is a slice that starts there. */
typedef struct weight_shape {
    const char *type;
    int64_t n, k, row0;
    int32_t block;
    bool doubled;
} weight_shape;
void tc_weight(opcase *c, ql_qmat *w, const weight_shape *shape);
/* The code table of a type: 2^bits values into v. */
void tc_weight_table(int type, double *v);

/* Random numbers of the case. */
uint64_t tc_bits(opcase *c);
double tc_uniform(opcase *c);                                           /* [0, 1)            */
void tc_normal(opcase *c, double *v, int64_t n, double scale);          /* scale * N(0, 1)   */
void tc_range(opcase *c, double *v, int64_t n, int64_t lo, int64_t hi); /* integers [lo, hi) */

/* The usual declarations, named after the field. `a` is the typed argument struct. */
#define IN(field, t, rows, cols)                                                                   \
    tc_normal(c, tc_in(c, &a->field, #field, t, rows, cols), (rows) * (cols), 1.0)
#define IN_SCALED(field, t, rows, cols, scale)                                                     \
    tc_normal(c, tc_in(c, &a->field, #field, t, rows, cols), (rows) * (cols), scale)
#define OUT(field, t, rows, cols) tc_out(c, &a->field, #field, t, rows, cols)
#define UPDATE(field, t, rows, cols)                                                               \
    tc_normal(c, tc_update(c, &a->field, #field, t, rows, cols), (rows) * (cols), 1.0)
#define INDEX(field, n, below) tc_range(c, tc_in(c, &a->field, #field, QL_I32, 1, n), n, 0, below)

const char *tc_type(ql_dtype t); /* "f32" */
/* Label of the case, printf style. */
void tc_label(opcase *c, const char *fmt, ...) QL_PRINTF(2, 3);

/* Limit of the NMSE of an output (limits.c). */
double ql_opcase_limit(ql_op op, ql_dtype t);

#endif
