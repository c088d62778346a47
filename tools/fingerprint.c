/* fingerprint.c - see fingerprint.h. */
#include "tools/fingerprint.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <xxhash.h>

#include "core/base/fs.h"
#include "core/base/hostmem.h"

#define PART (1u << 20) /* bytes at either end of a file */

static ql_status add_file(XXH3_state_t *state, const char *name, const char *path) {
    ql_map map;
    QL_TRY(ql_map_open(path, &map));
    size_t size = (size_t)map.size, front = size < PART ? size : PART;
    size_t back = size - front < PART ? size - front : PART;
    char head[32];
    int n = snprintf(head, sizeof head, "%" PRIu64, map.size);
    XXH3_128bits_update(state, name, strlen(name) + 1);
    XXH3_128bits_update(state, head, (size_t)n + 1);
    if (front) XXH3_128bits_update(state, map.data, front);
    if (back) XXH3_128bits_update(state, map.data + size - back, back);
    ql_map_close(&map);
    return QL_OK;
}

static ql_status add_folder(XXH3_state_t *state, const char *dir) {
    char path[QL_PATH_MAX], **names;
    size_t n;
    QL_TRY(ql_dir_list(dir, &names, &n));
    ql_status s = QL_OK;
    for (size_t i = 0; i < n && s == QL_OK; i++) {
        s = ql_path_join(path, dir, names[i]);
        if (s == QL_OK && ql_file_exists(path)) s = add_file(state, names[i], path);
    }
    ql_host_free(names);
    return s;
}

static void hex(XXH128_hash_t h, char out[33]) {
    snprintf(out, 33, "%016" PRIx64 "%016" PRIx64, h.high64, h.low64);
}

ql_status ql_fingerprint(const char *path, char out[33]) {
    XXH3_state_t *state = XXH3_createState();
    if (!state) return QL_NOMEM("a fingerprint");
    XXH3_128bits_reset(state);
    ql_status s = ql_dir_exists(path) ? add_folder(state, path) : add_file(state, "", path);
    if (s == QL_OK) hex(XXH3_128bits_digest(state), out);
    XXH3_freeState(state);
    return s;
}

ql_status ql_fingerprint_whole(const char *path, char out[33]) {
    ql_map map;
    QL_TRY(ql_map_open(path, &map));
    hex(XXH3_128bits(map.data, (size_t)map.size), out);
    ql_map_close(&map);
    return QL_OK;
}
