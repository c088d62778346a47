/*
 * test_tokenizer_models.c - Unigram, WordPiece, pairs and limits, on vocabularies small enough to
 * work the ids out by hand; folders without tokenizer.json; hostile character maps.
 */
#define _POSIX_C_SOURCE 200809L
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "core/base/fs.h"
#include "core/base/hostmem.h"
#include "tests/core/tokenizer_fixture.h"
#include "tests/support/temp_folder.h"

#define MARK     "\xE2\x96\x81" /* U+2581 */
#define COUNT(a) (sizeof(a) / sizeof *(a))

/* ------------------------------------------------------------------------- Unigram */

#define UNIGRAM(vocab, more) "{'model':{'type':'Unigram','vocab':[" vocab "]" more "}}"

static void unigram_takes_the_largest_sum(void **state) {
    (void)state;
    ql_tokenizer *t = fixture_json(
        UNIGRAM("['<unk>',0],['a',0],['b',0],['c',0],['d',0],['cd',1],['ab',2],['abc',5],"
                "['abcd',10]",
                ",'unk_id':0"),
        NULL);
    assert_ids(t, "abcd", 0, IDS(8));
    assert_ids(t, "abcdacdxx", 0, IDS(8, 1, 5, 0)); /* two unknown characters become one */
    assert_ids(t, "xax", 0, IDS(0, 1, 0));
    assert_ids(t, "abcx", 0, IDS(7, 0));
    assert_int_equal(ql_tokenizer_unk(t), 0);
    assert_int_equal(ql_tokenizer_size(t), 9);
    ql_tokenizer_close(t);
}

/* Of equal sums the path whose last piece begins first stays. */
static void unigram_ties_go_to_the_earlier_beginning(void **state) {
    (void)state;
    ql_tokenizer *t =
        fixture_json(UNIGRAM("['a',-1],['aa',-2],['aaa',-3],['b',-9],['ab',-10]", ""), NULL);
    assert_ids(t, "aa", 0, IDS(1));
    assert_ids(t, "aaa", 0, IDS(2));
    assert_ids(t, "aaaa", 0, IDS(0, 2));
    assert_ids(t, "aab", 0, IDS(0, 4));
    ql_tokenizer_close(t);
}

/* The lowest score is -3, so an unknown character costs -13. */
static void unigram_unknown_costs_ten_below_the_lowest(void **state) {
    (void)state;
    ql_tokenizer *t =
        fixture_json(UNIGRAM("['<unk>',0],['b',-1],['xb',-3],['c',-2]", ",'unk_id':0"), NULL);
    assert_ids(t, "xb", 0, IDS(2)); /* -3, not -13 - 1 */
    assert_ids(t, "xc", 0, IDS(0, 3));
    assert_ids(t, "x<unk>y", 0, IDS(0)); /* the unknown token's own text joins the stretch */
    ql_tokenizer_close(t);
    t = fixture_json(UNIGRAM("['b',-1]", ""), NULL);
    ql_ids ids = {0};
    assert_int_equal(ql_tokenizer_encode(t, "bx", 2, 0, &ids), QL_ERR_FORMAT);
    assert_non_null(strstr(ql_last_error(), "byte 1"));
    assert_int_equal(ids.n, 0);
    ql_ids_free(&ids);
    ql_tokenizer_close(t);
}

static void unigram_unknown_becomes_bytes(void **state) {
    (void)state;
    ql_tokenizer *t = fixture_json(UNIGRAM("['<unk>',0],['b',-1],['<0xC3>',-9],['<0xA9>',-9]",
                                           ",'unk_id':0,'byte_fallback':true"),
                                   NULL);
    assert_ids(t, "b\xC3\xA9\xC3\xA9", 0, IDS(1, 2, 3, 2, 3));
    assert_ids(t, "\xC3\xA9x", 0, IDS(0)); /* one stretch, and x has no byte piece */
    ql_tokenizer_close(t);
}

