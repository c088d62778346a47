/*
 * test_quant_stored.c - the containers: texts as Python writes them, every type and packing there
 * and back, other storage dtypes, and files that lie.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/half.h"
#include "core/quant/blob.h"
#include "core/quant/stored.h"
#include "tests/core/quant_fixture.h"

#define WORK "quant_stored.work"
#define NAME "model.layers.0.mlp.up_proj.weight"

/* Expected texts are Python's: repr of numpy.float32 values converted to float. */
static void floats_are_printed_as_python_does(void **state) {
    (void)state;
    static const struct {
        double x;
        const char *text;
    } cases[] = {{0.0, "0.0"},
                 {1.0, "1.0"},
                 {-2.5, "-2.5"},
                 {100.0, "100.0"},
                 {0.1, "0.1"},
                 {0.05104370042681694, "0.05104370042681694"},
                 {0.07220077514648438, "0.07220077514648438"},
                 {0.0001, "0.0001"},
                 {9.999999747378752e-05, "9.999999747378752e-05"},
                 {1e-05, "1e-05"},
                 {1.1754943508222875e-38, "1.1754943508222875e-38"},
                 {5e-324, "5e-324"},
                 {123456789012345.0, "123456789012345.0"},
                 {1e16, "1e+16"},
                 {1.7976931348623157e308, "1.7976931348623157e+308"},
                 {3.4028234663852886e+38, "3.4028234663852886e+38"}};
    char text[32];
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_int_equal(ql_python_float(cases[i].x, text), strlen(cases[i].text));
        assert_string_equal(text, cases[i].text);
    }
}

static void write_config(const char *dir) {
    char path[256];
    snprintf(path, sizeof path, "%s/config.json", dir);
    const char *text = "{\"model_type\": \"llama\", \"architectures\": [\"LlamaForCausalLM\"]}";
    assert_int_equal(ql_dir_create(dir), QL_OK);
    assert_int_equal(ql_file_replace(path, text, strlen(text)), QL_OK);
}

static ql_source *open_dir(const char *dir) {
    ql_source *s = NULL;
    if (ql_source_open(dir, &s) != QL_OK) fail_msg("%s", ql_last_error());
    return s;
}

/* Writes q as NAME with declared parts; `odd` shifts everything behind it to odd addresses. */
static ql_source *store(const ql_qtensor *q, ql_stored_format format, bool odd) {
    ql_stored_parts p;
    ql_st_writer *w;
    int64_t one = 1;
    write_config(WORK);
    if (ql_stored_parts_of(NAME, q, format, &p) != QL_OK) fail_msg("%s", ql_last_error());
    assert_int_equal(ql_st_writer_create(WORK "/model.safetensors", &w), QL_OK);
    if (odd) assert_int_equal(ql_st_writer_declare(w, "a", QL_ST_U8, 1, &one), QL_OK);
    for (int i = 0; i < p.count; i++)
        assert_int_equal(
            ql_st_writer_declare(w, p.at[i].name, p.at[i].dtype, p.at[i].dims, p.at[i].shape),
            QL_OK);
    if (odd) assert_int_equal(ql_st_writer_data(w, "x", 1), QL_OK);
    for (int i = 0; i < p.count; i++)
        assert_int_equal(ql_st_writer_data(w, p.at[i].data, p.at[i].bytes), QL_OK);
    assert_int_equal(ql_st_writer_commit(w), QL_OK);
    ql_stored_parts_free(&p);
    return open_dir(WORK);
}

/* Codes of any width by the definition in docs/file-formats.md, bit by bit. */
static void pack_bits(const uint8_t *codes, int64_t n, int bits, bool low_first, uint8_t *out) {
    memset(out, 0, (size_t)(n * bits + 7) / 8);
    for (int64_t i = 0; i < n; i++)
        for (int b = 0; b < bits; b++) {
            int64_t at = i * bits + b;
            int bit = low_first ? codes[i] >> b & 1 : codes[i] >> (bits - 1 - b) & 1;
            out[at / 8] |= (uint8_t)(bit << (low_first ? at % 8 : 7 - at % 8));
        }
}

/* 7 x 37 weights with random codes and scales: odd sizes, blocks that straddle rows, every type and
 * packing, one and two levels, compared with the formula in double-free float32. */
