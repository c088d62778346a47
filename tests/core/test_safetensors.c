/* test_safetensors.c - round trips, hostile headers, and a full disk while writing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/hostmem.h"
#include "core/io/safetensors.h"
#include "tests/support/temp_folder.h"

/* A file of this header and n data bytes 0, 1, 2 ... */
static const char *put_header(const char *header, size_t n) {
    uint64_t len = strlen(header);
    uint8_t *file = calloc(1, 8 + (size_t)len + n);
    memcpy(file, &len, 8);
    memcpy(file + 8, header, (size_t)len);
    for (size_t i = 0; i < n; i++) file[8 + len + i] = (uint8_t)i;
    const char *path = temp_put("h.safetensors", file, 8 + (size_t)len + n);
    free(file);
    return path;
}

static ql_st_writer *begin(const char *path) {
    ql_st_writer *w = NULL;
    assert_int_equal(ql_st_writer_create(path, &w), QL_OK);
    return w;
}

/* --------------------------------------------------------------- round trips */

static void tensors_come_back_sorted_with_shape_type_and_bytes(void **state) {
    (void)state;
    const char *path = temp_path("rt.safetensors");
    ql_st_writer *w = begin(path);
    const float values[6] = {1, 2, 3, 4, 5, 6};
    const uint8_t bytes[3] = {7, 8, 9};
    assert_int_equal(ql_st_writer_metadata(w, "format", "pt"), QL_OK);
    assert_int_equal(ql_st_writer_declare(w, "z", QL_ST_U8, 1, (int64_t[]){3}), QL_OK);
    assert_int_equal(ql_st_writer_declare(w, "b", QL_ST_F32, 2, (int64_t[]){2, 3}), QL_OK);
    assert_int_equal(ql_st_writer_declare(w, "none", QL_ST_F32, 2, (int64_t[]){0, 3}), QL_OK);
    assert_int_equal(ql_st_writer_declare(w, "scalar", QL_ST_U8, 0, NULL), QL_OK);
    assert_int_equal(ql_st_writer_data(w, bytes, 3), QL_OK);
    assert_int_equal(ql_st_writer_data(w, values, 5), QL_OK); /* pieces ignore boundaries */
    assert_int_equal(ql_st_writer_data(w, (const uint8_t *)values + 5, 19), QL_OK);
    assert_int_equal(ql_st_writer_data(w, "\x2A", 1), QL_OK);
    assert_int_equal(ql_st_writer_commit(w), QL_OK);

    ql_st_file *f = NULL;
    assert_int_equal(ql_st_open(path, &f), QL_OK);
    assert_int_equal(ql_st_count(f), 4);
    assert_string_equal(ql_st_at(f, 0)->name, "b");
    assert_string_equal(ql_st_at(f, 3)->name, "z");
    assert_null(ql_st_at(f, 4));
    assert_null(ql_st_at(f, -1));
    assert_null(ql_st_find(f, "absent"));
    assert_string_equal(ql_st_metadata(f, "format"), "pt");
    assert_null(ql_st_metadata(f, "other"));
    assert_string_equal(ql_st_path(f), path);
    const ql_st_tensor *b = ql_st_find(f, "b"), *s = ql_st_find(f, "scalar");
    assert_true(b->dtype == QL_ST_F32 && b->dims == 2 && b->shape[0] == 2 && b->shape[1] == 3);
    assert_true(b->numel == 6 && b->bytes == 24 && b->data == ql_st_map(f)->data + b->offset);
    assert_memory_equal(b->data, values, sizeof values);
    assert_true(s->dims == 0 && s->numel == 1 && s->data[0] == 42);
    assert_int_equal(ql_st_find(f, "none")->bytes, 0);
    uint64_t header;
    memcpy(&header, ql_st_map(f)->data, 8);
    assert_int_equal(header % 8, 0);
    ql_st_close(f);
    ql_st_close(NULL);
}

static void a_file_without_tensors_is_one(void **state) {
    (void)state;
    const char *path = temp_path("empty.safetensors");
    ql_st_file *f = NULL;
    assert_int_equal(ql_st_writer_commit(begin(path)), QL_OK);
    assert_int_equal(ql_st_open(path, &f), QL_OK);
    assert_int_equal(ql_st_count(f), 0);
    assert_null(ql_st_find(f, "x"));
    ql_st_close(f);
}

