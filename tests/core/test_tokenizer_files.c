/*
 * test_tokenizer_files.c - the files a tokenizer is read from: tokenizer_config.json and its
 * companions, GGUF vocabularies, and hostile input, which ends in one sentence.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/fs.h"
#include "core/base/hostmem.h"
#include "tests/core/tokenizer_fixture.h"
#include "tests/support/gguf_build.h"
#include "tests/support/temp_folder.h"

#define MARK   "\xE2\x96\x81"     /* U+2581 */
#define MARK_A "\xE2\x96\x81\x61" /* and an a */

#define TINY "{'model':{'type':'BPE','vocab':{'a':0,'b':1,'<s>':2,'</s>':3},'merges':[]}}"

/* ------------------------------------------------------------ tokenizer_config.json */

static void config_names_special_tokens_and_template(void **state) {
    (void)state;
    ql_tokenizer *t = fixture_json(TINY, "{'bos_token':'<s>','eos_token':{'content':'</s>'},"
                                         "'pad_token':null,'chat_template':'T'}");
    assert_int_equal(ql_tokenizer_bos(t), 2);
    assert_int_equal(ql_tokenizer_eos(t), 3);
    assert_int_equal(ql_tokenizer_pad(t), -1);
    assert_false(ql_tokenizer_adds_bos(t));
    assert_true(ql_tokenizer_is_special(t, 3));
    assert_string_equal(ql_tokenizer_chat_template(t), "T");
    assert_ids(t, "a</s>b", QL_ENCODE_PARSE_SPECIAL, IDS(0, 3, 1));
    assert_ids(t, "a", QL_ENCODE_ADD_SPECIAL, IDS(0));
    ql_tokenizer_close(t);
}

static void config_switches_bos_and_eos(void **state) {
    (void)state;
    ql_tokenizer *t = fixture_json(TINY, "{'bos_token':'<s>','eos_token':'</s>',"
                                         "'add_bos_token':true,'add_eos_token':true}");
    assert_true(ql_tokenizer_adds_bos(t));
    assert_ids(t, "a", QL_ENCODE_ADD_SPECIAL, IDS(2, 0, 3));
    ql_tokenizer_close(t);
}

static void config_adds_tokens(void **state) {
    (void)state;
    ql_tokenizer *t = fixture_json(TINY, "{'added_tokens_decoder':{'9':{'content':'[PAD]',"
                                         "'special':true}},'pad_token':'[PAD]',"
                                         "'chat_template':[{'name':'tool','template':'X'},"
                                         "{'name':'default','template':'D'}]}");
    assert_int_equal(ql_tokenizer_pad(t), 9);
    assert_int_equal(ql_tokenizer_size(t), 10);
    assert_null(ql_tokenizer_piece(t, 8)); /* a gap */
    assert_string_equal(ql_tokenizer_chat_template(t), "D");
    assert_ids(t, "a[PAD]", QL_ENCODE_PARSE_SPECIAL, IDS(0, 9));
    ql_tokenizer_close(t);
}

static void companions_fill_what_is_open(void **state) {
    (void)state;
    static const char map[] = "{\"bos_token\": {\"content\": \"<s>\"}, \"eos_token\": \"<s>\"}";
    static const char generation[] = "{\"eos_token_id\": [1, 2], \"pad_token_id\": 0}";
    (void)temp_put("special_tokens_map.json", map, sizeof map - 1);
    (void)temp_put("generation_config.json", generation, sizeof generation - 1);
    (void)temp_put("chat_template.jinja", "from the file", 13);
    ql_tokenizer *t = fixture_json(TINY, "{'eos_token':'</s>','chat_template':'inside'}");
    assert_int_equal(ql_tokenizer_bos(t), 2); /* the map */
    assert_int_equal(ql_tokenizer_eos(t), 3); /* the config wins */
    assert_int_equal(ql_tokenizer_pad(t), 0); /* generation_config.json */
    assert_string_equal(ql_tokenizer_chat_template(t), "from the file");
    ql_tokenizer_close(t);
    remove(temp_path("special_tokens_map.json"));
    remove(temp_path("generation_config.json"));
    remove(temp_path("chat_template.jinja"));
}

