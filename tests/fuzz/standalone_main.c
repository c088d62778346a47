/*
 * standalone_main.c - runs a fuzz target over a corpus without libFuzzer.
 *
 *     corpus_NAME FOLDER...
 *
 * For each file: the file, cut short at up to 256 lengths, and 512 variations with one to four
 * bytes changed (a fixed generator: every run does the same). A crash or a sanitizer's report is
 * the failure; an empty corpus is one too.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/fs.h"
#include "core/base/hostmem.h"
#include "tests/fuzz/fuzz.h"

#define CUTS           256
#define VARIATIONS     512
#define MAX_SEED_BYTES (1u << 20)

/* xorshift64* (Vigna 2016) */
static uint64_t next_random(uint64_t *state) {
    uint64_t x = *state;
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    *state = x;
    return x * 0x2545F4914F6CDD1Dull;
}

/* An exact-size copy, so that reading one byte too many is seen by a sanitizer. */
static void run(const char *data, size_t size, uint64_t *random, int changes) {
    uint8_t *copy = malloc(size ? size : 1);
    if (!copy) exit(2);
    if (size) memcpy(copy, data, size);
    for (int i = 0; i < changes && size; i++) {
        uint64_t r = next_random(random);
        uint8_t *b = &copy[(r >> 32) % size];
        *b = r & 1 ? (uint8_t)(r >> 8) : (uint8_t)(*b ^ (1u << (r >> 8 & 7)));
    }
    LLVMFuzzerTestOneInput(copy, size);
    free(copy);
}

static int run_file(const char *path) {
    char *data;
    size_t size;
    if (ql_file_read(path, MAX_SEED_BYTES, &data, &size) != QL_OK) {
        fprintf(stderr, "%s\n", ql_last_error());
        return 1;
    }
    uint64_t random = 0x9E3779B97F4A7C15ull;
    run(data, size, &random, 0);
    size_t step = size / CUTS + 1;
    for (size_t n = 0; n < size; n += step) run(data, n, &random, 0);
    for (int i = 0; i < VARIATIONS; i++) run(data, size, &random, 1 + i % 4);
    ql_host_free(data);
    return 0;
}

int main(int argc, char **argv) {
    size_t files = 0;
    int failures = 0;
    for (int i = 1; i < argc; i++) {
        char **names;
        size_t n;
        if (ql_dir_list(argv[i], &names, &n) != QL_OK) {
            fprintf(stderr, "%s\n", ql_last_error());
            return 1;
        }
        for (size_t k = 0; k < n; k++, files++) {
            char path[QL_PATH_MAX];
            failures += ql_path_join(path, argv[i], names[k]) != QL_OK || run_file(path) != 0;
        }
        ql_host_free(names);
    }
    printf("%zu seeds, %d could not be read, %zu blocks of memory left\n", files, failures,
           ql_hostmem_live());
    return failures != 0 || files == 0 || ql_hostmem_live() != 0;
}
