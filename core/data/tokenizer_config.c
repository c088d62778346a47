/*
 * tokenizer_config.c - the optional files beside tokenizer.json.
 *
 * tokenizer_config.json names the special tokens, adds tokens, holds the chat template and, with
 * add_bos_token or add_eos_token, replaces the post-processor (as transformers 5 does).
 * special_tokens_map.json, generation_config.json and the defaults of the tokenizer class fill what
 * it leaves open; chat_template.jinja wins over the template inside it.
 */
#include <stdlib.h>
#include <string.h>

#include "core/base/fs.h"
#include "core/base/json.h"
#include "core/data/tokenizer_class.h"
#include "core/data/tokenizer_impl.h"

#define TEMPLATE_MAX_BYTES (1u << 20)

/* Reads an optional JSON file that must be an object; *out stays NULL when there is none. */
static ql_status read_optional(const char *dir, const char *name, char path[QL_PATH_MAX],
                               json_t **out) {
    *out = NULL;
    QL_TRY(ql_path_join(path, dir, name));
    if (!ql_file_exists(path)) return QL_OK;
    QL_TRY(ql_json_read(path, out));
    if (json_is_object(*out)) return QL_OK;
    json_decref(*out);
    *out = NULL;
    return QL_FAIL(QL_ERR_FORMAT, "%s: expected an object", path);
}

/* ------------------------------------------------------------------ extra tokens */

static ql_status add_extra_tokens(ql_tokenizer *t, json_t *config, const char *what) {
    json_t *all = json_object_get(config, "added_tokens_decoder"), *o;
    const char *key;
    json_object_foreach(all, key, o) {
        char *end;
        ql_added_spec spec = {.id = strtoll(key, &end, 10)};
        if (*key < '0' || *key > '9' || *end) {
            return QL_FAIL(QL_ERR_FORMAT,
                           "%s: 'added_tokens_decoder' has the key '%s', expected "
                           "an id",
                           what, key);
        }
        QL_TRY(ql_added_spec_read(o, what, &spec));
        QL_TRY(ql_tokenizer_add(t, &spec, what));
    }
    return QL_OK;
}

/* ---------------------------------------------------------------- special tokens
 * A value is a string or an object with 'content'. A token that is not in the vocabulary is left
 * out; one that is there is found in the text from now on. */

static ql_status set_special(ql_tokenizer *t, ql_added_spec *spec, const char *what, int32_t *id) {
    int32_t found = ql_vocab_find(&t->vocab, spec->content, spec->len);
    if (found < 0) return QL_OK;
    spec->id = found;
    spec->special = true;
    spec->normalized = false;
    QL_TRY(ql_tokenizer_add(t, spec, what));
    if (*id < 0) *id = found;
    return QL_OK;
}

static ql_status read_special(ql_tokenizer *t, const json_t *config, const char *key,
                              const char *what, int32_t *id) {
    const json_t *v = json_object_get(config, key);
    if (!v || json_is_null(v)) return QL_OK;
    ql_added_spec spec = {.content = json_string_value(v), .len = json_string_length(v)};
    if (!spec.content) QL_TRY(ql_added_spec_read(v, what, &spec));
    return set_special(t, &spec, what, id);
}

static ql_status read_specials(ql_tokenizer *t, const json_t *config, const char *what) {
    QL_TRY(read_special(t, config, "bos_token", what, &t->bos));
    QL_TRY(read_special(t, config, "eos_token", what, &t->eos));
    QL_TRY(read_special(t, config, "pad_token", what, &t->pad));
    QL_TRY(read_special(t, config, "unk_token", what, &t->unk));
    QL_TRY(read_special(t, config, "cls_token", what, &t->cls));
    QL_TRY(read_special(t, config, "sep_token", what, &t->sep));
    return read_special(t, config, "mask_token", what, &t->mask);
}

/* What the class names itself, for keys that the configuration does not have. */
static ql_status fill_specials(ql_tokenizer *t, const char *dir, const json_t *config) {
    const ql_tokenizer_class *c;
    QL_TRY(ql_tokenizer_class_find(dir, config, &c));
    if (!c) return QL_OK;
    const struct {
        const char *key, *token;
        int32_t *id;
    } all[] = {{"bos_token", c->bos, &t->bos},   {"eos_token", c->eos, &t->eos},
               {"unk_token", c->unk, &t->unk},   {"sep_token", c->sep, &t->sep},
               {"pad_token", c->pad, &t->pad},   {"cls_token", c->cls, &t->cls},
               {"mask_token", c->mask, &t->mask}};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        if (!all[i].token || *all[i].id >= 0 || json_object_get(config, all[i].key)) continue;
        ql_added_spec spec = {.content = all[i].token, .len = strlen(all[i].token)};
        QL_TRY(set_special(t, &spec, dir, all[i].id));
    }
    return QL_OK;
}