/* ------------------------------------------------------------------------ refusals */

#define MODEL(x) "{'model':{'type':'BPE'," x "}}"
#define WITH(x)  "{" x ",'model':{'type':'BPE','vocab':{'a':0},'merges':[]}}"
#define REGEX(x)                                                                                   \
    WITH("'pre_tokenizer':{'type':'Split','pattern':{'Regex':'" x "'},'behavior':'Isolated'}")

#define CHARSMAP(x) WITH("'normalizer':{'type':'Precompiled','precompiled_charsmap':'" x "'}")

static const struct refusal {
    const char *json;
    ql_status status;
    const char *says;
} refusals[] = {
    {"", QL_ERR_FORMAT, "tokenizer.json"},
    {"[]", QL_ERR_FORMAT, "expected an object"},
    {"{}", QL_ERR_FORMAT, "'model'"},
    {"{'model':{'type':'WordLevel'}}", QL_ERR_UNSUPPORTED, "WordLevel"},
    {"{'model':{'type':'WordPiece'}}", QL_ERR_FORMAT, "'vocab'"},
    {"{'model':{'type':'WordPiece','vocab':{'a':0}}}", QL_ERR_FORMAT, "[UNK]"},
    {"{'model':{'type':'WordPiece','vocab':{'a':0},'unk_token':'a',"
     "'max_input_chars_per_word':99999}}",
     QL_ERR_FORMAT, "max_input_chars_per_word"},
    {"{'model':{'type':'Unigram','vocab':[]}}", QL_ERR_FORMAT, "1 to"},
    {"{'model':{'type':'Unigram','vocab':{'a':0}}}", QL_ERR_FORMAT, "array"},
    {"{'model':{'type':'Unigram','vocab':[['a']]}}", QL_ERR_FORMAT, "entry 0"},
    {"{'model':{'type':'Unigram','vocab':[['a',0],['a',1]]}}", QL_ERR_FORMAT, "two ids"},
    {"{'model':{'type':'Unigram','unk_id':1,'vocab':[['a',0]]}}", QL_ERR_FORMAT, "unk_id"},
    {MODEL("'merges':[]"), QL_ERR_FORMAT, "'vocab'"},
    {MODEL("'vocab':{'a':0}"), QL_ERR_FORMAT, "'merges'"},
    {MODEL("'vocab':{'a':0,'b':0},'merges':[]"), QL_ERR_FORMAT, "two tokens"},
    {MODEL("'vocab':{'a':0,'a':1},'merges':[]"), QL_ERR_FORMAT, "uplicate"},
    {MODEL("'vocab':{'a':4194304},'merges':[]"), QL_ERR_FORMAT, "4194304"},
    {MODEL("'vocab':{'a':-1},'merges':[]"), QL_ERR_FORMAT, "-1"},
    {MODEL("'vocab':{'a':'x'},'merges':[]"), QL_ERR_FORMAT, "integer"},
    {MODEL("'vocab':{'a':0},'merges':['a b']"), QL_ERR_FORMAT, "merge 0"},
    {MODEL("'vocab':{'a':0},'merges':['a a']"), QL_ERR_FORMAT, "not in the vocabulary"},
    {MODEL("'vocab':{'a':0},'merges':['aa']"), QL_ERR_FORMAT, "one space"},
    {MODEL("'vocab':{'a':0},'merges':[['a']]"), QL_ERR_FORMAT, "two strings"},
    {MODEL("'vocab':{'a':0},'merges':[],'dropout':0.1"), QL_ERR_UNSUPPORTED, "dropout"},
    {MODEL("'vocab':{'a':0},'merges':[],'unk_token':'u'"), QL_ERR_FORMAT, "unk_token"},
    {MODEL("'vocab':{'a':0},'merges':[],'end_of_word_suffix':'w'"), QL_ERR_UNSUPPORTED, "suffix"},
    {WITH("'added_tokens':[{'id':0,'content':'b'}]"), QL_ERR_FORMAT, "two tokens"},
    {WITH("'added_tokens':[{'id':1,'content':'a'}]"), QL_ERR_FORMAT, "two ids"},
    {WITH("'added_tokens':[{'id':1}]"), QL_ERR_FORMAT, "content"},
    {WITH("'added_tokens':[{'id':1,'content':''}]"), QL_ERR_FORMAT, "0 bytes"},
    {WITH("'added_tokens':[{'id':99999999999,'content':'b'}]"), QL_ERR_FORMAT, "99999999999"},
    {WITH("'normalizer':{'type':'Precompiled'}"), QL_ERR_FORMAT, "precompiled_charsmap"},
    {CHARSMAP(""), QL_ERR_FORMAT, "0 bytes"},
    {CHARSMAP("AAA"), QL_ERR_FORMAT, "base64"},
    {CHARSMAP("AA=A"), QL_ERR_FORMAT, "base64"},
    {CHARSMAP("AAA="), QL_ERR_FORMAT, "2 bytes"},
    {CHARSMAP("AAAAAA=="), QL_ERR_FORMAT, "its trie has 0"},
    {CHARSMAP("AwAAAAAAAAA="), QL_ERR_FORMAT, "its trie has 3"},
    {CHARSMAP("/////wAAAAA="), QL_ERR_FORMAT, "its trie has 4294967295"},
    {CHARSMAP("BAAAAAAAAAD/"), QL_ERR_FORMAT, "UTF-8 at byte 0"},
    {WITH("'normalizer':{'type':'ByteLevel'}"), QL_ERR_UNSUPPORTED, "ByteLevel"},
    {WITH("'normalizer':{}"), QL_ERR_FORMAT, "type"},
    {WITH("'pre_tokenizer':{'type':'UnicodeScripts'}"), QL_ERR_UNSUPPORTED, "UnicodeScripts"},
    {WITH("'pre_tokenizer':{'type':'Sequence'}"), QL_ERR_FORMAT, "pretokenizers"},
    {WITH("'pre_tokenizer':{'type':'Split','pattern':{'Regex':'a'},'behavior':'Odd'}"),
     QL_ERR_UNSUPPORTED, "Odd"},
    {WITH("'decoder':{'type':'CTC'}"), QL_ERR_UNSUPPORTED, "CTC"},
    {WITH("'post_processor':{'type':'Other'}"), QL_ERR_UNSUPPORTED, "Other"},
    {WITH("'post_processor':{'type':'TemplateProcessing','single':[]}"), QL_ERR_FORMAT, "0 times"},
    {WITH("'post_processor':{'type':'TemplateProcessing','single':[{'SpecialToken':{'id':'q'}}]}"),
     QL_ERR_FORMAT, "'q'"},
    {WITH("'post_processor':{'type':'TemplateProcessing','single':[{'Sequence':{'id':'A'}}],"
          "'pair':[{'Sequence':{'id':'A'}}]}"),
     QL_ERR_FORMAT, "second 0"},
    {WITH("'post_processor':{'type':'TemplateProcessing','single':[{'Sequence':{'id':'C'}}]}"),
     QL_ERR_FORMAT, "'C'"},
    {WITH("'post_processor':{'type':'Sequence','processors':[{'type':'BertProcessing',"
          "'cls':['a',0],'sep':['a',0]},{'type':'RobertaProcessing','cls':['a',0],"
          "'sep':['a',0]}]}"),
     QL_ERR_UNSUPPORTED, "two components"},
    {WITH("'post_processor':{'type':'BertProcessing','cls':['c',7],'sep':['a',0]}"), QL_ERR_FORMAT,
     "id 7"},
    {REGEX("("), QL_ERR_FORMAT, "regular expression"},
    {REGEX("a*"), QL_ERR_UNSUPPORTED, "empty"},
    {REGEX("\\\\h"), QL_ERR_UNSUPPORTED, "\\h"},
    {REGEX("(?<n>a)"), QL_ERR_UNSUPPORTED, "group"},
    {REGEX("(*NO_JIT)a"), QL_ERR_UNSUPPORTED, "group"},
    {REGEX("a{1,3}+"), QL_ERR_UNSUPPORTED, "interval"},
    {REGEX("[a[b]]"), QL_ERR_UNSUPPORTED, "brackets"},
    {REGEX("[a&&b]"), QL_ERR_UNSUPPORTED, "brackets"},
    {REGEX("((((((((((((((((((((((((((((((((((((((((((((((((((((((a))))))))))))))))))))))))))))))"
           "))))))))))))))))))))))))"),
     QL_ERR_FORMAT, "nested"},
};

