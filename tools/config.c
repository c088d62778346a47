/* config.c - the keys of a file of settings find their flags (see config.h). */
#include "tools/config.h"

#include <jansson.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/fs.h"
#include "tools/known.h"
#include "tools/yaml.h"

/* Keys that say what a command works on, and where its result goes. */
static const char inputs[] = "dataset task file format name adapter_name_or_path";
static const char places[] = "output_dir output";
static const char training_commands[] = "train plan data";

/* A value for a flag of this command, and the key that it came from. */
typedef struct setting {
    ql_arg_value v;
    const char *key;
} setting;

typedef struct reader {
    const ql_config_scope *scope;
    const char *what;
    setting *settings;
    size_t n, cap;
    const ql_yaml *given; /* the list; NULL = none */
    const char *command;  /* whom the file is for; NULL = it does not say */
    const char *other[8]; /* keys that other commands have */
    size_t n_other;
} reader;

/* ---------------------------------------------------------------- sentences */

/* "run.yaml:3:1: lora_r", what sentences call the key. */
static const char *place(const reader *r, const ql_yaml *y, const char *key) {
    char text[QL_PATH_MAX + 128];
    int n = snprintf(text, sizeof text, "%s:%d:%d: %s", r->what, y->line, y->column, key);
    size_t len = n < 0 ? 0 : (size_t)n < sizeof text ? (size_t)n : sizeof text - 1;
    const char *copy = ql_arena_strndup(&r->scope->sp->arena, text, len);
    return copy ? copy : key;
}

static ql_status unknown_key(const reader *r, const ql_yaml *y, const char *key) {
    return ql_spelling_unknown(r->scope->tables, r->scope->n_tables, place(r, y, ""), "key", key,
                               "");
}

/* -------------------------------------------------------------------- store */

static ql_status add_setting(reader *r, const ql_arg_value *v, const char *key) {
    for (size_t i = 0; i < r->n; i++) {
        const setting *s = &r->settings[i];
        if (s->v.to.arg != v->to.arg || strcmp(s->v.text, v->text) == 0) continue;
        return QL_FAIL(QL_ERR_INVALID, "%s contradicts the key %s: %s would be %.40s and %.40s",
                       v->flag, s->key, v->to.arg->name, v->text, s->v.text);
    }
    QL_TRY(ql_host_grow((void **)&r->settings, &r->cap, r->n + 1, sizeof *r->settings));
    r->settings[r->n++] = (setting){*v, key};
    return QL_OK;
}

static void add_other(reader *r, const char *key) {
    enum { ROOM = sizeof r->other / sizeof *r->other };
    if (r->n_other < ROOM) r->other[r->n_other] = key;
    r->n_other++;
}

/* --------------------------------------------------------------------- keys */

typedef struct found {
    ql_arg_ref ref;
    bool ours, other;
} found;

static found find_flag(const reader *r, const char *key) {
    found f = {.ours = false};
    const ql_config_scope *s = r->scope;
    f.ours = ql_args_find(s->tables, s->n_tables, key, &f.ref);
    f.other = !f.ours && ql_args_find(s->others, s->n_others, key, &f.ref);
    return f;
}

/* 010 is 8 in YAML 1.1 and 10 in YAML 1.2. */
static bool is_octal_or_not(const ql_yaml *y) {
    const char *t = y->text;
    return y->kind == QL_YAML_SCALAR && y->plain && t[0] == '0' && t[1] &&
           t[strspn(t, "0123456789")] == '\0';
}

