/*
 * folder_tensors.c - one tensor of a model: read as floats, checked, encoded, decoded or copied.
 *
 * A NaN or an Inf anywhere ends the job with the tensor's name and the place: a quantized model
 * with one is useless, and block scales would spread it.
 */
#include <math.h>
#include <string.h>

#include "core/base/half.h"
#include "core/quant/folder_job.h"

/* First element that is NaN or Inf is named; a sum of x * 0 finds out whether there is one. */
static ql_status check_finite(const ql_folder_job *j, const char *name, int64_t row0,
                              const float *w, int64_t rows, int64_t k) {
    float poison = 0.0f;
    for (int64_t i = 0; i < rows * k; i++) poison += w[i] * 0.0f;
    if (poison == 0.0f) return QL_OK;
    int64_t at = 0;
    while (isfinite(w[at])) at++;
    return QL_FAIL(QL_ERR_NUMERIC,
                   "%s: %s has a value that is %s at row %lld, column %lld (from 0): the model is "
                   "damaged, nothing was written",
                   ql_source_path(j->s), name, isnan(w[at]) ? "NaN" : "infinite",
                   (long long)(row0 + at / k), (long long)(at % k));
}

ql_st_dtype ql_folder_dense_dtype(const ql_source_tensor *t) {
    bool f32 = t->st != NULL ? t->st->dtype == QL_ST_F32 : t->gguf->type == QL_GT_F32;
    bool f16 = t->st != NULL ? t->st->dtype == QL_ST_F16 : t->gguf->type == QL_GT_F16;
    return f32 ? QL_ST_F32 : f16 ? QL_ST_F16 : QL_ST_BF16;
}

/* What a tensor of plain numbers counts as. */
static const char *plain_dtype(const ql_source_tensor *t) {
    ql_st_dtype to = ql_folder_dense_dtype(t);
    return to == QL_ST_F32 ? "float32" : to == QL_ST_F16 ? "float16" : "bfloat16";
}

/* w [rows, cols] turned to [cols, rows]. */
static ql_status turn(float **w, int64_t *rows, int64_t *cols) {
    float *x = ql_host_calloc((size_t)*rows, (size_t)*cols * sizeof *x);
    if (x == NULL) return QL_NOMEM("a transposed weight");
    for (int64_t r = 0; r < *rows; r++)
        for (int64_t c = 0; c < *cols; c++) x[c * *rows + r] = (*w)[r * *cols + c];
    ql_host_free(*w);
    int64_t n = *cols;
    *w = x;
    *cols = *rows;
    *rows = n;
    return QL_OK;
}

/* Quantized weights and those of a GGUF lie [out, in], whatever the model. */
static bool lies_out_in(const ql_folder_job *j, const ql_source_tensor *t) {
    return t->out_in || ql_stored_is_quantized(j->s, t->name);
}

/* Linear weights of Conv1D models are [in, out] as plain numbers and [out, in] when quantized. */
static ql_status turn_conv1d(const ql_folder_job *j, float **w, int64_t *n, int64_t *k) {
    ql_status s = ql_has_conv1d(ql_source_config(j->s)) ? turn(w, n, k) : QL_OK;
    if (s != QL_OK) ql_host_free(*w);
    return s;
}

/* Tensor t as floats [n, k], whatever it is stored as; *dtype = what it counts as. Owned. */
static ql_status read_floats(const ql_folder_job *j, const ql_source_tensor *t, float **out,
                             int64_t *n, int64_t *k, const char **dtype) {
    ql_qtensor q = {0};
    bool stored = ql_stored_is_quantized(j->s, t->name);
    if (stored) QL_TRY(ql_stored_open(j->s, t->name, &q));
    int64_t rows = stored ? q.n : t->rows, cols = stored ? q.k : t->cols;
    *dtype = stored ? q.source_dtype : plain_dtype(t);
    uint64_t elements;
    ql_status s = ql_mul_size((uint64_t)rows, (uint64_t)cols, &elements);
    float *w = s == QL_OK ? ql_host_calloc((size_t)elements, sizeof *w) : NULL;
    if (s == QL_OK && w == NULL) s = QL_NOMEM(t->name);
    if (s == QL_OK && stored) s = ql_dequantize_rows(&q, 0, rows, w);
    for (int64_t r = 0; s == QL_OK && !stored && r < rows; r++)
        s = ql_source_read_row(t, r, w + r * cols);
    ql_qtensor_free(&q);
    if (s == QL_OK) s = check_finite(j, t->name, 0, w, rows, cols);
    if (s != QL_OK) {
        ql_host_free(w);
        return s;
    }
    *out = w;
    *n = rows;
    *k = cols;
    return QL_OK;
}

