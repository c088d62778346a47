/*
 * blob.c - quant_state texts (spec section 3; our own keys: docs/file-formats.md).
 *
 * Keys come in a fixed order with Python's separators ", " and ": ", so that a file we write equals
 * the one that transformers writes. Readers refuse unknown keys and values out of range.
 */
#include "core/quant/blob.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/json.h"

#define BNB_PREFIX "bitsandbytes__"
#define OWN_PREFIX "qlora__"
#define MAX_SIDE   ((int64_t)1 << 40)

/* Longest repr of a float32 that is a mean of scales: 17 digits, point, exponent. */
#define LONGEST_OFFSET "1.23456789012345678e-38"

static const char *const float_dtypes[] = {"float32", "float16", "bfloat16"};

/* The program that embeds us may have set a locale with a decimal comma. */
static int with_point(char *text) {
    char *comma = strchr(text, ',');
    if (comma != NULL) *comma = '.';
    return (int)strlen(text);
}

/* Shortest digits: the first precision at which printing and reading back agree. */
int ql_python_float(double x, char out[32]) {
    if (isnan(x)) return snprintf(out, 32, "NaN");
    if (isinf(x)) return snprintf(out, 32, x > 0 ? "Infinity" : "-Infinity");
    char sci[32];
    int digits = 1;
    for (; digits <= 17; digits++) {
        snprintf(sci, sizeof sci, "%.*e", digits - 1, x);
        if (strtod(sci, NULL) == x) break;
    }
    int exponent = (int)strtol(strchr(sci, 'e') + 1, NULL, 10);
    if (exponent >= -4 && exponent < 16) {
        int places = digits - 1 - exponent;
        snprintf(out, 32, "%.*f", places > 1 ? places : 1, x);
        return with_point(out);
    }
    *strchr(sci, 'e') = '\0';
    snprintf(out, 32, "%.24se%+03d", sci, exponent % 1000);
    return with_point(out);
}

int ql_blob_write(const ql_blob *b, bool longest, char text[QL_BLOB_TEXT_MAX]) {
    char own[64] = "", bits[64] = "", nested[128] = "", offset[32];
    if (b->own) {
        snprintf(own, sizeof own, "\"version\": %d, ", QL_BLOB_VERSION);
        snprintf(bits, sizeof bits, "\"bits\": %d, \"pack\": \"%s\", ", (int)b->type->bits,
                 b->pack == QL_PACK_LOW_FIRST ? "low_first" : "high_first");
    }
    if (b->block2 > 0) {
        ql_python_float((double)b->offset, offset);
        snprintf(nested, sizeof nested,
                 ", \"nested_blocksize\": %d, \"nested_dtype\": \"float32\", \"nested_offset\": %s",
                 (int)b->block2, longest ? LONGEST_OFFSET : offset);
    }
    return snprintf(text, QL_BLOB_TEXT_MAX,
                    "{%s\"quant_type\": \"%s\", %s\"blocksize\": %d, \"dtype\": \"%s\", "
                    "\"shape\": [%lld, %lld]%s}",
                    own, b->type->name, bits, (int)b->block, b->source_dtype, (long long)b->n,
                    (long long)b->k, nested);
}

/* Every key must be one of ours, so that a newer or foreign text is not half understood. */
static ql_status check_keys(const json_t *j, bool own, const char *what) {
    static const char *const known[] = {
        "quant_type",       "blocksize",     "dtype",   "shape", "nested_dtype",
        "nested_blocksize", "nested_offset", "version", "bits",  "pack"};
    size_t n = sizeof known / sizeof known[0] - (own ? 0 : 3);
    if (!json_is_object(j)) return QL_FAIL(QL_ERR_FORMAT, "%s: expected a JSON object", what);
    union { /* jansson's iterator takes a pointer to non-const */
        const json_t *from;
        json_t *to;
    } object = {.from = j};
    const char *key;
    json_t *value;
    json_object_foreach(object.to, key, value) {
        size_t i = 0;
        while (i < n && strcmp(key, known[i]) != 0) i++;
        if (i == n) return QL_FAIL(QL_ERR_FORMAT, "%s: unknown key '%.100s'", what, key);
    }
    return QL_OK;
}

static ql_status read_shape(const json_t *j, const char *what, ql_blob *b) {
    const json_t *shape = json_object_get(j, "shape");
    int64_t side[2];
    if (!json_is_array(shape) || json_array_size(shape) != 2)
        return QL_FAIL(QL_ERR_FORMAT, "%s: 'shape' must be a list of two sizes", what);
    for (size_t i = 0; i < 2; i++) {
        const json_t *v = json_array_get(shape, i);
        if (!json_is_integer(v) || json_integer_value(v) < 1 || json_integer_value(v) > MAX_SIDE)
            return QL_FAIL(QL_ERR_FORMAT, "%s: 'shape' must hold two sizes from 1 to 2^40", what);
        side[i] = json_integer_value(v);
    }
    b->n = side[0];
    b->k = side[1];
    return QL_OK;
}

