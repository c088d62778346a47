/*
 * lines.h - line files: rows of a mapped input, and an output that is a file or stdout.
 */
#ifndef QLORA_TOOLS_LINES_H
#define QLORA_TOOLS_LINES_H

#include <jansson.h>

#include "core/base/fs.h"

typedef struct ql_lines {
    const char *path; /* borrowed */
    ql_map map;
    uint64_t at; /* byte offset of the next line */
    int64_t row; /* of the line handed out last, from 1 */
} ql_lines;
QL_NODISCARD ql_status ql_lines_open(const char *path, ql_lines *out);
void ql_lines_close(ql_lines *l);
/* The next line that is not blank, without its end; borrowed from the map. false = no more. */
bool ql_lines_next(ql_lines *l, const char **text, size_t *len);
/* The next line as a JSON object (owned; NULL at the end). Sentences name file and row. */
QL_NODISCARD ql_status ql_lines_next_object(ql_lines *l, json_t **out);

/* Where rows go: a file that appears when it is finished, or stdout when path is NULL. */
typedef struct ql_sink {
    ql_writer *writer; /* NULL = stdout */
} ql_sink;
QL_NODISCARD ql_status ql_sink_open(const char *path, ql_sink *out);
QL_NODISCARD ql_status ql_sink_write(ql_sink *s, const char *data, size_t len);
QL_NODISCARD ql_status ql_sink_commit(ql_sink *s);
void ql_sink_abort(ql_sink *s);

#endif /* QLORA_TOOLS_LINES_H */
