/* quant_fixture.c - see quant_fixture.h. */
#include "tests/core/quant_fixture.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

ql_st_file *fixture_open(const char *name) {
    char path[512];
    snprintf(path, sizeof path, "%s/quant/%s.safetensors", QL_TEST_DATA, name);
    ql_st_file *f = NULL;
    if (ql_st_open(path, &f) != QL_OK) fail_msg("%s", ql_last_error());
    return f;
}

bool fixture_has(const ql_st_file *f, const char *fmt, ...) {
    char name[256];
    va_list args;
    va_start(args, fmt);
    vsnprintf(name, sizeof name, fmt, args); /* NOLINT: clang-tidy 14, second target of a file */
    va_end(args);
    return ql_st_find(f, name) != NULL;
}

const ql_st_tensor *fixture_find(const ql_st_file *f, const char *fmt, ...) {
    char name[256];
    va_list args;
    va_start(args, fmt);
    vsnprintf(name, sizeof name, fmt, args); /* NOLINT: clang-tidy 14, second target of a file */
    va_end(args);
    const ql_st_tensor *t = ql_st_find(f, name);
    if (t == NULL) fail_msg("%s: no tensor '%s'", ql_st_path(f), name);
    return t;
}

float *fixture_floats(const ql_st_tensor *t) {
    float *out = calloc((size_t)t->numel + 1, sizeof *out);
    assert_non_null(out);
    if (ql_st_read_f32(t, 0, t->numel, out) != QL_OK) fail_msg("%s", ql_last_error());
    return out;
}

void assert_floats_equal(const float *got, const float *want, int64_t n, const char *what) {
    for (int64_t i = 0; i < n; i++) {
        if (isnan(got[i]) && isnan(want[i])) continue;
        if (memcmp(&got[i], &want[i], sizeof *got) != 0)
            fail_msg("%s: element %lld of %lld is %.9g, expected %.9g", what, (long long)i,
                     (long long)n, (double)got[i], (double)want[i]);
    }
}

void assert_bytes_equal(const void *got, const void *want, uint64_t n, const char *what) {
    const unsigned char *a = got, *b = want;
    for (uint64_t i = 0; i < n; i++)
        if (a[i] != b[i])
            fail_msg("%s: byte %llu of %llu is 0x%02x, expected 0x%02x", what,
                     (unsigned long long)i, (unsigned long long)n, a[i], b[i]);
}