static void check_container(const ql_qtype *type, bool low_first, bool doubled, bool odd) {
    enum { N = 7, K = 37, TOTAL = N * K, BLOCK = 32 };
    uint8_t codes[TOTAL], packed[TOTAL + 8], absmax_q[TOTAL];
    float absmax[TOTAL], zero[TOTAL], absmax2[TOTAL], got[TOTAL];
    uint16_t zero_f16[TOTAL];
    int blocks = type->per_row ? N : (TOTAL + BLOCK - 1) / BLOCK;
    srand(7);
    for (int i = 0; i < TOTAL; i++) codes[i] = (uint8_t)(rand() & ((1 << type->bits) - 1));
    for (int b = 0; b < blocks; b++) {
        absmax[b] = (float)(rand() % 1000) / 777.0f;
        zero[b] = (float)(rand() % 1000) / -512.0f; /* exact in float16 */
        zero_f16[b] = ql_f16_from_f32(zero[b]);
        absmax_q[b] = (uint8_t)rand();
        absmax2[b / 32] = 1.25f;
    }
    pack_bits(codes, TOTAL, type->bits, low_first, packed);
    ql_qtensor q = {.type = type,
                    .n = N,
                    .k = K,
                    .block = type->per_row ? 0 : BLOCK,
                    .block2 = doubled ? 32 : 0,
                    .pack = low_first ? QL_PACK_LOW_FIRST : QL_PACK_HIGH_FIRST,
                    .codes = packed,
                    .codes_bytes = (uint64_t)(TOTAL * type->bits + 7) / 8,
                    .n_blocks = blocks,
                    .n_blocks2 = (blocks + 31) / 32,
                    .absmax = doubled ? NULL : absmax,
                    .absmax_q = doubled ? absmax_q : NULL,
                    .absmax2 = doubled ? absmax2 : NULL,
                    .code2 = doubled ? ql_dyn8_signed() : NULL,
                    .offset = doubled ? 0.75f : 0.0f,
                    .zero = type->affine && !odd ? zero : NULL,
                    .zero_f16 = type->affine && odd ? zero_f16 : NULL,
                    .table = type->table,
                    .source_dtype = "float16"};
    ql_source *s = store(&q, QL_STORED_QLORA, odd);
    ql_qtensor back;
    if (ql_stored_open(s, NAME, &back) != QL_OK) fail_msg("%s", ql_last_error());
    assert_ptr_equal(back.type, type);
    assert_string_equal(back.source_dtype, "float16");
    assert_ptr_equal(back.table, type->table);
    int64_t n, k;
    assert_int_equal(ql_stored_shape(s, NAME, &n, &k), QL_OK);
    assert_true(n == N && k == K);
    assert_int_equal(ql_dequantize_rows(&back, 0, N, got), QL_OK);
    for (int e = 0; e < TOTAL; e++) {
        int b = type->per_row ? e / K : e / BLOCK;
        float product = doubled ? ql_dyn8_signed()[absmax_q[b]] * absmax2[b / 32] : 0.0f;
        float scale = doubled ? product + 0.75f : absmax[b];
        float want = type->table[codes[e]] * scale;
        if (type->bits == 8 && type->encode == QL_ENCODE_ROUND) want *= 7.874015718698502e-3f;
        if (type->affine) want += zero[b];
        assert_floats_equal(&got[e], &want, 1, type->name);
    }
    float part[2 * K]; /* rows from the middle start inside a byte */
    assert_int_equal(ql_dequantize_rows(&back, 3, 2, part), QL_OK);
    assert_floats_equal(part, got + 3 * K, 2 * K, "rows 3 and 4");
    ql_qtensor_free(&back);
    ql_source_close(s);
}

static void every_type_and_packing_comes_back(void **state) {
    (void)state;
    for (int id = 0; id < QL_QT_GGML; id++)
        for (int variant = 0; variant < 8; variant++)
            check_container(ql_qtype_at(id), variant & 1, variant & 2, variant & 4);
}

