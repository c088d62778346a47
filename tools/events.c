/*
 * events.c - TFRecords of Event messages; see events.h.
 *
 * TFRecord: u64 length, u32 masked CRC of the length, the bytes, u32 masked CRC of the bytes, all
 * little-endian. Event: wall_time = 1 (double), step = 2, file_version = 3 | summary = 5 |
 * session_log = 7. Summary.value = 1 { tag = 1, simple_value = 2 | tensor = 8, metadata = 9 }.
 */
#define _POSIX_C_SOURCE 200809L
#include "tools/events.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "core/base/fs.h"
#include "core/base/hostmem.h"

struct ql_events {
    ql_appender *file;
    char path[QL_PATH_MAX];
};

/* ------------------------------------------------------------------------- CRC */

uint32_t ql_crc32c(const void *data, size_t len) {
    /* 0x82f63b78: the polynomial 0x1edc6f41, bits reversed. One byte per step is enough here. */
    const uint8_t *p = data;
    uint32_t crc = ~0u;
    for (size_t i = 0; i < len; i++) {
        crc ^= p[i];
        for (int bit = 0; bit < 8; bit++) crc = (crc >> 1) ^ (0x82f63b78u & (0u - (crc & 1)));
    }
    return ~crc;
}

uint32_t ql_crc32c_masked(const void *data, size_t len) {
    uint32_t crc = ql_crc32c(data, len);
    return ((crc >> 15) | (crc << 17)) + 0xa282ead8u;
}

/* ------------------------------------------------------------------ wire format */

/* A message that grows; `failed`: out of memory, everything after it does nothing. */
typedef struct message {
    uint8_t *bytes;
    size_t n, cap;
    bool failed;
} message;

static void add(message *m, const void *data, size_t len) {
    if (m->failed || len == 0) return;
    if (ql_host_grow((void **)&m->bytes, &m->cap, m->n + len, 1) != QL_OK) {
        m->failed = true;
        return;
    }
    memcpy(m->bytes + m->n, data, len);
    m->n += len;
}

static void add_little(message *m, uint64_t v, int bytes) {
    uint8_t b[8];
    for (int i = 0; i < bytes; i++) b[i] = (uint8_t)(v >> (8 * i));
    add(m, b, (size_t)bytes);
}

static void add_varint(message *m, uint64_t v) {
    for (; v >= 0x80; v >>= 7) add_little(m, (v & 0x7f) | 0x80, 1);
    add_little(m, v, 1);
}

enum { VARINT = 0, FIXED64 = 1, BYTES = 2, FIXED32 = 5 }; /* wire types */

static void add_key(message *m, uint32_t field, uint32_t wire) {
    add_varint(m, field << 3 | wire);
}

static void add_number(message *m, uint32_t field, uint64_t v) {
    add_key(m, field, VARINT);
    add_varint(m, v);
}

static void add_bytes(message *m, uint32_t field, const void *data, size_t len) {
    add_key(m, field, BYTES);
    add_varint(m, len);
    add(m, data, len);
}

static void add_string(message *m, uint32_t field, const char *text) {
    add_bytes(m, field, text, strlen(text));
}

/* Takes over and releases `inner`. */
static void add_message(message *m, uint32_t field, message *inner) {
    m->failed = m->failed || inner->failed;
    add_bytes(m, field, inner->bytes, inner->n);
    ql_host_free(inner->bytes);
    *inner = (message){0};
}

static void add_double(message *m, uint32_t field, double v) {
    uint64_t bits;
    memcpy(&bits, &v, sizeof bits);
    add_key(m, field, FIXED64);
    add_little(m, bits, 8);
}

static void add_float(message *m, uint32_t field, float v) {
    uint32_t bits;
    memcpy(&bits, &v, sizeof bits);
    add_key(m, field, FIXED32);
    add_little(m, bits, 4);
}

/* ---------------------------------------------------------------------- records */