static void hostile_files_end_in_a_sentence(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++) {
        const struct refusal *r = &refusals[i];
        size_t live = ql_hostmem_live();
        ql_tokenizer *t = NULL;
        ql_status st = fixture_open_json(r->json, NULL, &t);
        if (st != r->status || t || !strstr(ql_last_error(), r->says))
            fail_msg("%s: status %s, '%s'", r->json, ql_status_name(st), ql_last_error());
        assert_int_equal(ql_hostmem_live(), live);
    }
}

/* `open` and `close` around `middle`, `n` times, in a tokenizer.json. */
static void check_nesting(size_t n, ql_status status) {
    static const char open[] = "{'type':'Sequence','normalizers':[", close[] = "]}";
    char *json = calloc(n, sizeof open + sizeof close + 8);
    assert_non_null(json);
    strcat(json, "{'normalizer':");
    for (size_t i = 0; i < n; i++) strcat(json, open);
    strcat(json, "{'type':'NFC'}");
    for (size_t i = 0; i < n; i++) strcat(json, close);
    char tail[] = ",'model':{'type':'BPE','vocab':{'a':0},'merges':[]}}";
    json = realloc(json, strlen(json) + sizeof tail);
    assert_non_null(json);
    strcat(json, tail);
    ql_tokenizer *t = NULL;
    assert_int_equal(fixture_open_json(json, NULL, &t), status);
    ql_tokenizer_close(t);
    free(json);
}