static ql_status note_entry(ql_folder_job *j, const char *name, const char *file) {
    j->r.tensors++;
    if (json_object_set_new(j->weight_map, name, json_string(file)) != 0)
        return QL_FAIL(QL_ERR_INVALID, "%.200s: the name is not valid UTF-8", name);
    return QL_OK;
}

/* Adds ||W||^2 and ||W - decoded||^2, one row at a time. */
static ql_status measure(ql_folder_job *j, const ql_qtensor *q, const float *w) {
    float *row = ql_host_calloc((size_t)q->k, sizeof *row);
    if (row == NULL) return QL_NOMEM("a decoded row");
    ql_status s = QL_OK;
    for (int64_t r = 0; s == QL_OK && r < q->n; r++) {
        s = ql_dequantize_rows(q, r, 1, row);
        const float *x = w + r * q->k;
        for (int64_t c = 0; s == QL_OK && c < q->k; c++) {
            double d = (double)x[c] - (double)row[c];
            j->err2 += d * d;
            j->norm2 += (double)x[c] * (double)x[c];
        }
    }
    ql_host_free(row);
    return s;
}

static ql_status write_parts(ql_folder_job *j, const ql_source_tensor *t, const ql_qtensor *q,
                             const char *file) {
    ql_stored_parts p;
    QL_TRY(ql_stored_parts_of(t->name, q, j->format, &p));
    ql_status s = QL_OK;
    for (int32_t i = 0; s == QL_OK && i < p.count; i++) {
        const ql_stored_part *part = &p.at[i];
        s = ql_shard_entry(j->open, part->name, part->dtype, part->dims, part->shape);
        if (s == QL_OK) s = ql_shard_append(j->open, part->data, part->bytes);
        if (s == QL_OK) s = note_entry(j, part->name, file);
    }
    ql_stored_parts_free(&p);
    return s;
}

static ql_status encode_item(ql_folder_job *j, const ql_folder_item *it, ql_qtensor *q) {
    const ql_source_tensor *t = it->t;
    float *w;
    int64_t n, k;
    const char *dtype;
    QL_TRY(read_floats(j, t, &w, &n, &k, &dtype));
    if (!lies_out_in(j, t)) QL_TRY(turn_conv1d(j, &w, &n, &k));
    ql_status s = ql_quantize_with(&it->quant, j->o->encode, j->o->encode_user, w, n, k, q);
    if (s == QL_OK) {
        q->source_dtype = dtype;
        s = measure(j, q, w);
    }
    ql_host_free(w);
    return s;
}

/* The quantized weight that the maker gives. */
static ql_status take_item(ql_folder_job *j, const ql_source_tensor *t, ql_qtensor *q) {
    ql_folder_made made = {0};
    QL_TRY(j->o->maker->make(j->o->maker->user, t, j->staged, &made));
    *q = made.q;
    j->err2 += made.error * made.error;
    j->norm2 += made.norm * made.norm;
    return QL_OK;
}

static ql_status quantize_item(ql_folder_job *j, const ql_folder_item *it, const char *file) {
    const ql_source_tensor *t = it->t;
    ql_qtensor q = {0};
    ql_status s = it->made ? take_item(j, t, &q) : encode_item(j, it, &q);
    int64_t n = q.n, k = q.k;
    for (int64_t r = 0; s == QL_OK && q.type->per_row && r < n; r++)
        if (!isfinite(q.absmax[r]))
            s = QL_FAIL(QL_ERR_NUMERIC, "%s: %s: row %lld exceeds float16, which llm_int8 uses",
                        ql_source_path(j->s), t->name, (long long)r);
    if (s == QL_OK) s = write_parts(j, t, &q, file);
    if (s == QL_OK) {
        ql_qbytes size;
        s = ql_quant_bytes(&it->quant, n, k, &size);
        if (s == QL_OK) {
            j->coded_bytes += size.codes + size.scale + size.scale2 + size.zero;
            j->coded_weights += (uint64_t)n * (uint64_t)k;
            j->r.quantized++;
            j->r.of_type[it->quant.type]++;
            j->r.requantized += ql_stored_is_quantized(j->s, t->name) ||
                                (t->gguf != NULL && ql_gguf_block_elems(t->gguf->type) > 1);
        }
    }
    ql_qtensor_free(&q);
    return s;
}