/* ----------------------------------------------------------------------- WordPiece */

#define WORDPIECE(parts, more)                                                                     \
    "{" parts "'model':{'type':'WordPiece','vocab':{'[UNK]':0,'ba':1,'##na':2,'b':3,'##a':4,"      \
    "',':5,'\xE4\xB8\xAD':6,'##\xC3\xA9':7,'e':8,'##':9}" more "}}"
#define BERT_PARTS                                                                                 \
    "'normalizer':{'type':'BertNormalizer'},'pre_tokenizer':{'type':'BertPreTokenizer'},"          \
    "'decoder':{'type':'WordPiece'},"

static void wordpiece_takes_the_longest_piece(void **state) {
    (void)state;
    ql_tokenizer *t = fixture_json(WORDPIECE("", ""), NULL);
    assert_ids(t, "banana", 0, IDS(1, 2, 2));
    assert_ids(t, "baa", 0, IDS(1, 4));
    assert_ids(t, "banan", 0, IDS(0)); /* the whole word is unknown */
    assert_ids(t, "na", 0, IDS(0));    /* "##na" only continues */
    assert_ids(t, "b\xC3\xA9", 0, IDS(3, 7));
    assert_ids(t, "b##", 0, IDS(0)); /* "####" is no piece */
    assert_ids(t, "##", 0, IDS(9));
    ql_tokenizer_close(t);
    t = fixture_json(WORDPIECE("", ",'max_input_chars_per_word':4"), NULL);
    assert_ids(t, "bana", 0, IDS(1, 2));
    assert_ids(t, "banaa", 0, IDS(0));
    ql_tokenizer_close(t);
}

static void bert_cleans_lowers_and_splits(void **state) {
    (void)state;
    ql_tokenizer *t = fixture_json(WORDPIECE(BERT_PARTS, ""), NULL);
    assert_ids(t,
               "BA,\tB\x01"
               "A",
               0, IDS(1, 5, 1));
    assert_ids(t,
               "b\xE4\xB8\xAD"
               "b",
               0, IDS(3, 6, 3));                              /* alone without spaces */
    assert_ids(t, "\xC3\x89", 0, IDS(8));                     /* no accent, lower case */
    assert_decoded(t, IDS(1, 2, 5, 3, 4), false, "bana, ba"); /* no space before the comma */
    assert_decoded(t, IDS(4, 1), false, "##a ba");            /* the first piece stays */
    ql_tokenizer_close(t);
    t = fixture_json(WORDPIECE("'normalizer':{'type':'BertNormalizer','lowercase':false},"
                               "'decoder':{'type':'WordPiece','cleanup':false},",
                               ""),
                     NULL);
    assert_ids(t, "b\xC3\xA9", 0, IDS(3, 7)); /* strip_accents follows lowercase */
    assert_decoded(t, IDS(1, 5), false, "ba ,");
    ql_tokenizer_close(t);
}

/* An added token is not a piece of the model: only its own spelling finds it. */
static void added_tokens_stay_outside_the_model(void **state) {
    (void)state;
    ql_tokenizer *t =
        fixture_json("{'added_tokens':[{'id':2,'content':'bar'}],'normalizer':{'type':'Lowercase'},"
                     "'model':{'type':'WordPiece','unk_token':'u','vocab':{'u':0,'b':1}}}",
                     NULL);
    assert_ids(t, "bar", 0, IDS(2));
    assert_ids(t, "BAR", 0, IDS(0));
    ql_tokenizer_close(t);
}

/* --------------------------------------------------------------------- components */

#define SMALL                                                                                      \
    "'model':{'type':'Unigram','unk_id':0,'vocab':[['u',0],['a',-1],['b',-1],['" MARK              \
    "a',-1],['" MARK "',-5],[' ',-5],['ab',-1],['A',-1]]}}"

