/* cases_rows.c - gather, scatter_add, row_norm, scale_cols, row_copy, col_copy. */
#include "tests/support/opcase.h"

enum { ACCUM = 1, NORM = 2, BACKWARD = 4, INPLACE = 8, SRC = 16, DST = 32, LORA = 64, QUANT = 128 };

typedef struct rows_case {
    ql_op op;
    int64_t V, N, C; /* table rows, rows, columns */
    ql_dtype x, y;
    int flags;
} rows_case;

static const rows_case cases[] = {
    {QL_OP_GATHER, 1, 1, 1, QL_F32, QL_F32, 0},
    {QL_OP_GATHER, 11, 29, 65, QL_F32, QL_F32, 0},
    {QL_OP_GATHER, 100, 7, 576, QL_BF16, QL_BF16, 0},
    {QL_OP_GATHER, 100, 7, 576, QL_F16, QL_F32, ACCUM},
    {QL_OP_GATHER, 30, 33, 1025, QL_BF16, QL_F32, 0},
    {QL_OP_GATHER, 30, 33, 17, QL_F32, QL_BF16, ACCUM},

    {QL_OP_SCATTER_ADD, 1, 5, 3, QL_F32, QL_F32, 0},
    {QL_OP_SCATTER_ADD, 7, 64, 65, QL_F32, QL_F32, 0},
    {QL_OP_SCATTER_ADD, 300, 40, 128, QL_BF16, QL_F32, 0},
    {QL_OP_SCATTER_ADD, 5, 100, 600, QL_F16, QL_F32, 0},
    {QL_OP_SCATTER_ADD, 50, 9, 33, QL_BF16, QL_BF16, 0},

    {QL_OP_ROW_NORM, 0, 9, 70, QL_F32, QL_F32, 0},
    {QL_OP_ROW_NORM, 0, 33, 300, QL_BF16, QL_F32, LORA},
    {QL_OP_ROW_NORM, 0, 65, 64, QL_F16, QL_F32, LORA},
    {QL_OP_ROW_NORM, 0, 10, 96, QL_F32, QL_F32, QUANT},
    {QL_OP_ROW_NORM, 0, 37, 70, QL_F32, QL_F32, QUANT | LORA},

    {QL_OP_SCALE_COLS, 0, 5, 9, QL_F32, QL_F32, 0},
    {QL_OP_SCALE_COLS, 0, 33, 513, QL_BF16, QL_BF16, NORM},
    {QL_OP_SCALE_COLS, 0, 8, 100, QL_F16, QL_F32, NORM},
    {QL_OP_SCALE_COLS, 0, 8, 100, QL_F32, QL_F32, NORM | INPLACE},
    {QL_OP_SCALE_COLS, 0, 200, 65, QL_F32, QL_F32, NORM | BACKWARD},
    {QL_OP_SCALE_COLS, 0, 70, 300, QL_BF16, QL_BF16, BACKWARD},
    {QL_OP_SCALE_COLS, 0, 7, 30, QL_F32, QL_F32, NORM | BACKWARD | INPLACE},

    {QL_OP_ROW_COPY, 9, 9, 5, QL_F32, QL_F32, 0},
    {QL_OP_ROW_COPY, 40, 12, 130, QL_BF16, QL_BF16, SRC},
    {QL_OP_ROW_COPY, 40, 12, 130, QL_F16, QL_F16, DST},
    {QL_OP_ROW_COPY, 40, 12, 33, QL_F32, QL_F32, SRC | DST},
    {QL_OP_ROW_COPY, 20, 20, 65, QL_F32, QL_BF16, SRC},
    {QL_OP_ROW_COPY, 8, 3, 64, QL_I32, QL_I32, SRC | DST},

    {QL_OP_COL_COPY, 1, 3, 5, QL_F32, QL_F32, 0}, /* V groups of C columns */
    {QL_OP_COL_COPY, 8, 33, 64, QL_F32, QL_F32, SRC},
    {QL_OP_COL_COPY, 5, 40, 24, QL_BF16, QL_BF16, SRC},
    {QL_OP_COL_COPY, 2, 9, 1100, QL_F16, QL_F32, SRC},
    {QL_OP_COL_COPY, 8, 33, 64, QL_F32, QL_F32, DST | ACCUM},
    {QL_OP_COL_COPY, 3, 17, 13, QL_BF16, QL_BF16, SRC | DST | ACCUM},
};

static void build_scale_cols(opcase *c, const rows_case *k) {
    ql_scale_cols_args *a = &c->args.scale_cols;
    IN(x, k->x, k->N, k->C);
    IN(m, QL_F32, 1, k->C);
    if (k->flags & NORM) {
        double *norm = tc_in(c, &a->norm, "norm", QL_F32, 1, k->C);
        for (int64_t j = 0; norm && j < k->C; j++) norm[j] = 0.5 + 2.0 * tc_uniform(c);
    }
    if (k->flags & BACKWARD) {
        IN(dy, k->x, k->N, k->C);
        UPDATE(dm, QL_F32, 1, k->C);
    }
    if (k->flags & INPLACE)
        tc_same(c, &a->y, &a->x);
    else
        OUT(y, k->y, k->N, k->C);
}

