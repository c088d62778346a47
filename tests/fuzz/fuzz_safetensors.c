/* fuzz_safetensors.c - opens the input and touches every byte that the reader promises. */
#include <stdlib.h>

#include "core/base/hostmem.h"
#include "core/io/safetensors.h"
#include "tests/fuzz/fuzz.h"
#include "tests/support/temp_folder.h"

static void read_tensor(const ql_st_tensor *t) {
    float f[16];
    int64_t v[16];
    fuzz_use(t->data, (size_t)t->bytes);
    for (int64_t first = 0; first < t->numel && first < 4096; first += 16) {
        int64_t n = t->numel - first < 16 ? t->numel - first : 16;
        if (ql_st_read_f32(t, first, n, f) != QL_OK) abort();
        if (ql_st_read_i64(t, first, n, v) == QL_OK) fuzz_use(v, sizeof v[0] * (size_t)n);
        fuzz_use(f, sizeof f[0] * (size_t)n);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    ql_st_file *f = NULL;
    if (ql_st_open(temp_put("input.safetensors", data, size), &f) != QL_OK) return 0;
    for (int64_t i = 0; i < ql_st_count(f); i++) {
        const ql_st_tensor *t = ql_st_at(f, i);
        if (ql_st_find(f, t->name) != t) abort();
        read_tensor(t);
    }
    fuzz_use(ql_st_metadata(f, "format"), 0);
    ql_st_close(f);
    return 0;
}