static void other_components(void **state) {
    (void)state;
    static const struct {
        const char *json, *text;
        int32_t ids[6];
    } cases[] = {
        {"{'normalizer':{'type':'Nmt'}," SMALL, "a\x01\tb", {1, 5, 2, END}},
        {"{'normalizer':{'type':'StripAccents'}," SMALL,
         "a\xCC\x81"
         "b",
         {6, END}},
        {"{'pre_tokenizer':{'type':'Metaspace','replacement':'" MARK "','split':false}," SMALL,
         "a a",
         {3, 3, END}},
        {"{'pre_tokenizer':{'type':'Metaspace','replacement':'" MARK
         "','prepend_scheme':'first'}," SMALL,
         "a a",
         {3, 3, END}},
        /* the text does not begin with what is left of it: no mark */
        {"{'normalizer':{'type':'Strip'},'pre_tokenizer':{'type':'Metaspace','replacement':'" MARK
         "','prepend_scheme':'first'}," SMALL,
         " a",
         {1, END}},
        {"{'pre_tokenizer':{'type':'Sequence','pretokenizers':[{'type':'WhitespaceSplit'},"
         "{'type':'Metaspace','replacement':'" MARK "','prepend_scheme':'first'}]}," SMALL,
         " a",
         {1, END}},
        {"{'normalizer':{'type':'Replace','pattern':{'String':'bb'},'content':'a'},"
         "'pre_tokenizer':{'type':'Metaspace','replacement':'" MARK
         "','prepend_scheme':'first'}," SMALL,
         "bb",
         {1, END}},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        ql_tokenizer *t = fixture_json(cases[i].json, NULL);
        assert_ids(t, cases[i].text, 0, cases[i].ids);
        ql_tokenizer_close(t);
    }
}

/* A trie over bytes, laid out by hand: unit 0 is the root with offset 256; b leads to unit
 * 256 ^ b with the label b and a leaf, whose value stands at offset 512 of that unit. */
enum { UNITS = 1024, LEAF = 0x100, TEXTS = 5000, MAP_BYTES = 4 + 4 * UNITS + TEXTS };

static void put32(uint8_t *p, uint32_t v) {
    for (int i = 0; i < 4; i++) p[i] = (uint8_t)(v >> 8 * i);
}

static void make_map(uint8_t map[MAP_BYTES], unsigned char letter, uint32_t offset,
                     uint32_t value) {
    uint32_t unit = 256u ^ letter;
    memset(map, 0, MAP_BYTES);
    put32(map, 4 * UNITS);
    put32(map + 4, 256u << 10);
    put32(map + 4 + 4 * unit, offset << 10 | LEAF | letter);
    if ((unit ^ offset) < UNITS) put32(map + 4 + 4 * (unit ^ offset), 0x80000000u | value);
    memset(map + 4 + 4 * UNITS, 'x', TEXTS);
    memcpy(map + 4 + 4 * UNITS, "A\0\xC3\xA9", 4);
}

/* A tokenizer.json with this map; valid until the next call. */
static const char *map_json(const uint8_t map[MAP_BYTES]) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    static char base64[MAP_BYTES / 3 * 4 + 8], json[sizeof base64 + 512];
    size_t n = 0;
    for (size_t i = 0; i < MAP_BYTES; i += 3) {
        uint32_t bits = 0;
        for (size_t k = 0; k < 3; k++) bits = bits << 8 | (i + k < MAP_BYTES ? map[i + k] : 0u);
        for (size_t k = 0; k < 4; k++)
            base64[n++] = i + k > MAP_BYTES ? '=' : digits[bits >> (18 - 6 * k) & 63];
    }
    base64[n] = 0;
    (void)snprintf(json, sizeof json,
                   "{'normalizer':{'type':'Precompiled','precompiled_charsmap':'%s'}," SMALL,
                   base64);
    return json;
}

static ql_tokenizer *open_map(const uint8_t map[MAP_BYTES]) {
    return fixture_json(map_json(map), NULL);
}

