/*
 * template_choose.c - which template a model's conversations go through.
 */
#include <string.h>

#include "core/base/fs.h"
#include "core/base/hostmem.h"
#include "core/data/template_internal.h"

static bool names_file(const char *name) {
    size_t n = strlen(name);
    return n > 6 && strcmp(name + n - 6, ".jinja") == 0;
}

static ql_status from_file(const char *path, const json_t *kwargs, const ql_tokenizer *tok,
                           const ql_template **out) {
    char *text;
    size_t len;
    ql_template *made = NULL;
    QL_TRY(ql_file_read(path, QL_JINJA_MAX_BYTES, &text, &len));
    ql_status s = ql_template_open(path, text, len, kwargs, tok, &made);
    ql_host_free(text);
    if (s == QL_OK) *out = made;
    return s;
}

static ql_status from_model(const json_t *kwargs, const ql_tokenizer *tok,
                            const ql_template **out) {
    const char *text = tok ? ql_tokenizer_chat_template(tok) : NULL;
    ql_template *made = NULL;
    *out = NULL;
    if (!text) return QL_OK;
    ql_status s = ql_template_open("own", text, strlen(text), kwargs, tok, &made);
    if (s == QL_OK) *out = made;
    return s;
}

ql_status ql_template_choose(const char *name, const json_t *kwargs, const ql_tokenizer *tok,
                             const ql_template **out) {
    *out = NULL;
    if (!name || strcmp(name, "own") == 0) {
        QL_TRY(from_model(kwargs, tok, out));
        if (*out || !name) return QL_OK;
        return QL_FAIL(QL_ERR_INVALID, "chat_template own: the model has no chat template");
    }
    if (strcmp(name, "none") == 0 || strcmp(name, "plain") == 0) return QL_OK;
    if (names_file(name)) return from_file(name, kwargs, tok, out);
    *out = ql_template_find(name);
    if (*out && kwargs && json_object_size(kwargs)) {
        *out = NULL;
        return QL_FAIL(QL_ERR_INVALID,
                       "chat_template_kwargs: template '%s' takes no variables, only the model's "
                       "own template or a file .jinja does",
                       name);
    }
    if (*out) return QL_OK;
    return QL_FAIL(QL_ERR_INVALID,
                   "chat_template takes one of %s, none, own or a file .jinja; not '%.64s'",
                   ql_template_names(), name);
}
