/*
 * registry.c - the closed list of backends, and opening a device by its name.
 *
 * The list is fixed at build time; its order is the order of preference for "auto". Each entry is
 * a function that answers the backend's table, or NULL when its module or driver is not there, so
 * a loadable module is one more line here and one function that opens it.
 */
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "core/device/device.h"
#include "core/device/module.h"

typedef struct entry {
    const char *name;
    const ql_backend *(*table)(void); /* NULL result = not available on this machine */
} entry;

static const entry entries[] = {
    {"cpu", ql_cpu_backend},
};
enum { N_ENTRIES = sizeof entries / sizeof *entries };

/* The entry's table when it speaks this version of the contract. */
static const ql_backend *table_of(const entry *e) {
    const ql_backend *b = e->table();
    return b && b->abi == QL_BACKEND_ABI && b->size == sizeof(ql_backend) ? b : NULL;
}

int ql_backend_count(void) {
    int n = 0;
    for (int i = 0; i < N_ENTRIES; i++) n += table_of(&entries[i]) != NULL;
    return n;
}

const ql_backend *ql_backend_at(int index) {
    for (int i = 0; i < N_ENTRIES; i++) {
        const ql_backend *b = table_of(&entries[i]);
        if (b && index-- == 0) return b;
    }
    return NULL;
}

const ql_backend *ql_backend_find(const char *name) {
    for (int i = 0; i < N_ENTRIES; i++)
        if (strcmp(entries[i].name, name) == 0) return table_of(&entries[i]);
    return NULL;
}

static int devices_of(const ql_backend *b) {
    int n = 0;
    return b->probe(&n) == QL_OK && n > 0 ? n : 0;
}

/* "cpu:0, cuda:0, cuda:1" of this machine; cut at the end of `out`. */
static void list_devices(char *out, size_t size) {
    size_t used = 0;
    out[0] = '\0';
    for (int i = 0; i < ql_backend_count(); i++) {
        const ql_backend *b = ql_backend_at(i);
        int n = devices_of(b);
        for (int d = 0; d < n && used < size; d++) {
            int w = snprintf(out + used, size - used, "%s%s:%d", used ? ", " : "", b->name, d);
            used += w > 0 ? (size_t)w : 0;
        }
    }
}

static ql_status fail_unknown(const char *spec) {
    char known[256];
    list_devices(known, sizeof known);
    return QL_FAIL(QL_ERR_NOT_FOUND,
                   "device '%.64s' does not exist here; choose auto or one of: %s", spec,
                   known[0] ? known : "(none)");
}

/* "name" or "name:index" -> backend and index; false when it is neither. */
static bool parse_spec(const char *spec, const ql_backend **backend, int *index) {
    const char *colon = strchr(spec, ':');
    size_t len = colon ? (size_t)(colon - spec) : strlen(spec);
    char name[32];
    if (len == 0 || len >= sizeof name) return false;
    memcpy(name, spec, len);
    name[len] = '\0';
    int64_t value = 0;
    if (colon) {
        if (!colon[1]) return false;
        for (const char *p = colon + 1; *p; p++) {
            if (*p < '0' || *p > '9' || value > INT_MAX / 10) return false;
            value = value * 10 + (*p - '0');
        }
    }
    *backend = ql_backend_find(name);
    *index = value <= INT_MAX ? (int)value : INT_MAX;
    return *backend != NULL;
}

static ql_status open_first(const ql_device_opts *opts, ql_device **out) {
    for (int i = 0; i < ql_backend_count(); i++) {
        const ql_backend *b = ql_backend_at(i);
        if (devices_of(b) > 0) return b->device_open(0, opts, out);
    }
    return fail_unknown("auto");
}

ql_status ql_device_open_named(const char *spec, const ql_device_opts *opts, ql_device **out) {
    const ql_device_opts defaults = {0};
    if (!opts) opts = &defaults;
    if (!spec || strcmp(spec, "auto") == 0) return open_first(opts, out);
    if (strchr(spec, '/')) return ql_device_open_module(spec, opts, out);
    const ql_backend *b;
    int index;
    if (!parse_spec(spec, &b, &index) || index >= devices_of(b)) return fail_unknown(spec);
    return b->device_open(index, opts, out);
}
