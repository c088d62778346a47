/* recorded.c - see recorded.h. */
#include "tests/models/recorded.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "core/base/fs.h"
#include "tests/support/engine.h"

ql_model *recorded_model(const char *folder) {
    ql_source *source = NULL;
    ql_model *m = NULL;
    OK(ql_source_open(folder, &source));
    ql_model_opts o = ql_model_opts_default();
    o.bits = 16;
    OK(ql_model_open(source, &o, &m));
    return m;
}

ql_model *recorded_fixture(const char *name) {
    char folder[QL_PATH_MAX];
    OK(ql_path_join(folder, QL_TEST_DATA "/models", name));
    return recorded_model(folder);
}

json_t *recorded_json(const char *name) {
    char path[QL_PATH_MAX];
    snprintf(path, sizeof path, QL_TEST_DATA "/generate/%s.json", name);
    json_t *j = NULL;
    OK(ql_json_read(path, &j));
    return j;
}

int32_t recorded_ids(const json_t *list, int32_t *out) {
    size_t n = json_array_size(list);
    assert_true(json_is_array(list) && n <= RECORDED_LONGEST);
    for (size_t i = 0; i < n; i++) out[i] = (int32_t)json_integer_value(json_array_get(list, i));
    return (int32_t)n;
}