static void other_storage_types_hold_the_same_bytes(void **state) {
    (void)state;
    static const struct {
        const char *name;
        ql_st_dtype dtype;
    } cases[] = {{"float32", QL_ST_F32}, {"bfloat16", QL_ST_BF16}, {"int8", QL_ST_I8}};
    ql_st_file *f = fixture_open("edge_cases");
    const ql_st_tensor *in = fixture_find(f, "storage.input");
    float *x = fixture_floats(in);
    ql_quant_opts o = ql_quant_opts_default();
    o.double_quant = false;
    ql_qtensor q;
    assert_int_equal(ql_quantize(&o, x, in->shape[0], in->shape[1], &q), QL_OK);
    for (size_t i = 0; i < 3; i++) {
        const ql_st_tensor *packed = fixture_find(f, "storage.%s.packed", cases[i].name);
        assert_int_equal(packed->dtype, cases[i].dtype);
        assert_bytes_equal(q.codes, packed->data, q.codes_bytes, cases[i].name);
        ql_stored_parts p;
        ql_st_writer *w;
        assert_int_equal(ql_stored_parts_of(NAME, &q, QL_STORED_BNB, &p), QL_OK);
        write_config(WORK);
        assert_int_equal(ql_st_writer_create(WORK "/model.safetensors", &w), QL_OK);
        p.at[0].dtype = packed->dtype;
        p.at[0].shape[0] = packed->shape[0];
        for (int k = 0; k < p.count; k++)
            assert_int_equal(
                ql_st_writer_declare(w, p.at[k].name, p.at[k].dtype, p.at[k].dims, p.at[k].shape),
                QL_OK);
        for (int k = 0; k < p.count; k++)
            assert_int_equal(ql_st_writer_data(w, p.at[k].data, p.at[k].bytes), QL_OK);
        assert_int_equal(ql_st_writer_commit(w), QL_OK);
        ql_stored_parts_free(&p);
        ql_source *s = open_dir(WORK);
        ql_qtensor back;
        if (ql_stored_open(s, NAME, &back) != QL_OK) fail_msg("%s", ql_last_error());
        assert_bytes_equal(back.codes, q.codes, q.codes_bytes, cases[i].name);
        ql_qtensor_free(&back);
        ql_source_close(s);
    }
    ql_qtensor_free(&q);
    free(x);
    ql_st_close(f);
}

static void declaring_before_encoding_gives_a_readable_file(void **state) {
    (void)state;
    float w[64 * 24];
    srand(3);
    for (int i = 0; i < 64 * 24; i++) w[i] = (float)(rand() % 2001 - 1000) / 1000.0f;
    for (int id = 0; id < QL_QT_GGML; id++) {
        const ql_qtype *type = ql_qtype_at(id);
        ql_quant_opts o = ql_quant_opts_default();
        o.type = (ql_qtype_id)id;
        o.double_quant = !type->per_row;
        ql_st_writer *writer;
        ql_qtensor q, back;
        write_config(WORK);
        assert_int_equal(ql_quantize(&o, w, 24, 64, &q), QL_OK);
        assert_int_equal(ql_st_writer_create(WORK "/model.safetensors", &writer), QL_OK);
        assert_int_equal(ql_stored_declare(writer, NAME, &o, 24, 64, "float32"), QL_OK);
        if (ql_stored_write(writer, NAME, &q) != QL_OK) fail_msg("%s", ql_last_error());
        assert_int_equal(ql_st_writer_commit(writer), QL_OK);
        ql_source *s = open_dir(WORK);
        if (ql_stored_open(s, NAME, &back) != QL_OK) fail_msg("%s", ql_last_error());
        assert_bytes_equal(back.codes, q.codes, q.codes_bytes, type->name);
        assert_floats_equal(&back.offset, &q.offset, 1, "offset");
        ql_qtensor_free(&q);
        ql_qtensor_free(&back);
        ql_source_close(s);
    }
}

/* One change to a good nf4 file with a second level, and the words of the refusal. */
typedef struct lie {
    const char *part;   /* which entry; "" = the codes                       */
    const char *text;   /* new quant_state text, or NULL                     */
    const char *rename; /* new ending of the entry's name, or NULL           */
    int64_t shrink;     /* elements taken off                                */
    float poison;       /* written over the first float when not 0           */
    const char *words;
} lie;

#define STATE ".quant_state.bitsandbytes__nf4"
#define GOOD                                                                                       \
    "\"quant_type\": \"nf4\", \"blocksize\": 64, \"dtype\": \"bfloat16\", \"shape\": [32, 64]"
#define NESTED ", \"nested_blocksize\": 256, \"nested_dtype\": \"float32\", \"nested_offset\": 0.5"

