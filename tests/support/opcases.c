/*
 * opcases.c - the families, and one run of one case (opcases.h tells the steps).
 *
 * The order below is the order of a run: build, lay out, write, call twice, look at the bytes,
 * compare with the reference.
 */
#include "tests/support/opcases.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "core/device/operands.h"
#include "tests/ref/ref.h"
#include "tests/support/convert.h"
#include "tests/support/opcase.h"

enum { GUARD = 256 };

static const opfamily *const families[] = {
    &ql_opfamily_elem, &ql_opfamily_rows,   &ql_opfamily_norm,  &ql_opfamily_rope,
    &ql_opfamily_attn, &ql_opfamily_gemm,   &ql_opfamily_quant, &ql_opfamily_lora,
    &ql_opfamily_loss, &ql_opfamily_reduce, &ql_opfamily_opt,
};

int ql_opcase_family_count(void) {
    return (int)(sizeof families / sizeof *families);
}
const opfamily *ql_opfamily_at(int family) {
    return families[family];
}
const char *ql_opcase_family_name(int family) {
    return families[family]->name;
}
int ql_opcase_count(int family) {
    return 2 * families[family]->n;
}

int ql_opcase_family_find(const char *name) {
    for (int i = 0; i < ql_opcase_family_count(); i++)
        if (strcmp(families[i]->name, name) == 0) return i;
    return -1;
}

/* --------------------------------------------------------------------------- layout */

/* A 16-bit pattern that is NaN in every float dtype, and not the NaN that arithmetic makes. */
static void poison(uint8_t *p, uint64_t n) {
    for (uint64_t i = 0; i < n; i++) p[i] = i % 2 ? 0xFF : 0xC5;
}

static uint64_t element_size(const tensor *t) {
    return ql_dtype_size(t->dtype);
}

static uint64_t element_at(const tensor *t, int64_t m, int64_t i, int64_t j) {
    return t->off + (uint64_t)(m * t->matrix_stride + i * t->ld + j) * element_size(t);
}

/* Strided: 3 more elements per row, an offset of 3 elements behind the guard; batches 5 elements
 * apart. Codes have no gaps; a step block keeps its natural alignment. */
static void lay_out(const opcase *c, tensor *t, uint32_t align) {
    bool loose = c->strided && t->form == FORM_PLAIN;
    t->ld = t->cols + (loose ? 3 : 0);
    t->matrix_stride = t->rows * t->ld + (loose && t->count > 1 ? 5 : 0);
    uint64_t base = align > GUARD ? align : GUARD;
    t->off = base + (c->strided ? (t->form == FORM_STEP ? 64 : 3 * element_size(t)) : 0);
    t->size = element_at(t, t->count - 1, t->rows - 1, t->cols) + GUARD;
    if (t->stride) *t->stride = t->matrix_stride;
}

static void write_values(tensor *t, uint8_t *image) {
    const double *v = t->values;
    for (int64_t m = 0; m < t->count; m++)
        for (int64_t i = 0; i < t->rows; i++)
            for (int64_t j = 0; j < t->cols; j++, v++) /* rng_step of a step block is an integer */
                ql_element_store(t->form == FORM_STEP && j == REF_STEP_RNG ? QL_I32 : t->dtype,
                                 image + element_at(t, m, i, j), *v);
}

static bool is_live(const tensor *t, uint64_t byte) {
    if (byte < t->off) return false;
    int64_t e = (int64_t)((byte - t->off) / element_size(t));
    int64_t m = t->matrix_stride ? e / t->matrix_stride : 0;
    if (m >= t->count) m = t->count - 1;
    int64_t rest = e - m * t->matrix_stride;
    return rest / t->ld < t->rows && rest % t->ld < t->cols;
}

