/* temp_folder.c - the folder of a test process. */
#define _XOPEN_SOURCE 700
#include "tests/support/temp_folder.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/fs.h"

#define MAX_NAMES 256

static char folder[QL_PATH_MAX];
static char *paths[MAX_NAMES];

static void remove_folder(void) {
    for (int i = 0; i < MAX_NAMES; i++) free(paths[i]);
    if (ql_dir_remove(folder) != QL_OK) fprintf(stderr, "%s\n", ql_last_error());
}

static void die(const char *what) {
    perror(what);
    exit(2);
}

const char *temp_folder(void) {
    if (folder[0]) return folder;
    const char *tmp = getenv("TMPDIR");
    snprintf(folder, sizeof folder, "%s/qlora-test-XXXXXX", tmp && tmp[0] ? tmp : "/tmp");
    if (!mkdtemp(folder)) die(folder);
    atexit(remove_folder);
    return folder;
}

const char *temp_path(const char *name) {
    char path[QL_PATH_MAX];
    if (ql_path_join(path, temp_folder(), name) != QL_OK) die(name);
    for (int i = 0; i < MAX_NAMES; i++) {
        if (!paths[i]) {
            paths[i] = calloc(strlen(path) + 1, 1);
            if (!paths[i]) die(name);
            memcpy(paths[i], path, strlen(path));
            return paths[i];
        }
        if (strcmp(paths[i], path) == 0) return paths[i];
    }
    die("too many names in temp_path");
    return NULL;
}

const char *temp_put(const char *name, const void *data, size_t size) {
    const char *path = temp_path(name);
    remove(path); /* a new file: cutting an old one to 0 bytes makes ext4 wait for the disk */
    FILE *f = fopen(path, "wb");
    if (!f) die(path);
    if (size > 0 && fwrite(data, 1, size, f) != size) die(path);
    if (fclose(f) != 0) die(path);
    return path;
}