static const lie lies[] = {
    {.part = "", .shrink = 1, .words = "1023 bytes, the shape asks for 1024"},
    {.part = ".absmax", .shrink = 1, .words = ".absmax"},
    {.part = ".nested_absmax", .rename = ".nothing", .words = ".nested_absmax: missing"},
    {.part = ".nested_quant_map", .shrink = 3, .words = ".nested_quant_map"},
    {.part = ".quant_map", .rename = ".quant_mop", .words = ".quant_map: missing"},
    {.part = ".quant_map", .poison = INFINITY, .words = "not finite"},
    {.part = ".nested_absmax", .poison = NAN, .words = "not finite"},
    {.part = STATE, .text = "{" GOOD, .words = "JSON"},
    {.part = STATE, .text = "[]", .words = "JSON object"},
    {.part = STATE,
     .text = "{" GOOD NESTED ", \"surprise\": 1}",
     .words = "unknown key 'surprise'"},
    {.part = STATE, .text = "{" GOOD NESTED ", \"version\": 1}", .words = "unknown key 'version'"},
    {.part = STATE, .text = "{" GOOD ", \"dtype\": \"float32\"" NESTED "}", .words = "uplicate"},
    {.part = STATE, .text = "{" GOOD "}", .words = "no second level"},
    {.part = STATE, .text = "{" GOOD ", \"nested_blocksize\": 256}", .words = "come together"},
    {.part = STATE,
     .text =
         "{\"quant_type\": \"fp4\", \"blocksize\": 64, \"dtype\": \"bfloat16\", \"shape\": [32, "
         "64]" NESTED "}",
     .words = "the key says 'nf4'"},
    {.part = STATE,
     .text = "{\"quant_type\": \"nf4\", \"blocksize\": 64, \"dtype\": \"int8\", \"shape\": [32, "
             "64]" NESTED "}",
     .words = "'dtype'"},
    {.part = STATE,
     .text = "{\"quant_type\": \"nf4\", \"blocksize\": 0, \"dtype\": \"float32\", \"shape\": [32, "
             "64]" NESTED "}",
     .words = "'blocksize'"},
    {.part = STATE,
     .text = "{\"quant_type\": \"nf4\", \"blocksize\": 64, \"dtype\": \"float32\", \"shape\": "
             "[1099511627776, 1099511627776]" NESTED "}",
     .words = ""},
    {.part = STATE,
     .text = "{\"quant_type\": \"nf4\", \"blocksize\": 64, \"dtype\": \"float32\", \"shape\": [-1, "
             "64]" NESTED "}",
     .words = "'shape'"},
    {.part = STATE,
     .text = "{\"quant_type\": \"nf4\", \"blocksize\": 64, \"dtype\": \"float32\", \"shape\": "
             "[2048]" NESTED "}",
     .words = "'shape'"},
    {.part = STATE, .rename = ".quant_state.other__nf4", .words = "unknown kind"},
    {.part = STATE, .rename = ".quant_state.bitsandbytes__int4", .words = "the key says 'int4'"},
    {.part = ".absmax", .rename = STATE "2", .words = "2 quant_state entries"},
};

static void write_lie(const ql_stored_parts *p, const lie *l) {
    ql_st_writer *w;
    const void *data[QL_STORED_MAX_PARTS];
    uint64_t bytes[QL_STORED_MAX_PARTS];
    float poisoned[256];
    write_config(WORK);
    assert_int_equal(ql_st_writer_create(WORK "/model.safetensors", &w), QL_OK);
    bool hit = false;
    for (int i = 0; i < p->count; i++) {
        const ql_stored_part *part = &p->at[i];
        char name[256];
        int64_t shape[2] = {part->shape[0], part->shape[1]};
        snprintf(name, sizeof name, "%s", part->name);
        data[i] = part->data;
        bytes[i] = part->bytes;
        if (strcmp(part->name + strlen(NAME), l->part) == 0) {
            hit = true;
            if (l->rename != NULL) snprintf(name, sizeof name, NAME "%s", l->rename);
            shape[0] -= l->shrink;
            bytes[i] -= (uint64_t)l->shrink * ql_st_dtype_bytes(part->dtype);
            if (l->text != NULL) {
                data[i] = l->text;
                bytes[i] = (uint64_t)(shape[0] = (int64_t)strlen(l->text));
            }
            if (l->poison != 0.0f) {
                memcpy(poisoned, part->data, part->bytes);
                poisoned[0] = l->poison;
                data[i] = poisoned;
            }
        }
        assert_int_equal(ql_st_writer_declare(w, name, part->dtype, part->dims, shape), QL_OK);
    }
    assert_true(hit);
    for (int i = 0; i < p->count; i++)
        assert_int_equal(ql_st_writer_data(w, data[i], bytes[i]), QL_OK);
    assert_int_equal(ql_st_writer_commit(w), QL_OK);
}