static bool prepare(opcase *c, uint32_t align) {
    for (int n = 0; n < c->n_tensors; n++) {
        tensor *t = &c->tensors[n];
        if (t->same) continue;
        lay_out(c, t, align);
        t->image = ql_arena_alloc(&c->arena, t->size, 1);
        t->got = ql_arena_alloc(&c->arena, t->size, 1);
        t->got_again = ql_arena_alloc(&c->arena, t->size, 1);
        if (!t->image || !t->got || !t->got_again) return false;
        poison(t->image, t->size);
        int64_t size = t->rows * t->cols * t->count;
        for (int64_t e = 0; e < size; e++)
            t->values[e] = t->input ? ref_round_to(t->dtype, t->values[e]) : (double)NAN;
        if (t->input) write_values(t, t->image);
    }
    return !c->out_of_memory;
}

/* Arguments for the device (bufs are set when `bound`) and for the reference. */
static ql_mat *mat_of(ql_op_args *a, const tensor *t) {
    return (ql_mat *)(void *)((char *)a + t->at);
}

static ql_op_args device_args(const opcase *c, bool bound) {
    ql_op_args a = c->args;
    for (int n = 0; n < c->n_tensors; n++) {
        const tensor *t = &c->tensors[n], *real = t->same ? t->same : t;
        ql_mat *m = mat_of(&a, t);
        m->off = real->off;
        if (real->form != FORM_STEP) m->ld = real->ld;
        if (bound) m->buf = real->buf;
    }
    return a;
}

static void run_reference(opcase *c) {
    ql_op_args a = c->args;
    for (int n = 0; n < c->n_tensors; n++) {
        tensor *t = &c->tensors[n], *real = t->same ? t->same : t;
        real->ref_buf.host = real->values;
        *mat_of(&a, t) = (ql_mat){.buf = &real->ref_buf,
                                  .rows = t->rows,
                                  .cols = t->cols,
                                  .ld = t->cols,
                                  .dtype = mat_of(&a, t)->dtype};
    }
    ql_ref_run(c->op, &a);
}

/* ------------------------------------------------------------------------ the calls */

typedef struct scratch {
    ql_buffer *buf;
    uint64_t bytes, off, size;
    uint8_t *image, *got;
} scratch;

static ql_mat *scratch_of(opcase *c, ql_op_args *a) {
    int n;
    const ql_operand *list = ql_operands_of(c->op, &n);
    for (int i = 0; i < n; i++)
        if (list[i].use == QL_USE_SCRATCH) return (ql_mat *)(void *)((char *)a + list[i].at);
    return NULL;
}

static ql_status allocate(opcase *c, ql_queue *q, scratch *s) {
    ql_device *dev = q->dev;
    uint64_t align = dev->props.align > GUARD ? dev->props.align : GUARD;
    for (int n = 0; n < c->n_tensors; n++) {
        tensor *t = &c->tensors[n];
        if (!t->same) QL_TRY(dev->backend->buffer_alloc(dev, QL_MEM_DEVICE, t->size, &t->buf));
    }
    s->off = align;
    s->size = s->bytes ? s->off + s->bytes + GUARD : 0;
    if (!s->bytes) return QL_OK;
    s->image = ql_arena_alloc(&c->arena, s->size, 1);
    s->got = ql_arena_alloc(&c->arena, s->size, 1);
    if (!s->image || !s->got) return QL_NOMEM("an operator case");
    poison(s->image, s->size);
    return dev->backend->buffer_alloc(dev, QL_MEM_DEVICE, s->size, &s->buf);
}

static void release(opcase *c, ql_queue *q, scratch *s) {
    for (int n = 0; n < c->n_tensors; n++) q->dev->backend->buffer_free(c->tensors[n].buf);
    q->dev->backend->buffer_free(s->buf);
    ql_arena_free(&c->arena);
}

