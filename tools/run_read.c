/* run_read.c - see run_read.h. */
#include "tools/run_read.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/hostmem.h"
#include "core/base/json.h"
#include "tools/lines.h"

#define CONFIG_BYTES (1u << 20)

/* --------------------------------------------------------------------- columns */

/* Where the column is; n_columns = nowhere. */
static size_t index_of(const ql_run_data *r, const char *name) {
    size_t i = 0;
    while (i < r->n_columns && strcmp(r->columns[i].name, name) != 0) i++;
    return i;
}

/* NULL: there are too many, or its name is too long to be ours. */
static ql_column *need_column(ql_run_data *r, const char *name) {
    size_t i = index_of(r, name);
    if (i < r->n_columns) return &r->columns[i];
    if (i == QL_RUN_MAX_COLUMNS || strlen(name) >= sizeof r->columns[i].name) return NULL;
    strcpy(r->columns[i].name, name);
    return &r->columns[r->n_columns++];
}

static ql_status add_value(ql_column *c, double step, double value) {
    QL_TRY(ql_host_grow((void **)&c->step, &c->cap_step, c->n + 1, sizeof *c->step));
    QL_TRY(ql_host_grow((void **)&c->value, &c->cap_value, c->n + 1, sizeof *c->value));
    c->step[c->n] = step;
    c->value[c->n++] = value;
    return QL_OK;
}

static ql_status take_line(ql_run_data *r, json_t *line) {
    const json_t *step = json_object_get(line, "step");
    if (!json_is_integer(step)) return QL_OK;
    double at = (double)json_integer_value(step);
    const char *key;
    json_t *v;
    if (json_is_true(json_object_get(line, "skipped"))) r->skipped++;
    const json_t *warning = json_object_get(line, "warning");
    if (json_is_string(warning))
        json_array_append_new(r->warnings, json_pack("{s:I, s:s}", "step", json_integer_value(step),
                                                     "text", json_string_value(warning)));
    json_object_foreach(line, key, v) {
        if (!json_is_number(v) && !json_is_null(v)) continue;
        ql_column *c = need_column(r, key);
        if (c) QL_TRY(add_value(c, at, json_is_null(v) ? (double)NAN : json_number_value(v)));
    }
    return QL_OK;
}

/* Every line that is a whole object, through `take`. */
static ql_status each_line(const char *path, ql_run_data *r,
                           ql_status (*take)(ql_run_data *, json_t *)) {
    ql_lines in;
    const char *text;
    size_t len;
    QL_TRY(ql_lines_open(path, &in));
    ql_status s = QL_OK;
    while (s == QL_OK && ql_lines_next(&in, &text, &len)) {
        json_t *line = NULL;
        if (ql_json_parse(text, len, path, &line) != QL_OK) continue;
        if (json_is_object(line)) s = take(r, line);
        json_decref(line);
    }
    ql_lines_close(&in);
    return s;
}

/* ----------------------------------------------------------------- other files */

static ql_status take_sample(ql_run_data *r, json_t *line) {
    return json_array_append(r->samples, line) == 0 ? QL_OK : QL_NOMEM("samples");
}

/* The object in dir/name, NULL where there is none. */
static ql_status read_object(const char *dir, const char *name, json_t **out) {
    char path[QL_PATH_MAX];
    QL_TRY(ql_path_join(path, dir, name));
    if (!ql_file_exists(path)) return QL_OK;
    QL_TRY(ql_json_read(path, out));
    if (json_is_object(*out)) return QL_OK;
    json_decref(*out);
    *out = NULL;
    return QL_FAIL(QL_ERR_FORMAT, "%s: holds no object", path);
}

/* "name: value" lines, as ql_run_write_config writes them; others are passed over. */
static ql_status read_settings(const char *dir, json_t *out) {
    char path[QL_PATH_MAX], *text;
    size_t len;
    QL_TRY(ql_path_join(path, dir, "config.yaml"));
    if (!ql_file_exists(path)) return QL_OK;
    QL_TRY(ql_file_read(path, CONFIG_BYTES, &text, &len));
    for (char *line = text, *next; line && *line; line = next) {
        char *end = strchr(line, '\n');
        next = end ? end + 1 : NULL;
        if (end) *end = '\0';
        char *colon = strstr(line, ": ");
        if (!colon || *line == '#' || *line == ' ') continue;
        *colon = '\0';
        char *value = colon + 2, *last = value + strlen(value);
        if (last - value >= 2 && value[0] == '"' && last[-1] == '"') {
            last[-1] = '\0';
            value++;
        }
        json_object_set_new(out, line, json_string(value));
    }
    ql_host_free(text);
    return QL_OK;
}

