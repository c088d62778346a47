/*
 * module.c - opens a backend module by its path (see module.h).
 *
 * The object is never unloaded: devices, and strings of the table, may outlive the caller's
 * interest.
 */
#include "core/device/module.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/log.h"

/* Cuts ":index" off a copy of spec. */
static int split_index(char *path) {
    char *colon = strrchr(path, ':');
    if (!colon || strchr(colon, '/') || !colon[1] || colon[1 + strspn(colon + 1, "0123456789")])
        return 0;
    *colon = '\0';
    long index = strtol(colon + 1, NULL, 10);
    return index > 1 << 20 ? 1 << 20 : (int)index;
}

static void note(const char *message) {
    ql_log(QL_LOG_INFO, "%s", message);
}

/* Modules that do not link libqlora get what they need of it. */
static void bind_host(void *object) {
    static const ql_host host = {.size = sizeof(ql_host), .fail = ql_fail_at, .note = note};
    ql_backend_bind_fn bind;
    void *symbol = dlsym(object, QL_BACKEND_BIND);
    memcpy(&bind, &symbol, sizeof bind);
    if (symbol) bind(&host);
}

ql_status ql_module_load(const char *path, const ql_backend **out) {
    void *object = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!object) return QL_FAIL(QL_ERR_NOT_FOUND, "device module: %s", dlerror());
    ql_backend_entry_fn entry;
    void *symbol = dlsym(object, QL_BACKEND_ENTRY);
    memcpy(&entry, &symbol, sizeof entry); /* ISO C has no cast from object to function pointers */
    if (!symbol)
        return QL_FAIL(QL_ERR_NOT_FOUND, "device module '%s' does not export %s", path,
                       QL_BACKEND_ENTRY);
    bind_host(object);
    const ql_backend *b = entry();
    if (!b) return QL_FAIL(QL_ERR_NOT_FOUND, "device module '%s' finds no driver", path);
    if (b->abi != QL_BACKEND_ABI || b->size != sizeof(ql_backend))
        return QL_FAIL(QL_ERR_UNSUPPORTED,
                       "device module '%s' speaks contract %u of %u bytes, this program %u of %zu",
                       path, b->abi, b->size, QL_BACKEND_ABI, sizeof(ql_backend));
    *out = b;
    return QL_OK;
}

ql_status ql_device_open_module(const char *spec, const ql_device_opts *opts, ql_device **out) {
    char path[4096];
    size_t len = strlen(spec);
    if (len >= sizeof path) return QL_FAIL(QL_ERR_INVALID, "device '%.64s...' is too long", spec);
    memcpy(path, spec, len + 1);
    int index = split_index(path), count = 0;
    const ql_backend *b = NULL;
    QL_TRY(ql_module_load(path, &b));
    QL_TRY(b->probe(&count));
    if (index >= count)
        return QL_FAIL(QL_ERR_NOT_FOUND,
                       "device module '%s' has %d devices, index %d does not exist", path, count,
                       index);
    return b->device_open(index, opts, out);
}