/* V rows on the indexed side, N on the other; each destination occurs once. */
static void build_row_copy(opcase *c, const rows_case *k) {
    ql_row_copy_args *a = &c->args.row_copy;
    tc_range(c, tc_in(c, &a->x, "x", k->x, k->flags & SRC ? k->V : k->N, k->C),
             (k->flags & SRC ? k->V : k->N) * k->C, -1000, 1000);
    if (k->flags & SRC) INDEX(src, k->N, k->V);
    if (!(k->flags & DST)) {
        OUT(y, k->y, k->N, k->C);
        return;
    }
    tc_range(c, tc_update(c, &a->y, "y", k->y, k->V, k->C), k->V * k->C, -1000, 1000);
    double *dst = tc_in(c, &a->dst, "dst", QL_I32, 1, k->N);
    int64_t first = (int64_t)(tc_bits(c) % (uint64_t)k->V);
    for (int64_t i = 0; dst && i < k->N; i++)
        dst[i] = (double)((first + i * (k->V - 1)) % k->V); /* V - 1 has no factor of V */
}

/* SRC, DST: groups of that side lie in a wider matrix. */
static void build_col_copy(opcase *c, const rows_case *k) {
    ql_col_copy_args *a = &c->args.col_copy;
    int32_t width = (int32_t)k->C, wide = 3 * width + 1;
    *a = (ql_col_copy_args){.groups = (int32_t)k->V,
                            .width = width,
                            .x_step = k->flags & SRC ? wide : width,
                            .x_at = k->flags & SRC ? width : 0,
                            .y_step = k->flags & DST ? wide : width,
                            .y_at = k->flags & DST ? 2 * width + 1 : 0,
                            .accumulate = (k->flags & ACCUM) != 0};
    IN(x, k->x, k->N, k->V * a->x_step);
    if (k->flags & DST)
        UPDATE(y, k->y, k->N, k->V * a->y_step);
    else
        OUT(y, k->y, k->N, k->V * a->y_step);
}

static void build_row_norm(opcase *c, const rows_case *k) {
    ql_row_norm_args *a = &c->args.row_norm;
    a->s = 0.5f;
    const weight_shape shape = {.type = "nf4", .n = k->N, .k = k->C, .block = 64, .doubled = true};
    if (k->flags & QUANT)
        tc_weight(c, &a->w, &shape);
    else
        IN(wd, k->x, k->N, k->C);
    if (k->flags & LORA) {
        IN(a, QL_F32, 8, k->C);
        IN(b, QL_F32, k->N, 8);
    }
    OUT(norm, QL_F32, 1, k->N);
}

static void build_gather(opcase *c, const rows_case *k) {
    ql_gather_args *a = &c->args.gather;
    a->scale = 1.25f;
    a->accumulate = k->flags & ACCUM;
    IN(table, k->x, k->V, k->C);
    INDEX(index, k->N, k->V);
    if (a->accumulate)
        UPDATE(y, k->y, k->N, k->C);
    else
        OUT(y, k->y, k->N, k->C);
}

static void build_scatter_add(opcase *c, const rows_case *k) {
    ql_scatter_add_args *a = &c->args.scatter_add;
    a->scale = -0.75f;
    IN(dy, k->x, k->N, k->C);
    INDEX(index, k->N, k->V);
    UPDATE(dtable, k->y, k->V, k->C);
}

static void build(opcase *c, int row) {
    const rows_case *k = &cases[row];
    c->op = k->op;
    tc_label(c, "%s %d of %d rows of %d %s -> %s%s%s%s%s%s%s%s", ql_op_name(k->op), (int)k->N,
             (int)k->V, (int)k->C, tc_type(k->x), tc_type(k->y),
             k->flags & ACCUM ? " accumulate" : "", k->flags & NORM ? " norm" : "",
             k->flags & BACKWARD ? " backward" : "", k->flags & INPLACE ? " in place" : "",
             k->flags & LORA ? " lora" : "", k->flags & SRC ? " src" : "",
             k->flags & DST ? " dst" : "");
    switch (k->op) {
    case QL_OP_GATHER: build_gather(c, k); break;
    case QL_OP_SCATTER_ADD: build_scatter_add(c, k); break;
    case QL_OP_ROW_NORM: build_row_norm(c, k); break;
    case QL_OP_SCALE_COLS: build_scale_cols(c, k); break;
    case QL_OP_COL_COPY: build_col_copy(c, k); break;
    default: build_row_copy(c, k); break;
    }
}

const opfamily ql_opfamily_rows = {"rows", sizeof cases / sizeof *cases, build};