static message event_at(int64_t step) {
    struct timespec t = {0, 0};
    message m = {0};
    clock_gettime(CLOCK_REALTIME, &t);
    add_double(&m, 1, (double)t.tv_sec + 1e-9 * (double)t.tv_nsec);
    add_number(&m, 2, (uint64_t)step);
    return m;
}

/* Writes and releases m as one record. */
static ql_status write_record(ql_events *e, message *m) {
    message r = {.failed = m->failed};
    add_little(&r, m->n, 8);
    if (!r.failed) add_little(&r, ql_crc32c_masked(r.bytes, 8), 4);
    add(&r, m->bytes, m->n);
    add_little(&r, ql_crc32c_masked(m->bytes, m->n), 4);
    ql_host_free(m->bytes);
    *m = (message){0};
    ql_status s = r.failed ? QL_NOMEM("an event of TensorBoard") : ql_append(e->file, r.bytes, r.n);
    ql_host_free(r.bytes);
    return s;
}

/* Summary.value in an event at `step`. */
static ql_status write_value(ql_events *e, int64_t step, message *value) {
    message event = event_at(step), summary = {0};
    add_message(&summary, 1, value);
    add_message(&event, 5, &summary);
    return write_record(e, &event);
}

ql_status ql_events_scalar(ql_events *e, const char *tag, int64_t step, double value) {
    message v = {0};
    add_string(&v, 1, tag);
    add_float(&v, 2, (float)value);
    return write_value(e, step, &v);
}

#define DT_STRING 7 /* DataType of a TensorProto */

ql_status ql_events_text(ql_events *e, const char *tag, int64_t step, const char *text,
                         size_t len) {
    message v = {0}, plugin = {0}, metadata = {0}, dim = {0}, shape = {0}, tensor = {0};
    add_string(&plugin, 1, "text");
    add_message(&metadata, 1, &plugin);
    add_number(&dim, 1, 1);
    add_message(&shape, 2, &dim);
    add_number(&tensor, 1, DT_STRING);
    add_message(&tensor, 2, &shape);
    add_bytes(&tensor, 8, text, len);
    add_string(&v, 1, tag);
    add_message(&v, 8, &tensor);
    add_message(&v, 9, &metadata);
    return write_value(e, step, &v);
}

/* ------------------------------------------------------------------------- file */

/* The version that readers want first, and where this file takes over from earlier ones. */
static ql_status write_head(ql_events *e, int64_t first_step) {
    message version = event_at(0), start = event_at(first_step), log = {0};
    add_string(&version, 3, "brain.Event:2");
    ql_status s = write_record(e, &version);
    add_number(&log, 1, 1); /* SessionLog.status = START */
    add_message(&start, 7, &log);
    if (s == QL_OK && first_step > 1) return write_record(e, &start);
    ql_host_free(start.bytes);
    return s;
}

ql_status ql_events_open(const char *folder, int64_t first_step, ql_events **out) {
    char host[64] = "", name[160];
    if (gethostname(host, sizeof host - 1) != 0 || !host[0]) strcpy(host, "localhost");
    for (char *c = host; *c; c++)
        if (*c == '/') *c = '_';
    snprintf(name, sizeof name, "events.out.tfevents.%lld.%s.%ld", (long long)time(NULL), host,
             (long)getpid());
    ql_events *e = ql_host_calloc(1, sizeof *e);
    if (!e) return QL_NOMEM("an event file");
    ql_status s = ql_path_join(e->path, folder, name);
    if (s == QL_OK) s = ql_append_open(e->path, &e->file);
    if (s == QL_OK) s = write_head(e, first_step);
    if (s != QL_OK) {
        ql_events_close(e);
        return s;
    }
    *out = e;
    return QL_OK;
}

void ql_events_close(ql_events *e) {
    if (!e) return;
    ql_append_close(e->file);
    ql_host_free(e);
}

const char *ql_events_path(const ql_events *e) {
    return e->path;
}