static void elements_are_read_as_their_type_says(void **state) {
    (void)state;
    static const struct {
        const char *dtype;
        uint8_t bytes[8];
        float want;
    } cases[] = {
        {"BOOL", {1}, 1},
        {"U8", {200}, 200},
        {"I8", {200}, -56},
        {"I16", {0xFE, 0xFF}, -2},
        {"U16", {0xFE, 0xFF}, 65534},
        {"F16", {0x00, 0xC1}, -2.5f},
        {"BF16", {0x20, 0xC0}, -2.5f},
        {"I32", {0xFD, 0xFF, 0xFF, 0xFF}, -3},
        {"U32", {0, 0, 0, 0x80}, 2147483648.0f},
        {"F32", {0, 0, 0x20, 0xC0}, -2.5f},
        {"F64", {0, 0, 0, 0, 0, 0, 0x04, 0xC0}, -2.5f},
        {"I64", {0xFC, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF}, -4},
        {"U64", {0, 0, 0, 0, 0, 0, 0, 0x80}, 9223372036854775808.0f},
        {"F8_E4M3", {0xC2}, -2.5f},   /* -(1 + 2/8) 2^(8-7) */
        {"F8_E4M3", {0x01}, 0x1p-9f}, /* smallest subnormal */
        {"F8_E4M3", {0x7E}, 448},     /* largest value */
        {"F8_E5M2", {0xC1}, -2.5f},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char header[200];
        float x = 0;
        int64_t v;
        ql_st_file *f = NULL;
        size_t size = 0;
        for (int t = 0; t < QL_ST_DTYPE_COUNT; t++) {
            if (strcmp(ql_st_dtype_name((ql_st_dtype)t), cases[i].dtype) == 0) {
                size = ql_st_dtype_bytes((ql_st_dtype)t);
            }
        }
        assert_true(size > 0);
        /* a first byte before the element: unaligned, and index 1 of a pad tensor */
        snprintf(header, sizeof header,
                 "{\"p\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},"
                 "\"t\":{\"dtype\":\"%s\",\"shape\":[1],\"data_offsets\":[1,%zu]}}",
                 cases[i].dtype, 1 + size);
        uint64_t len = strlen(header);
        uint8_t file[300] = {0};
        memcpy(file, &len, 8);
        memcpy(file + 8, header, (size_t)len);
        memcpy(file + 9 + len, cases[i].bytes, size);
        assert_int_equal(ql_st_open(temp_put("e.safetensors", file, 9 + (size_t)len + size), &f),
                         QL_OK);
        const ql_st_tensor *t = ql_st_find(f, "t");
        assert_int_equal(ql_st_read_f32(t, 0, 1, &x), QL_OK);
        assert_true(x == cases[i].want);
        bool integer = strchr("BUI", cases[i].dtype[0]) && strcmp(cases[i].dtype, "BF16") != 0;
        bool fits = cases[i].want < 9e18f;
        ql_status s = ql_st_read_i64(t, 0, 1, &v);
        assert_int_equal(s == QL_OK, integer && fits);
        if (s == QL_OK) assert_true((float)v == cases[i].want);
        assert_int_equal(ql_st_read_f32(t, 1, 1, &x), QL_ERR_INVALID);
        assert_int_equal(ql_st_read_f32(t, 0, 2, &x), QL_ERR_INVALID);
        assert_int_equal(ql_st_read_f32(t, -1, 1, &x), QL_ERR_INVALID);
        assert_int_equal(ql_st_read_f32(t, 1, INT64_MAX, &x), QL_ERR_INVALID);
        assert_int_equal(ql_st_read_f32(t, 1, 0, &x), QL_OK);
        ql_st_close(f);
    }
}

static void e4m3_has_one_nan_and_no_infinity(void **state) {
    (void)state;
    uint8_t file[400] = {0};
    const char *header = "{\"t\":{\"dtype\":\"F8_E4M3\",\"shape\":[256],\"data_offsets\":[0,256]}}";
    uint64_t len = strlen(header);
    float x[256];
    ql_st_file *f = NULL;
    memcpy(file, &len, 8);
    memcpy(file + 8, header, (size_t)len);
    for (int i = 0; i < 256; i++) file[8 + len + (size_t)i] = (uint8_t)i;
    assert_int_equal(ql_st_open(temp_put("8.safetensors", file, 264 + (size_t)len), &f), QL_OK);
    assert_int_equal(ql_st_read_f32(ql_st_at(f, 0), 0, 256, x), QL_OK);
    for (int i = 0; i < 128; i++) {
        assert_int_equal(isnan(x[i]) != 0, i == 127);
        if (i > 0 && i < 127) assert_true(x[i] > x[i - 1] && x[i + 128] == -x[i]);
    }
    ql_st_close(f);
}

