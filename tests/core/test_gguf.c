/*
 * test_gguf.c - block decoders against the gguf package's floats, keys of every type, hostile
 * files.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/hostmem.h"
#include "core/io/gguf.h"
#include "core/io/gguf_blocks.h"
#include "core/io/safetensors.h"
#include "tests/support/gguf_build.h"
#include "tests/support/temp_folder.h"

static const char *put_gguf(gguf_build *b) {
    size_t size;
    uint8_t *file = gguf_finish(b, &size);
    const char *path = temp_put("g.gguf", file, size);
    free(file);
    return path;
}

static ql_gguf *open_gguf(gguf_build *b) {
    ql_gguf *g = NULL;
    if (ql_gguf_open(put_gguf(b), &g) != QL_OK) fail_msg("%s", ql_last_error());
    return g;
}

/* -------------------------------------------------------------------- blocks */

static const ql_gguf_type all_types[] = {
    QL_GT_F32,  QL_GT_F16,  QL_GT_BF16, QL_GT_Q4_0, QL_GT_Q4_1, QL_GT_Q5_0, QL_GT_Q5_1,
    QL_GT_Q8_0, QL_GT_Q2_K, QL_GT_Q3_K, QL_GT_Q4_K, QL_GT_Q5_K, QL_GT_Q6_K,
};
#define TYPES (sizeof all_types / sizeof all_types[0])

/* tests/data/gguf_blocks.safetensors is recorded from the gguf package: equal bit for bit. */
static void blocks_decode_to_the_packages_floats(void **state) {
    (void)state;
    ql_st_file *f = NULL;
    assert_int_equal(ql_st_open(QL_TEST_DATA "/gguf_blocks.safetensors", &f), QL_OK);
    assert_int_equal(ql_st_count(f), 2 * TYPES);
    for (size_t i = 0; i < TYPES; i++) {
        char name[32];
        snprintf(name, sizeof name, "%s.blocks", ql_gguf_type_name(all_types[i]));
        const ql_st_tensor *blocks = ql_st_find(f, name);
        snprintf(name, sizeof name, "%s.values", ql_gguf_type_name(all_types[i]));
        const ql_st_tensor *values = ql_st_find(f, name);
        assert_true(blocks && values);
        int64_t n = (int64_t)blocks->bytes / ql_gguf_block_bytes(all_types[i]);
        assert_int_equal(n * ql_gguf_block_bytes(all_types[i]), blocks->bytes);
        assert_int_equal(n * ql_gguf_block_elems(all_types[i]), values->numel);
        float *y = malloc(values->bytes);
        ql_gguf_decode(all_types[i], blocks->data, n, y);
        if (memcmp(y, values->data, values->bytes) != 0) fail_msg("%s differs", name);
        free(y);
    }
    ql_st_close(f);
}

static void types_know_their_size_and_use(void **state) {
    (void)state;
    assert_string_equal(ql_gguf_type_name(QL_GT_Q4_K), "Q4_K");
    assert_null(ql_gguf_type_name((ql_gguf_type)4)); /* removed from GGML */
    assert_null(ql_gguf_type_name((ql_gguf_type)16));
    assert_null(ql_gguf_type_name((ql_gguf_type)1000));
    assert_int_equal(ql_gguf_block_elems((ql_gguf_type)-1), 0);
    assert_int_equal(ql_gguf_block_bytes(QL_GT_Q8_0), 34);
    assert_int_equal(ql_gguf_trainable(QL_GT_Q5_1), QL_GGML_Q5_1);
    assert_int_equal(ql_gguf_trainable(QL_GT_Q6_K), QL_GGML_NONE);
    assert_int_equal(ql_gguf_trainable(QL_GT_BF16), QL_GGML_NONE);
}

