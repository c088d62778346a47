/*
 * json.c - bounded reading, atomic writing and typed access over jansson.
 *
 * jansson bounds nesting (2048 levels) and refuses bad UTF-8. Integers beyond 64 bits, which
 * Python writes freely ("model_max_length": 1000000000000000019884624838656), are read as reals.
 */
#include "core/base/json.h"

#include <string.h>

#include "core/base/fs.h"
#include "core/base/hostmem.h"

/* Digits that always fit in int64_t. */
#define SAFE_INTEGER_DIGITS 18

static const char *type_name(const json_t *j) {
    switch (json_typeof(j)) {
    case JSON_OBJECT: return "an object";
    case JSON_ARRAY: return "an array";
    case JSON_STRING: return "a string";
    case JSON_INTEGER: return "an integer";
    case JSON_REAL: return "a real number";
    case JSON_TRUE:
    case JSON_FALSE: return "a boolean";
    case JSON_NULL: return "null";
    }
    return "an unknown type";
}

/* Length of the number that starts at text[0], and whether it is a long integer. */
static size_t number_length(const char *text, size_t len, bool *long_integer) {
    size_t n = 0, digits = 0;
    bool real = false;
    for (; n < len && strchr("+-.eE0123456789", text[n]) && text[n]; n++) {
        if (text[n] >= '0' && text[n] <= '9') digits++;
        if (text[n] == '.' || text[n] == 'e' || text[n] == 'E') real = true;
    }
    *long_integer = !real && digits > SAFE_INTEGER_DIGITS;
    return n;
}

/* Copies text with ".0" after every long integer outside strings. `out` has room for len * 2. */
static size_t widen_integers(const char *text, size_t len, char *out) {
    size_t n = 0;
    bool in_string = false;
    for (size_t i = 0; i < len;) {
        bool long_integer = false;
        size_t take = 1;
        if (in_string && text[i] == '\\' && i + 1 < len) {
            take = 2;
        } else if (text[i] == '"') {
            in_string = !in_string;
        } else if (!in_string && (text[i] == '-' || (text[i] >= '0' && text[i] <= '9'))) {
            take = number_length(text + i, len - i, &long_integer);
        }
        memcpy(out + n, text + i, take);
        n += take;
        i += take;
        if (long_integer) {
            memcpy(out + n, ".0", 2);
            n += 2;
        }
    }
    return n;
}

static json_t *load_wide(const char *text, size_t len, json_error_t *err) {
    char *copy = ql_host_calloc(len, 2);
    if (!copy) return NULL;
    size_t n = widen_integers(text, len, copy);
    json_t *j = json_loadb(copy, n, JSON_REJECT_DUPLICATES, err);
    ql_host_free(copy);
    return j;
}

ql_status ql_json_parse(const char *text, size_t len, const char *what, json_t **out) {
    if (len > QL_JSON_MAX_BYTES) {
        return QL_FAIL(QL_ERR_FORMAT, "%s: %zu bytes of JSON, at most %u are read", what, len,
                       QL_JSON_MAX_BYTES);
    }
    json_error_t err;
    json_t *j = json_loadb(text, len, JSON_REJECT_DUPLICATES, &err);
    if (!j && json_error_code(&err) == json_error_numeric_overflow) j = load_wide(text, len, &err);
    if (!j && json_error_code(&err) == json_error_out_of_memory) return QL_NOMEM(what);
    if (!j) {
        return QL_FAIL(QL_ERR_FORMAT, "%s: not valid JSON at line %d, column %d: %s", what,
                       err.line, err.column, err.text);
    }
    *out = j;
    return QL_OK;
}

ql_status ql_json_read(const char *path, json_t **out) {
    char *text;
    size_t len;
    QL_TRY(ql_file_read(path, QL_JSON_MAX_BYTES, &text, &len));
    ql_status s = ql_json_parse(text, len, path, out);
    ql_host_free(text);
    return s;
}

/* What a dump has come to: its writer and the first failure. */
typedef struct dump_state {
    ql_writer *w;
    ql_status status;
} dump_state;

static int write_piece(const char *buffer, size_t size, void *data) {
    dump_state *d = data;
    d->status = ql_writer_write(d->w, buffer, size);
    return d->status == QL_OK ? 0 : -1;
}

ql_status ql_json_write(const char *path, const json_t *j) {
    dump_state d = {NULL, QL_OK};
    QL_TRY(ql_writer_open(path, &d.w));
    int rc = json_dump_callback(j, write_piece, &d, JSON_INDENT(2));
    if (rc == 0) rc = write_piece("\n", 1, &d);
    if (rc == 0) return ql_writer_commit(d.w);
    ql_writer_abort(d.w);
    if (d.status != QL_OK) return d.status;
    return QL_FAIL(QL_ERR_INVALID, "%s: the value cannot be written as JSON", path);
}

/* Value of `key`, NULL when absent or null. */
static const json_t *value_of(const json_t *o, const char *key) {
    const json_t *v = json_object_get(o, key);
    return v && !json_is_null(v) ? v : NULL;
}

bool ql_json_has(const json_t *o, const char *key) {
    return value_of(o, key) != NULL;
}

static ql_status wrong_type(const char *what, const char *key, const char *want, const json_t *v) {
    return QL_FAIL(QL_ERR_FORMAT, "%s: '%s' must be %s, it is %s", what, key, want, type_name(v));
}

ql_status ql_json_get_i64(const json_t *o, const char *what, const char *key, int64_t lo,
                          int64_t hi, int64_t *out) {
    const json_t *v = value_of(o, key);
    if (!v) return QL_OK;
    if (!json_is_integer(v)) return wrong_type(what, key, "an integer", v);
    int64_t x = json_integer_value(v);
    if (x < lo || x > hi) {
        return QL_FAIL(QL_ERR_FORMAT, "%s: '%s' is %lld, expected %lld to %lld", what, key,
                       (long long)x, (long long)lo, (long long)hi);
    }
    *out = x;
    return QL_OK;
}

ql_status ql_json_get_f64(const json_t *o, const char *what, const char *key, double lo, double hi,
                          double *out) {
    const json_t *v = value_of(o, key);
    if (!v) return QL_OK;
    if (!json_is_number(v)) return wrong_type(what, key, "a number", v);
    double x = json_number_value(v);
    if (!(x >= lo && x <= hi)) {
        return QL_FAIL(QL_ERR_FORMAT, "%s: '%s' is %g, expected %g to %g", what, key, x, lo, hi);
    }
    *out = x;
    return QL_OK;
}

ql_status ql_json_get_bool(const json_t *o, const char *what, const char *key, bool *out) {
    const json_t *v = value_of(o, key);
    if (!v) return QL_OK;
    if (!json_is_boolean(v)) return wrong_type(what, key, "true or false", v);
    *out = json_is_true(v);
    return QL_OK;
}

ql_status ql_json_get_str(const json_t *o, const char *what, const char *key, const char **out) {
    const json_t *v = value_of(o, key);
    if (!v) return QL_OK;
    if (!json_is_string(v)) return wrong_type(what, key, "a string", v);
    *out = json_string_value(v);
    return QL_OK;
}
