/*
 * data_fixture.c - reading shared JSONL files and opening tokenizers for tests.
 */
#define _POSIX_C_SOURCE 200809L

#include "tests/core/data_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/fs.h"

json_t *fixture_lines(const char *path) {
    FILE *f = fopen(path, "rb");
    if (!f) return NULL;
    json_t *list = json_array();
    for (;;) {
        json_error_t err;
        json_t *row = json_loadf(f, JSON_DISABLE_EOF_CHECK, &err);
        if (!row) {
            if (json_error_code(&err) != json_error_premature_end_of_input) {
                fail_msg("%s: line %d: %s", path, err.line, err.text);
            }
            break;
        }
        json_array_append_new(list, row);
    }
    fclose(f);
    return list;
}

json_t *fixture_shared_lines(const char *name) {
    char path[1024];
    (void)snprintf(path, sizeof path, "%s/fixtures/%s", QL_TEST_SHARED, name);
    return fixture_lines(path);
}

static ql_tokenizer *open_or_fail(const char *path) {
    ql_tokenizer *tok = NULL;
    if (ql_tokenizer_open(path, &tok) != QL_OK) fail_msg("%s", ql_last_error());
    return tok;
}

ql_tokenizer *fixture_byte_tokenizer(void) {
    return open_or_fail(QL_TEST_DATA "/tokenizer-bytes");
}

ql_tokenizer *fixture_byte_tokenizer_stripping(const char *token) {
    char folder[] = "/tmp/qlora-test-XXXXXX", path[64];
    json_error_t err;
    json_t *doc = json_load_file(QL_TEST_DATA "/tokenizer-bytes/tokenizer.json", 0, &err), *item;
    size_t i;
    if (!doc || !mkdtemp(folder)) fail_msg("%s", err.text);
    json_array_foreach(json_object_get(doc, "added_tokens"), i, item) {
        if (strcmp(json_string_value(json_object_get(item, "content")), token) == 0)
            assert_int_equal(json_object_set_new(item, "rstrip", json_true()), 0);
    }
    (void)snprintf(path, sizeof path, "%s/tokenizer.json", folder);
    assert_int_equal(json_dump_file(doc, path, 0), 0);
    json_decref(doc);
    ql_tokenizer *tok = open_or_fail(folder);
    assert_int_equal(ql_dir_remove(folder), QL_OK);
    return tok;
}

ql_tokenizer *fixture_byte_tokenizer_with(const char *post_processor) {
    char folder[] = "/tmp/qlora-test-XXXXXX", path[64];
    json_error_t err;
    json_t *doc = json_load_file(QL_TEST_DATA "/tokenizer-bytes/tokenizer.json", 0, &err);
    json_t *config = json_load_file(QL_TEST_DATA "/tokenizer-bytes/tokenizer_config.json", 0, &err);
    json_t *post = json_loads(post_processor, 0, &err);
    if (!doc || !config || !post || !mkdtemp(folder)) fail_msg("%s: %s", post_processor, err.text);
    assert_int_equal(json_object_set_new(doc, "post_processor", post), 0);
    (void)snprintf(path, sizeof path, "%s/tokenizer.json", folder);
    assert_int_equal(json_dump_file(doc, path, 0), 0);
    (void)json_object_del(config, "add_bos_token"); /* they would override it */
    (void)json_object_del(config, "add_eos_token");
    (void)snprintf(path, sizeof path, "%s/tokenizer_config.json", folder);
    assert_int_equal(json_dump_file(config, path, 0), 0);
    json_decref(doc);
    json_decref(config);
    ql_tokenizer *tok = open_or_fail(folder);
    assert_int_equal(ql_dir_remove(folder), QL_OK);
    return tok;
}

ql_tokenizer *fixture_shared_tokenizer(const char *name) {
    static const char *const FILES[] = {"tokenizer.json", "tokenizer_config.json"};
    char folder[] = "/tmp/qlora-test-XXXXXX", packed[1024], command[2560];
    bool complete = mkdtemp(folder) != NULL;
    for (size_t i = 0; complete && i < 2; i++) {
        (void)snprintf(packed, sizeof packed, "%s/fixtures/tokenizers/%s/%s.xz", QL_TEST_SHARED,
                       name, FILES[i]);
        (void)snprintf(command, sizeof command, "xz -dc '%s' > '%s/%s'", packed, folder, FILES[i]);
        complete = ql_file_exists(packed) && system(command) == 0;
    }
    ql_tokenizer *tok = complete ? open_or_fail(folder) : NULL;
    assert_int_equal(ql_dir_remove(folder), QL_OK);
    return tok;
}

bool fixture_bytes_equal(const int32_t *ids, size_t n, const char *text) {
    size_t len = strlen(text);
    bool equal = n == len;
    for (size_t i = 0; equal && i < n; i++) {
        int32_t byte = (unsigned char)text[i];
        equal = ids[i] == (byte >= 1 && byte <= 4 ? byte - 1 : byte + 4);
    }
    if (equal) return true;
    print_message("expected %zu ids: %s\n     got %zu ids: ", len, text, n);
    for (size_t i = 0; i < n; i++) print_message("%c", ids[i] < 4 ? '0' + ids[i] : ids[i] - 4);
    print_message("\n");
    return false;
}
