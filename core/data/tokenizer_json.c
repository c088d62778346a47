/*
 * tokenizer_json.c - tokenizer.json: the order of its parts, and the added tokens.
 *
 * 'truncation' and 'padding' are not read: cutting and padding belong to the batch.
 */
#include "core/base/json.h"
#include "core/data/tokenizer_impl.h"

ql_status ql_added_spec_read(const json_t *o, const char *what, ql_added_spec *out) {
    const json_t *content = json_object_get(o, "content");
    if (!json_is_string(content)) {
        return QL_FAIL(QL_ERR_FORMAT, "%s: an added token must have a string 'content'", what);
    }
    out->content = json_string_value(content);
    out->len = json_string_length(content);
    QL_TRY(ql_json_get_bool(o, what, "special", &out->special));
    QL_TRY(ql_json_get_bool(o, what, "normalized", &out->normalized));
    QL_TRY(ql_json_get_bool(o, what, "single_word", &out->single_word));
    QL_TRY(ql_json_get_bool(o, what, "lstrip", &out->lstrip));
    return ql_json_get_bool(o, what, "rstrip", &out->rstrip);
}

static ql_status load_added(ql_tokenizer *t, const json_t *root, const char *what) {
    const json_t *list = json_object_get(root, "added_tokens");
    if (!list || json_is_null(list)) return QL_OK;
    if (!json_is_array(list)) {
        return QL_FAIL(QL_ERR_FORMAT, "%s: 'added_tokens' must be an array", what);
    }
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *o = json_array_get(list, i);
        ql_added_spec spec = {.id = -1};
        QL_TRY(ql_added_spec_read(o, what, &spec));
        QL_TRY(ql_json_get_i64(o, what, "id", 0, QL_VOCAB_MAX - 1, &spec.id));
        QL_TRY(ql_tokenizer_add(t, &spec, what));
    }
    return QL_OK;
}

ql_status ql_tokenizer_load_root(ql_tokenizer *t, const json_t *root, const char *what) {
    if (!json_is_object(root)) { return QL_FAIL(QL_ERR_FORMAT, "%s: expected an object", what); }
    QL_TRY(ql_tokenizer_load_model(t, root, what));
    QL_TRY(ql_tokenizer_load_normalizer(t, root, what)); /* added tokens may be normalized */
    QL_TRY(load_added(t, root, what));
    QL_TRY(ql_tokenizer_load_pretok(t, root, what));
    QL_TRY(ql_tokenizer_load_decoder(t, root, what));
    return ql_tokenizer_load_postprocessor(t, root, what);
}

ql_status ql_tokenizer_load_json(ql_tokenizer *t, const char *path) {
    json_t *root;
    QL_TRY(ql_json_read(path, &root));
    ql_status st = ql_tokenizer_load_root(t, root, path);
    json_decref(root);
    return st;
}
