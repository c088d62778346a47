/*
 * test_tokenizer_oracles.c - ids, type ids and decoded text as the packages `tokenizers` and
 * `transformers` gave them.
 *
 * tests/data/tokenizers holds lines.json and one folder for each tokenizer with its oracle.jsonl
 * (tests/interop/tokenizer_ids.py writes them). With a folder of the same layout as argument the
 * program compares that one and prints a count for each tokenizer.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/fs.h"
#include "core/base/hostmem.h"
#include "core/base/json.h"
#include "core/data/tokenizer.h"
#include "tests/core/data_fixture.h"

typedef struct text {
    const char *s; /* NULL = none */
    size_t n;
} text;

/* Line `row[key]` of lines.json. */
static text line_of(const json_t *lines, const json_t *row, const char *key) {
    const json_t *i = json_object_get(row, key);
    const json_t *s =
        json_is_integer(i) ? json_array_get(lines, (size_t)json_integer_value(i)) : NULL;
    return (text){json_string_value(s), json_string_length(s)};
}

static bool equal_ids(const ql_ids *have, const json_t *want) {
    bool equal = have->n == json_array_size(want);
    for (size_t i = 0; equal && i < have->n; i++)
        equal = have->ids[i] == json_integer_value(json_array_get(want, i));
    return equal;
}

/* "types" is left out where all are 0. */
static bool equal_types(const ql_ids *have, size_t n, const json_t *want) {
    if (want) return equal_ids(have, want);
    bool zero = have->n == n;
    for (size_t i = 0; zero && i < n; i++) zero = have->ids[i] == 0;
    return zero;
}

static bool equal_decoded(const ql_tokenizer *t, const ql_ids *ids, bool skip, const json_t *want) {
    char *have;
    size_t n;
    if (!want) return true;
    if (ql_tokenizer_decode(t, ids->ids, ids->n, skip, &have, &n) != QL_OK) return false;
    bool equal = n == json_string_length(want) && memcmp(have, json_string_value(want), n) == 0;
    ql_host_free(have);
    return equal;
}

static bool row_agrees(const ql_tokenizer *t, const json_t *lines, const json_t *row) {
    text a = line_of(lines, row, "a"), b = line_of(lines, row, "b");
    unsigned flags = QL_ENCODE_PARSE_SPECIAL;
    if (json_is_true(json_object_get(row, "special"))) flags |= QL_ENCODE_ADD_SPECIAL;
    int32_t limit = (int32_t)json_integer_value(json_object_get(row, "limit"));
    ql_ids ids = {0}, types = {0}, plain = {0};
    bool ok = ql_tokenizer_encode_pair_limit(t, a.s, a.n, b.s, b.n, limit, flags, &ids, &types) ==
                  QL_OK &&
              equal_ids(&ids, json_object_get(row, "ids")) &&
              equal_types(&types, ids.n, json_object_get(row, "types")) &&
              equal_decoded(t, &ids, false, json_object_get(row, "text")) &&
              equal_decoded(t, &ids, true, json_object_get(row, "clean"));
    if (ok && !b.s && !limit) {
        ok = ql_tokenizer_encode(t, a.s, a.n, flags, &plain) == QL_OK &&
             equal_ids(&plain, json_object_get(row, "ids"));
    }
    ql_ids_free(&ids);
    ql_ids_free(&types);
    ql_ids_free(&plain);
    return ok;
}

/* How many rows differ; the first one is printed. */
static size_t count_differing(const char *folder, const char *name, size_t *n_rows) {
    char path[QL_PATH_MAX], file[QL_PATH_MAX];
    json_t *lines = NULL;
    ql_tokenizer *t = NULL;
    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    if (ql_path_join(file, folder, "lines.json") != QL_OK || ql_json_read(file, &lines) != QL_OK ||
        ql_tokenizer_open(path, &t) != QL_OK || ql_path_join(file, path, "oracle.jsonl") != QL_OK) {
        print_error("%s\n", ql_last_error());
        json_decref(lines);
        *n_rows = 0;
        return 1;
    }
    json_t *rows = fixture_lines(file);
    size_t differ = 0;
    *n_rows = json_array_size(rows);
    for (size_t i = 0; i < *n_rows; i++) {
        const json_t *row = json_array_get(rows, i);
        if (row_agrees(t, lines, row)) continue;
        if (differ++ == 0) {
            print_error("%s: row %zu differs: '%s' '%s'\n", name, i, line_of(lines, row, "a").s,
                        line_of(lines, row, "b").s ? line_of(lines, row, "b").s : "");
        }
    }
    json_decref(rows);
    json_decref(lines);
    ql_tokenizer_close(t);
    return differ;
}