/* One call from fresh images; what the buffers hold afterwards goes to got or got_again. */
static ql_status call(opcase *c, ql_queue *q, scratch *s, bool again) {
    const ql_backend *b = q->dev->backend;
    for (int n = 0; n < c->n_tensors; n++) {
        tensor *t = &c->tensors[n];
        if (!t->same) QL_TRY(b->write(q, t->buf, 0, t->image, t->size));
    }
    ql_op_args a = device_args(c, true);
    if (s->bytes) {
        QL_TRY(b->write(q, s->buf, 0, s->image, s->size));
        *scratch_of(c, &a) = (ql_mat){.buf = s->buf,
                                      .off = s->off,
                                      .rows = 1,
                                      .cols = (int64_t)s->bytes,
                                      .ld = (int64_t)s->bytes,
                                      .dtype = QL_U8};
    }
    QL_TRY(ql_run_op(q, c->op, &a));
    QL_TRY(b->queue_sync(q));
    for (int n = 0; n < c->n_tensors; n++) {
        tensor *t = &c->tensors[n];
        if (!t->same) QL_TRY(b->read(q, t->buf, 0, again ? t->got_again : t->got, t->size));
    }
    return s->bytes ? b->read(q, s->buf, 0, s->got, s->size) : QL_OK;
}

/* --------------------------------------------------------------------------- checks */

static bool fail(ql_opcase_result *r, const char *fmt, ...) QL_PRINTF(2, 3);
static bool fail(ql_opcase_result *r, const char *fmt, ...) {
    va_list args;
    va_start(args, fmt);
    r->outcome = QL_OPCASE_FAILED;
    vsnprintf(r->message, sizeof r->message, fmt, args);
    va_end(args);
    return false;
}

static bool bytes_are_right(const opcase *c, const scratch *s, ql_opcase_result *r) {
    for (int n = 0; n < c->n_tensors; n++) {
        const tensor *t = &c->tensors[n];
        if (t->same) continue;
        if (memcmp(t->got, t->got_again, t->size) != 0)
            return fail(r, "%s differs between two runs of the same call", t->name);
        for (uint64_t i = 0; i < t->size; i++)
            if (t->got[i] != t->image[i] && !(t->output && is_live(t, i)))
                return fail(r, "%s: byte %lld from its first element was changed (%s)", t->name,
                            (long long)i - (long long)t->off,
                            is_live(t, i) ? "an input" : "outside the matrix");
    }
    for (uint64_t i = 0; i < s->size; i++)
        if (s->got[i] != s->image[i] && (i < s->off || i >= s->off + s->bytes))
            return fail(r, "scratch: byte %lld was changed, it has %llu bytes",
                        (long long)i - (long long)s->off, (unsigned long long)s->bytes);
    return true;
}

static double loaded(const tensor *t, uint64_t at, int64_t j) {
    bool integer = t->form == FORM_STEP && j == REF_STEP_RNG;
    return ql_element_load(integer ? QL_I32 : t->dtype, t->got + at);
}

/* How much of its limit an error uses. */
static double share(double nmse, double limit) {
    return nmse == 0.0 ? 0.0 : limit > 0.0 ? nmse / limit : INFINITY;
}

/* Compares one output with the reference and keeps the figures of the worst one. */
static bool compare(const opcase *c, const tensor *t, ql_opcase_result *r) {
    double error = 0.0, power = 0.0, max_abs = 0.0;
    const double *want = t->values;
    for (int64_t m = 0; m < t->count; m++)
        for (int64_t i = 0; i < t->rows; i++)
            for (int64_t j = 0; j < t->cols; j++, want++) {
                double y = loaded(t, element_at(t, m, i, j), j), x = *want;
                if (t->map) y = t->map[(int)y], x = t->map[(int)x];
                if (!isfinite(x) || !isfinite(y)) {
                    if ((isnan(x) && isnan(y)) || x == y) continue;
                    return fail(r, "%s[%lld, %lld] is %g, expected %g", t->name, (long long)i,
                                (long long)j, y, x);
                }
                error += (y - x) * (y - x);
                power += x * x;
                max_abs = fmax(max_abs, fabs(y - x));
            }
    double nmse = power > 0.0 ? error / power : error > 0.0 ? INFINITY : 0.0;
    double limit = t->limit >= 0.0 ? t->limit : ql_opcase_limit(c->op, t->dtype);
    if (!r->operand[0] || share(nmse, limit) > share(r->nmse, r->limit)) {
        snprintf(r->operand, sizeof r->operand, "%s", t->name);
        r->max_abs = max_abs;
        r->nmse = nmse;
        r->limit = limit;
    }
    if (nmse <= limit) return true;
    return fail(r, "%s: NMSE %.3g exceeds %.3g (largest difference %.3g)", t->name, nmse, limit,
                max_abs);
}

