/* labels.c - see labels.h. */
#include "tools/labels.h"

#include <stdio.h>
#include <string.h>

#include "core/base/fs.h"
#include "core/base/hostmem.h"

#define FILE_NAME "labels.json"
#define MOST      100000

/* ------------------------------------------------------------------ sources */

static ql_status set_size(ql_label_set *s, size_t n, const char *what) {
    if (n < 1 || n > MOST)
        return QL_FAIL(QL_ERR_FORMAT, "%s: %zu classes, expected 1 to %d", what, n, MOST);
    s->n = (int32_t)n;
    return QL_OK;
}

/* Takes a list or an object {"0": name, ...} of s->n names. */
static ql_status take_names(ql_label_set *s, const json_t *names, const char *what) {
    s->names = ql_host_calloc((size_t)s->n, sizeof *s->names);
    if (!s->names) return QL_NOMEM("labels");
    for (int32_t i = 0; i < s->n; i++) {
        char key[16];
        (void)snprintf(key, sizeof key, "%d", i);
        const json_t *v =
            json_is_array(names) ? json_array_get(names, (size_t)i) : json_object_get(names, key);
        if (!json_is_string(v))
            return QL_FAIL(QL_ERR_FORMAT, "%s: the name of class %d is missing", what, i);
        s->names[i] = ql_host_strdup(json_string_value(v));
        if (!s->names[i]) return QL_NOMEM("labels");
    }
    return QL_OK;
}

/* transformers writes LABEL_0, LABEL_1 ... where nobody gave names. */
static bool are_placeholders(const json_t *id2label) {
    const json_t *first = json_object_get(id2label, "0");
    return json_is_string(first) && strcmp(json_string_value(first), "LABEL_0") == 0;
}

static ql_status from_config(const json_t *config, ql_label_set *out) {
    const json_t *names = json_object_get(config, "id2label");
    int64_t n = 0;
    if (json_is_object(names) && json_object_size(names) > 0) {
        QL_TRY(set_size(out, json_object_size(names), "config.json: id2label"));
        return are_placeholders(names) ? QL_OK : take_names(out, names, "config.json: id2label");
    }
    QL_TRY(ql_json_get_i64(config, "config.json", "num_labels", 1, MOST, &n));
    out->n = (int32_t)n;
    return QL_OK;
}

static ql_status read_saved(const char *path, ql_label_set *out) {
    json_t *doc = NULL;
    int64_t n = 0;
    QL_TRY(ql_json_read(path, &doc));
    ql_status s = ql_json_get_i64(doc, path, "num_labels", 1, MOST, &n);
    out->n = (int32_t)n;
    if (s == QL_OK && n == 0) s = QL_FAIL(QL_ERR_FORMAT, "%s: num_labels is missing", path);
    if (s == QL_OK && ql_json_has(doc, "names"))
        s = take_names(out, json_object_get(doc, "names"), path);
    json_decref(doc);
    return s;
}

static ql_status from_adapter(const char *dir, ql_label_set *out) {
    char path[QL_PATH_MAX];
    if (!dir) return QL_OK;
    QL_TRY(ql_path_join(path, dir, FILE_NAME));
    return ql_file_exists(path) ? read_saved(path, out) : QL_OK;
}

/* ------------------------------------------------------------------- choice */

/* Completes what is known by the labels of the rows. */
static ql_status add_rows(const char *rows, ql_label_set *out) {
    ql_label_set found = {0};
    QL_TRY(ql_dataset_labels(rows, &found));
    ql_status s = QL_OK;
    if (!found.names) {
        if (out->n == 0) out->n = found.real ? 1 : found.n < 2 ? 2 : found.n;
    } else if (out->n == 0 || (!out->names && out->n == found.n)) {
        *out = found;
        return QL_OK;
    } else if (!out->names) {
        s = QL_FAIL(QL_ERR_FORMAT,
                    "%s: %d different labels, the model has %d classes without names: give "
                    "--num_labels %d",
                    rows, found.n, out->n, found.n);
    }
    ql_label_set_free(&found);
    return s;
}

/* --num_labels over what a file says; names of another number of classes are dropped. */
static void apply_flag(int64_t num_labels, ql_label_set *out) {
    if (num_labels == 0 || num_labels == out->n) return;
    ql_label_set_free(out);
    out->n = (int32_t)num_labels;
}

ql_status ql_labels_choose(int64_t num_labels, const json_t *config, const char *adapter,
                           const char *rows, ql_label_set *out) {
    ql_label_set set = {0};
    ql_status s = from_adapter(adapter, &set);
    if (s == QL_OK && set.n == 0) s = from_config(config, &set);
    if (s == QL_OK) {
        apply_flag(num_labels, &set);
        if (rows) s = add_rows(rows, &set);
    }
    if (s != QL_OK) {
        ql_label_set_free(&set);
        return s;
    }
    *out = set;
    return QL_OK;
}

ql_status ql_labels_save(const ql_label_set *s, const char *dir) {
    char path[QL_PATH_MAX];
    QL_TRY(ql_path_join(path, dir, FILE_NAME));
    json_t *doc = json_pack("{s:i}", "num_labels", (int)s->n);
    json_t *names = s->names ? json_array() : NULL;
    for (int32_t i = 0; names && i < s->n; i++)
        json_array_append_new(names, json_string(s->names[i]));
    if (names) json_object_set_new(doc, "names", names);
    if (!doc || (s->names && !names)) {
        json_decref(doc);
        return QL_NOMEM(FILE_NAME);
    }
    ql_status st = ql_json_write(path, doc);
    json_decref(doc);
    return st;
}