static ql_status read_dtype(const json_t *j, const char *what, ql_blob *b) {
    const char *name = NULL;
    QL_TRY(ql_json_get_str(j, what, "dtype", &name));
    for (size_t i = 0; name != NULL && i < sizeof float_dtypes / sizeof float_dtypes[0]; i++)
        if (strcmp(name, float_dtypes[i]) == 0) b->source_dtype = float_dtypes[i];
    if (b->source_dtype == NULL)
        return QL_FAIL(QL_ERR_FORMAT,
                       "%s: 'dtype' must be float32, float16 or bfloat16, not '%.40s'", what,
                       name != NULL ? name : "absent");
    return QL_OK;
}

static ql_status read_nested(const json_t *j, const char *what, ql_blob *b) {
    int64_t block2 = 0;
    double offset = 0.0;
    const char *dtype = "float32";
    bool any = ql_json_has(j, "nested_blocksize") || ql_json_has(j, "nested_dtype") ||
               ql_json_has(j, "nested_offset");
    if (!any) return QL_OK;
    if (!ql_json_has(j, "nested_blocksize") || !ql_json_has(j, "nested_offset"))
        return QL_FAIL(QL_ERR_FORMAT, "%s: nested_blocksize and nested_offset come together", what);
    QL_TRY(ql_json_get_i64(j, what, "nested_blocksize", 1, 1 << 20, &block2));
    QL_TRY(ql_json_get_f64(j, what, "nested_offset", -3.4e38, 3.4e38, &offset));
    QL_TRY(ql_json_get_str(j, what, "nested_dtype", &dtype));
    if (strcmp(dtype, "float32") != 0)
        return QL_FAIL(QL_ERR_FORMAT, "%s: 'nested_dtype' must be float32, not '%.40s'", what,
                       dtype);
    b->block2 = (int32_t)block2;
    b->offset = (float)offset;
    return QL_OK;
}

/* version, bits and pack of our own container. */
static ql_status read_own(const json_t *j, const char *what, ql_blob *b) {
    int64_t version = 0, bits = 0;
    const char *pack = "high_first";
    QL_TRY(ql_json_get_i64(j, what, "version", 0, INT32_MAX, &version));
    if (version != QL_BLOB_VERSION)
        return QL_FAIL(QL_ERR_FORMAT, "%s: version %lld, this program reads version %d", what,
                       (long long)version, QL_BLOB_VERSION);
    QL_TRY(ql_json_get_i64(j, what, "bits", 1, 8, &bits));
    if (bits != b->type->bits)
        return QL_FAIL(QL_ERR_FORMAT, "%s: %lld bits, but %s has %d", what, (long long)bits,
                       b->type->name, (int)b->type->bits);
    QL_TRY(ql_json_get_str(j, what, "pack", &pack));
    if (strcmp(pack, "high_first") != 0 && strcmp(pack, "low_first") != 0)
        return QL_FAIL(QL_ERR_FORMAT, "%s: 'pack' must be high_first or low_first, not '%.40s'",
                       what, pack);
    b->pack = strcmp(pack, "low_first") == 0 ? QL_PACK_LOW_FIRST : QL_PACK_HIGH_FIRST;
    return QL_OK;
}

static ql_status read_object(const json_t *j, const char *suffix, const char *what, ql_blob *b) {
    b->own = strncmp(suffix, OWN_PREFIX, strlen(OWN_PREFIX)) == 0;
    bool bnb = strncmp(suffix, BNB_PREFIX, strlen(BNB_PREFIX)) == 0;
    if (!b->own && !bnb)
        return QL_FAIL(QL_ERR_FORMAT, "%s: unknown kind of quant_state '%.60s'", what, suffix);
    const char *named = suffix + strlen(b->own ? OWN_PREFIX : BNB_PREFIX), *type = NULL;
    QL_TRY(check_keys(j, b->own, what));
    QL_TRY(ql_json_get_str(j, what, "quant_type", &type));
    if (type == NULL || strcmp(type, named) != 0)
        return QL_FAIL(QL_ERR_FORMAT, "%s: 'quant_type' is '%.40s', the key says '%.40s'", what,
                       type != NULL ? type : "absent", named);
    b->type = ql_qtype_find(type);
    if (b->type == NULL || (bnb && (!b->type->bnb || b->type->per_row)))
        return QL_FAIL(QL_ERR_FORMAT, "%s: unknown quant_type '%.40s'", what, type);
    int64_t block = -1;
    QL_TRY(ql_json_get_i64(j, what, "blocksize", 0, 1 << 20, &block));
    if (block < 0 || (block == 0) != b->type->per_row)
        return QL_FAIL(QL_ERR_FORMAT, "%s: 'blocksize' must be given, 0 only for one scale per row",
                       what);
    b->block = (int32_t)block;
    if (b->own) QL_TRY(read_own(j, what, b));
    QL_TRY(read_shape(j, what, b));
    QL_TRY(read_dtype(j, what, b));
    return read_nested(j, what, b);
}

ql_status ql_blob_read(const char *text, size_t len, const char *suffix, const char *what,
                       ql_blob *out) {
    json_t *j = NULL;
    QL_TRY(ql_json_parse(text, len, what, &j));
    ql_blob b = {.pack = QL_PACK_HIGH_FIRST};
    ql_status s = read_object(j, suffix, what, &b);
    json_decref(j);
    if (s == QL_OK) *out = b;
    return s;
}