/* ------------------------------------------------------------- hostile files */

static void lying_headers_are_refused_with_a_sentence(void **state) {
    (void)state;
#define T(dtype, shape, offsets)                                                                   \
    "{\"dtype\":" dtype ",\"shape\":" shape ",\"data_offsets\":" offsets "}"
    static const struct {
        const char *header, *word;
    } cases[] = {
        {"[]", "not an object"},
        {"{\"a\":" T("\"F32\"", "[1]", "[0,4]") ",\"a\":" T("\"F32\"", "[1]", "[4,8]") "}",
         "duplicate"},
        {"{\"a\":" T("\"F32\"", "[1]", "[0,4]") ",\"b\":" T("\"F32\"", "[2]", "[0,8]") "}",
         "overlaps"},
        {"{\"a\":" T("\"F32\"", "[2]", "[0,8]") ",\"b\":" T("\"U8\"", "[1]", "[7,8]") "}",
         "overlaps"},
        {"{\"a\":" T("\"F32\"", "[1]", "[4,8]") "}", "hole"},
        {"{\"a\":" T("\"F32\"", "[1]", "[0,4]") "}", "belong to nothing"},
        {"{\"a\":" T("\"F32\"", "[3]", "[0,12]") "}", "cut short"},
        {"{\"a\":" T("\"F32\"", "[3]", "[0,8]") "}", "needs 12 bytes"},
        {"{\"a\":" T("\"F32\"", "[2]", "[8,0]") "}", "lies at"},
        {"{\"a\":" T("\"F32\"", "[2]", "[-8,0]") "}", "lies at"},
        {"{\"a\":" T("\"F32\"", "[2]", "[0,9223372036854775807]") "}", "lies at"},
        {"{\"a\":" T("\"F32\"", "[2]", "[0]") "}", "data_offsets"},
        {"{\"a\":" T("\"F32\"", "[2]", "[0,8,16]") "}", "data_offsets"},
        {"{\"a\":" T("\"F32\"", "[2]", "[0,\"8\"]") "}", "data_offsets"},
        {"{\"a\":" T("\"F32\"", "[4294967296,4294967296]", "[0,8]") "}", "overflows"},
        {"{\"a\":" T("\"F32\"", "[4611686018427387904,4]", "[0,8]") "}", "overflows"},
        {"{\"a\":" T("\"F32\"", "[2305843009213693952]", "[0,8]") "}", "overflows"},
        {"{\"a\":" T("\"F32\"", "[-1]", "[0,8]") "}", "dimension"},
        {"{\"a\":" T("\"F32\"", "[1.0]", "[0,8]") "}", "dimension"},
        {"{\"a\":" T("\"F32\"", "[1,1,1,1,1,1,1,1,2]", "[0,8]") "}", "8 dimensions"},
        {"{\"a\":" T("\"F32\"", "2", "[0,8]") "}", "shape"},
        {"{\"a\":" T("\"F7\"", "[2]", "[0,8]") "}", "unknown dtype 'F7'"},
        {"{\"a\":" T("4", "[2]", "[0,8]") "}", "dtype"},
        {"{\"a\":7}", "object"},
        {"{\"__metadata__\":7,\"a\":" T("\"U8\"", "[8]", "[0,8]") "}", "__metadata__"},
        {"{\"__metadata__\":{\"k\":7},\"a\":" T("\"U8\"", "[8]", "[0,8]") "}", "__metadata__"},
        {"{", "JSON"},
    };
#undef T
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        ql_st_file *f = NULL;
        assert_int_equal(ql_st_open(put_header(cases[i].header, 8), &f), QL_ERR_FORMAT);
        assert_null(f);
        assert_non_null(strstr(ql_last_error(), "h.safetensors: "));
        if (!strstr(ql_last_error(), cases[i].word)) {
            fail_msg("%s: '%s' expected in '%s'", cases[i].header, cases[i].word, ql_last_error());
        }
    }
}

