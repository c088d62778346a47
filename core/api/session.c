/*
 * session.c - sessions, devices, versions; progress, cancelling and the memory budget.
 */
#include <stdio.h>
#include <string.h>

#include "core/api/api.h"
#include "core/base/hostmem.h"
#include "core/device/device.h"
#include "qlora/version.h"

const char *qlora_version(void) {
    return QL_VERSION;
}

const char *qlora_build(void) {
    return QL_VERSION " (" QL_GIT_ID ") " QL_COMPILER ", " QL_BUILD_TYPE ", OpenMP " QL_OPENMP;
}

void qlora_free(void *p) {
    ql_host_free(p);
}

/* ------------------------------------------------------------------ devices */

static int devices_of(const ql_backend *b) {
    int n = 0;
    return b->probe(&n) == QL_OK && n > 0 ? n : 0;
}

int32_t qlora_device_count(void) {
    int32_t n = 0;
    for (int i = 0; i < ql_backend_count(); i++) n += devices_of(ql_backend_at(i));
    return n;
}

static void copy_text(char *out, size_t size, const char *text) {
    (void)snprintf(out, size, "%s", text);
}

static ql_status describe(const ql_backend *b, int index, qlora_device_info *out) {
    ql_device *dev = NULL;
    const ql_device_opts opts = {0};
    QL_TRY(b->device_open(index, &opts, &dev));
    qlora_device_info info = {.memory_bytes = dev->props.mem_total};
    (void)snprintf(info.id, sizeof info.id, "%s:%d", b->name, index);
    copy_text(info.name, sizeof info.name, dev->props.name);
    copy_text(info.isa, sizeof info.isa, dev->props.isa);
    b->device_close(dev);
    *out = info;
    return QL_OK;
}

ql_status qlora_device_describe(int32_t i, qlora_device_info *out) {
    NOT_NULL(out);
    int32_t left = i;
    for (int k = 0; k < ql_backend_count() && left >= 0; k++) {
        const ql_backend *b = ql_backend_at(k);
        int n = devices_of(b);
        if (left < n) return describe(b, left, out);
        left -= n;
    }
    return QL_FAIL(QL_ERR_NOT_FOUND, "device %d: there are %d", (int)i, (int)qlora_device_count());
}

/* ------------------------------------------------------------------ sessions */

static ql_status open_device(const qlora_session_opts *o, ql_device **out) {
    ql_device_opts d = {.mem_limit = o->memory_limit};
    int32_t threads = 0;
    QL_TRY(ql_api_int("threads", o->threads, 0, 4096, &threads));
    d.threads = threads;
    ql_device *inner = NULL;
    QL_TRY(ql_device_open_named(o->device, &d, &inner));
    ql_status s = ql_counting_open(inner, out);
    if (s != QL_OK) inner->backend->device_close(inner);
    return s;
}

ql_status qlora_session_open(const qlora_session_opts *opts, qlora_session **out) {
    NOT_NULL(out);
    qlora_session_opts o;
    QL_TRY(ql_api_session_opts(opts, &o));
    qlora_session *s = ql_host_calloc(1, sizeof *s);
    if (!s) return QL_NOMEM("a session");
    ql_status status = open_device(&o, &s->dev);
    if (status != QL_OK) {
        ql_host_free(s);
        return status;
    }
    s->limit = o.memory_limit;
    s->progress = o.progress;
    s->user = o.user;
    s->users = 1;
    atomic_init(&s->cancel, false);
    *out = s;
    return QL_OK;
}

void ql_api_session_drop(qlora_session *s) {
    if (--s->users > 0) return;
    s->dev->backend->device_close(s->dev);
    ql_host_free(s);
}

void qlora_session_close(qlora_session *s) {
    if (s) ql_api_session_drop(s);
}

ql_status qlora_session_memory(const qlora_session *s, uint64_t *now, uint64_t *peak) {
    NOT_NULL(s);
    ql_counts c;
    ql_counting_read(s->dev, &c);
    if (now) *now = c.device_bytes;
    if (peak) *peak = c.device_peak;
    return QL_OK;
}

/* ------------------------------------------------------------------ long calls */

void qlora_cancel(qlora_session *s) {
    if (s) atomic_store(&s->cancel, true);
}

bool ql_api_progress(qlora_session *s, const char *what, int64_t done, int64_t total) {
    if (s->progress && !s->progress(s->user, what, done, total)) qlora_cancel(s);
    return !atomic_load(&s->cancel);
}

ql_status ql_api_cancelled(qlora_session *s, const char *what) {
    if (!atomic_exchange(&s->cancel, false)) return QL_OK;
    return QL_FAIL(QL_ERR_CANCELLED, "%s: cancelled", what);
}

ql_status ql_api_fits(qlora_session *s, uint64_t bytes, uint64_t mapped) {
    uint64_t budget = 0, total = 0, used = 0;
    if (s->limit) {
        QL_TRY(qlora_session_memory(s, &used, NULL));
        budget = s->limit > used ? s->limit - used : 0;
    } else { /* a file mapping takes memory only while that is free */
        QL_TRY(s->dev->backend->device_memory(s->dev, &budget, &total));
        budget += mapped;
    }
    if (bytes <= budget) return QL_OK;
    return QL_FAIL(QL_ERR_NOMEM_DEV, "this needs %llu bytes of device memory and %s %llu",
                   (unsigned long long)bytes,
                   s->limit ? "memory_limit leaves" : "the device has free",
                   (unsigned long long)budget);
}
