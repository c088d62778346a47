/* log.h - levelled messages to a sink that the caller sets; the library itself is silent. */
#ifndef QLORA_CORE_BASE_LOG_H
#define QLORA_CORE_BASE_LOG_H

#include "qlora/status.h"

typedef enum ql_log_level { QL_LOG_DEBUG, QL_LOG_INFO, QL_LOG_WARN } ql_log_level;
typedef void (*ql_log_sink)(void *user, ql_log_level level, const char *message);

/* Process-wide; set once at start. NULL (the default) drops every message. */
void ql_log_set_sink(ql_log_sink sink, void *user);
void ql_log(ql_log_level level, const char *fmt, ...) QL_PRINTF(2, 3);

#endif
