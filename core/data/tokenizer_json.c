/*
 * tokenizer_json.c - tokenizer.json: the BPE model, its merges and the added tokens.
 *
 * 'truncation' and 'padding' are not read: cutting and padding belong to the batch.
 */
#include <string.h>

#include "core/base/json.h"
#include "core/data/tokenizer_impl.h"

/* ----------------------------------------------------------------------- model */

static ql_status load_vocab(ql_tokenizer *t, json_t *model, const char *what) {
    json_t *vocab = json_object_get(model, "vocab");
    if (!json_is_object(vocab) || json_object_size(vocab) == 0) {
        return QL_FAIL(QL_ERR_FORMAT, "%s: 'vocab' of the model must be an object of token: id",
                       what);
    }
    const char *key;
    json_t *id;
    json_object_foreach(vocab, key, id) {
        if (!json_is_integer(id)) {
            return QL_FAIL(QL_ERR_FORMAT, "%s: the id of token '%s' must be an integer", what, key);
        }
        QL_TRY(ql_vocab_add(&t->vocab, key, strlen(key), json_integer_value(id), what));
    }
    return QL_OK;
}

/* "left right" or ["left", "right"]. */
static ql_status read_merge(const json_t *m, size_t rank, const char *what, ql_merge_names *out) {
    const json_t *l = json_array_get(m, 0), *r = json_array_get(m, 1);
    if (json_array_size(m) == 2 && json_is_string(l) && json_is_string(r)) {
        *out = (ql_merge_names){json_string_value(l), json_string_value(r), json_string_length(l),
                                json_string_length(r)};
        return QL_OK;
    }
    const char *s = json_string_value(m);
    const char *space = s ? strchr(s, ' ') : NULL;
    if (!space || strchr(space + 1, ' ')) {
        return QL_FAIL(QL_ERR_FORMAT,
                       "%s: merge %zu must be two tokens with one space between "
                       "them, or an array of two strings",
                       what, rank);
    }
    *out = (ql_merge_names){s, space + 1, (size_t)(space - s), strlen(space + 1)};
    return QL_OK;
}

static ql_status load_merges(ql_tokenizer *t, const json_t *model, const char *what) {
    const json_t *merges = json_object_get(model, "merges");
    if (!json_is_array(merges)) {
        return QL_FAIL(QL_ERR_FORMAT, "%s: 'merges' of the model must be an array", what);
    }
    QL_TRY(ql_bpe_reserve(&t->bpe, json_array_size(merges)));
    ql_text joined = {0};
    ql_status st = QL_OK;
    for (size_t i = 0; i < json_array_size(merges) && st == QL_OK; i++) {
        ql_merge_names names = {0};
        st = read_merge(json_array_get(merges, i), i, what, &names);
        if (st == QL_OK) st = ql_bpe_add_merge(&t->bpe, &t->vocab, i, &names, &joined, what);
    }
    ql_text_free(&joined);
    return st;
}

/* Options of BPE that change the result and are not supported. */
static ql_status refuse_options(const json_t *model, const char *what) {
    double dropout = 0;
    const char *affixes[] = {"continuing_subword_prefix", "end_of_word_suffix"};
    QL_TRY(ql_json_get_f64(model, what, "dropout", 0, 1, &dropout));
    if (dropout > 0) {
        return QL_FAIL(QL_ERR_UNSUPPORTED, "%s: BPE dropout %g is not supported, expected null",
                       what, dropout);
    }
    for (size_t i = 0; i < sizeof affixes / sizeof *affixes; i++) {
        const char *s = "";
        QL_TRY(ql_json_get_str(model, what, affixes[i], &s));
        if (*s) {
            return QL_FAIL(QL_ERR_UNSUPPORTED, "%s: '%s' is '%s', only null is supported", what,
                           affixes[i], s);
        }
    }
    return QL_OK;
}

static ql_status load_model(ql_tokenizer *t, const json_t *root, const char *what) {
    json_t *model = json_object_get(root, "model");
    if (!json_is_object(model)) {
        return QL_FAIL(QL_ERR_FORMAT, "%s: 'model' must be an object", what);
    }
    const char *type = ql_json_has(model, "merges") ? "BPE" : "without a type";
    QL_TRY(ql_json_get_str(model, what, "type", &type));
    if (strcmp(type, "BPE") != 0) {
        return QL_FAIL(QL_ERR_UNSUPPORTED, "%s: model '%s' is not supported, only BPE is", what,
                       type);
    }
    QL_TRY(refuse_options(model, what));
    QL_TRY(ql_json_get_bool(model, what, "byte_fallback", &t->bpe.byte_fallback));
    QL_TRY(ql_json_get_bool(model, what, "fuse_unk", &t->bpe.fuse_unk));
    QL_TRY(ql_json_get_bool(model, what, "ignore_merges", &t->bpe.ignore_merges));
    QL_TRY(load_vocab(t, model, what));
    QL_TRY(load_merges(t, model, what));
    const char *unk = NULL;
    QL_TRY(ql_json_get_str(model, what, "unk_token", &unk));
    if (!unk) return QL_OK;
    t->bpe.unk_id = ql_tokenizer_id(t, unk);
    if (t->bpe.unk_id >= 0) return QL_OK;
    return QL_FAIL(QL_ERR_FORMAT, "%s: unk_token '%s' is not in the vocabulary", what, unk);
}

/* ---------------------------------------------------------------- added tokens */

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

static ql_status load_root(ql_tokenizer *t, const json_t *root, const char *what) {
    if (!json_is_object(root)) { return QL_FAIL(QL_ERR_FORMAT, "%s: expected an object", what); }
    QL_TRY(load_model(t, root, what));
    QL_TRY(ql_tokenizer_load_normalizer(t, root, what)); /* added tokens may be normalized */
    QL_TRY(load_added(t, root, what));
    QL_TRY(ql_tokenizer_load_pretok(t, root, what));
    QL_TRY(ql_tokenizer_load_decoder(t, root, what));
    return ql_tokenizer_load_postprocessor(t, root, what);
}

ql_status ql_tokenizer_load_json(ql_tokenizer *t, const char *path) {
    json_t *root;
    QL_TRY(ql_json_read(path, &root));
    ql_status st = load_root(t, root, path);
    json_decref(root);
    return st;
}
