/*
 * api_fixture.h - sessions, models and runs through qlora/qlora.h, and the same run through core.
 *
 * Core's headers stand beside the public one: their names must not meet. Every function ends the
 * running test with the library's sentence when something fails.
 */
#ifndef QLORA_TESTS_CORE_API_FIXTURE_H
#define QLORA_TESTS_CORE_API_FIXTURE_H

#include "core/model/generate.h"
#include "qlora/qlora.h"
#include "tests/support/engine.h"
#include "tests/support/temp_folder.h"

#define MODELS QL_TEST_DATA "/models/"
#define TINY   MODELS "tiny-llama"
#define BYTES  QL_TEST_DATA "/tokenizer-bytes"

enum { ROWS = 8, LONGEST = 25, VOCAB = 256 };

qlora_session *api_session(void); /* one thread of the CPU */
qlora_session *api_session_with(uint64_t limit, qlora_progress progress, void *user);
/* With the byte tokenizer; r 0 = no adapters. */
qlora_model *api_model(qlora_session *s, const char *path, int bits, int r);
/* The rows that engine_data makes. */
qlora_data *api_data(qlora_model *m, int rows);
/* A run of 6 steps, and that run on m and d. */
qlora_train_opts api_train_opts(void);
qlora_trainer *api_trainer(qlora_model *m, qlora_data *d);
void api_steps(qlora_trainer *t, int n);

/* The same run on tiny-llama with NF4 and rank 4, through core alone: n steps, adapter in dir. */
void api_core_run(const char *dir, int n);

void api_same_file(const char *dir_a, const char *dir_b, const char *name);
void api_same_adapter(const char *a, const char *b);

#endif
