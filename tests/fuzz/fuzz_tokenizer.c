/*
 * fuzz_tokenizer.c - hostile vocabularies: a GGUF, or tokenizer.json, tokenizer_config.json and a
 * text with a byte 0xFF between them. Whatever opens encodes and decodes.
 */
#include <stdlib.h>
#include <string.h>

#include "core/base/hostmem.h"
#include "core/data/tokenizer.h"
#include "tests/fuzz/fuzz.h"
#include "tests/support/temp_folder.h"

#define TEXT_MAX 2000u

/* The text beside itself, cut to a few ids. */
static void use_pair(const ql_tokenizer *t, const char *text, size_t len) {
    for (int32_t limit = 0; limit <= 8; limit += 4) {
        ql_ids ids = {0}, types = {0};
        if (ql_tokenizer_encode_pair_limit(t, text, len, text, len, limit, QL_ENCODE_ADD_SPECIAL,
                                           &ids, &types) == QL_OK) {
            if (types.n != ids.n || (limit && ids.n > (size_t)limit)) abort();
            fuzz_use(types.ids, types.n * sizeof *types.ids);
        }
        ql_ids_free(&ids);
        ql_ids_free(&types);
    }
}

static void use(const ql_tokenizer *t, const char *text, size_t len) {
    for (unsigned flags = 0; flags < 4; flags++) {
        ql_ids ids = {0};
        char *back;
        size_t n;
        if (ql_tokenizer_encode(t, text, len, flags, &ids) == QL_OK) {
            fuzz_use(ids.ids, ids.n * sizeof *ids.ids);
            if (ql_tokenizer_decode(t, ids.ids, ids.n, flags & 1, &back, &n) == QL_OK) {
                fuzz_use(back, n + 1);
                ql_host_free(back);
            }
        }
        ql_ids_free(&ids);
    }
}

/* Length of the part that begins at data, up to 0xFF or the end. */
static size_t part(const uint8_t *data, size_t size) {
    const uint8_t *end = size ? memchr(data, 0xFF, size) : NULL;
    return end ? (size_t)(end - data) : size;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char fixed[] = " The ab \xC3\xA9 12345 <s>\n\n \xE2\x96\x81!?";
    const char *path = temp_folder();
    const char *text = fixed;
    size_t len = sizeof fixed - 1;
    if (size >= 4 && memcmp(data, "GGUF", 4) == 0) {
        path = temp_put("vocabulary.gguf", data, size);
    } else {
        size_t json = part(data, size);
        (void)temp_put("tokenizer.json", data, json);
        size_t at = json < size ? json + 1 : size, config = part(data + at, size - at);
        (void)temp_put("tokenizer_config.json", config ? (const char *)data + at : "{}",
                       config ? config : 2);
        at += config < size - at ? config + 1 : config;
        if (at < size && size - at <= TEXT_MAX) {
            text = (const char *)data + at;
            len = size - at;
        }
    }
    ql_tokenizer *t;
    if (ql_tokenizer_open(path, &t) != QL_OK) return 0;
    use(t, text, len);
    use_pair(t, text, len);
    ql_tokenizer_close(t);
    return 0;
}
