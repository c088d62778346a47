/* fuzz.h - the entry point of every fuzz target, and a use for what it computes. */
#ifndef QLORA_TESTS_FUZZ_FUZZ_H
#define QLORA_TESTS_FUZZ_FUZZ_H

#include <stddef.h>
#include <stdint.h>

/* Each target defines this one; libFuzzer or standalone_main.c calls it. Returns 0. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Reads all bytes, so that a sanitizer sees those that must not be read. */
static inline void fuzz_use(const void *data, size_t size) {
    const uint8_t *p = data;
    volatile uint8_t x = 0;
    for (size_t i = 0; i < size; i++) x = (uint8_t)(x ^ p[i]);
}

#endif
