/* fuzz_gguf.c - opens the input as a GGUF and, when its architecture is known, as a model. */
#include <stdlib.h>

#include "core/base/hostmem.h"
#include "core/io/gguf_tokenizer.h"
#include "core/io/source.h"
#include "tests/fuzz/fuzz.h"
#include "tests/support/temp_folder.h"

static void read_tensor(const ql_gguf_tensor *t) {
    fuzz_use(t->data, (size_t)t->bytes);
    float *row = ql_host_calloc((size_t)t->cols, sizeof *row);
    if (!row) return;
    for (int64_t i = 0; i < t->rows && i < 64; i++) {
        if (ql_gguf_read_row(t, i, row) != QL_OK) abort();
        fuzz_use(row, (size_t)t->cols * sizeof *row);
    }
    ql_host_free(row);
}

static void read_as_model(const char *path) {
    ql_source *s = NULL;
    json_t *tokenizer = NULL, *config = NULL;
    if (ql_source_open(path, &s) != QL_OK) return;
    for (int64_t i = 0; i < ql_source_count(s); i++) {
        const ql_source_tensor *t = ql_source_at(s, i);
        float *row = ql_host_calloc((size_t)t->cols, sizeof *row);
        if (row && ql_source_read_row(t, t->rows - 1, row) != QL_OK) abort();
        ql_host_free(row);
    }
    if (ql_gguf_tokenizer_json(ql_source_gguf(s), path, &tokenizer, &config) == QL_OK) {
        json_decref(tokenizer);
        json_decref(config);
    }
    ql_source_close(s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const char *path = temp_put("input.gguf", data, size);
    ql_gguf *g = NULL;
    if (ql_gguf_open(path, &g) != QL_OK) return 0;
    for (int64_t i = 0; i < ql_gguf_count(g); i++) read_tensor(ql_gguf_at(g, i));
    ql_gguf_close(g);
    read_as_model(path);
    return 0;
}
