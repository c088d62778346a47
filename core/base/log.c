/*
 * log.c - the process-wide log sink.
 *
 * The sink is the one piece of process state of the library besides test hooks: a program sets it
 * once, before threads start. Messages longer than the buffer are cut.
 */
#include "core/base/log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>

static _Atomic(ql_log_sink) log_sink;
static _Atomic(void *) log_user;

void ql_log_set_sink(ql_log_sink sink, void *user) {
    atomic_store(&log_user, user);
    atomic_store(&log_sink, sink);
}

void ql_log(ql_log_level level, const char *fmt, ...) {
    ql_log_sink sink = atomic_load(&log_sink);
    if (!sink) return;
    char text[1024];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (n >= 0) sink(atomic_load(&log_user), level, text);
}
