/*
 * engine.h - a counting CPU device, models of tests/data and small data sets, for tests of the
 * engine.
 *
 * Every function ends the running CMocka test with the library's sentence when something fails.
 */
#ifndef QLORA_TESTS_SUPPORT_ENGINE_H
#define QLORA_TESTS_SUPPORT_ENGINE_H

#include "core/device/device.h"
#include "core/train/trainer_impl.h"

/* Fails the running test unless the call succeeds. */
#define OK(call) engine_ok((call), #call, __FILE__, __LINE__)
void engine_ok(ql_status s, const char *call, const char *file, int line);
/* The call must fail with `status` and a sentence that contains `word`. */
#define FAILS(call, status, word) engine_fails((call), (status), (word), #call, __FILE__, __LINE__)
void engine_fails(ql_status s, ql_status want, const char *word, const char *call, const char *file,
                  int line);

ql_device *engine_device(int threads); /* close with engine_close */
void engine_close(ql_device *dev);
ql_counts engine_counts(const ql_device *dev);

/* tests/data/models/<name>; `bits` 16 = as stored, 4 = NF4 + double quantization; r 0 = no adapter.
 */
ql_model *engine_model(const char *name, int bits, int r, double dropout);
/* n examples of 4 + 3 i tokens (cut to `longest`), ids from a fixed generator, everything labelled
 * but the first third. */
ql_dataset engine_data(int n, int longest, int32_t vocab);
/* All trained values, then all moments of a trainer as its checkpoints write them (the same
 * whatever its pages); free with free(). */
unsigned char *engine_state(ql_trainer *t, size_t *bytes);

#endif