static void charsmap_rewrites_graphemes(void **state) {
    (void)state;
    uint8_t map[MAP_BYTES];
    make_map(map, 'b', 512, 0);
    ql_tokenizer *t = open_map(map);
    assert_ids(t, "ab", 0, IDS(1, 7));
    assert_ids(t, "b\xCC\x81", 0, IDS(7)); /* the rest of a short grapheme goes */
    assert_ids(t, "b\xCC\x81\xCC\x81\xCC\x81", 0, IDS(7, 0)); /* of a long one it stays */
    ql_tokenizer_close(t);
    make_map(map, 'b', 512, 1); /* an empty text */
    t = open_map(map);
    assert_ids(t, "aba", 0, IDS(1, 1));
    ql_tokenizer_close(t);
}

static void hostile_charsmaps_end_in_a_sentence(void **state) {
    (void)state;
    static const struct {
        uint32_t offset, value;
        const char *says;
    } cases[] = {
        {512, 3, "byte 3"},             /* inside a character       */
        {512, 4, "more than 4096"},     /* a text that is too long  */
        {512, 5001, "byte 5001"},       /* behind the texts         */
        {512, 0x7FFFFFFF, "no text"},   /* far behind               */
        {2048, 0, "unit"},              /* the value lies outside   */
        {(1u << 21) - 1, 0, "of 1024"}, /* the largest offset       */
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        uint8_t map[MAP_BYTES];
        ql_ids ids = {0};
        make_map(map, 'b', cases[i].offset, cases[i].value);
        ql_tokenizer *t = open_map(map);
        assert_int_equal(ql_tokenizer_encode(t, "ab", 2, 0, &ids), QL_ERR_FORMAT);
        if (!strstr(ql_last_error(), cases[i].says)) fail_msg("%zu: %s", i, ql_last_error());
        assert_int_equal(ids.n, 0);
        ql_ids_free(&ids);
        ql_tokenizer_close(t);
    }
}

/* ---------------------------------------------------------------- pairs and limits */

#define LETTERS "'model':{'type':'BPE','merges':[],'vocab':{'a':0,'b':1,'c':2,'s':3}}}"

static void assert_pair(const ql_tokenizer *t, const char *a, const char *b, int32_t limit,
                        const int32_t *want, const int32_t *want_types) {
    ql_ids ids = {0}, types = {0};
    if (ql_tokenizer_encode_pair_limit(t, a, strlen(a), b, b ? strlen(b) : 0, limit,
                                       QL_ENCODE_ADD_SPECIAL, &ids, &types) != QL_OK)
        fail_msg("%s", ql_last_error());
    size_t n = 0;
    while (want[n] != END) n++;
    assert_int_equal(ids.n, n);
    assert_int_equal(types.n, n);
    if (n) assert_memory_equal(ids.ids, want, n * sizeof *want);
    if (n) assert_memory_equal(types.ids, want_types, n * sizeof *want);
    ql_ids_free(&ids);
    ql_ids_free(&types);
}