static void lengths_of_the_header_are_checked(void **state) {
    (void)state;
    static const uint64_t lengths[] = {3, 1u << 20, (100u << 20) + 1, UINT64_MAX, UINT64_MAX - 7};
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        uint8_t file[10] = {0};
        ql_st_file *f = NULL;
        memcpy(file, &lengths[i], 8);
        assert_int_equal(ql_st_open(temp_put("l.safetensors", file, 10), &f), QL_ERR_FORMAT);
        assert_non_null(strstr(ql_last_error(), "l.safetensors: header of"));
    }
    ql_st_file *f = NULL;
    assert_int_equal(ql_st_open(temp_put("s.safetensors", "1234567", 7), &f), QL_ERR_FORMAT);
    assert_int_equal(ql_st_open(temp_path("absent.safetensors"), &f), QL_ERR_NOT_FOUND);
}

/* Opens, reads everything that is promised, closes. */
static ql_status try_file(const char *path) {
    ql_st_file *f = NULL;
    ql_status s = ql_st_open(path, &f);
    if (s != QL_OK) return s;
    for (int64_t i = 0; i < ql_st_count(f); i++) {
        const ql_st_tensor *t = ql_st_at(f, i);
        for (int64_t k = 0; k < t->numel; k++) {
            float x;
            assert_int_equal(ql_st_read_f32(t, k, 1, &x), QL_OK);
        }
    }
    ql_st_close(f);
    return QL_OK;
}

static uint8_t *small_file(size_t *size) {
    ql_map m;
    const char *path = temp_path("small.safetensors");
    ql_st_writer *w = begin(path);
    assert_int_equal(ql_st_writer_metadata(w, "format", "pt"), QL_OK);
    assert_int_equal(ql_st_writer_declare(w, "a", QL_ST_BF16, 2, (int64_t[]){2, 3}), QL_OK);
    assert_int_equal(ql_st_writer_declare(w, "b", QL_ST_U8, 1, (int64_t[]){5}), QL_OK);
    assert_int_equal(ql_st_writer_data(w, "abcdefghijklmnopq", 17), QL_OK);
    assert_int_equal(ql_st_writer_commit(w), QL_OK);
    assert_int_equal(ql_map_open(path, &m), QL_OK);
    uint8_t *copy = malloc((size_t)m.size);
    memcpy(copy, m.data, (size_t)m.size);
    *size = (size_t)m.size;
    ql_map_close(&m);
    return copy;
}

static void every_truncation_is_refused(void **state) {
    (void)state;
    size_t size, live = ql_hostmem_live();
    uint8_t *file = small_file(&size);
    for (size_t n = 0; n < size; n++) {
        assert_int_equal(try_file(temp_put("t.safetensors", file, n)), QL_ERR_FORMAT);
    }
    file = realloc(file, size + 1);
    file[size] = 0;
    assert_int_equal(try_file(temp_put("t.safetensors", file, size)), QL_OK);
    assert_int_equal(try_file(temp_put("t.safetensors", file, size + 1)), QL_ERR_FORMAT);
    free(file);
    assert_int_equal(ql_hostmem_live(), live);
}

static void no_changed_byte_does_harm(void **state) {
    (void)state;
    size_t size, live = ql_hostmem_live();
    uint8_t *file = small_file(&size);
    for (size_t i = 0; i < size; i++) {
        uint8_t keep = file[i];
        for (int k = 0; k < 11; k++) {
            static const uint8_t some[3] = {0x00, 0xFF, '9'};
            file[i] = k < 8 ? (uint8_t)(keep ^ (1u << k)) : some[k - 8];
            ql_status s = try_file(temp_put("c.safetensors", file, size));
            assert_true(s == QL_OK || s == QL_ERR_FORMAT);
        }
        file[i] = keep;
    }
    free(file);
    assert_int_equal(ql_hostmem_live(), live);
}

static void memory_that_runs_out_is_reported_and_not_leaked(void **state) {
    (void)state;
    size_t size, live = ql_hostmem_live();
    uint8_t *file = small_file(&size);
    const char *path = temp_put("n.safetensors", file, size);
    ql_status s = QL_ERR_NOMEM_HOST;
    free(file);
    for (long n = 1; s != QL_OK; n++) {
        assert_true(n < 50);
        ql_hostmem_fail_after(n);
        s = try_file(path);
        ql_hostmem_fail_after(0);
        assert_true(s == QL_OK || s == QL_ERR_NOMEM_HOST);
        assert_int_equal(ql_hostmem_live(), live);
    }
}