#define FOLDER QL_TEST_DATA "/tokenizers"

static void recorded(void **state) {
    const char *name = *state;
    size_t rows, differ = count_differing(FOLDER, name, &rows);
    assert_int_equal(differ, 0);
    assert_true(rows >= 150);
}

/* What the getters say of a few of them. */
static void special_ids(void **state) {
    (void)state;
    static const struct {
        const char *name;
        int32_t bos, eos, pad, cls, sep, mask, unk;
        bool adds_bos, adds_eos;
    } cases[] = {
        {"bert", -1, -1, 0, 2, 3, 4, 1, false, false},
        {"bert-files", -1, -1, 0, 2, 3, 4, 1, false, false},
        {"t5", -1, 1, 0, -1, -1, -1, 2, false, true},
        {"roberta", 0, 2, 1, 0, 2, 4, 3, true, true},
        {"opt-files", 3, 3, 2, -1, -1, -1, 3, true, false},
        {"bart-files", 1, 3, 2, 1, 3, 5, 4, true, true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char path[QL_PATH_MAX];
        ql_tokenizer *t = NULL;
        (void)snprintf(path, sizeof path, "%s/%s", FOLDER, cases[i].name);
        if (ql_tokenizer_open(path, &t) != QL_OK) fail_msg("%s", ql_last_error());
        assert_int_equal(ql_tokenizer_bos(t), cases[i].bos);
        assert_int_equal(ql_tokenizer_eos(t), cases[i].eos);
        assert_int_equal(ql_tokenizer_pad(t), cases[i].pad);
        assert_int_equal(ql_tokenizer_cls(t), cases[i].cls);
        assert_int_equal(ql_tokenizer_sep(t), cases[i].sep);
        assert_int_equal(ql_tokenizer_mask(t), cases[i].mask);
        assert_int_equal(ql_tokenizer_unk(t), cases[i].unk);
        assert_int_equal(ql_tokenizer_adds_bos(t), cases[i].adds_bos);
        assert_int_equal(ql_tokenizer_adds_eos(t), cases[i].adds_eos);
        ql_tokenizer_close(t);
    }
}

static int compare_folder(const char *folder) {
    char **names, file[QL_PATH_MAX];
    size_t n, differing = 0, compared = 0;
    if (ql_dir_list(folder, &names, &n) != QL_OK) {
        print_error("%s\n", ql_last_error());
        return 1;
    }
    for (size_t i = 0; i < n; i++) {
        size_t rows;
        (void)snprintf(file, sizeof file, "%s/%s/oracle.jsonl", folder, names[i]);
        if (!ql_file_exists(file)) continue;
        size_t differ = count_differing(folder, names[i], &rows);
        print_message("%-20s %5zu rows, %zu differ\n", names[i], rows, differ);
        differing += differ;
        compared++;
    }
    ql_host_free(names);
    return differing > 0 || compared == 0;
}

#define RECORDED(name)                                                                             \
    {                                                                                              \
        "recorded_" name, recorded, NULL, NULL, (char[]) {                                         \
            name                                                                                   \
        }                                                                                          \
    }

int main(int argc, char **argv) {
    if (argc > 1) return compare_folder(argv[1]);
    const struct CMUnitTest tests[] = {
        RECORDED("bert"),
        RECORDED("bert-cased"),
        RECORDED("bert-files"),
        RECORDED("t5"),
        RECORDED("deberta"),
        RECORDED("unigram-bytes"),
        RECORDED("roberta"),
        RECORDED("gpt2-files"),
        RECORDED("bart-files"),
        RECORDED("opt-files"),
        RECORDED("sentencepiece-bpe"),
        RECORDED("split"),
        cmocka_unit_test(special_ids),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