static void files_that_lie_are_refused_with_the_reason(void **state) {
    (void)state;
    float w[32 * 64];
    for (int i = 0; i < 32 * 64; i++) w[i] = (float)(i % 97) - 48.0f;
    ql_quant_opts o = ql_quant_opts_default();
    ql_qtensor q, back = {0};
    assert_int_equal(ql_quantize(&o, w, 32, 64, &q), QL_OK);
    ql_stored_parts p;
    assert_int_equal(ql_stored_parts_of(NAME, &q, QL_STORED_BNB, &p), QL_OK);
    size_t live = ql_hostmem_live();
    for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++) {
        write_lie(&p, &lies[i]);
        ql_source *s = open_dir(WORK);
        ql_status status = ql_stored_open(s, NAME, &back);
        if (status == QL_OK) fail_msg("lie %zu (%s) was believed", i, lies[i].words);
        assert_true(status == QL_ERR_FORMAT || status == QL_ERR_INVALID);
        if (strstr(ql_last_error(), lies[i].words) == NULL)
            fail_msg("lie %zu: '%s' says nothing of '%s'", i, ql_last_error(), lies[i].words);
        assert_null(back.codes);
        ql_source_close(s);
        assert_int_equal(ql_hostmem_live(), live);
    }
    ql_stored_parts_free(&p);
    ql_qtensor_free(&q);
}

static void our_own_text_is_read_strictly(void **state) {
    (void)state;
    static const char *const bad[] = {
        "{\"version\": 2, \"quant_type\": \"int4\", \"bits\": 4, \"blocksize\": 64, \"dtype\": "
        "\"float32\", \"shape\": [2, 64]}",
        "{\"quant_type\": \"int4\", \"bits\": 4, \"blocksize\": 64, \"dtype\": \"float32\", "
        "\"shape\": [2, 64]}",
        "{\"version\": 1, \"quant_type\": \"int4\", \"bits\": 3, \"blocksize\": 64, \"dtype\": "
        "\"float32\", \"shape\": [2, 64]}",
        "{\"version\": 1, \"quant_type\": \"int4\", \"bits\": 4, \"pack\": \"sideways\", "
        "\"blocksize\": 64, \"dtype\": \"float32\", \"shape\": [2, 64]}"};
    const char *good = "{\"version\": 1, \"quant_type\": \"int4\", \"bits\": 4, \"pack\": "
                       "\"low_first\", \"blocksize\": 64, \"dtype\": \"float32\", \"shape\": [2, "
                       "64]}";
    ql_blob b;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(ql_blob_read(bad[i], strlen(bad[i]), "qlora__int4", "t", &b),
                         QL_ERR_FORMAT);
    assert_int_equal(ql_blob_read(good, strlen(good), "qlora__int4", "t", &b), QL_OK);
    assert_int_equal(b.pack, QL_PACK_LOW_FIRST);
    char text[QL_BLOB_TEXT_MAX];
    int len = ql_blob_write(&b, false, text);
    assert_int_equal(len, strlen(good));
    assert_string_equal(text, good);
}

static void parts_belong_to_their_weight(void **state) {
    (void)state;
    ql_source *s = open_dir(QL_TEST_DATA "/quant/tiny_nf4_dq");
    assert_true(ql_stored_is_part(s, NAME ".absmax"));
    assert_true(ql_stored_is_part(s, NAME ".quant_state.bitsandbytes__nf4"));
    assert_false(ql_stored_is_part(s, NAME));
    assert_false(ql_stored_is_part(s, "lm_head.weight"));
    assert_false(ql_stored_is_quantized(s, "lm_head.weight"));
    assert_false(ql_stored_is_quantized(s, "absent"));
    ql_qtensor q;
    assert_int_equal(ql_stored_open(s, "absent", &q), QL_ERR_NOT_FOUND);
    assert_int_equal(ql_stored_open(s, "lm_head.weight", &q), QL_ERR_INVALID);
    ql_source_close(s);
    s = open_dir(QL_TEST_DATA "/quant/tiny_int8");
    assert_true(ql_stored_is_part(s, "model.layers.0.mlp.up_proj.SCB"));
    assert_true(ql_stored_is_part(s, "model.layers.0.mlp.up_proj.weight_format"));
    ql_source_close(s);
}

static int prepare(void **state) {
    (void)state;
    return ql_dir_remove(WORK) == QL_OK && ql_dir_create(WORK) == QL_OK ? 0 : -1;
}

static int clean(void **state) {
    (void)state;
    return ql_dir_remove(WORK) == QL_OK ? 0 : -1;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(floats_are_printed_as_python_does),
        cmocka_unit_test(every_type_and_packing_comes_back),
        cmocka_unit_test(other_storage_types_hold_the_same_bytes),
        cmocka_unit_test(declaring_before_encoding_gives_a_readable_file),
        cmocka_unit_test(files_that_lie_are_refused_with_the_reason),
        cmocka_unit_test(our_own_text_is_read_strictly),
        cmocka_unit_test(parts_belong_to_their_weight),
    };
    return cmocka_run_group_tests_name("quant_stored", tests, prepare, clean);
}
