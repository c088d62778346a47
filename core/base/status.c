/*
 * status.c - names of the status codes and the thread-local text of the latest failure.
 *
 * The text holds the sentence only. Where it was raised (file, line) is a matter for a debugger:
 * a user cannot act on it, so it is not kept.
 */
#include "qlora/status.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define QL_ERROR_TEXT_BYTES 1024

static _Thread_local char last_error[QL_ERROR_TEXT_BYTES];

const char *ql_status_name(ql_status s) {
    switch (s) {
    case QL_OK: return "QL_OK";
    case QL_ERR_INVALID: return "QL_ERR_INVALID";
    case QL_ERR_SHAPE: return "QL_ERR_SHAPE";
    case QL_ERR_DTYPE: return "QL_ERR_DTYPE";
    case QL_ERR_NOMEM_HOST: return "QL_ERR_NOMEM_HOST";
    case QL_ERR_NOMEM_DEV: return "QL_ERR_NOMEM_DEV";
    case QL_ERR_UNSUPPORTED: return "QL_ERR_UNSUPPORTED";
    case QL_ERR_IO: return "QL_ERR_IO";
    case QL_ERR_FORMAT: return "QL_ERR_FORMAT";
    case QL_ERR_NOT_FOUND: return "QL_ERR_NOT_FOUND";
    case QL_ERR_DRIVER: return "QL_ERR_DRIVER";
    case QL_ERR_DEVICE_LOST: return "QL_ERR_DEVICE_LOST";
    case QL_ERR_NUMERIC: return "QL_ERR_NUMERIC";
    case QL_ERR_CANCELLED: return "QL_ERR_CANCELLED";
    case QL_ERR_INTERNAL: return "QL_ERR_INTERNAL";
    }
    return "QL_ERR_?";
}

const char *ql_last_error(void) {
    return last_error;
}

/* The message may quote ql_last_error(), so it is built beside it and copied afterwards. */
ql_status ql_fail_at(const char *file, int line, ql_status s, const char *fmt, ...) {
    (void)file;
    (void)line;
    char text[QL_ERROR_TEXT_BYTES];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (n < 0) text[0] = '\0';
    memcpy(last_error, text, strlen(text) + 1);
    return s;
}