static void rows_are_read_one_by_one(void **state) {
    (void)state;
    gguf_build b = {0};
    uint8_t q8[3 * 2 * 34] = {0};
    for (int block = 0; block < 6; block++) {
        q8[34 * block + 1] = 0x3C; /* d = 1 */
        for (int i = 0; i < 32; i++) q8[34 * block + 2 + i] = (uint8_t)(block * 10 - i);
    }
    gguf_put_tensor(&b, "w", QL_GT_Q8_0, 2, (uint64_t[]){64, 3}, q8, sizeof q8);
    gguf_put_tensor(&b, "v", QL_GT_F32, 1, (uint64_t[]){3}, (float[]){1, 2, 3}, 12);
    gguf_put_tensor(&b, "cube", QL_GT_F32, 3, (uint64_t[]){2, 3, 1}, (float[]){0, 1, 2, 3, 4, 5},
                    24);
    ql_gguf *g = open_gguf(&b);
    const ql_gguf_tensor *w = ql_gguf_find(g, "w"), *v = ql_gguf_find(g, "v");
    float row[64];
    assert_int_equal(ql_gguf_count(g), 3);
    assert_true(w->rows == 3 && w->cols == 64 && w->dims == 2 && w->bytes == sizeof q8);
    assert_true(v->rows == 1 && v->cols == 3 && v->dims == 1);
    assert_true(ql_gguf_find(g, "cube")->rows == 3 && ql_gguf_find(g, "cube")->cols == 2);
    assert_int_equal(w->offset % 32, 0);
    assert_ptr_equal(w->data, ql_gguf_map(g)->data + w->offset);
    assert_int_equal(ql_gguf_read_row(w, 2, row), QL_OK);
    for (int i = 0; i < 64; i++) assert_true(row[i] == (float)(i < 32 ? 40 - i : 50 - (i - 32)));
    assert_int_equal(ql_gguf_read_row(w, 3, row), QL_ERR_INVALID);
    assert_int_equal(ql_gguf_read_row(w, -1, row), QL_ERR_INVALID);
    assert_null(ql_gguf_find(g, "x"));
    assert_null(ql_gguf_at(g, 3));
    ql_gguf_close(g);
    ql_gguf_close(NULL);
}

/* ---------------------------------------------------------------------- keys */

static void integers_of_every_width_are_read(void **state) {
    (void)state;
    static const struct {
        uint32_t type;
        uint8_t bytes[8];
        size_t size;
        int64_t want;
    } cases[] = {
        {0, {0xFE}, 1, 254},
        {1, {0xFE}, 1, -2},
        {2, {0xFE, 0xFF}, 2, 65534},
        {3, {0xFE, 0xFF}, 2, -2},
        {4, {0xFE, 0xFF, 0xFF, 0xFF}, 4, 4294967294},
        {5, {0xFE, 0xFF, 0xFF, 0xFF}, 4, -2},
        {10, {1, 0, 0, 0, 0, 0, 0, 0x7F}, 8, 0x7F00000000000001},
        {11, {0xFE, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF}, 8, -2},
    };
    gguf_build b = {0};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char key[8];
        snprintf(key, sizeof key, "k%zu", i);
        gguf_put_raw(&b, key, cases[i].type, cases[i].bytes, cases[i].size);
    }
    gguf_put_raw(&b, "big", 10, "\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF", 8);
    gguf_put_f32(&b, "f", 2.5f);
    ql_gguf *g = open_gguf(&b);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char key[8];
        int64_t x = 0;
        double d = 0;
        snprintf(key, sizeof key, "k%zu", i);
        assert_int_equal(ql_gguf_get_i64(g, key, &x), QL_OK);
        assert_true(x == cases[i].want);
        assert_int_equal(ql_gguf_get_f64(g, key, &d), QL_OK);
        assert_true(d == (double)cases[i].want);
    }
    int64_t x = 5;
    assert_int_equal(ql_gguf_get_i64(g, "big", &x), QL_ERR_FORMAT);
    assert_int_equal(ql_gguf_get_i64(g, "f", &x), QL_ERR_FORMAT);
    assert_int_equal(ql_gguf_get_i64(g, "absent", &x), QL_OK);
    assert_int_equal(x, 5);
    ql_gguf_close(g);
}

