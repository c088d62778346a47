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
/* shared/fixtures/tokenizers/NAME, unpacked into a temporary folder; NULL when it, or the program
 * xz, is absent. */
ql_tokenizer *fixture_shared_tokenizer(const char *name);

/* Ids are equal to the bytes of `text` in the byte tokenizer, where the control characters 1 to 4
 * stand for the ids 0 to 3 (<s>, </s>, <|im_start|>, <|im_end|>). */
bool fixture_bytes_equal(const int32_t *ids, size_t n, const char *text);

#endif