/* FNV-1a over the elements of the outputs. */
static void hash_output(const tensor *t, uint64_t *hash) {
    for (uint64_t i = 0; i < t->size; i++)
        if (is_live(t, i)) *hash = (*hash ^ t->got[i]) * 0x100000001B3u;
}

static bool outputs_are_right(const opcase *c, ql_opcase_result *r) {
    r->output_hash = 0xCBF29CE484222325u;
    for (int n = 0; n < c->n_tensors; n++) {
        const tensor *t = &c->tensors[n];
        if (t->same || !t->output) continue;
        hash_output(t, &r->output_hash);
        if (!compare(c, t, r)) return false;
    }
    return true;
}

/* Planning must not depend on the operands being bound. */
static bool plans(opcase *c, ql_queue *q, scratch *s, ql_opcase_result *r) {
    ql_device *dev = q->dev;
    ql_op_args plan = device_args(c, false);
    const char *why = "no reason given";
    if (dev->backend->supports(dev, c->op, &plan, &why) == QL_SUPPORT_NO) {
        r->outcome = QL_OPCASE_SKIPPED;
        snprintf(r->message, sizeof r->message, "%s", why);
        return false;
    }
    if (ql_check_op(NULL, c->op, &plan) != QL_OK)
        return fail(r, "refused while planning: %s", ql_last_error());
    s->bytes = dev->backend->scratch_bytes(dev, c->op, &plan);
    if (s->bytes && !scratch_of(c, &plan))
        return fail(r, "wants %llu bytes of scratch but has no such operand",
                    (unsigned long long)s->bytes);
    return true;
}

static bool same_plan_when_bound(opcase *c, ql_queue *q, const scratch *s, ql_opcase_result *r) {
    ql_op_args bound = device_args(c, true);
    uint64_t bytes = q->dev->backend->scratch_bytes(q->dev, c->op, &bound);
    if (bytes == s->bytes) return true;
    return fail(r, "scratch_bytes answers %llu unbound and %llu bound",
                (unsigned long long)s->bytes, (unsigned long long)bytes);
}

static void run_case(opcase *c, ql_queue *q, scratch *s, ql_opcase_result *r) {
    if (!prepare(c, q->dev->props.align)) {
        fail(r, "out of host memory");
        return;
    }
    if (!plans(c, q, s, r)) return;
    if (allocate(c, q, s) != QL_OK || call(c, q, s, false) != QL_OK ||
        call(c, q, s, true) != QL_OK) {
        fail(r, "%s", ql_last_error());
        return;
    }
    run_reference(c);
    if (same_plan_when_bound(c, q, s, r) && bytes_are_right(c, s, r)) outputs_are_right(c, r);
}

void ql_opcase_run(ql_queue *q, int family, int index, uint64_t seed, ql_opcase_result *out) {
    opcase c = {.strided = index % 2 == 1, .random = seed * 0x9E3779B97F4A7C15u + (uint64_t)index};
    scratch s = {0};
    *out = (ql_opcase_result){.outcome = QL_OPCASE_PASSED};
    families[family]->build(&c, index / 2);
    snprintf(out->label, sizeof out->label, "%s%s", c.label, c.strided ? " strided" : "");
    run_case(&c, q, &s, out);
    release(&c, q, &s);
}