static void other_keys_and_arrays_are_read_by_type(void **state) {
    (void)state;
    gguf_build b = {0};
    const double f64 = 0.1;
    gguf_put_bool(&b, "bool", true);
    gguf_put_f32(&b, "f32", 0.5f);
    gguf_put_raw(&b, "f64", 12, &f64, 8);
    gguf_put_str(&b, "str", "text");
    gguf_put_strs(&b, "strs", (const char *[]){"one", "", "three"}, 3);
    gguf_put_i32s(&b, "i32s", (int32_t[]){7, -8}, 2);
    gguf_put_f32s(&b, "f32s", (float[]){0.25f}, 1);
    gguf_put_strs(&b, "none", NULL, 0);
    ql_gguf *g = open_gguf(&b);
    bool yes = false;
    double d = 0;
    int64_t i = 0;
    ql_str s = {"default", 7};
    assert_int_equal(ql_gguf_get_bool(g, "bool", &yes), QL_OK);
    assert_true(yes);
    assert_int_equal(ql_gguf_get_f64(g, "f32", &d), QL_OK);
    assert_true(d == 0.5);
    assert_int_equal(ql_gguf_get_f64(g, "f64", &d), QL_OK);
    assert_true(d == 0.1);
    assert_int_equal(ql_gguf_get_str(g, "absent", &s), QL_OK);
    assert_int_equal(s.len, 7);
    assert_int_equal(ql_gguf_get_str(g, "str", &s), QL_OK);
    assert_true(s.len == 4 && memcmp(s.s, "text", 4) == 0);
    assert_int_equal(ql_gguf_array_len(g, "strs"), 3);
    assert_int_equal(ql_gguf_array_len(g, "none"), 0);
    assert_int_equal(ql_gguf_array_len(g, "str"), -1);
    assert_int_equal(ql_gguf_array_len(g, "absent"), -1);
    assert_int_equal(ql_gguf_array_str(g, "strs", 2, &s), QL_OK);
    assert_true(s.len == 5 && memcmp(s.s, "three", 5) == 0);
    assert_int_equal(ql_gguf_array_i64(g, "i32s", 1, &i), QL_OK);
    assert_int_equal(i, -8);
    assert_int_equal(ql_gguf_array_f64(g, "f32s", 0, &d), QL_OK);
    assert_true(d == 0.25);
    assert_true(ql_gguf_has(g, "none") && !ql_gguf_has(g, "absent"));
    /* wrong types, wrong places */
    assert_int_equal(ql_gguf_get_bool(g, "f32", &yes), QL_ERR_FORMAT);
    assert_int_equal(ql_gguf_get_f64(g, "str", &d), QL_ERR_FORMAT);
    assert_int_equal(ql_gguf_get_f64(g, "f32s", &d), QL_ERR_FORMAT);
    assert_int_equal(ql_gguf_get_str(g, "none", &s), QL_ERR_FORMAT);
    assert_int_equal(ql_gguf_get_i64(g, "bool", &i), QL_ERR_FORMAT);
    assert_int_equal(ql_gguf_array_str(g, "i32s", 0, &s), QL_ERR_FORMAT);
    assert_int_equal(ql_gguf_array_i64(g, "f32s", 0, &i), QL_ERR_FORMAT);
    assert_int_equal(ql_gguf_array_f64(g, "strs", 0, &d), QL_ERR_FORMAT);
    assert_int_equal(ql_gguf_array_str(g, "strs", 3, &s), QL_ERR_INVALID);
    assert_int_equal(ql_gguf_array_str(g, "strs", -1, &s), QL_ERR_INVALID);
    assert_int_equal(ql_gguf_array_str(g, "str", 0, &s), QL_ERR_FORMAT);
    assert_int_equal(ql_gguf_array_str(g, "absent", 0, &s), QL_ERR_NOT_FOUND);
    ql_gguf_close(g);
}

/* ------------------------------------------------------------- hostile files */

static void refused(gguf_build *b, ql_status want, const char *word) {
    ql_gguf *g = NULL;
    ql_status s = ql_gguf_open(put_gguf(b), &g);
    assert_null(g);
    if (s != want || !strstr(ql_last_error(), word)) {
        fail_msg("'%s' expected, %d: %s", word, s, ql_last_error());
    }
}

