/*
 * tokenizer_fixture.h - tokenizers written in the tests themselves, and comparison of ids.
 *
 * JSON in these tests is written with ' for ", which no content here contains.
 */
#ifndef QLORA_TESTS_CORE_TOKENIZER_FIXTURE_H
#define QLORA_TESTS_CORE_TOKENIZER_FIXTURE_H

#include <stddef.h>
#include <stdint.h>

#include "core/data/tokenizer.h"

/* Opens a folder with these two files; `config` may be NULL. */
ql_status fixture_open_json(const char *tokenizer, const char *config, ql_tokenizer **out);
ql_tokenizer *fixture_json(const char *tokenizer, const char *config); /* or the test fails */

/* The text becomes exactly these ids; `want` ends with END. */
#define END (-1)
void assert_ids(const ql_tokenizer *t, const char *text, unsigned flags, const int32_t *want);
#define IDS(...) ((const int32_t[]){__VA_ARGS__, END})
void assert_decoded(const ql_tokenizer *t, const int32_t *ids, bool skip_special, const char *want);

#endif