/* Text for a key, whatever form it had in the file. */
static ql_status take_text(reader *r, const ql_yaml *y, const char *key, const char *text) {
    const char *name = place(r, y, key);
    ql_arg_value values[QL_SPELLING_MOST];
    size_t n = 0;
    const ql_config_scope *s = r->scope;
    found f = find_flag(r, key);
    const ql_spelling *row = ql_spelling_find(key, text);
    if (row && row->fate != QL_FATE_FOREIGN && (row->values || !f.ours)) {
        QL_TRY(ql_spelling_apply(row, s->tables, s->n_tables, name, text, s->sp, values,
                                 QL_SPELLING_MOST, &n));
        for (size_t i = 0; i < n; i++) QL_TRY(add_setting(r, &values[i], key));
        if (n == 0 && row->fate == QL_FATE_MAPS && *row->to) add_other(r, key);
        return QL_OK;
    }
    if (f.other) {
        add_other(r, key);
        return QL_OK;
    }
    row = f.ours ? NULL : ql_spelling_find(key, NULL);
    if (row && row->fate != QL_FATE_FOREIGN)
        return QL_FAIL(QL_ERR_INVALID, "%s has no value '%.40s' here", name, text);
    if (!f.ours) return unknown_key(r, y, key);
    if (f.ref.arg->flags & QL_ARG_SESSION && f.ref.arg->kind == QL_ARG_TEXT)
        return QL_FAIL(QL_ERR_INVALID, "%s: one file of settings does not name another", name);
    if (f.ref.arg->kind == QL_ARG_INT && is_octal_or_not(y)) {
        return QL_FAIL(QL_ERR_INVALID,
                       "%s is %.20s: octal to YAML 1.1, decimal to YAML 1.2; leave the zero out",
                       name, text);
    }
    return add_setting(r, &(ql_arg_value){f.ref, name, text}, key);
}

/* null: as if the key were not there, for a flag that has no default to lose. */
static ql_status take_null(reader *r, const ql_yaml *y, const char *key) {
    found f = find_flag(r, key);
    const ql_spelling *row = ql_spelling_find(key, "null");
    if (row && row->values) return take_text(r, y, key, "null");
    row = ql_spelling_find(key, NULL);
    if (!f.ours && row && row->fate != QL_FATE_FOREIGN) return QL_OK;
    if (!f.ours && !f.other) return unknown_key(r, y, key);
    if (f.other || !f.ref.arg->fallback) return QL_OK;
    return QL_FAIL(QL_ERR_INVALID,
                   "%s has no value: write one, or leave the line out for the default, %s",
                   place(r, y, key), f.ref.arg->fallback);
}

/* -------------------------------------------------------- lists and mappings */

static ql_status join_list(const reader *r, const ql_yaml *list, const char *name, char **out) {
    size_t room = 1, at = 0;
    for (const ql_yaml *y = list->first; y; y = y->next) {
        if (y->kind != QL_YAML_SCALAR || !*y->text || strchr(y->text, ',')) {
            return QL_FAIL(QL_ERR_INVALID, "%s: a list here holds plain words without commas",
                           name);
        }
        room += strlen(y->text) + 1;
    }
    char *text = ql_arena_alloc(&r->scope->sp->arena, room, 1);
    if (!text) return QL_NOMEM("a list of settings");
    for (const ql_yaml *y = list->first; y; y = y->next) {
        size_t len = strlen(y->text);
        if (at) text[at++] = ',';
        memcpy(text + at, y->text, len);
        at += len;
    }
    *out = text;
    return QL_OK;
}

static ql_status take_list(reader *r, const ql_yaml *y, const char *key) {
    char *text;
    found f = find_flag(r, key);
    const char *name = place(r, y, key);
    const ql_spelling *row = ql_spelling_find(key, NULL);
    if (!f.ours && !f.other && (!row || row->fate == QL_FATE_FOREIGN))
        return unknown_key(r, y, key);
    if (!row && !(f.ref.arg->flags & QL_ARG_LIST))
        return QL_FAIL(QL_ERR_INVALID, "%s takes one value, not a list", name);
    QL_TRY(join_list(r, y, name, &text));
    return take_text(r, y, key, text);
}

/* A scalar as JSON: plain numbers and booleans stay what they are. */
static json_t *json_scalar(const ql_yaml *y) {
    char *end;
    if (y->plain && ql_names_have("true True TRUE", y->text)) return json_true();
    if (y->plain && ql_names_have("false False FALSE", y->text)) return json_false();
    long long i = strtoll(y->text, &end, 10);
    if (y->plain && *y->text && !*end) return json_integer(i);
    double x = strtod(y->text, &end);
    if (y->plain && *y->text && !*end) return json_real(x);
    return json_string(y->text);
}

static json_t *json_value(const ql_yaml *y) {
    if (y->kind == QL_YAML_SCALAR) return json_scalar(y);
    json_t *list = json_array();
    for (const ql_yaml *item = y->first; item; item = item->next)
        json_array_append_new(list, json_scalar(item));
    return list;
}

