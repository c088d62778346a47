/*
 * program.c - kernels: one program per family, built when first needed, or taken from the cache.
 *
 * The source of a family is options, ql_math.inc, common.cl, decode.cl and <family>.cl in one text,
 * so nothing is looked up on disk. What a program is built from, for which device and by which
 * driver goes into its key in the cache.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backends/opencl/cl.h"

static const char *const family_names[] = {
#define QL_X(name) #name,
    QL_CL_FAMILIES(QL_X)
#undef QL_X
};

static const struct {
    const char *name;
    ql_cl_family family;
} kernels[] = {
#define QL_X(name, family) {#name, QL_CL_FAMILY_##family},
    QL_CL_KERNELS(QL_X)
#undef QL_X
};

/* -------------------------------------------------------------------- source, key */

static void write_options(const ql_cl_device *d, bool straddles, char out[512]) {
    const char *more = ql_cl_setting("QLORA_OPENCL_OPTIONS");
    const ql_cl_tile *t = &d->tile;
    snprintf(out, 512,
             "-cl-std=CL1.2 %s%s-DQL_WG=%d -DQL_CHUNKS=%d -DQL_CHUNK_BYTES=%lluUL -DATTN_DIMS=%d "
             "-DGEMV_ROWS=%d -DTM=%d -DTN=%d -DTK=%d -DRM=%d -DRN=%d %.128s",
             d->info.exact_divide ? "-cl-fp32-correctly-rounded-divide-sqrt " : "",
             d->info.fma ? "-DQL_FMA " : "", (int)QL_CL_WG, straddles ? (int)QL_CL_PIECES : 1,
             (unsigned long long)d->info.chunk, (int)QL_CL_ATTN_DIMS, (int)QL_CL_GEMV_ROWS, t->tm,
             t->tn, t->tk, t->rm, t->rn, more ? more : "");
}

/* Everything is inlined by force, unless options say otherwise: PoCL 3.1 loses pointers to local
 * memory on their way into a function that it keeps as one. */
static ql_cl_source prefix(void) {
    static const char text[] = "#pragma OPENCL FP_CONTRACT OFF\n"
                               "#ifndef QL_FN\n"
                               "#define QL_FN __attribute__((always_inline)) static inline\n"
                               "#endif\n";
    return (ql_cl_source){text, sizeof text - 1};
}

enum { PARTS = 5 };
static void parts_of(ql_cl_family family, const char *text[PARTS], size_t len[PARTS]) {
    const ql_cl_source parts[PARTS] = {prefix(), ql_cl_math_source, ql_cl_common_source,
                                       ql_cl_decode_source, ql_cl_family_sources[family]};
    for (int i = 0; i < PARTS; i++) {
        text[i] = parts[i].text;
        len[i] = parts[i].len;
    }
}

static uint64_t key_of(const ql_cl_device *d, ql_cl_family family, const char *options) {
    const char *text[PARTS];
    size_t len[PARTS];
    uint64_t h = ql_cl_hash(0, options, strlen(options));
    parts_of(family, text, len);
    for (int i = 0; i < PARTS; i++) h = ql_cl_hash(h, text[i], len[i]);
    const char *const names[] = {d->base.props.name, d->base.props.driver, d->info.platform,
                                 d->info.platform_version, d->info.version};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        h = ql_cl_hash(h, names[i], strlen(names[i]) + 1);
    return h;
}

/* ------------------------------------------------------------------------- building */

static ql_status fail_build(ql_cl_device *d, cl_program p, ql_cl_family family, cl_int error) {
    char log[700] = "";
    size_t size = 0;
    char *whole = NULL;
    if (clGetProgramBuildInfo(p, d->id, CL_PROGRAM_BUILD_LOG, 0, NULL, &size) == CL_SUCCESS &&
        size > 0 && (whole = calloc(1, size + 1)) &&
        clGetProgramBuildInfo(p, d->id, CL_PROGRAM_BUILD_LOG, size, whole, NULL) == CL_SUCCESS)
        snprintf(log, sizeof log, "%.640s", whole);
    free(whole);
    return QL_FAIL(
        QL_ERR_DRIVER,
        "opencl: the driver of '%s' (%s) cannot compile the kernels of '%s' (%s, %d)%s%s",
        d->base.props.name, d->base.props.driver, family_names[family], ql_cl_error_name(error),
        (int)error, log[0] ? ": " : "", log);
}

static cl_program from_binary(ql_cl_device *d, uint64_t key, const char *options) {
    unsigned char *binary;
    size_t size;
    cl_int status, e;
    if (!ql_cl_cache_load(d, key, &binary, &size)) return NULL;
    const unsigned char *data = binary;
    cl_program p = clCreateProgramWithBinary(d->context, 1, &d->id, &size, &data, &status, &e);
    if (e == CL_SUCCESS) e = clBuildProgram(p, 1, &d->id, options, NULL, NULL);
    free(binary);
    if (e == CL_SUCCESS) return p;
    if (p) clReleaseProgram(p);
    return NULL;
}

static void store_binary(ql_cl_device *d, cl_program p, uint64_t key) {
    size_t size = 0;
    if (clGetProgramInfo(p, CL_PROGRAM_BINARY_SIZES, sizeof size, &size, NULL) != CL_SUCCESS ||
        size == 0)
        return;
    unsigned char *binary = malloc(size);
    if (binary &&
        clGetProgramInfo(p, CL_PROGRAM_BINARIES, sizeof binary, &binary, NULL) == CL_SUCCESS)
        ql_cl_cache_store(d, key, binary, size);
    free(binary);
}

static ql_status build(ql_cl_device *d, ql_cl_family family, bool straddles, cl_program *out) {
    char options[512];
    const char *text[PARTS];
    size_t len[PARTS];
    cl_int e;
    write_options(d, straddles, options);
    uint64_t key = key_of(d, family, options);
    if ((*out = from_binary(d, key, options))) return QL_OK;
    if (!d->told) ql_cl_note("%s: compiling kernels (once)", d->base.props.name);
    d->told = true;
    parts_of(family, text, len);
    cl_program p = clCreateProgramWithSource(d->context, PARTS, text, len, &e);
    if (e != CL_SUCCESS) return ql_cl_fail(d, e, "creating a program");
    e = clBuildProgram(p, 1, &d->id, options, NULL, NULL);
    if (e != CL_SUCCESS) {
        ql_status s = fail_build(d, p, family, e);
        clReleaseProgram(p);
        return s;
    }
    store_binary(d, p, key);
    *out = p;
    return QL_OK;
}

ql_status ql_cl_kernel_of(ql_cl_device *d, ql_cl_kernel id, bool straddles, cl_kernel *out) {
    ql_cl_family family = kernels[id].family;
    cl_program *p = &d->program[straddles][family];
    cl_kernel *k = &d->kernel[straddles][id];
    if (!*k) {
        cl_int e;
        if (!*p) QL_TRY(build(d, family, straddles, p));
        cl_kernel made = clCreateKernel(*p, kernels[id].name, &e);
        if (e != CL_SUCCESS) return ql_cl_fail(d, e, "creating a kernel");
        *k = made;
    }
    *out = *k;
    return QL_OK;
}

void ql_cl_programs_free(ql_cl_device *d) {
    for (int v = 0; v < 2; v++) {
        for (int i = 0; i < QL_CL_KERNEL_COUNT; i++)
            if (d->kernel[v][i]) clReleaseKernel(d->kernel[v][i]);
        for (int i = 0; i < QL_CL_FAMILY_COUNT; i++)
            if (d->program[v][i]) clReleaseProgram(d->program[v][i]);
    }
}
