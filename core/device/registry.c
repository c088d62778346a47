/*
 * registry.c - the closed list of backends, and opening a device by its name.
 *
 * The list is fixed at build time; its order is the order of preference for "auto". An entry is
 * linked in (table) or a module that is opened by its name when it is first asked for. A name on a
 * device may be part of what the device calls itself: "opencl:radeon".
 */
#include <ctype.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "core/device/device.h"
#include "core/device/module.h"

typedef struct entry {
    const char *name;
    const ql_backend *(*table)(void); /* NULL: a module */
    const char *module;
} entry;

static const entry entries[] = {
    {"cpu", ql_cpu_backend, NULL},
    {"opencl", NULL, "libqlora_opencl.so"},
};
enum { N_ENTRIES = sizeof entries / sizeof *entries };

/* The entry's table when it speaks this version of the contract. */
static const ql_backend *table_of(const entry *e) {
    const ql_backend *b = NULL;
    if (e->table)
        b = e->table();
    else if (ql_module_load(e->module, &b) != QL_OK)
        return NULL;
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

const char *ql_backend_absence(const char *name) {
    int devices = 0;
    const ql_backend *b = ql_backend_find(name);
    if (!b) {
        bool listed = false;
        for (int i = 0; i < N_ENTRIES; i++) listed |= strcmp(entries[i].name, name) == 0;
        return listed ? ql_last_error() : "not available in this version";
    }
    if (b->probe(&devices) != QL_OK || devices == 0) return ql_last_error();
    return "";
}

static int devices_of(const ql_backend *b) {
    int n = 0;
    return b->probe(&n) == QL_OK && n > 0 ? n : 0;
}

/* "cpu:0, opencl:0 (Radeon RX 7900 XTX)" of this machine; cut at the end of `out`. */
static void list_devices(char *out, size_t size) {
    size_t used = 0;
    out[0] = '\0';
    for (int i = 0; i < ql_backend_count(); i++) {
        const ql_backend *b = ql_backend_at(i);
        int n = devices_of(b);
        for (int d = 0; d < n && used < size; d++) {
            ql_device_props p = {0};
            bool named = b->describe && b->describe(d, &p) == QL_OK;
            int w = snprintf(out + used, size - used, named ? "%s%s:%d (%.60s)" : "%s%s:%d",
                             used ? ", " : "", b->name, d, p.name);
            used += w > 0 ? (size_t)w : 0;
        }
    }
}

static ql_status fail_unknown(const char *spec) {
    char known[512];
    list_devices(known, sizeof known);
    return QL_FAIL(QL_ERR_NOT_FOUND,
                   "device '%.64s' does not exist here; choose auto or one of: %s", spec,
                   known[0] ? known : "(none)");
}

/* Does `text` hold `part`, whatever the case of their letters? */
static bool holds(const char *text, const char *part) {
    size_t n = strlen(part);
    for (; *text; text++) {
        size_t i = 0;
        while (i < n && tolower((unsigned char)text[i]) == tolower((unsigned char)part[i])) i++;
        if (i == n) return true;
    }
    return false;
}

/* The first device whose name or driver holds `part`; -1 = none. */
static int index_by_name(const ql_backend *b, const char *part) {
    ql_device_props p;
    int n = devices_of(b);
    for (int i = 0; i < n && b->describe; i++)
        if (b->describe(i, &p) == QL_OK && (holds(p.name, part) || holds(p.driver, part))) return i;
    return -1;
}

/* "name", "name:index" or "name:part of the device's name" -> backend and index; false when it is
 * none. */
static bool parse_spec(const char *spec, const ql_backend **backend, int *index) {
    const char *colon = strchr(spec, ':');
    size_t len = colon ? (size_t)(colon - spec) : strlen(spec);
    char name[32];
    if (len == 0 || len >= sizeof name) return false;
    memcpy(name, spec, len);
    name[len] = '\0';
    *backend = ql_backend_find(name);
    if (!*backend || (colon && !colon[1])) return false;
    int64_t value = 0;
    for (const char *p = colon ? colon + 1 : ""; *p; p++) {
        if (*p < '0' || *p > '9') {
            *index = index_by_name(*backend, colon + 1);
            return *index >= 0;
        }
        if (value > INT_MAX / 10) return false;
        value = value * 10 + (*p - '0');
    }
    *index = value <= INT_MAX ? (int)value : INT_MAX;
    return true;
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
