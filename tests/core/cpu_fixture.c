/*
 * cpu_fixture.c - see cpu_fixture.h.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/core/cpu_fixture.h"

int cpu_tables(const ql_cpu_kernels *out[CPU_TABLES]) {
    ql_cpuinfo info;
    int n = 0;
    ql_cpuinfo_read(&info);
    out[n++] = ql_cpu_kern();
#if defined(__x86_64__)
    if (info.has[QL_CPU_AVX2]) out[n++] = ql_cpu_kern_avx2();
    if (info.has[QL_CPU_AVX512]) out[n++] = ql_cpu_kern_avx512();
#endif
    return n;
}

void cpu_bare_open(cpu_bare *b, const ql_cpu_kernels *kern, int threads) {
    memset(b, 0, sizeof *b);
    b->dev.kern = kern;
    b->dev.threads = threads;
    b->queue.dev = &b->dev.base;
}

uint32_t cpu_random_bits(void) {
    static uint64_t state = 0x9E3779B97F4A7C15u;
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (uint32_t)(state >> 32);
}

float cpu_random_float(void) {
    return (float)(int32_t)cpu_random_bits() / 2147483648.0f;
}

void matrix_make(matrix *m, ql_dtype t, int64_t rows, int64_t cols, int64_t gap) {
    uint64_t size = (uint64_t)(rows * (cols + gap)) * ql_cpu_dtype_size(t) + 2 * CPU_GUARD;
    m->bytes = malloc(size);
    assert_non_null(m->bytes);
    memset(m->bytes, 0xFF, size);
    m->buf = (ql_buffer){.size = size, .mem = QL_MEM_HOST, .host = m->bytes};
    m->mat = (ql_mat){
        .off = CPU_GUARD, .rows = rows, .cols = cols, .ld = cols + gap, .dtype = t, .buf = &m->buf};
}

void matrix_free(matrix *m) {
    free(m->bytes);
}

double value_at(const ql_mat *m, int64_t i, int64_t j) {
    float x;
    ql_cpu_widen(m->dtype, ql_cpu_at(m, i, j), &x, 1);
    return (double)x;
}

void fill(ql_mat *m) {
    for (int64_t i = 0; i < m->rows; i++)
        for (int64_t j = 0; j < m->cols; j++) {
            float x = cpu_random_float();
            ql_cpu_narrow(m->dtype, ql_cpu_at(m, i, j), &x, 1);
        }
}

void assert_guards(const matrix *m) {
    uint64_t size = ql_cpu_dtype_size(m->mat.dtype);
    for (uint64_t at = 0; at < m->buf.size; at++) {
        uint64_t element = at < CPU_GUARD ? 0 : (at - CPU_GUARD) / size;
        bool inside = at >= CPU_GUARD && (int64_t)element / m->mat.ld < m->mat.rows &&
                      (int64_t)element % m->mat.ld < m->mat.cols;
        if (!inside) assert_int_equal(m->bytes[at], 0xFF);
    }
}
