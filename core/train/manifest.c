/* manifest.c - hashes that tell a whole folder from a damaged one (see manifest.h). */
#include "core/train/manifest.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <xxhash.h>

#include "core/base/fs.h"
#include "core/base/json.h"

#define NAME "MANIFEST.json"

static ql_status hash_file(const char *dir, const char *file, char hex[33], uint64_t *size) {
    char path[QL_PATH_MAX];
    QL_TRY(ql_path_join(path, dir, file));
    ql_map map;
    QL_TRY(ql_map_open(path, &map));
    XXH128_hash_t h = XXH3_128bits(map.data, map.size);
    snprintf(hex, 33, "%016" PRIx64 "%016" PRIx64, h.high64, h.low64);
    *size = map.size;
    ql_map_close(&map);
    return QL_OK;
}

ql_status ql_manifest_write(const char *dir, const char *const *files, int n) {
    char path[QL_PATH_MAX];
    QL_TRY(ql_path_join(path, dir, NAME));
    json_t *list = json_object(), *root = json_object();
    ql_status s =
        list && root ? QL_OK : QL_FAIL(QL_ERR_NOMEM_HOST, "out of host memory for %s", NAME);
    for (int i = 0; i < n && s == QL_OK; i++) {
        char hex[33];
        uint64_t size = 0;
        s = hash_file(dir, files[i], hex, &size);
        if (s == QL_OK)
            json_object_set_new(list, files[i],
                                json_pack("{s:I,s:s}", "bytes", (json_int_t)size, "xxh3_128", hex));
    }
    if (s == QL_OK) {
        json_object_set_new(root, "version", json_integer(1));
        json_object_set(root, "files", list);
        s = ql_json_write(path, root);
    }
    json_decref(list);
    json_decref(root);
    return s;
}

/* A name that stays inside the folder. */
static bool inside(const char *file) {
    return file[0] && file[0] != '/' && !strstr(file, "..");
}

static ql_status check_entry(const char *dir, const char *path, const char *file,
                             const json_t *entry) {
    const char *want = json_string_value(json_object_get(entry, "xxh3_128"));
    const json_t *bytes = json_object_get(entry, "bytes");
    if (!want || !json_is_integer(bytes) || !inside(file))
        return QL_FAIL(QL_ERR_FORMAT, "%s: entry '%.64s' is malformed", path, file);
    char hex[33];
    uint64_t size = 0;
    QL_TRY(hash_file(dir, file, hex, &size));
    if (json_integer_value(bytes) < 0 || size != (uint64_t)json_integer_value(bytes))
        return QL_FAIL(QL_ERR_FORMAT, "%s/%s: is damaged (%llu bytes, MANIFEST.json says %lld)",
                       dir, file, (unsigned long long)size, (long long)json_integer_value(bytes));
    if (strcmp(hex, want) != 0)
        return QL_FAIL(QL_ERR_FORMAT, "%s/%s: is damaged (hash %s, MANIFEST.json says %.32s)", dir,
                       file, hex, want);
    return QL_OK;
}

static ql_status check_files(const char *dir, const char *path, json_t *files,
                             const char *const *required, int n) {
    if (!json_is_object(files) || !json_object_size(files))
        return QL_FAIL(QL_ERR_FORMAT, "%s: lists no files", path);
    for (int i = 0; i < n; i++)
        if (!json_object_get(files, required[i]))
            return QL_FAIL(QL_ERR_FORMAT, "%s: lists no '%s'", path, required[i]);
    const char *file;
    json_t *entry;
    json_object_foreach(files, file, entry) QL_TRY(check_entry(dir, path, file, entry));
    return QL_OK;
}

ql_status ql_manifest_check(const char *dir, const char *const *required, int n) {
    char path[QL_PATH_MAX];
    QL_TRY(ql_path_join(path, dir, NAME));
    json_t *root = NULL;
    QL_TRY(ql_json_read(path, &root));
    int64_t version = 0;
    ql_status s = ql_json_get_i64(root, path, "version", 0, 1 << 30, &version);
    if (s == QL_OK && version != 1)
        s = QL_FAIL(version > 1 ? QL_ERR_UNSUPPORTED : QL_ERR_FORMAT,
                    "%s: version %lld, this program reads 1", path, (long long)version);
    if (s == QL_OK) s = check_files(dir, path, json_object_get(root, "files"), required, n);
    json_decref(root);
    return s;
}

ql_status ql_manifest_hash(const char *dir, char hex[33]) {
    uint64_t size = 0;
    return hash_file(dir, NAME, hex, &size);
}
