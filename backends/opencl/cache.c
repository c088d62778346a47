/*
 * cache.c - binaries of compiled kernels on disk, one file per key: <cache>/opencl/<key>.bin.
 *
 * A file is a header (magic, key, size, checksum) and the binary. Drivers have accepted binaries
 * with flipped bytes, so the checksum decides; whatever is wrong with a file, the kernels are
 * compiled again. A file appears under its name complete or not at all.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backends/opencl/cl.h"

enum { MAX_BINARY = 256 << 20 };
static const char magic[8] = "QLORACL1";

typedef struct header {
    char magic[8];
    uint64_t key, size, checksum;
} header;

/* FNV-1a over bytes, mixed at the end so that short inputs spread. */
uint64_t ql_cl_hash(uint64_t seed, const void *data, size_t size) {
    const unsigned char *p = data;
    uint64_t h = seed ^ 0xCBF29CE484222325u;
    for (size_t i = 0; i < size; i++) h = (h ^ p[i]) * 0x100000001B3u;
    h ^= h >> 29;
    return h * 0xBF58476D1CE4E5B9u;
}

/* Path of `name` in the cache's folder; false = no cache is wanted or there is no home. */
static bool path_of(const char *name, char out[1024]) {
    const char *base = ql_cl_setting("QLORA_CACHE"), *home = NULL;
    int n;
    if (base) {
        if (!base[0]) return false;
        n = snprintf(out, 1024, "%s/opencl/%s", base, name);
    } else if ((base = ql_cl_setting("XDG_CACHE_HOME")) && base[0]) {
        n = snprintf(out, 1024, "%s/qlora/opencl/%s", base, name);
    } else if ((home = ql_cl_setting("HOME")) && home[0]) {
        n = snprintf(out, 1024, "%s/.cache/qlora/opencl/%s", home, name);
    } else {
        return false;
    }
    return n > 0 && n < 1024;
}

static bool file_of(uint64_t key, char out[1024]) {
    char name[32];
    snprintf(name, sizeof name, "%016llx.bin", (unsigned long long)key);
    return path_of(name, out);
}

bool ql_cl_cache_load(const ql_cl_device *d, uint64_t key, unsigned char **binary, size_t *size) {
    char path[1024];
    header h;
    (void)d;
    FILE *f = file_of(key, path) ? fopen(path, "rb") : NULL;
    if (!f) return false;
    unsigned char *data = NULL;
    bool good = fread(&h, sizeof h, 1, f) == 1 && memcmp(h.magic, magic, sizeof magic) == 0 &&
                h.key == key && h.size > 0 && h.size <= MAX_BINARY;
    if (good) data = malloc((size_t)h.size);
    good = data && fread(data, (size_t)h.size, 1, f) == 1 && fgetc(f) == EOF &&
           ql_cl_hash(key, data, (size_t)h.size) == h.checksum;
    fclose(f);
    if (!good) {
        free(data);
        return false;
    }
    *binary = data;
    *size = (size_t)h.size;
    return true;
}

/* Every folder on the way to the file. */
static void make_folders(char *path) {
    for (char *p = strchr(path + 1, '/'); p; p = strchr(p + 1, '/')) {
        *p = '\0';
        mkdir(path, 0700);
        *p = '/';
    }
}

/* A cache that cannot be written costs time, nothing else: no failure is reported. */
void ql_cl_cache_store(const ql_cl_device *d, uint64_t key, const unsigned char *binary,
                       size_t size) {
    char path[1024], temporary[1100];
    header h = {.key = key, .size = size, .checksum = ql_cl_hash(key, binary, size)};
    (void)d;
    memcpy(h.magic, magic, sizeof magic);
    if (size > MAX_BINARY || !file_of(key, path)) return;
    make_folders(path);
    snprintf(temporary, sizeof temporary, "%s.XXXXXX", path);
    int fd = mkstemp(temporary);
    FILE *f = fd >= 0 ? fdopen(fd, "wb") : NULL;
    if (!f) {
        if (fd >= 0) {
            close(fd);
            unlink(temporary);
        }
        return;
    }
    bool good = fwrite(&h, sizeof h, 1, f) == 1 && fwrite(binary, size, 1, f) == 1;
    good = fclose(f) == 0 && good;
    if (!good || rename(temporary, path) != 0) unlink(temporary);
}
