/* tokenizer_fixture.c - small tokenizers in a temporary folder. */
#include "tests/core/tokenizer_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/fs.h"
#include "core/base/hostmem.h"
#include "tests/support/temp_folder.h"

static void put_json(const char *name, const char *text) {
    char *copy = ql_host_strdup(text);
    assert_non_null(copy);
    for (char *s = copy; (s = strchr(s, '\'')) != NULL;) *s = '"';
    (void)temp_put(name, copy, strlen(copy));
    ql_host_free(copy);
}

ql_status fixture_open_json(const char *tokenizer, const char *config, ql_tokenizer **out) {
    put_json("tokenizer.json", tokenizer);
    put_json("tokenizer_config.json", config ? config : "{}");
    return ql_tokenizer_open(temp_folder(), out);
}

ql_tokenizer *fixture_json(const char *tokenizer, const char *config) {
    ql_tokenizer *t = NULL;
    if (fixture_open_json(tokenizer, config, &t) != QL_OK) fail_msg("%s", ql_last_error());
    return t;
}

static size_t count(const int32_t *ids) {
    size_t n = 0;
    while (ids[n] != END) n++;
    return n;
}

void assert_ids(const ql_tokenizer *t, const char *text, unsigned flags, const int32_t *want) {
    ql_ids have = {0};
    if (ql_tokenizer_encode(t, text, strlen(text), flags, &have) != QL_OK)
        fail_msg("%s", ql_last_error());
    size_t n = count(want);
    if (have.n != n || (n && memcmp(have.ids, want, n * sizeof *want) != 0)) {
        print_message("ids of '%s':", text);
        for (size_t i = 0; i < have.n; i++) print_message(" %d", have.ids[i]);
        print_message(", expected:");
        for (size_t i = 0; i < n; i++) print_message(" %d", want[i]);
        print_message("\n");
        fail_msg("'%s' has other ids than expected", text);
    }
    ql_ids_free(&have);
}

void assert_decoded(const ql_tokenizer *t, const int32_t *ids, bool skip_special,
                    const char *want) {
    char *text;
    size_t len;
    assert_int_equal(ql_tokenizer_decode(t, ids, count(ids), skip_special, &text, &len), QL_OK);
    assert_string_equal(text, want);
    assert_int_equal(len, strlen(want));
    ql_host_free(text);
}
