/*
 * data_fixture.h - what the tests of templates, data sets and examples share: JSONL files of the
 * shared material, and tokenizers (the readable one of tests/data, the packed ones of shared).
 */
#ifndef QLORA_TESTS_CORE_DATA_FIXTURE_H
#define QLORA_TESTS_CORE_DATA_FIXTURE_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "core/data/tokenizer.h"

/* All lines of a JSONL file as one array; NULL when the file is absent, so that the test can skip.
 * A line that does not parse fails the test. */
json_t *fixture_lines(const char *path);
json_t *fixture_shared_lines(const char *name); /* below shared/fixtures */

/* tests/data/tokenizer-bytes: the id of byte b is b + 4. */
ql_tokenizer *fixture_byte_tokenizer(void);
/* The same with an added token that takes the white space on its right. */
ql_tokenizer *fixture_byte_tokenizer_stripping(const char *token);
/* The same with another post-processor, a JSON object as in tokenizer.json. */
ql_tokenizer *fixture_byte_tokenizer_with(const char *post_processor);
#define FIXTURE_BERT "{\"type\":\"BertProcessing\",\"sep\":[\"</s>\",1],\"cls\":[\"<s>\",0]}"
#define FIXTURE_ROBERTA                                                                            \
    "{\"type\":\"RobertaProcessing\",\"sep\":[\"</"                                                \
    "s>\",1],\"cls\":[\"<s>\",0],\"trim_offsets\":true,"                                           \
    "\"add_prefix_space\":false}"
#define FIXTURE_T5                                                                                 \
    "{\"type\":\"TemplateProcessing\",\"single\":[{\"Sequence\":{\"id\":\"A\",\"type_id\":0}},"    \
    "{\"SpecialToken\":{\"id\":\"</s>\",\"type_id\":0}}],\"pair\":[{\"Sequence\":{\"id\":\"A\","   \
    "\"type_id\":0}},{\"SpecialToken\":{\"id\":\"</"                                               \
    "s>\",\"type_id\":0}},{\"Sequence\":{\"id\":\"B\","                                            \
    "\"type_id\":0}},{\"SpecialToken\":{\"id\":\"</s>\",\"type_id\":0}}],\"special_tokens\":{\"</" \
    "s>\":"                                                                                        \
    "{\"id\":\"</s>\",\"ids\":[1],\"tokens\":[\"</s>\"]}}}"
/* shared/fixtures/tokenizers/NAME, unpacked into a temporary folder; NULL when it, or the program
 * xz, is absent. */
ql_tokenizer *fixture_shared_tokenizer(const char *name);

/* Ids are equal to the bytes of `text` in the byte tokenizer, where the control characters 1 to 4
 * stand for the ids 0 to 3 (<s>, </s>, <|im_start|>, <|im_end|>). */
bool fixture_bytes_equal(const int32_t *ids, size_t n, const char *text);

#endif