static void pairs_have_the_processors_layout(void **state) {
    (void)state;
    ql_tokenizer *t = fixture_json(
        "{'post_processor':{'type':'BertProcessing','cls':['c',2],'sep':['s',3]}," LETTERS, NULL);
    assert_pair(t, "a", "b", 0, IDS(2, 0, 3, 1, 3), IDS(0, 0, 0, 1, 1));
    assert_pair(t, "a", NULL, 0, IDS(2, 0, 3), IDS(0, 0, 0));
    assert_int_equal(ql_tokenizer_cls(t), 2);
    assert_int_equal(ql_tokenizer_sep(t), 3);
    ql_tokenizer_close(t);
    t = fixture_json(
        "{'post_processor':{'type':'RobertaProcessing','cls':['c',2],'sep':['s',3]}," LETTERS,
        NULL);
    assert_pair(t, "a", "b", 0, IDS(2, 0, 3, 3, 1, 3), IDS(0, 0, 0, 0, 0, 0));
    ql_tokenizer_close(t);
    t = fixture_json("{" LETTERS, NULL);
    assert_pair(t, "a", "b", 0, IDS(0, 1), IDS(0, 1));
    assert_pair(t, "", "", 0, IDS(END), IDS(END));
    ql_tokenizer_close(t);
    t = fixture_json("{" LETTERS, "{'bos_token':'c','eos_token':'s','add_bos_token':true,"
                                  "'add_eos_token':true}");
    assert_pair(t, "a", "b", 0, IDS(2, 0, 3, 2, 1, 3), IDS(0, 0, 0, 1, 1, 1));
    assert_true(ql_tokenizer_adds_bos(t));
    assert_true(ql_tokenizer_adds_eos(t));
    ql_tokenizer_close(t);
}

static void the_longer_text_loses_its_end(void **state) {
    (void)state;
    ql_tokenizer *t = fixture_json("{" LETTERS, NULL);
    assert_pair(t, "aaaaa", "bb", 5, IDS(0, 0, 0, 1, 1), IDS(0, 0, 0, 1, 1));
    assert_pair(t, "aa", "bbbbb", 3, IDS(0, 1, 1), IDS(0, 1, 1));
    assert_pair(t, "aaaaa", "bbbb", 3, IDS(0, 0, 1), IDS(0, 0, 1)); /* the odd one: longer */
    assert_pair(t, "aaaa", "bbbb", 3, IDS(0, 1, 1), IDS(0, 1, 1));  /* equal: the second  */
    assert_pair(t, "abc", NULL, 2, IDS(0, 1), IDS(0, 0));
    assert_pair(t, "abc", NULL, 3, IDS(0, 1, 2), IDS(0, 0, 0));
    ql_tokenizer_close(t);
    t = fixture_json("{" LETTERS, "{'truncation_side':'left'}");
    assert_pair(t, "abc", NULL, 2, IDS(1, 2), IDS(0, 0));
    ql_tokenizer_close(t);
}

static void a_failing_pair_leaves_the_outputs_alone(void **state) {
    (void)state;
    ql_ids ids = {0}, types = {0};
    ql_tokenizer *t = fixture_json(
        "{'post_processor':{'type':'BertProcessing','cls':['c',2],'sep':['s',3]}," LETTERS, NULL);
    assert_int_equal(ql_tokenizer_encode_pair(t, "a", 1, NULL, 0, 0, &ids, NULL), QL_OK);
    assert_int_equal(ids.n, 1);
    assert_int_equal(ql_tokenizer_encode_pair(t, "a", 1, "\xFF", 1, 0, &ids, &types),
                     QL_ERR_FORMAT);
    for (int32_t limit = -1; limit < 3; limit += 3) {
        assert_int_equal(ql_tokenizer_encode_pair_limit(t, "a", 1, "b", 1, limit,
                                                        QL_ENCODE_ADD_SPECIAL, &ids, &types),
                         QL_ERR_INVALID);
        assert_non_null(strstr(ql_last_error(), "3 special tokens"));
    }
    assert_int_equal(ids.n, 1);
    assert_int_equal(types.n, 0);
    ql_ids_free(&ids);
    ql_ids_free(&types);
    ql_tokenizer_close(t);
    assert_int_equal(fixture_open_json("{" LETTERS, "{'truncation_side':'up'}", &t), QL_ERR_FORMAT);
    assert_non_null(strstr(ql_last_error(), "'up'"));
}

/* ------------------------------------------------------ folders without tokenizer.json */

static void put(const char *name, const char *text) {
    (void)temp_put(name, text, strlen(text));
}

static void remove_all(void) {
    static const char *const names[] = {
        "tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt",
        "vocab.txt",      "spiece.model",          "config.json"};
    for (size_t i = 0; i < COUNT(names); i++) (void)remove(temp_path(names[i]));
}