/* A tensor that a folder holds as plain numbers: its bytes as they are. */
static ql_status copy_item(ql_folder_job *j, const ql_source_tensor *t) {
    bool floating =
        t->st->dtype == QL_ST_F32 || t->st->dtype == QL_ST_F16 || t->st->dtype == QL_ST_BF16;
    if (floating && t->cols > 0) {
        float *row = ql_host_calloc((size_t)t->cols, sizeof *row);
        if (row == NULL) return QL_NOMEM(t->name);
        ql_status s = QL_OK;
        for (int64_t r = 0; s == QL_OK && r < t->rows; r++) {
            s = ql_source_read_row(t, r, row);
            if (s == QL_OK) s = check_finite(j, t->name, r, row, 1, t->cols);
        }
        ql_host_free(row);
        QL_TRY(s);
    }
    return ql_shard_mapped(j->open, t->st);
}

/* Values [n, k] into the open shard as `to`; w is freed. */
static ql_status write_floats(ql_folder_job *j, const ql_source_tensor *t, float *w, int64_t n,
                              int64_t k, ql_st_dtype to) {
    int64_t matrix[2] = {n, k};
    bool quantized = (ql_stored_is_quantized(j->s, t->name) && t->st != NULL) || t->out_in;
    ql_status s = ql_shard_entry(j->open, t->name, to, quantized ? 2 : t->dims,
                                 quantized ? matrix : t->shape);
    uint16_t half[512];
    if (s == QL_OK && to == QL_ST_F32)
        s = ql_shard_append(j->open, w, (uint64_t)n * (uint64_t)k * sizeof *w);
    for (int64_t i = 0; s == QL_OK && to != QL_ST_F32 && i < n * k;) {
        int64_t count = 0;
        for (; count < 512 && i < n * k; i++, count++)
            half[count] = to == QL_ST_F16 ? ql_f16_from_f32(w[i]) : ql_bf16_from_f32(w[i]);
        s = ql_shard_append(j->open, half, (uint64_t)count * sizeof half[0]);
    }
    ql_host_free(w);
    return s;
}

/* A tensor that stays unquantized but is decoded, or comes from GGUF. */
static ql_status decode_item(ql_folder_job *j, const ql_source_tensor *t) {
    float *w;
    int64_t n, k;
    const char *dtype;
    QL_TRY(read_floats(j, t, &w, &n, &k, &dtype));
    if (lies_out_in(j, t)) QL_TRY(turn_conv1d(j, &w, &n, &k));
    ql_st_dtype to = strcmp(dtype, "float32") == 0   ? QL_ST_F32
                     : strcmp(dtype, "float16") == 0 ? QL_ST_F16
                                                     : QL_ST_BF16;
    return write_floats(j, t, w, n, k, to);
}

/* An unquantized weight [n, k] that the maker gives. */
static ql_status dense_item(ql_folder_job *j, const ql_source_tensor *t) {
    ql_folder_made made = {0};
    QL_TRY(j->o->maker->make(j->o->maker->user, t, j->staged, &made));
    QL_TRY(turn_conv1d(j, &made.dense, &made.n, &made.k));
    return write_floats(j, t, made.dense, made.n, made.k, ql_folder_dense_dtype(t));
}

ql_status ql_folder_write_item(ql_folder_job *j, const ql_folder_item *it, const char *file) {
    if (it->quantize) return quantize_item(j, it, file);
    bool plain = it->t->st != NULL && !ql_stored_is_quantized(j->s, it->t->name);
    QL_TRY(it->made ? dense_item(j, it->t) : plain ? copy_item(j, it->t) : decode_item(j, it->t));
    return note_entry(j, it->t->name, file);
}
