/*
 * qlora/status.h - status codes and the last-error message.
 *
 * Every function that can fail returns ql_status and writes its results through
 * trailing out-parameters. On failure out-parameters are untouched, nothing is
 * leaked, and ql_last_error() describes the cause for the calling thread.
 */
#ifndef QLORA_STATUS_H
#define QLORA_STATUS_H
/* The comment columns of this header are set by hand. */
/* clang-format off */

#include "qlora/export.h"

#if defined(__GNUC__)
#  define QL_NODISCARD __attribute__((warn_unused_result))
#  define QL_PRINTF(f, a) __attribute__((format(printf, f, a)))
#else
#  define QL_NODISCARD
#  define QL_PRINTF(f, a)
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* Values are part of the ABI: append only, never renumber. */
typedef enum ql_status {
    QL_OK              = 0,
    QL_ERR_INVALID     = 1,   /* an argument breaks the documented contract         */
    QL_ERR_SHAPE       = 2,   /* operands disagree; message names both shapes       */
    QL_ERR_DTYPE       = 3,   /* dtype combination not defined for this op          */
    QL_ERR_NOMEM_HOST  = 4,
    QL_ERR_NOMEM_DEV   = 5,   /* message gives wanted / free / largest block        */
    QL_ERR_UNSUPPORTED = 6,   /* valid, but this device cannot; message says why    */
    QL_ERR_IO          = 7,   /* message gives path, offset, errno text             */
    QL_ERR_FORMAT      = 8,   /* malformed or hostile input file                    */
    QL_ERR_NOT_FOUND   = 9,
    QL_ERR_DRIVER      = 10,  /* CUDA / OpenCL / BLAS call failed; code is in text  */
    QL_ERR_DEVICE_LOST = 11,  /* sticky: every later call on the device fails       */
    QL_ERR_NUMERIC     = 12,  /* NaN/Inf found where the caller asked for a check   */
    QL_ERR_CANCELLED   = 13,
    QL_ERR_INTERNAL    = 14   /* a bug in this library                              */
} ql_status;

/* "QL_ERR_SHAPE" for QL_ERR_SHAPE; never NULL. */
QL_API const char *ql_status_name(ql_status s);

/* Message of this thread's latest failure ("" if none). Valid until the thread's
 * next failing call into the library. */
QL_API const char *ql_last_error(void);

/* Record a message and return `s`. Use through QL_FAIL. */
QL_API ql_status ql_fail_at(const char *file, int line, ql_status s, const char *fmt, ...)
    QL_PRINTF(4, 5);

/* The value is `s` itself, so that the compiler sees a failure where one is named. */
#define QL_FAIL(s, ...)  ((void)ql_fail_at(__FILE__, __LINE__, (s), __VA_ARGS__), (s))
#define QL_TRY(expr)                            \
    do {                                        \
        ql_status ql_s_ = (expr);               \
        if (ql_s_ != QL_OK) return ql_s_;       \
    } while (0)

#ifdef __cplusplus
}
#endif
#endif /* QLORA_STATUS_H */