static void refuse_folder(ql_status status, const char *says) {
    ql_tokenizer *t = NULL;
    ql_status st = ql_tokenizer_open(temp_folder(), &t);
    if (st != status || !strstr(ql_last_error(), says))
        fail_msg("%s: %s", ql_status_name(st), ql_last_error());
}

static void older_files_are_read_by_class(void **state) {
    (void)state;
    remove_all();
    put("config.json", "{\"model_type\": \"roberta\"}"); /* no tokenizer_config.json */
    put("vocab.json", "{\"<s>\": 0, \"</s>\": 1, \"a\": 2, \"b\": 3, \"ab\": 4, \"\xC4\xA0\": 5}");
    put("merges.txt", "#version: 0.2\r\na b\r\n\r\n");
    ql_tokenizer *t = NULL;
    if (ql_tokenizer_open(temp_folder(), &t) != QL_OK) fail_msg("%s", ql_last_error());
    assert_ids(t, "ab a", QL_ENCODE_ADD_SPECIAL, IDS(0, 4, 5, 2, 1));
    assert_int_equal(ql_tokenizer_eos(t), 1);
    ql_tokenizer_close(t);
    put("tokenizer_config.json", "{\"tokenizer_class\": \"BertTokenizerFast\"}");
    put("vocab.txt", "[UNK]\n[CLS]\n[SEP]\na\na\n##b");
    if (ql_tokenizer_open(temp_folder(), &t) != QL_OK) fail_msg("%s", ql_last_error());
    assert_ids(t, "AB a", QL_ENCODE_ADD_SPECIAL, IDS(1, 4, 5, 4, 2)); /* "a" has its last line */
    ql_tokenizer_close(t);
    remove_all();
}

static void folders_that_cannot_be_read_say_what_to_do(void **state) {
    (void)state;
    remove_all();
    refuse_folder(QL_ERR_NOT_FOUND, "no tokenizer.json; make");
    put("spiece.model", "x");
    refuse_folder(QL_ERR_UNSUPPORTED, "spiece.model");
    put("tokenizer_config.json", "{\"tokenizer_class\": \"OddTokenizer\"}");
    put("vocab.json", "{\"a\": 0}");
    refuse_folder(QL_ERR_UNSUPPORTED, "'OddTokenizer'");
    put("tokenizer_config.json", "{\"tokenizer_class\": \"GPT2Tokenizer\"}");
    refuse_folder(QL_ERR_NOT_FOUND, "merges.txt");
    put("merges.txt", "a a a");
    refuse_folder(QL_ERR_FORMAT, "merge 0");
    put("merges.txt", "a \xFF");
    refuse_folder(QL_ERR_FORMAT, "not UTF-8 at byte 2");
    put("tokenizer_config.json", "{\"tokenizer_class\": \"RobertaTokenizer\"}");
    put("merges.txt", "");
    refuse_folder(QL_ERR_FORMAT, "cls_token '<s>'");
    put("tokenizer_config.json", "{\"tokenizer_class\": \"BertTokenizer\"}");
    put("vocab.txt", "[CLS]\n[SEP]\n");
    refuse_folder(QL_ERR_FORMAT, "[UNK]");
    put("vocab.json", "[]");
    put("tokenizer_config.json", "[]");
    refuse_folder(QL_ERR_UNSUPPORTED, "vocab.json");
    remove_all();
}

/* --------------------------------------------------------------------- cost, memory */

static double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static void check_fast(const ql_tokenizer *t, char c, size_t n) {
    char *text = malloc(n);
    ql_ids ids = {0};
    assert_non_null(text);
    memset(text, c, n);
    double start = seconds();
    assert_int_equal(ql_tokenizer_encode(t, text, n, 0, &ids), QL_OK);
    assert_true(seconds() - start < 1.0);
    assert_true(ids.n > 0);
    ql_ids_free(&ids);
    free(text);
}

