/* dataset_labels.c - what the labels of a file of classified rows are: names or numbers. */
#include <math.h>
#include <string.h>

#include "core/base/fs.h"
#include "core/base/hostmem.h"
#include "core/data/dataset_internal.h"

#define MOST_CLASSES 1000 /* more distinct names are a mistaken column */

typedef struct scanner {
    ql_row_list rows;
    ql_label_set set;
    bool numbers; /* some label is a number */
    bool pass;    /* what is wrong is passed over */
    int64_t read; /* rows with a label */
} scanner;

void ql_label_set_free(ql_label_set *s) {
    if (!s) return;
    for (int32_t i = 0; s->names && i < s->n; i++) ql_host_free(s->names[i]);
    ql_host_free(s->names);
    *s = (ql_label_set){0};
}

/* Index of the first name that is not below `name`. */
static int32_t place_of(const ql_label_set *s, const char *name) {
    int32_t lo = 0, hi = s->n;
    while (lo < hi) {
        int32_t mid = lo + (hi - lo) / 2;
        if (strcmp(s->names[mid], name) < 0) {
            lo = mid + 1;
        } else {
            hi = mid;
        }
    }
    return lo;
}

static ql_status add_name(scanner *c, const char *name) {
    ql_label_set *s = &c->set;
    int32_t at = place_of(s, name);
    if (at < s->n && strcmp(s->names[at], name) == 0) return QL_OK;
    if (s->n >= MOST_CLASSES) {
        return QL_FAIL(QL_ERR_FORMAT, "%s: more than %d different labels", c->rows.where,
                       MOST_CLASSES);
    }
    QL_TRY(ql_host_grow((void **)&s->names, &s->cap, (size_t)s->n + 1, sizeof *s->names));
    char *copy = ql_host_strdup(name);
    if (!copy) return QL_NOMEM("a label");
    memmove(s->names + at + 1, s->names + at, (size_t)(s->n - at) * sizeof *s->names);
    s->names[at] = copy;
    s->n++;
    return QL_OK;
}

static void add_number(ql_label_set *s, double x) {
    if (x < 0 || x != floor(x) || x >= MOST_CLASSES) {
        s->real = true;
    } else if ((int32_t)x >= s->n) {
        s->n = (int32_t)x + 1;
    }
}

static ql_status add_row(void *user, const json_t *row) {
    scanner *c = user;
    ql_row_label label;
    ql_status s = ql_row_label_read(row, c->rows.where, &label);
    if (s != QL_OK) return c->pass ? QL_OK : s;
    if (c->read++ > 0 && c->numbers != !label.name) {
        if (c->pass) return QL_OK;
        return QL_REFUSE(QL_PROBLEM_CLASS, "%s: the label is a %s, those before are %s",
                         c->rows.where, label.name ? "name" : "number",
                         label.name ? "numbers" : "names");
    }
    c->numbers = !label.name;
    if (label.name) return add_name(c, label.name);
    add_number(&c->set, label.number);
    return QL_OK;
}

static ql_status pass_over(void *user, ql_status s) {
    (void)user;
    (void)s;
    return QL_OK;
}

static ql_status scan(const char *path, bool pass, ql_label_set *out) {
    ql_map map;
    scanner c = {.rows = {.name = path, .visit = add_row, .numbers = true}, .pass = pass};
    c.rows.user = &c;
    if (pass) c.rows.refused = pass_over;
    QL_TRY(ql_map_open(path, &map));
    const char *text = map.data ? (const char *)map.data : "";
    size_t len = (size_t)map.size;
    ql_text_skip_mark(&text, &len);
    ql_status s = ql_rows_read(&c.rows, text, len);
    ql_map_close(&map);
    if (s == QL_OK && c.rows.row == 0)
        s = QL_FAIL(QL_ERR_FORMAT, "%s: the file holds no row to train on", path);
    if (s != QL_OK) {
        ql_label_set_free(&c.set);
        return s;
    }
    *out = c.set;
    return QL_OK;
}

ql_status ql_dataset_labels(const char *path, ql_label_set *out) {
    return scan(path, false, out);
}

ql_status ql_dataset_labels_seen(const char *path, ql_label_set *out) {
    return scan(path, true, out);
}