/* A mapping of names to numbers, words or lists of them, as JSON text. */
static ql_status take_json(reader *r, const ql_yaml *map, const char *key) {
    json_t *doc = json_object();
    for (const ql_yaml *y = map->first; y; y = y->next) {
        bool flat = y->kind != QL_YAML_MAP;
        for (const ql_yaml *i = y->first; i && flat; i = i->next) flat = i->kind == QL_YAML_SCALAR;
        if (!flat) {
            json_decref(doc);
            return QL_FAIL(QL_ERR_INVALID, "%s holds values and lists of values only",
                           place(r, y, y->key));
        }
        json_object_set_new(doc, y->key, json_value(y));
    }
    char *text = json_dumps(doc, JSON_COMPACT | JSON_REAL_PRECISION(17));
    json_decref(doc);
    char *copy = text ? ql_arena_strndup(&r->scope->sp->arena, text, strlen(text)) : NULL;
    free(text);
    return copy ? take_text(r, map, key, copy) : QL_NOMEM("a mapping of settings");
}

static ql_status take_value(reader *r, const ql_yaml *y, const char *key);

/* The keys of a mapping: as settings of their own, or as "mapping.key". */
static ql_status take_inner(reader *r, const ql_yaml *map, const char *key, bool opens) {
    for (const ql_yaml *y = map->first; y; y = y->next) {
        char name[2 * QL_NAME_MAX + 2];
        if (y->kind == QL_YAML_MAP && !opens)
            return QL_FAIL(QL_ERR_INVALID, "%s takes one value, not a mapping",
                           place(r, y, y->key));
        snprintf(name, sizeof name, "%s%s%s", opens ? "" : key, opens ? "" : ".", y->key);
        if (!opens && !ql_spelling_find(name, NULL)) {
            found f = find_flag(r, key);
            if (!f.ours && !f.other) return unknown_key(r, map, key);
            return QL_FAIL(QL_ERR_INVALID, "%s takes one value, not a mapping with the key '%.64s'",
                           place(r, map, key), y->key);
        }
        const char *copy = ql_arena_strndup(&r->scope->sp->arena, name, strlen(name));
        if (!copy) return QL_NOMEM("a setting");
        QL_TRY(take_value(r, y, copy));
    }
    return QL_OK;
}

static ql_status take_map(reader *r, const ql_yaml *y, const char *key) {
    found f = find_flag(r, key);
    if ((f.ours || f.other) && f.ref.arg->flags & QL_ARG_MAP) return take_json(r, y, key);
    const ql_spelling *row = ql_spelling_find(key, "{...}");
    if (row && row->fate == QL_FATE_FOREIGN) return unknown_key(r, y, key);
    if (row && row->fate != QL_FATE_OPENS) return take_text(r, y, key, "{...}");
    return take_inner(r, y, key, row != NULL);
}

/* Depth is bounded by the reader of the file, QL_YAML_MAX_DEPTH. */
static ql_status take_value(reader *r, const ql_yaml *y, const char *key) {
    char plain[QL_NAME_MAX + 1];
    if (key[0] == '-' || !ql_plain_name(key, strlen(key), plain)) return unknown_key(r, y, key);
    key = ql_arena_strndup(&r->scope->sp->arena, plain, strlen(plain));
    if (!key) return QL_NOMEM("a setting");
    if (ql_yaml_is_null(y)) return take_null(r, y, key);
    switch (y->kind) {
    case QL_YAML_SCALAR: return take_text(r, y, key, y->text);
    case QL_YAML_LIST: return take_list(r, y, key);
    case QL_YAML_MAP: break;
    }
    return take_map(r, y, key);
}

/* ------------------------------------------------------------------ the file */

static ql_status take_command(reader *r, const ql_yaml *y) {
    bool known = y->kind == QL_YAML_SCALAR &&
                 (ql_names_have(ql_known_commands(), y->text) || strcmp(y->text, "info") == 0);
    if (!known)
        return QL_FAIL(QL_ERR_INVALID, "%s takes the name of a command", place(r, y, y->key));
    r->command = y->text;
    return QL_OK;
}