/* An id of generation_config.json: an integer or a list of them, of which the first counts. */
static void read_generation_id(const ql_tokenizer *t, const json_t *o, const char *key,
                               int32_t *id) {
    const json_t *v = json_object_get(o, key);
    if (json_is_array(v)) v = json_array_get(v, 0);
    json_int_t i = json_is_integer(v) ? json_integer_value(v) : -1;
    if (*id < 0 && i >= 0 && i < ql_tokenizer_size(t)) *id = (int32_t)i;
}

/* ----------------------------------------------------------------- post-processor */

static ql_status replace_postprocessor(ql_tokenizer *t, const json_t *config, const char *what) {
    if (!ql_json_has(config, "add_bos_token") && !ql_json_has(config, "add_eos_token"))
        return QL_OK;
    bool bos = false, eos = false;
    QL_TRY(ql_json_get_bool(config, what, "add_bos_token", &bos));
    QL_TRY(ql_json_get_bool(config, what, "add_eos_token", &eos));
    return ql_tokenizer_surround(t, bos ? t->bos : -1, eos ? t->eos : -1);
}

static ql_status read_side(ql_tokenizer *t, const json_t *config, const char *what) {
    const char *side = "right";
    QL_TRY(ql_json_get_str(config, what, "truncation_side", &side));
    t->cut_left = strcmp(side, "left") == 0;
    if (t->cut_left || strcmp(side, "right") == 0) return QL_OK;
    return QL_FAIL(QL_ERR_FORMAT, "%s: truncation_side is '%s', expected left or right", what,
                   side);
}

/* ------------------------------------------------------------------- chat template */

/* A string, or a list of {name, template}: the one named "default", or the only one. */
static const char *find_template(const json_t *config) {
    const json_t *v = json_object_get(config, "chat_template");
    if (json_is_string(v)) return json_string_value(v);
    for (size_t i = 0; i < json_array_size(v); i++) {
        const json_t *o = json_array_get(v, i);
        const char *name = json_string_value(json_object_get(o, "name"));
        if (json_array_size(v) == 1 || (name && strcmp(name, "default") == 0))
            return json_string_value(json_object_get(o, "template"));
    }
    return NULL;
}

static ql_status load_template(ql_tokenizer *t, const char *dir, const json_t *config) {
    char path[QL_PATH_MAX];
    QL_TRY(ql_path_join(path, dir, "chat_template.jinja"));
    if (ql_file_exists(path)) {
        size_t len;
        return ql_file_read(path, TEMPLATE_MAX_BYTES, &t->chat_template, &len);
    }
    const char *s = find_template(config);
    if (!s) return QL_OK;
    t->chat_template = ql_host_strdup(s);
    return t->chat_template ? QL_OK : QL_NOMEM("the chat template");
}

ql_status ql_tokenizer_load_config(ql_tokenizer *t, const char *dir) {
    char path[QL_PATH_MAX], map_path[QL_PATH_MAX], generation_path[QL_PATH_MAX];
    json_t *config = NULL, *map = NULL, *generation = NULL;
    ql_status st = read_optional(dir, "tokenizer_config.json", path, &config);
    if (st == QL_OK) st = read_optional(dir, "special_tokens_map.json", map_path, &map);
    if (st == QL_OK)
        st = read_optional(dir, "generation_config.json", generation_path, &generation);
    if (st == QL_OK) st = add_extra_tokens(t, config, path);
    if (st == QL_OK) st = read_specials(t, config, path);
    if (st == QL_OK) st = read_specials(t, map, map_path);
    if (st == QL_OK) {
        read_generation_id(t, generation, "bos_token_id", &t->bos);
        read_generation_id(t, generation, "eos_token_id", &t->eos);
        read_generation_id(t, generation, "pad_token_id", &t->pad);
        st = fill_specials(t, dir, config);
    }
    if (st == QL_OK) st = replace_postprocessor(t, config, path);
    if (st == QL_OK) st = read_side(t, config, path);
    if (st == QL_OK) st = load_template(t, dir, config);
    json_decref(config);
    json_decref(map);
    json_decref(generation);
    return st;
}
