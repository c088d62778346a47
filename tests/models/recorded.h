/*
 * recorded.h - models to generate with, and what transformers generated with them.
 */
#ifndef QLORA_TESTS_MODELS_RECORDED_H
#define QLORA_TESTS_MODELS_RECORDED_H

#include "core/base/json.h"
#include "core/model/model.h"

#define RECORDED_LONGEST 64 /* most ids of a list */

/* A model as its files hold it. Failures end the running test. */
ql_model *recorded_model(const char *folder);
ql_model *recorded_fixture(const char *name); /* tests/data/models/<name> */
json_t *recorded_json(const char *name);      /* tests/data/generate/<name>.json */
/* The list's ids; a list that is not one, or too long, ends the test. May be empty. */
int32_t recorded_ids(const json_t *list, int32_t *out);

#endif
