/*
 * fuzz_jinja.c - hostile chat templates over one conversation with tools, under small limits: the
 * input is the template.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "core/data/jinja.h"
#include "tests/fuzz/fuzz.h"

#define MESSAGES                                                                                   \
    "[{\"role\": \"system\", \"content\": \"Gr\\u00fc\\u00dfe \"}, {\"role\": \"user\", "          \
    "\"content\": [{\"type\": \"text\", \"text\": \"a\\nb\"}]}, {\"role\": \"assistant\", "        \
    "\"content\": \"<|x|> yes\", \"n\": [1, 2.5, true, null, {\"k\": \"v\"}]}]"
enum { N_MESSAGES = 3 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    ql_jinja *j = NULL;
    if (ql_jinja_compile((const char *)data, size, &j) != QL_OK) return 0;
    json_t *messages = json_loads(MESSAGES, 0, NULL), *bos = json_string("<s>");
    json_t *tools = json_loads("[{\"name\": \"f\", \"p\": {\"a\": 1, \"b\": \"\"}}]", 0, NULL);
    if (!messages || !bos || !tools) abort();
    const ql_jinja_var vars[] = {{"messages", messages, QL_JINJA_MESSAGES},
                                 {"bos_token", bos, QL_JINJA_TRUSTED},
                                 {"tools", tools, QL_JINJA_DATA}};
    const ql_jinja_input in = {
        .vars = vars,
        .n_vars = 3,
        .now = 1767225845,
        .limits = {.steps = 100000, .bytes = 4u << 20, .text = 1u << 18, .depth = 200}};
    ql_jinja_output o = {0};
    if (ql_jinja_render(j, &in, &o) == QL_OK) {
        for (size_t i = 0; i < o.len; i++) { /* every origin is one of those there are */
            unsigned from = o.origin[i] & ~(unsigned)QL_ORIGIN_GENERATION;
            if (from >= QL_ORIGIN_MESSAGE + N_MESSAGES) abort();
        }
        if (o.text[o.len] != '\0') abort();
        ql_jinja_output_free(&o);
    }
    ql_jinja_free(j);
    json_decref(messages);
    json_decref(bos);
    json_decref(tools);
    return 0;
}
