/*
 * json.h - a thin bounded layer over jansson.
 *
 * Parsing refuses duplicate keys, more than `max_bytes` of text and jansson's depth limit; text is
 * UTF-8. Getters name file, key, expected and found type in their sentence. A ql_json is jansson's
 * json_t, so modules that must walk freely may include <jansson.h>.
 */
#ifndef QLORA_CORE_BASE_JSON_H
#define QLORA_CORE_BASE_JSON_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "qlora/status.h"

#define QL_JSON_MAX_BYTES (256u << 20)

/* `what` is the file name used in messages. Free with json_decref. */
QL_NODISCARD ql_status ql_json_parse(const char *text, size_t len, const char *what, json_t **out);
QL_NODISCARD ql_status ql_json_read(const char *path, json_t **out);
/* Serializes with indent 2 and writes atomically. */
QL_NODISCARD ql_status ql_json_write(const char *path, const json_t *j);

/* Getters on an object. Absent key or null: *out keeps its value (set the default first) and QL_OK
 * is returned; a value of the wrong type or outside [lo, hi] is QL_ERR_FORMAT. `what` names the
 * file. */
QL_NODISCARD ql_status ql_json_get_i64(const json_t *o, const char *what, const char *key,
                                       int64_t lo, int64_t hi, int64_t *out);
QL_NODISCARD ql_status ql_json_get_f64(const json_t *o, const char *what, const char *key,
                                       double lo, double hi, double *out);
QL_NODISCARD ql_status ql_json_get_bool(const json_t *o, const char *what, const char *key,
                                        bool *out);
/* Borrowed from the document. */
QL_NODISCARD ql_status ql_json_get_str(const json_t *o, const char *what, const char *key,
                                       const char **out);
bool ql_json_has(const json_t *o, const char *key); /* present and not null */

#endif
