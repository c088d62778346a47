/*
 * tape.h - a training step as data: an array of operator records over values.
 *
 * A value is a matrix: external (the caller binds it to a buffer: weights, adapters, gradients,
 * inputs), planned (it gets a place in the arena) or a view of another value. A record is one
 * operator call with its scalars and the ids of its operands.
 *
 * Builders record forward operators; ql_tape_backward appends the records that turn gradients of
 * outputs into gradients of inputs, one hand-written rule per operator (grad.c). A checkpoint
 * segment (segment.c) is recomputed before its backward.
 *
 * Errors are latched: after the first failure every call does nothing and returns 0; the builder
 * asks ql_tape_status once at the end. So builders read like the mathematics.
 */
#ifndef QLORA_CORE_GRAPH_TAPE_H
#define QLORA_CORE_GRAPH_TAPE_H

#include "core/graph/opinfo.h"
#include "qlora/memory.h"

typedef uint32_t ql_vid; /* value id; 0 = none */

/* Row counts that change from step to step; planned at their maximum, set before each run. */
typedef enum ql_sym {
    QL_SYM_FIXED,
    QL_SYM_TOKENS,     /* packed tokens of the micro-batch (decoder side)   */
    QL_SYM_SEQS,       /* sequences                                         */
    QL_SYM_LABELLED,   /* rows with a target                                */
    QL_SYM_ENC_TOKENS, /* packed tokens of the encoder side                 */
    QL_SYM_KV,         /* rows of the key/value cache                       */
    QL_SYM_COUNT
} ql_sym;

/* Current extent = clamp(mul * value(sym) - lo, 0, max); FIXED: max. `lo` cuts a range into chunks
 * (and is -1 for the S + 1 offsets of S sequences); `mul` counts items per row (heads). */
typedef struct ql_dim {
    int64_t max, lo;
    ql_sym sym;
    int32_t mul;
} ql_dim;

static inline ql_dim ql_fixed(int64_t n) {
    return (ql_dim){n, 0, QL_SYM_FIXED, 1};
}
static inline ql_dim ql_rows(ql_sym sym, int64_t max) {
    return (ql_dim){max, 0, sym, 1};
}
/* `items` for each of d's rows. */
static inline ql_dim ql_rows_of(ql_dim d, int32_t items) {
    return (ql_dim){d.max * items, d.lo * items, d.sym, d.mul * items};
}

typedef enum ql_value_kind { QL_VALUE_EXTERNAL, QL_VALUE_PLANNED, QL_VALUE_VIEW } ql_value_kind;

typedef struct ql_value {
    char name[64]; /* "layers.3.attn.q" */
    ql_value_kind kind;
    ql_dtype dtype;
    ql_pool pool;
    ql_dim rows, cols;
    ql_vid base;        /* VIEW: the viewed value (never itself a view)             */
    int64_t row0, col0; /* VIEW: first row and column inside base                   */
    int64_t ld;         /* elements between rows of the base storage                */
    bool needs_grad;
    ql_vid grad;         /* its gradient, 0 until one exists                         */
    int32_t first, last; /* PLANNED: live range in record indices (core/memory)      */
    uint64_t offset;     /* PLANNED: bytes from the start of the arena               */
    ql_buffer *buf;      /* EXTERNAL: bound storage, with its byte offset            */
    uint64_t buf_off;
} ql_value;

typedef enum ql_phase { QL_PHASE_FWD, QL_PHASE_RECOMPUTE, QL_PHASE_BWD } ql_phase;

typedef struct ql_record {
    ql_op op;
    ql_phase phase;
    int16_t layer;                   /* for reading dumps; -1 = none          */
    int16_t segment;                 /* checkpoint segment, 0 = none          */
    ql_vid operand[QL_MAX_OPERANDS]; /* parallel to ql_op_info                */
    ql_op_args args;                 /* scalars and maximal shapes            */
} ql_record;

typedef struct ql_tape ql_tape;

QL_NODISCARD ql_status ql_tape_create(ql_tape **out);
void ql_tape_free(ql_tape *t); /* NULL ok */
/* The first failure while building, or QL_OK. */
QL_NODISCARD ql_status ql_tape_status(const ql_tape *t);
/* Latches a failure (already recorded with QL_FAIL). */
void ql_tape_fail(ql_tape *t, ql_status s);

/* ---------------------------------------------------------------- values
 * Names are copied (cut at 63 bytes). */
ql_vid ql_tape_external(ql_tape *t, ql_pool pool, ql_dtype dtype, ql_dim rows, ql_dim cols,
                        const char *name_fmt, ...) QL_PRINTF(6, 7);
ql_vid ql_tape_value(ql_tape *t, ql_pool pool, ql_dtype dtype, ql_dim rows, ql_dim cols,
                     const char *name_fmt, ...) QL_PRINTF(6, 7);
/* Rows [row0, ...) x columns [col0, ...) of v; a view of a view is flattened. */
ql_vid ql_tape_view(ql_tape *t, ql_vid v, int64_t row0, ql_dim rows, int64_t col0, ql_dim cols);
/* v is trained: its gradient is the external value g, always accumulated into. */
void ql_tape_train(ql_tape *t, ql_vid v, ql_vid g);

const ql_value *ql_tape_at(const ql_tape *t, ql_vid v);
ql_value *ql_tape_at_mut(ql_tape *t, ql_vid v);
uint32_t ql_tape_values(const ql_tape *t); /* ids are 1 .. n */
/* Storage of v: the base of a view, v itself otherwise. */
ql_vid ql_tape_base(const ql_tape *t, ql_vid v);
/* Bytes of v's storage at its maximum. */
uint64_t ql_value_bytes(const ql_value *v);

/* ---------------------------------------------------------------- records */

/* The matrix that stands for v in an argument struct while recording: its maximal shape, no
 * buffer, the id in `off`. ql_ref(t, 0) is the absent operand. */
ql_mat ql_ref(const ql_tape *t, ql_vid v);
/* Appends one forward operator; operands come from the ql_ref matrices inside args. Outputs need
 * a gradient when an input does. */
void ql_tape_record(ql_tape *t, ql_op op, const ql_op_args *args);
/* Shorthand: QL_RECORD(t, GEMM, gemm, .a = ql_ref(t, x), ...). */
#define QL_RECORD(t, ID, field, ...)                                                               \
    ql_tape_record((t), QL_OP_##ID, &(ql_op_args){.field = {__VA_ARGS__}})

int32_t ql_tape_count(const ql_tape *t);
const ql_record *ql_tape_record_at(const ql_tape *t, int32_t i);
ql_record *ql_tape_record_mut(ql_tape *t, int32_t i);
void ql_tape_set_layer(ql_tape *t, int layer);

/* ---------------------------------------------------------------- segments and backward */

/* Records between begin and end are recomputed before their backward. Not nested. */
void ql_tape_segment_begin(ql_tape *t);
void ql_tape_segment_end(ql_tape *t);

/* Appends the backward of forward records [from, to), last first. Gradients of outputs must have
 * been seeded by records (loss writes dlogits) or by earlier calls. A chunked head calls this at
 * once for each chunk, so that one chunk of logits lives at a time. */
void ql_tape_backward(ql_tape *t, int32_t from, int32_t to);

/* Replayable description: operators, operands, shapes, live ranges, bytes. Free with ql_host_free.
 */
QL_NODISCARD ql_status ql_tape_dump(const ql_tape *t, bool json, char **text);

#endif /* QLORA_CORE_GRAPH_TAPE_H */