static void sequences_nest_a_little(void **state) {
    (void)state;
    check_nesting(8, QL_OK);
    check_nesting(9, QL_ERR_FORMAT);
    check_nesting(5000, QL_ERR_FORMAT);
}

/* A pattern that tries every way to cut a run of a's gives up; it does not hang. */
static void matching_is_bounded(void **state) {
    (void)state;
    ql_tokenizer *t = fixture_json(REGEX("(?:a+)+[bc]"), NULL);
    char text[64];
    memset(text, 'a', sizeof text);
    ql_ids ids = {0};
    assert_int_equal(ql_tokenizer_encode(t, text, sizeof text, 0, &ids), QL_ERR_FORMAT);
    assert_non_null(strstr(ql_last_error(), "gave up"));
    assert_int_equal(ids.n, 0);
    ql_ids_free(&ids);
    ql_tokenizer_close(t);
}

static void absent_files_are_named(void **state) {
    (void)state;
    ql_tokenizer *t = NULL;
    assert_int_equal(ql_tokenizer_open(temp_path("nowhere"), &t), QL_ERR_NOT_FOUND);
    assert_non_null(strstr(ql_last_error(), "nowhere"));
    assert_true(ql_tokenizer_open(temp_path("nowhere.gguf"), &t) != QL_OK);
    assert_null(t);
    ql_tokenizer_close(NULL);
}

/* Every allocation of opening, encoding and decoding fails once; nothing is leaked. */
static void failing_memory_leaks_nothing(void **state) {
    (void)state;
    static const char json[] =
        "{'added_tokens':[{'id':2,'content':'<s>','special':true}],"
        "'normalizer':{'type':'Replace','pattern':{'String':' '},'content':'b'},"
        "'pre_tokenizer':{'type':'ByteLevel'},'decoder':{'type':'ByteLevel'},"
        "'post_processor':{'type':'BertProcessing','cls':['<s>',2],'sep':['<s>',2]},"
        "'model':{'type':'BPE','vocab':{'a':0,'b':1,'ab':3},'merges':['a b']}}";
    ql_tokenizer_close(fixture_json(json, NULL)); /* writes the files */
    size_t live = ql_hostmem_live();
    bool failed = true;
    for (long n = 1; failed; n++) {
        ql_tokenizer *t = NULL;
        ql_ids ids = {0};
        char *text = NULL;
        size_t len;
        ql_hostmem_fail_after(n);
        ql_status st = ql_tokenizer_open(temp_folder(), &t);
        if (st == QL_OK) st = ql_tokenizer_encode(t, "ab <s>a", 7, 3, &ids);
        if (st == QL_OK) st = ql_tokenizer_decode(t, ids.ids, ids.n, true, &text, &len);
        failed = st != QL_OK;
        if (failed) assert_int_equal(st, QL_ERR_NOMEM_HOST);
        ql_hostmem_fail_after(0);
        ql_host_free(text);
        ql_ids_free(&ids);
        ql_tokenizer_close(t);
        assert_int_equal(ql_hostmem_live(), live);
        assert_true(n < 10000);
    }
}

