/*
 * module.c - what libqlora_opencl.so exports: its table, and the door through which the program
 * that loads it hands over its error and message functions.
 *
 * module.map exports just the two. The module links nothing of libqlora, so it works however the
 * program was linked. QL_FAIL comes here and goes on to the program; before ql_backend_bind it goes
 * nowhere.
 */
#include <stdarg.h>
#include <stdio.h>

#include "backends/opencl/cl.h"

static ql_host host; /* written once, before any other call */

QL_API void ql_backend_bind(const ql_host *h);
QL_API const ql_backend *ql_backend_entry(void);

void ql_backend_bind(const ql_host *h) {
    if (h && h->size >= sizeof host) host = *h;
}

ql_status ql_fail_at(const char *file, int line, ql_status s, const char *fmt, ...) {
    char text[1024];
    va_list ap;
    va_start(ap, fmt);
    if (vsnprintf(text, sizeof text, fmt, ap) < 0) text[0] = '\0';
    va_end(ap);
    return host.fail ? host.fail(file, line, s, "%s", text) : s;
}

void ql_cl_note(const char *fmt, ...) {
    char text[512];
    va_list ap;
    va_start(ap, fmt);
    if (vsnprintf(text, sizeof text, fmt, ap) < 0) text[0] = '\0';
    va_end(ap);
    if (host.note) host.note(text);
}

const ql_backend *ql_backend_entry(void) {
    return ql_cl_backend();
}