static void lying_tensors_are_refused_by_name(void **state) {
    (void)state;
    static const struct {
        uint32_t type, dims;
        uint64_t shape[5];
        uint64_t offset;
        ql_status status;
        const char *word;
    } cases[] = {
        {0, 1, {4}, 64, QL_ERR_FORMAT, "past the file's end"},
        {0, 1, {4}, UINT64_MAX - 31, QL_ERR_FORMAT, "past the file's end"},
        {0, 1, {4}, 1, QL_ERR_FORMAT, "unaligned"},
        {0, 1, {9}, 0, QL_ERR_FORMAT, "past the file's end"},
        {0, 0, {0}, 0, QL_ERR_FORMAT, "1 to 4 dimensions"},
        {0, 5, {1, 1, 1, 1, 1}, 0, QL_ERR_FORMAT, "1 to 4 dimensions"},
        {0, 1, {0}, 0, QL_ERR_FORMAT, "dimension of 0"},
        {0, 2, {1ull << 32, 1ull << 32}, 0, QL_ERR_FORMAT, "overflows"},
        {0, 1, {UINT64_MAX}, 0, QL_ERR_FORMAT, "overflows"},
        {0, 1, {1ull << 61}, 0, QL_ERR_FORMAT, "overflows"},
        {2, 2, {16, 2}, 0, QL_ERR_FORMAT, "multiple of 32"},
        {12, 2, {128, 2}, 0, QL_ERR_FORMAT, "multiple of 256"},
        {16, 1, {256}, 0, QL_ERR_UNSUPPORTED, "GGML type 16"},
        {UINT32_MAX, 1, {4}, 0, QL_ERR_UNSUPPORTED, "GGML type"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        gguf_build b = {0};
        gguf_put_tensor(&b, "good", 0, 1, (uint64_t[]){8}, (float[8]){0}, 32);
        gguf_put_tensor_at(&b, "liar", cases[i].type, cases[i].dims, cases[i].shape,
                           cases[i].offset);
        refused(&b, cases[i].status, cases[i].word);
        assert_non_null(strstr(ql_last_error(), "'liar'"));
    }
    gguf_build b = {0};
    gguf_put_tensor(&b, "a", 0, 1, (uint64_t[]){16}, (float[16]){0}, 64);
    gguf_put_tensor_at(&b, "b", 0, 1, (uint64_t[]){8}, 32);
    refused(&b, QL_ERR_FORMAT, "overlaps");
    gguf_put_tensor(&b, "a", 0, 1, (uint64_t[]){8}, (float[8]){0}, 32);
    gguf_put_tensor(&b, "a", 0, 1, (uint64_t[]){8}, (float[8]){0}, 32);
    refused(&b, QL_ERR_FORMAT, "appears twice");
    gguf_put_tensor(&b, "", 0, 1, (uint64_t[]){8}, (float[8]){0}, 32);
    refused(&b, QL_ERR_FORMAT, "name");
}

static void lying_keys_are_refused_by_name(void **state) {
    (void)state;
    static const uint8_t endless[12] = {8, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F};
    static const uint8_t nested[12] = {9, 0, 0, 0, 1};
    static const uint8_t numbers[12] = {10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x20}; /* x 8 = 0 */
    gguf_build b = {0};
    gguf_put_raw(&b, "k", 9, endless, sizeof endless);
    refused(&b, QL_ERR_FORMAT, "'k' claims");
    gguf_put_raw(&b, "k", 9, numbers, sizeof numbers);
    refused(&b, QL_ERR_FORMAT, "'k' claims");
    gguf_put_raw(&b, "k", 9, nested, sizeof nested);
    refused(&b, QL_ERR_FORMAT, "array of arrays");
    gguf_put_raw(&b, "k", 13, NULL, 0);
    refused(&b, QL_ERR_FORMAT, "value type 13");
    gguf_put_raw(&b, "k", 8, endless + 4, 8);
    refused(&b, QL_ERR_FORMAT, "cut short");
    gguf_put_u32(&b, "k", 1);
    gguf_put_u32(&b, "k", 1);
    refused(&b, QL_ERR_FORMAT, "'k' appears twice");
    for (uint32_t a = 0; a < 4; a += 3) {
        gguf_put_u32(&b, "general.alignment", a);
        refused(&b, QL_ERR_FORMAT, "general.alignment");
    }
    gguf_put_str(&b, "general.alignment", "32");
    refused(&b, QL_ERR_FORMAT, "general.alignment");
    b.n_keys = UINT64_MAX;
    refused(&b, QL_ERR_FORMAT, "keys");
    b.n_tensors = 1ull << 60;
    refused(&b, QL_ERR_FORMAT, "tensors");
    b.n_tensors = 3;
    refused(&b, QL_ERR_FORMAT, "name at offset 24");
}

static void other_files_are_recognised(void **state) {
    (void)state;
    static const struct {
        char bytes[24];
        ql_status status;
        const char *word;
    } cases[] = {
        {"PK\3\4", QL_ERR_FORMAT, "no GGUF"},
        {"GGUF\1", QL_ERR_UNSUPPORTED, "version 1"},
        {"GGUF\4", QL_ERR_UNSUPPORTED, "version 4"},
        {{'G', 'G', 'U', 'F', 0, 0, 0, 3}, QL_ERR_UNSUPPORTED, "big-endian"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        ql_gguf *g = NULL;
        assert_int_equal(ql_gguf_open(temp_put("o.gguf", cases[i].bytes, 24), &g), cases[i].status);
        assert_non_null(strstr(ql_last_error(), cases[i].word));
    }
}

static void version_2_and_own_alignment_are_read(void **state) {
    (void)state;
    gguf_build b = {0};
    size_t size;
    ql_gguf *g = NULL;
    gguf_put_u32(&b, "general.alignment", 8);
    gguf_put_tensor_at(&b, "t", 0, 1, (uint64_t[]){1}, 8);
    uint8_t *file = gguf_finish(&b, &size);
    const float x = 42;
    file = realloc(file, size + 12);
    file[4] = 2;
    /* the table ends at 24 + 33 + 33 = 90 -> data begin at 96, the tensor at 104 */
    memset(file + size, 0, 12);
    memcpy(file + 104, &x, 4);
    assert_int_equal(ql_gguf_open(temp_put("2.gguf", file, 108), &g), QL_OK);
    float y = 0;
    assert_int_equal(ql_gguf_read_row(ql_gguf_at(g, 0), 0, &y), QL_OK);
    assert_true(y == 42);
    ql_gguf_close(g);
    free(file);
}

/* Opens, reads everything that is promised, closes. */
static ql_status try_file(const char *path) {
    ql_gguf *g = NULL;
    ql_status s = ql_gguf_open(path, &g);
    if (s != QL_OK) return s;
    for (int64_t i = 0; i < ql_gguf_count(g); i++) {
        const ql_gguf_tensor *t = ql_gguf_at(g, i);
        float *row = malloc((size_t)t->cols * sizeof *row);
        for (int64_t k = 0; k < t->rows; k++) {
            assert_int_equal(ql_gguf_read_row(t, k, row), QL_OK);
        }
        free(row);
    }
    ql_gguf_close(g);
    return QL_OK;
}

static uint8_t *small_file(size_t *size) {
    static const uint8_t blocks[36] = {1, 2, 3, 4, 5, 6, 7, 8, 9};
    gguf_build b = {0};
    gguf_put_str(&b, "general.architecture", "llama");
    gguf_put_strs(&b, "tokens", (const char *[]){"a", "bc"}, 2);
    gguf_put_f32s(&b, "scores", (float[]){1, 2}, 2);
    gguf_put_u32(&b, "general.alignment", 32);
    gguf_put_tensor(&b, "w", QL_GT_Q4_0, 2, (uint64_t[]){32, 2}, blocks, 36);
    gguf_put_tensor(&b, "v", QL_GT_F32, 1, (uint64_t[]){2}, "01234567", 8);
    return gguf_finish(&b, size);
}

static void every_truncation_is_refused(void **state) {
    (void)state;
    size_t size, live = ql_hostmem_live();
    uint8_t *file = small_file(&size);
    for (size_t n = 0; n < size; n++) {
        assert_int_equal(try_file(temp_put("t.gguf", file, n)), QL_ERR_FORMAT);
    }
    assert_int_equal(try_file(temp_put("t.gguf", file, size)), QL_OK);
    free(file);
    assert_int_equal(ql_hostmem_live(), live);
}

static void no_changed_byte_does_harm(void **state) {
    (void)state;
    size_t size, live = ql_hostmem_live();
    uint8_t *file = small_file(&size);
    for (size_t i = 0; i < size; i++) {
        uint8_t keep = file[i];
        for (int k = 0; k < 10; k++) {
            file[i] = k < 8 ? (uint8_t)(keep ^ (1u << k)) : (uint8_t)(k == 8 ? 0x00 : 0xFF);
            ql_status s = try_file(temp_put("c.gguf", file, size));
            assert_true(s == QL_OK || s == QL_ERR_FORMAT || s == QL_ERR_UNSUPPORTED);
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
    const char *path = temp_put("n.gguf", file, size);
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

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_decode_to_the_packages_floats),
        cmocka_unit_test(types_know_their_size_and_use),
        cmocka_unit_test(rows_are_read_one_by_one),
        cmocka_unit_test(integers_of_every_width_are_read),
        cmocka_unit_test(other_keys_and_arrays_are_read_by_type),
        cmocka_unit_test(lying_tensors_are_refused_by_name),
        cmocka_unit_test(lying_keys_are_refused_by_name),
        cmocka_unit_test(other_files_are_recognised),
        cmocka_unit_test(version_2_and_own_alignment_are_read),
        cmocka_unit_test(every_truncation_is_refused),
        cmocka_unit_test(no_changed_byte_does_harm),
        cmocka_unit_test(memory_that_runs_out_is_reported_and_not_leaked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