/* ---------------------------------------------------------------------------- GGUF */

#define KEY(name) "tokenizer.ggml." name
#define COUNT(a)  (sizeof(a) / sizeof *(a))

static ql_status open_gguf(gguf_build *b, ql_tokenizer **out) {
    size_t size;
    uint8_t *data = gguf_finish(b, &size);
    const char *path = temp_put("vocabulary.gguf", data, size);
    free(data);
    return ql_tokenizer_open(path, out);
}

/* Merging goes by score, not by rank or length; bytes come after merging. */
static void gguf_llama_merges_by_score(void **state) {
    (void)state;
    static const char *const tokens[] = {"<unk>", "<s>", "</s>", "<0xC3>", "<0xA9>", MARK, "a",
                                         "b",     "ab",  MARK_A, "ba",     "aba",    "<u>"};
    static const float scores[] = {0, 0, 0, 0, 0, -1, -2, -3, -20, -10, -15, -5, 0};
    static const int32_t types[] = {2, 3, 3, 6, 6, 1, 1, 1, 1, 1, 1, 1, 4};
    gguf_build b = {0};
    gguf_put_str(&b, KEY("model"), "llama");
    gguf_put_strs(&b, KEY("tokens"), tokens, COUNT(tokens));
    gguf_put_f32s(&b, KEY("scores"), scores, COUNT(scores));
    gguf_put_i32s(&b, KEY("token_type"), types, COUNT(types));
    gguf_put_u32(&b, KEY("bos_token_id"), 1);
    gguf_put_u32(&b, KEY("eos_token_id"), 2);
    gguf_put_u32(&b, KEY("unknown_token_id"), 0);
    gguf_put_str(&b, "tokenizer.chat_template", "template");
    ql_tokenizer *t = NULL;
    if (open_gguf(&b, &t) != QL_OK) fail_msg("%s", ql_last_error());
    assert_ids(t, "a", 0, IDS(9));
    assert_ids(t, "ab", 0, IDS(9, 7));        /* (mark, a) -10 before (a, b) -20          */
    assert_ids(t, "bab", 0, IDS(5, 10, 7));   /* (b, a) -15 before (a, b) -20             */
    assert_ids(t, "baba", 0, IDS(5, 10, 10)); /* from the left; "baba" is no piece        */
    assert_ids(t, "\xC3\xA9", 0, IDS(5, 3, 4));
    assert_ids(t, "\xE2\x82\xAC", 0, IDS(5, 0, 0, 0)); /* no byte pieces: unknown, each   */
    assert_ids(t, "a</s>a", QL_ENCODE_PARSE_SPECIAL, IDS(9, 2, 9));
    assert_ids(t, "a<u>a", 0, IDS(9, 12, 9)); /* user-defined: found without parsing too  */
    assert_ids(t, "a", QL_ENCODE_ADD_SPECIAL, IDS(1, 9)); /* the default of this kind     */
    assert_decoded(t, IDS(9, 5, 3, 4), false, "a \xC3\xA9");
    assert_true(ql_tokenizer_is_special(t, 0));
    assert_false(ql_tokenizer_is_special(t, 12));
    assert_string_equal(ql_tokenizer_chat_template(t), "template");
    ql_tokenizer_close(t);
}

