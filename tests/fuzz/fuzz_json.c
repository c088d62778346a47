/* fuzz_json.c - the bounded JSON layer: parse, read by type, write, and parse again to the same. */
#include <stdlib.h>
#include <string.h>

#include "core/base/json.h"
#include "tests/fuzz/fuzz.h"

static void read_values(const json_t *j) {
    int64_t i = 0;
    double x = 0.0;
    bool b = false;
    const char *s = "", *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)j, key, value) {
        ql_status st[] = {ql_json_get_i64(j, "input", key, -100, 100, &i),
                          ql_json_get_f64(j, "input", key, -1.0, 1.0, &x),
                          ql_json_get_bool(j, "input", key, &b),
                          ql_json_get_str(j, "input", key, &s)};
        fuzz_use(st, sizeof st);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    json_t *j = NULL, *again = NULL;
    if (ql_json_parse((const char *)data, size, "input", &j) != QL_OK) return 0;
    read_values(j);
    char *text = json_dumps(j, JSON_INDENT(2));
    if (!text || ql_json_parse(text, strlen(text), "output", &again) != QL_OK) abort();
    if (!json_equal(j, again)) abort();
    free(text);
    json_decref(again);
    json_decref(j);
    return 0;
}