static const char *last_part(const char *dir) {
    size_t n = strlen(dir);
    while (n > 1 && dir[n - 1] == '/') n--;
    while (n > 0 && dir[n - 1] != '/') n--;
    return dir[n] ? dir + n : dir;
}

static ql_status read_all(const char *dir, ql_run_data *r) {
    char path[QL_PATH_MAX];
    QL_TRY(ql_path_join(path, dir, "train.jsonl"));
    if (!ql_file_exists(path))
        return QL_FAIL(QL_ERR_NOT_FOUND, "%s: is not the folder of a run: it has no train.jsonl",
                       dir);
    r->settings = json_object();
    r->samples = json_array();
    r->warnings = json_array();
    if (!r->settings || !r->samples || !r->warnings) return QL_NOMEM("a run");
    QL_TRY(each_line(path, r, take_line));
    QL_TRY(ql_path_join(path, dir, "samples.jsonl"));
    if (ql_file_exists(path)) QL_TRY(each_line(path, r, take_sample));
    QL_TRY(read_object(dir, "run.json", &r->about));
    QL_TRY(read_object(dir, "plan.json", &r->plan));
    QL_TRY(read_object(dir, "data.json", &r->data));
    QL_TRY(read_settings(dir, r->settings));
    const char *name = json_string_value(json_object_get(r->about, "run_name"));
    r->dir = ql_host_strdup(dir);
    r->name = ql_host_strdup(name ? name : last_part(dir));
    return r->dir && r->name ? QL_OK : QL_NOMEM("a run");
}

ql_status ql_run_read(const char *dir, ql_run_data *out) {
    ql_run_data r = {.dir = NULL};
    ql_status s = read_all(dir, &r);
    if (s != QL_OK) {
        ql_run_data_free(&r);
        return s;
    }
    *out = r;
    return QL_OK;
}

void ql_run_data_free(ql_run_data *r) {
    for (size_t i = 0; i < r->n_columns; i++) {
        ql_host_free(r->columns[i].step);
        ql_host_free(r->columns[i].value);
    }
    json_decref(r->warnings);
    json_decref(r->about);
    json_decref(r->plan);
    json_decref(r->data);
    json_decref(r->settings);
    json_decref(r->samples);
    ql_host_free(r->dir);
    ql_host_free(r->name);
    *r = (ql_run_data){.dir = NULL};
}

/* --------------------------------------------------------------------- numbers */

const ql_column *ql_run_column(const ql_run_data *r, const char *name) {
    size_t i = index_of(r, name);
    return i < r->n_columns ? &r->columns[i] : NULL;
}

double ql_run_first(const ql_run_data *r, const char *name) {
    const ql_column *c = ql_run_column(r, name);
    return c && c->n ? c->value[0] : (double)NAN;
}

double ql_run_last(const ql_run_data *r, const char *name) {
    const ql_column *c = ql_run_column(r, name);
    return c && c->n ? c->value[c->n - 1] : (double)NAN;
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

double ql_run_median(const ql_run_data *r, const char *name) {
    const ql_column *c = ql_run_column(r, name);
    double *sorted = c ? ql_host_calloc(c->n + 1, sizeof *sorted) : NULL, middle = (double)NAN;
    size_t n = 0;
    for (size_t i = 0; sorted && i < c->n; i++)
        if (isfinite(c->value[i])) sorted[n++] = c->value[i];
    if (n) {
        qsort(sorted, n, sizeof *sorted, by_value);
        middle = sorted[n / 2];
    }
    ql_host_free(sorted);
    return middle;
}

double ql_run_sum(const ql_run_data *r, const char *name) {
    const ql_column *c = ql_run_column(r, name);
    double sum = 0;
    for (size_t i = 0; c && i < c->n; i++)
        if (isfinite(c->value[i])) sum += c->value[i];
    return sum;
}

bool ql_run_smallest(const ql_run_data *r, const char *name, double *value, double *step) {
    const ql_column *c = ql_run_column(r, name);
    bool any = false;
    for (size_t i = 0; c && i < c->n; i++) {
        if (!isfinite(c->value[i]) || (any && c->value[i] >= *value)) continue;
        any = true;
        *value = c->value[i];
        *step = c->step[i];
    }
    return any;
}

double ql_run_seconds(const ql_run_data *r) {
    json_t *list = json_object_get(r->about, "sessions"), *one;
    size_t i;
    double sum = 0;
    if (!json_is_array(list)) return (double)NAN;
    json_array_foreach(list, i, one) sum += json_number_value(json_object_get(one, "seconds"));
    return sum;
}