/* -------------------------------------------------------------------- writer */

static void a_writer_refuses_what_makes_no_file(void **state) {
    (void)state;
    const char *path = temp_path("refused.safetensors");
    ql_st_writer *w = begin(path);
    const int64_t two[] = {2}, bad[] = {-1}, huge[] = {INT64_MAX, INT64_MAX};
    assert_int_equal(ql_st_writer_declare(w, "a", QL_ST_U8, 1, two), QL_OK);
    assert_int_equal(ql_st_writer_declare(w, "a", QL_ST_U8, 1, two), QL_ERR_INVALID);
    assert_int_equal(ql_st_writer_declare(w, "__metadata__", QL_ST_U8, 1, two), QL_ERR_INVALID);
    assert_int_equal(ql_st_writer_declare(w, "b", QL_ST_U8, 1, bad), QL_ERR_INVALID);
    assert_int_equal(ql_st_writer_declare(w, "b", QL_ST_U8, 2, huge), QL_ERR_INVALID);
    assert_int_equal(ql_st_writer_declare(w, "b", QL_ST_U8, 9, two), QL_ERR_INVALID);
    assert_int_equal(ql_st_writer_declare(w, "b", QL_ST_DTYPE_COUNT, 1, two), QL_ERR_INVALID);
    assert_int_equal(ql_st_writer_declare(w, "\xFF", QL_ST_U8, 1, two), QL_ERR_INVALID);
    assert_int_equal(ql_st_writer_metadata(w, "k", "\xFF"), QL_ERR_INVALID);
    assert_int_equal(ql_st_writer_data(w, "abc", 3), QL_ERR_INVALID);
    assert_int_equal(ql_st_writer_data(w, "a", 1), QL_OK);
    assert_int_equal(ql_st_writer_declare(w, "c", QL_ST_U8, 1, two), QL_ERR_INVALID);
    assert_int_equal(ql_st_writer_metadata(w, "k", "v"), QL_ERR_INVALID);
    assert_int_equal(ql_st_writer_commit(w), QL_ERR_INVALID); /* one byte is missing */
    assert_false(ql_file_exists(path));
    ql_st_writer_abort(NULL);
}

static ql_status write_filled(const char *path, char byte) {
    static char data[600000];
    ql_st_writer *w = begin(path);
    memset(data, byte, sizeof data);
    ql_status s = ql_st_writer_declare(w, "w", QL_ST_U8, 1, (int64_t[]){sizeof data});
    for (size_t at = 0; s == QL_OK && at < sizeof data; at += 100000) {
        s = ql_st_writer_data(w, data + at, 100000);
    }
    if (s != QL_OK) {
        ql_st_writer_abort(w);
        return s;
    }
    return ql_st_writer_commit(w);
}

static void a_full_disk_leaves_the_old_file(void **state) {
    (void)state;
    const char *path = temp_path("disk.safetensors");
    ql_status s = QL_ERR_IO;
    long n = 1;
    assert_int_equal(write_filled(path, 'o'), QL_OK);
    for (; s != QL_OK; n++) {
        assert_true(n < 50);
        ql_fs_fail_after(n);
        s = write_filled(path, 'n');
        ql_fs_fail_after(0);
        ql_st_file *f = NULL;
        assert_int_equal(ql_st_open(path, &f), QL_OK);
        assert_int_equal(ql_st_at(f, 0)->data[599999], s == QL_OK ? 'n' : 'o');
        ql_st_close(f);
        assert_true(s == QL_OK || s == QL_ERR_IO);
    }
    assert_true(n > 2);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tensors_come_back_sorted_with_shape_type_and_bytes),
        cmocka_unit_test(a_file_without_tensors_is_one),
        cmocka_unit_test(elements_are_read_as_their_type_says),
        cmocka_unit_test(e4m3_has_one_nan_and_no_infinity),
        cmocka_unit_test(lying_headers_are_refused_with_a_sentence),
        cmocka_unit_test(lengths_of_the_header_are_checked),
        cmocka_unit_test(every_truncation_is_refused),
        cmocka_unit_test(no_changed_byte_does_harm),
        cmocka_unit_test(memory_that_runs_out_is_reported_and_not_leaked),
        cmocka_unit_test(a_writer_refuses_what_makes_no_file),
        cmocka_unit_test(a_full_disk_leaves_the_old_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
