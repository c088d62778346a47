/* lines.c - line files; see lines.h. */
#include "tools/lines.h"

#include <stdio.h>
#include <string.h>

ql_status ql_lines_open(const char *path, ql_lines *out) {
    ql_map map;
    QL_TRY(ql_map_open(path, &map));
    bool bom = map.size >= 3 && memcmp(map.data, "\xef\xbb\xbf", 3) == 0;
    *out = (ql_lines){.path = path, .map = map, .at = bom ? 3 : 0};
    return QL_OK;
}

void ql_lines_close(ql_lines *l) {
    ql_map_close(&l->map);
}

bool ql_lines_next(ql_lines *l, const char **text, size_t *len) {
    while (l->at < l->map.size) {
        const char *line = (const char *)l->map.data + l->at;
        size_t rest = (size_t)(l->map.size - l->at);
        const char *end = memchr(line, '\n', rest);
        size_t n = end ? (size_t)(end - line) : rest, blank = 0;
        l->at += n + (end != NULL);
        l->row++;
        while (blank < n && strchr(" \t\r", line[blank]) && line[blank]) blank++;
        if (blank == n) continue;
        *text = line;
        *len = n;
        return true;
    }
    return false;
}

ql_status ql_lines_next_object(ql_lines *l, json_t **out) {
    const char *text;
    size_t len;
    if (!ql_lines_next(l, &text, &len)) {
        *out = NULL;
        return QL_OK;
    }
    json_error_t e;
    json_t *row = json_loadb(text, len, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &e);
    if (!row) {
        return QL_FAIL(QL_ERR_FORMAT, "%s: row %lld is not JSON: %s (byte %d)", l->path,
                       (long long)l->row, e.text, e.position);
    }
    if (!json_is_object(row)) {
        json_decref(row);
        return QL_FAIL(QL_ERR_FORMAT, "%s: row %lld is not a JSON object", l->path,
                       (long long)l->row);
    }
    *out = row;
    return QL_OK;
}

ql_status ql_sink_open(const char *path, ql_sink *out) {
    *out = (ql_sink){NULL};
    return path ? ql_writer_open(path, &out->writer) : QL_OK;
}

ql_status ql_sink_write(ql_sink *s, const char *data, size_t len) {
    if (s->writer) return ql_writer_write(s->writer, data, len);
    if (fwrite(data, 1, len, stdout) == len) return QL_OK;
    return QL_FAIL(QL_ERR_IO, "standard output cannot be written");
}

ql_status ql_sink_commit(ql_sink *s) {
    ql_writer *w = s->writer;
    s->writer = NULL;
    return w ? ql_writer_commit(w) : QL_OK;
}

void ql_sink_abort(ql_sink *s) {
    ql_writer_abort(s->writer);
    s->writer = NULL;
}
