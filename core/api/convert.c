/*
 * convert.c - whole models from folder to folder: quantized, or with the adapter merged in.
 */
#include <string.h>

#include "core/api/api.h"
#include "core/model/merge.h"
#include "core/quant/stored.h"

/* ------------------------------------------------------------------ quantizing */

static void on_quantize(void *user, int64_t done, int64_t total, const char *name) {
    (void)name;
    (void)ql_api_progress(user, "quantize", done, total); /* the next tensor looks at it */
}

static ql_status encode(void *user, const ql_quant_opts *o, const float *w, int64_t n, int64_t k,
                        uint8_t *codes, float *absmax, float *zero) {
    QL_TRY(ql_api_cancelled(user, "quantize"));
    return ql_encode_scalar(NULL, o, w, n, k, codes, absmax, zero);
}

ql_status qlora_quantize(qlora_session *s, const char *path, const char *dir,
                         const qlora_quantize_opts *opts, qlora_quantized *out) {
    NOT_NULL(s);
    NOT_NULL(path);
    NOT_NULL(dir);
    qlora_quantize_opts o;
    ql_quantize_folder_opts f = {
        .progress = on_quantize, .user = s, .encode = encode, .encode_user = s};
    ql_quantize_report r;
    ql_source *source = NULL;
    QL_TRY(ql_api_quantize_opts(opts, &o));
    QL_TRY(ql_api_quant(&o, &f.quant));
    f.quantize_head = o.quantize_head;
    QL_TRY(ql_source_open(path, &source));
    ql_status status = ql_quantize_folder(source, &f, dir, &r);
    ql_source_close(source);
    QL_TRY(status);
    if (!out) return QL_OK;
    *out = (qlora_quantized){.tensors = r.tensors,
                             .quantized = r.quantized,
                             .bytes_in = r.bytes_in,
                             .bytes_out = r.bytes_out,
                             .bits_per_weight = r.bits_per_weight,
                             .rel_error = r.rel_error};
    return QL_OK;
}

/* ------------------------------------------------------------------ merging */

static bool on_merge(void *user, int64_t done, int64_t total, const char *name) {
    (void)name;
    return ql_api_progress(user, "merge", done, total);
}

static ql_status dtype_of(const char *name, ql_st_dtype *out) {
    static const struct {
        const char *name;
        ql_st_dtype dtype;
    } types[] = {{"bf16", QL_ST_BF16}, {"f16", QL_ST_F16}, {"f32", QL_ST_F32}};
    for (size_t i = 0; name && i < sizeof types / sizeof *types; i++) {
        if (strcmp(name, types[i].name) != 0) continue;
        *out = types[i].dtype;
        return QL_OK;
    }
    return QL_FAIL(QL_ERR_INVALID, "dtype takes bf16, f16 or f32, not '%.64s'",
                   name ? name : "(NULL)");
}

ql_status qlora_merge(qlora_model *m, const char *dir, const qlora_merge_opts *opts) {
    NOT_NULL(m);
    NOT_NULL(dir);
    qlora_merge_opts o;
    ql_merge_opts c = {.progress = on_merge, .user = m->session};
    QL_TRY(ql_api_merge_opts(opts, &o));
    QL_TRY(dtype_of(o.dtype, &c.dtype));
    if (m->core->has_lora && !m->has_values)
        return QL_FAIL(QL_ERR_INVALID,
                       "model: its adapters have no values yet; create a trainer or load some");
    QL_TRY(ql_api_place(m));
    ql_status s = ql_merge(m->core, &c, dir);
    if (s == QL_ERR_CANCELLED) QL_TRY(ql_api_cancelled(m->session, "merge"));
    return s;
}
