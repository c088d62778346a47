/*
 * fuzz_dataset_tasks.c - hostile rows of classes, numbers and encoder-decoders: the first byte
 * chooses task and cutting, the rest is the file. What is read goes through a batch as well.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "core/data/batch.h"
#include "tests/fuzz/fuzz.h"

static void pack(const ql_dataset *d) {
    ql_batch b;
    int32_t source = d->task == QL_TASK_SEQ2SEQ ? d->longest_source : 0;
    if (ql_batch_create(d->longest, 1, source, &b) != QL_OK) abort();
    for (int64_t i = 0; i < d->n; i++) {
        if (ql_batch_fill(&b, d, &i, 1) != QL_OK) abort();
        for (int32_t k = 0; k < b.tokens; k++)
            if (b.ids[k] < 0 || b.ids[k] >= 260 || b.types[k] > 1) abort();
    }
    ql_batch_free(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char *const NAMES[] = {"no", "yes", "maybe"};
    if (size == 0) return 0;
    ql_dataset_opts o = ql_dataset_opts_default();
    ql_dataset d;
    ql_tokenizer *tok;
    if (ql_tokenizer_open(QL_TEST_DATA "/tokenizer-bytes", &tok) != QL_OK) abort();
    o.task = (data[0] & 1) ? QL_TASK_SEQ2SEQ : QL_TASK_CLASSIFY;
    o.num_labels = (data[0] & 2) ? 1 : 3;
    o.labels = (data[0] & 4) ? NAMES : NULL;
    o.type_rows = (data[0] & 8) ? 2 : 0;
    o.max_len = (data[0] & 16) ? 32 : 0;
    o.truncation = (data[0] & 32) ? QL_TRUNCATE_RIGHT : QL_TRUNCATE_ERROR;
    o.decoder_start = (data[0] & 64) ? -1 : 0;
    o.target_max_len = (data[0] & 128) ? 4 : 0;
    o.source_prefix = (data[0] & 2) ? "p: " : NULL;
    o.vocab = 260;
    ql_status s = ql_dataset_parse(size > 1 && data[1] == 'Q' ? "a.tsv" : "a.jsonl",
                                   (const char *)data + 1, size - 1, tok, &o, &d);
    if (s == QL_OK) {
        pack(&d);
        ql_dataset_free(&d);
    }
    ql_tokenizer_close(tok);
    return 0;
}
