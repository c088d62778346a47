/*
 * program_apart.c - records whose results do not depend on how rows are cut into micro-batches.
 *
 * A gradient of a step is a sum over its tokens. One product over a micro-batch sums them in an
 * order that depends on the micro-batch; rounding then differs in the last bits, and Adam's
 * division by sqrt(v) turns these into visible differences wherever a gradient nearly vanishes.
 * Summed sequence by sequence in their order, the gradient has the same bits however many sequences
 * a micro-batch has: dW += sum_s ( sum over the rows t of sequence s of dy[t]^T x[t] ) Products
 * that give a result per row do not mix rows, but a device may have another path, with another
 * order of sums, for a few rows.
 */
#include <string.h>

#include "core/base/hostmem.h"
#include "core/device/device.h"
#include "core/graph/program_impl.h"

/* Rows from which on no device takes its path for a few rows (backends/cpu: 8). */
enum { MANY_ROWS = 16 };

void ql_program_by_sequence(ql_program *p) {
    p->by_sequence = true;
}

ql_status ql_program_cut(ql_program *p, ql_sym sym, const int32_t *at, int32_t n) {
    ql_cuts *c = &p->cuts[sym];
    void *to = c->at;
    QL_TRY(ql_host_grow(&to, &c->cap, (size_t)n + 1, sizeof *at));
    c->at = to;
    memcpy(c->at, at, ((size_t)n + 1) * sizeof *at);
    c->n = n;
    return QL_OK;
}

static ql_sym symbol_of(const ql_value *x) {
    return x->rows.sym != QL_SYM_FIXED ? x->rows.sym : x->cols.sym;
}

/* Operators whose operands of one symbol are lists of rows that do not touch each other. */
static bool goes_by_rows(ql_op op) {
    return op == QL_OP_GEMM || op == QL_OP_SUM_ROWS || op == QL_OP_SCALE_COLS ||
           op == QL_OP_NORM_BWD || op == QL_OP_SCATTER_ADD;
}

/* The symbol over whose rows r adds to the gradient of a trained value; FIXED: it does not. */
static ql_sym summed_symbol(const ql_program *p, const ql_record *r) {
    const ql_op_info info = ql_op_info_of(r->op);
    ql_sym sym = QL_SYM_FIXED;
    bool adds = false;
    if (!goes_by_rows(r->op)) return QL_SYM_FIXED;
    for (int k = 0; k < info.count; k++) {
        if (!r->operand[k]) continue;
        const ql_value *x = ql_tape_at(p->tape, r->operand[k]);
        ql_use use = ql_operand_access(r->op, &r->args, k);
        ql_sym here = symbol_of(x);
        if (here == QL_SYM_FIXED) {
            adds |= use == QL_USE_UPDATE && x->pool == QL_POOL_GRADIENTS;
        } else if (sym != QL_SYM_FIXED && here != sym) {
            return QL_SYM_FIXED;
        } else {
            sym = here;
        }
    }
    return adds ? sym : QL_SYM_FIXED;
}

/* Narrows the operand to rows (or columns, for a list that lies in a row) of [from, to) of its
 * symbol. false: none of its rows is in there. */
static bool narrow(const ql_value *x, int64_t from, int64_t to, ql_mat *m) {
    bool rows = x->rows.sym != QL_SYM_FIXED;
    ql_dim d = rows ? x->rows : x->cols;
    int64_t lo = ql_program_extent(d, from), n = ql_program_extent(d, to) - lo;
    if (rows)
        m->rows = n;
    else
        m->cols = n;
    m->off += (uint64_t)(rows ? lo * m->ld : lo) * ql_dtype_size(m->dtype);
    return n > 0;
}

static ql_status run_piece(const ql_program *p, ql_queue *q, const ql_record *r,
                           const ql_op_args *whole, int64_t from, int64_t to) {
    const ql_op_info info = ql_op_info_of(r->op);
    ql_op_args args = *whole;
    for (int k = 0; k < info.count; k++) {
        if (!r->operand[k]) continue;
        const ql_value *x = ql_tape_at(p->tape, r->operand[k]);
        if (symbol_of(x) == QL_SYM_FIXED) continue;
        if (!narrow(x, from, to, ql_operand_mat_mut(r->op, &args, k))) return QL_OK;
    }
    return ql_run_op(q, r->op, &args);
}

/* Lets a product with a result per row run over MANY_ROWS of them. What is behind the rows that
 * count has room in every value (it is planned for the most rows), and nobody reads it. */
static void widen(const ql_program *p, ql_vid x, ql_vid y, ql_mat *in, ql_mat *out) {
    const ql_dim a = ql_tape_at(p->tape, x)->rows, c = ql_tape_at(p->tape, y)->rows;
    if (a.sym == QL_SYM_FIXED || a.sym != c.sym || out->rows >= MANY_ROWS) return;
    int64_t most = a.max < c.max ? a.max : c.max;
    in->rows = out->rows = most < MANY_ROWS ? most : MANY_ROWS;
}

ql_status ql_program_run_apart(const ql_program *p, ql_queue *q, const ql_record *r,
                               ql_op_args *args) {
    ql_sym sym = summed_symbol(p, r);
    const ql_cuts *c = &p->cuts[sym];
    if (sym != QL_SYM_FIXED && c->n > 1) {
        for (int32_t i = 0; i < c->n; i++) QL_TRY(run_piece(p, q, r, args, c->at[i], c->at[i + 1]));
        return QL_OK;
    }
    if (r->op == QL_OP_GEMM && !args->gemm.trans_a)
        widen(p, r->operand[0], r->operand[2], &args->gemm.a, &args->gemm.c);
    if (r->op == QL_OP_GEMM_Q)
        widen(p, r->operand[0], r->operand[1], &args->gemm_q.x, &args->gemm_q.y);
    return ql_run_op(q, r->op, args);
}
