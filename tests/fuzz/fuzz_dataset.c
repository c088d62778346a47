/*
 * fuzz_dataset.c - hostile data files: the first byte chooses format, template and cutting, the
 * rest is the file.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "core/data/dataset.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char *const TEMPLATES[] = {NULL,     "smollm2", "llama2",       "mistral",
                                            "vicuna", "alpaca",  "guanaco_chat", "zephyr"};
    if (size == 0) return 0;
    ql_dataset_opts o = ql_dataset_opts_default();
    ql_dataset d;
    ql_tokenizer *tok;
    /* opened each time: the runner checks that an input leaves no memory behind */
    if (ql_tokenizer_open(QL_TEST_DATA "/tokenizer-bytes", &tok) != QL_OK) abort();
    o.chat = ql_template_find(TEMPLATES[data[0] & 7]);
    o.format = (data[0] & 8) ? (ql_data_format)(data[0] % QL_DATA_FORMAT_COUNT) : QL_DATA_AUTO;
    o.max_len = (data[0] & 16) ? 32 : 0;
    o.truncation = (data[0] & 32) ? QL_TRUNCATE_LEFT : QL_TRUNCATE_RIGHT;
    o.source_max_len = (data[0] & 64) ? 16 : 0;
    o.vocab = 260;
    const char *name = !(data[0] & 128) ? "a.jsonl" : (data[0] & 1) ? "a.csv" : "a.txt";
    ql_status s = ql_dataset_parse(name, (const char *)data + 1, size - 1, tok, &o, &d);
    if (s == QL_OK) ql_dataset_free(&d);
    ql_tokenizer_close(tok);
    return 0;
}