static void long_words_are_about_linear(void **state) {
    (void)state;
    ql_tokenizer *t =
        fixture_json(UNIGRAM("['u',0],['a',-1],['aa',-1.5],['aaaaaaaa',-2]", ",'unk_id':0"), NULL);
    check_fast(t, 'a', 1000000);
    check_fast(t, 'x', 1000000); /* one unknown stretch */
    ql_tokenizer_close(t);
    t = fixture_json(WORDPIECE(BERT_PARTS, ",'max_input_chars_per_word':1000"), NULL);
    check_fast(t, 'a', 1000000);
    check_fast(t, ',', 1000000);
    check_fast(t, 'b', 1000);
    ql_tokenizer_close(t);
}

/* Every allocation of opening, encoding and decoding fails once; nothing is leaked. */
static void failing_memory_leaks_nothing(void **state) {
    (void)state;
    uint8_t map[MAP_BYTES];
    make_map(map, 'b', 512, 0);
    const char *const all[] = {
        map_json(map),
        WORDPIECE(BERT_PARTS
                  "'post_processor':{'type':'TemplateProcessing','single':[{'Sequence':{'id':'A'}},"
                  "{'SpecialToken':{'id':'e'}}],'pair':[{'Sequence':{'id':'B'}},{'Sequence':"
                  "{'id':'A'}}],'special_tokens':{'e':{'ids':[8]}}},",
                  ""),
    };
    for (size_t i = 0; i < COUNT(all); i++) {
        ql_tokenizer_close(fixture_json(all[i], NULL)); /* writes the files */
        size_t live = ql_hostmem_live();
        bool failed = true;
        for (long n = 1; failed; n++) {
            ql_tokenizer *t = NULL;
            ql_ids ids = {0}, types = {0};
            char *text = NULL;
            size_t len;
            ql_hostmem_fail_after(n);
            ql_status st = ql_tokenizer_open(temp_folder(), &t);
            if (st == QL_OK)
                st = ql_tokenizer_encode_pair_limit(t, "a b\xC3\xA9", 5, "ab", 2, 3, 3, &ids,
                                                    &types);
            if (st == QL_OK) st = ql_tokenizer_decode(t, ids.ids, ids.n, true, &text, &len);
            failed = st != QL_OK;
            if (failed) assert_int_equal(st, QL_ERR_NOMEM_HOST);
            ql_hostmem_fail_after(0);
            ql_host_free(text);
            ql_ids_free(&ids);
            ql_ids_free(&types);
            ql_tokenizer_close(t);
            assert_int_equal(ql_hostmem_live(), live);
            assert_true(n < 10000);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(unigram_takes_the_largest_sum),
        cmocka_unit_test(unigram_ties_go_to_the_earlier_beginning),
        cmocka_unit_test(unigram_unknown_costs_ten_below_the_lowest),
        cmocka_unit_test(unigram_unknown_becomes_bytes),
        cmocka_unit_test(wordpiece_takes_the_longest_piece),
        cmocka_unit_test(bert_cleans_lowers_and_splits),
        cmocka_unit_test(added_tokens_stay_outside_the_model),
        cmocka_unit_test(other_components),
        cmocka_unit_test(charsmap_rewrites_graphemes),
        cmocka_unit_test(hostile_charsmaps_end_in_a_sentence),
        cmocka_unit_test(pairs_have_the_processors_layout),
        cmocka_unit_test(the_longer_text_loses_its_end),
        cmocka_unit_test(a_failing_pair_leaves_the_outputs_alone),
        cmocka_unit_test(older_files_are_read_by_class),
        cmocka_unit_test(folders_that_cannot_be_read_say_what_to_do),
        cmocka_unit_test(long_words_are_about_linear),
        cmocka_unit_test(failing_memory_leaks_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