static void put_gpt2(gguf_build *b, const char *pre) {
    static const char *const tokens[] = {"a", "1", "\xC4\xA0", "\xC4\xA0\x61", "11", "111"};
    static const char *const merges[] = {"\xC4\xA0 a", "1 1", "11 1"};
    gguf_put_str(b, KEY("model"), "gpt2");
    gguf_put_str(b, KEY("pre"), pre);
    gguf_put_strs(b, KEY("tokens"), tokens, COUNT(tokens));
    gguf_put_strs(b, KEY("merges"), merges, COUNT(merges));
}

static void gguf_gpt2_splits_by_the_name_of_its_pre_tokenizer(void **state) {
    (void)state;
    static const struct {
        const char *pre;
        int32_t ids[6]; /* of "a a1111" */
    } cases[] = {
        {"gpt-2", {0, 3, 4, 4, END}},     /* all digits together, merged in pairs first */
        {"smollm", {0, 3, 1, 1, 1, 1}},   /* each digit */
        {"qwen2", {0, 3, 1, 1, 1, 1}},    /* each digit */
        {"llama-bpe", {0, 3, 5, 1, END}}, /* three digits, found whole */
        {"dbrx", {0, 3, 5, 1, END}},      /* three digits */
        {"default", {0, 3, 5, 1, END}},   /* three digits */
        {"falcon", {0, 3, 5, 1, END}},    /* three digits */
        {"tekken", {0, 3, 1, 1, 1, 1}},   /* each digit */
        {"gpt-4o", {0, 3, 5, 1, END}},    /* three digits */
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        gguf_build b = {0};
        put_gpt2(&b, cases[i].pre);
        ql_tokenizer *t = NULL;
        if (open_gguf(&b, &t) != QL_OK) fail_msg("%s", ql_last_error());
        int32_t want[COUNT(cases[i].ids) + 1];
        memcpy(want, cases[i].ids, sizeof cases[i].ids);
        want[COUNT(cases[i].ids)] = END;
        assert_ids(t, "a a1111", 0, want);
        assert_decoded(t, want, false, "a a1111");
        ql_tokenizer_close(t);
    }
}

static void hostile_ggufs_end_in_a_sentence(void **state) {
    (void)state;
    static const char *const tokens[] = {"a", "b", "b"}, *const merges[] = {"a q"};
    static const float nan_scores[] = {0, NAN};
    for (int i = 0; i < 7; i++) {
        static const char *const says[] = {"'odd' ",   "'wpm'",        "two ids",     "merge 0",
                                           "elements", "not a number", "has 2 tokens"};
        gguf_build b = {0};
        gguf_put_str(&b, KEY("model"), i == 1 ? "wpm" : i == 5 ? "llama" : "gpt2");
        gguf_put_str(&b, KEY("pre"), i == 0 ? "odd" : "gpt-2");
        gguf_put_strs(&b, KEY("tokens"), tokens, i == 2 ? 3 : 2);
        gguf_put_strs(&b, KEY("merges"), merges, i == 3);
        if (i == 4) gguf_put_i32s(&b, KEY("token_type"), (const int32_t[]){1}, 1);
        gguf_put_f32s(&b, KEY("scores"), nan_scores, 2);
        if (i == 6) gguf_put_u32(&b, KEY("bos_token_id"), 2);
        ql_tokenizer *t = NULL;
        assert_true(open_gguf(&b, &t) != QL_OK);
        assert_null(t);
        if (!strstr(ql_last_error(), says[i])) fail_msg("case %d: '%s'", i, ql_last_error());
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(config_names_special_tokens_and_template),
        cmocka_unit_test(config_switches_bos_and_eos),
        cmocka_unit_test(config_adds_tokens),
        cmocka_unit_test(companions_fill_what_is_open),
        cmocka_unit_test(hostile_files_end_in_a_sentence),
        cmocka_unit_test(sequences_nest_a_little),
        cmocka_unit_test(matching_is_bounded),
        cmocka_unit_test(absent_files_are_named),
        cmocka_unit_test(failing_memory_leaks_nothing),
        cmocka_unit_test(gguf_llama_merges_by_score),
        cmocka_unit_test(gguf_gpt2_splits_by_the_name_of_its_pre_tokenizer),
        cmocka_unit_test(hostile_ggufs_end_in_a_sentence),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
