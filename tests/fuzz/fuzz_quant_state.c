/*
 * fuzz_quant_state.c - the quant_state text of a stored weight: what is accepted is printed and
 * read again to the same.
 */
#include <stdlib.h>
#include <string.h>

#include "core/quant/blob.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char *const suffixes[] = {"bitsandbytes__nf4", "qlora__int4", "qlora__llm_int8"};
    for (size_t i = 0; i < sizeof suffixes / sizeof suffixes[0]; i++) {
        ql_blob b, again;
        char text[QL_BLOB_TEXT_MAX], second[QL_BLOB_TEXT_MAX];
        if (ql_blob_read((const char *)data, size, suffixes[i], "input", &b) != QL_OK) continue;
        int len = ql_blob_write(&b, false, text);
        if (len <= 0 || len >= QL_BLOB_TEXT_MAX) abort();
        if (len > ql_blob_write(&b, true, second)) abort();
        if (ql_blob_read(text, (size_t)len, suffixes[i], "again", &again) != QL_OK) abort();
        ql_blob_write(&again, false, second);
        if (strcmp(text, second) != 0) abort();
    }
    return 0;
}
