/*
 * text.c - a model's tokenizer and chat template; text to ids and back.
 */
#include <stdio.h>
#include <string.h>

#include "core/api/api.h"
#include "core/base/hostmem.h"

ql_status ql_api_tokenizer(qlora_model *m, const ql_tokenizer **out) {
    if (!m->tok) QL_TRY(ql_tokenizer_open(m->tokenizer_path, &m->tok));
    *out = m->tok;
    return QL_OK;
}

ql_status ql_api_template(qlora_model *m, const char *name, const ql_template **out) {
    const ql_tokenizer *tok;
    QL_TRY(ql_api_tokenizer(m, &tok));
    *out = NULL;
    if (name && !ql_template_find(name) && strcmp(name, "none") != 0) {
        return QL_FAIL(QL_ERR_INVALID, "chat_template takes one of %s, none; not '%.64s'",
                       ql_template_names(), name);
    }
    if (name) return ql_template_choose(name, NULL, tok, out);
    if (!m->chat) {
        ql_status s = ql_template_choose(NULL, NULL, tok, &m->chat);
        char why[400];
        (void)snprintf(why, sizeof why, "%s", ql_last_error());
        if (s != QL_OK)
            return QL_FAIL(s, "%s: %s; choose chat_template among %s, none", m->tokenizer_path, why,
                           ql_template_names());
    }
    *out = m->chat;
    return QL_OK;
}

ql_status qlora_encode(qlora_model *m, const char *text, bool special, int32_t **ids, size_t *n) {
    NOT_NULL(m);
    NOT_NULL(text);
    NOT_NULL(ids);
    NOT_NULL(n);
    const ql_tokenizer *tok;
    ql_ids v = {0};
    QL_TRY(ql_api_tokenizer(m, &tok));
    unsigned flags = special ? QL_ENCODE_ADD_SPECIAL | QL_ENCODE_PARSE_SPECIAL : 0;
    ql_status s = ql_tokenizer_encode(tok, text, strlen(text), flags, &v);
    if (s != QL_OK) {
        ql_ids_free(&v);
        return s;
    }
    *ids = v.ids;
    *n = v.n;
    return QL_OK;
}

ql_status qlora_decode(qlora_model *m, const int32_t *ids, size_t n, bool keep_special,
                       char **text) {
    NOT_NULL(m);
    NOT_NULL(text);
    if (n) NOT_NULL(ids);
    const ql_tokenizer *tok;
    char *made = NULL;
    size_t len = 0;
    QL_TRY(ql_api_tokenizer(m, &tok));
    QL_TRY(ql_tokenizer_decode(tok, ids, n, !keep_special, &made, &len));
    *text = made;
    return QL_OK;
}