static ql_status take_given(reader *r, const ql_yaml *y) {
    bool names = y->kind == QL_YAML_LIST;
    for (const ql_yaml *i = y->first; i && names; i = i->next) names = i->kind == QL_YAML_SCALAR;
    if (!names) return QL_FAIL(QL_ERR_INVALID, "%s takes a list of keys", place(r, y, y->key));
    r->given = y;
    return QL_OK;
}

static bool is_given(const reader *r, const char *name) {
    if (!r->given) return true;
    for (const ql_yaml *y = r->given->first; y; y = y->next)
        if (strcmp(y->text, name) == 0) return true;
    return false;
}

/* Is the file for this command, or for one of its kind? */
static bool is_ours(const reader *r) {
    bool training = ql_names_have(training_commands, r->scope->command);
    if (r->command && training) return ql_names_have(training_commands, r->command);
    if (r->command) return strcmp(r->command, r->scope->command) == 0;
    return training || r->n_other == 0;
}

/* `ours`: is_ours. A place is this very command's: `data split` writes no rows into a run's folder.
 */
static bool takes(const reader *r, bool ours, const char *key) {
    if (ql_names_have(inputs, key)) return ours;
    if (!ql_names_have(places, key)) return true;
    if (r->command) return strcmp(r->command, r->scope->command) == 0;
    return ours && strcmp(r->scope->command, "data") != 0;
}

static ql_status note_others(const reader *r) {
    enum { ROOM = sizeof r->other / sizeof *r->other };
    char list[512] = "";
    for (size_t i = 0; i < r->n_other && i < ROOM; i++) {
        if (i) strcat(list, ", ");
        strncat(list, r->other[i], sizeof list / ROOM - 3);
    }
    return ql_spellings_note(r->scope->sp, "%s: not for %s: %s%s", r->what, r->scope->command, list,
                             r->n_other > ROOM ? ", ..." : "");
}

static bool is_on_line(const reader *r, const ql_arg *a) {
    for (size_t i = 0; i < r->scope->n_line; i++)
        if (r->scope->line[i].to.arg == a) return true;
    return false;
}

static ql_status store(const reader *r) {
    bool ours = is_ours(r), trains = strcmp(r->scope->command, "train") == 0;
    if (r->n_other && !r->given && (trains || r->command)) QL_TRY(note_others(r));
    for (size_t i = 0; i < r->n; i++) {
        const ql_arg_value *v = &r->settings[i].v;
        const ql_arg *a = v->to.arg;
        if (!takes(r, ours, a->name)) {
            if (!is_given(r, a->name) || is_on_line(r, a)) continue;
            QL_TRY(ql_spellings_note(r->scope->sp,
                                     "%s is for '%s', not for '%s': give --%s, or write 'command: "
                                     "%s' into the file",
                                     v->flag, r->command ? r->command : "train", r->scope->command,
                                     a->name, r->scope->command));
            continue;
        }
        if (!is_given(r, a->name) && (!ours || ql_arg_is_default(a, v->text)))
            QL_TRY(ql_arg_set(a, v->to.table->opts, v->flag, v->text));
        else
            QL_TRY(ql_arg_store(v));
    }
    return QL_OK;
}

static ql_status take_settings(reader *r, const ql_yaml *root) {
    for (const ql_yaml *y = root->first; y; y = y->next) {
        if (strcmp(y->key, "command") == 0)
            QL_TRY(take_command(r, y));
        else if (strcmp(y->key, "given") == 0)
            QL_TRY(take_given(r, y));
        else
            QL_TRY(take_value(r, y, y->key));
    }
    return store(r);
}

ql_status ql_config_apply(const ql_config_scope *scope, const char *text, size_t len,
                          const char *what) {
    ql_yaml *root;
    QL_TRY(ql_yaml_parse(text, len, what, &scope->sp->arena, &root));
    reader r = {.scope = scope, .what = what};
    ql_status s = take_settings(&r, root);
    ql_host_free(r.settings);
    return s;
}

ql_status ql_config_load(const ql_config_scope *scope, const char *path) {
    char *text;
    size_t len;
    QL_TRY(ql_file_read(path, QL_YAML_MAX_BYTES, &text, &len));
    ql_status s = ql_config_apply(scope, text, len, path);
    ql_host_free(text);
    return s;
}
