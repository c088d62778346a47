/* prompt.c - see prompt.h. */
#include "tools/prompt.h"

#include <string.h>

#include "core/base/hostmem.h"

static const char *piece(const ql_tokenizer *tok, int32_t id) {
    const char *text = tok && id >= 0 ? ql_tokenizer_piece(tok, id) : NULL;
    return text ? text : "";
}

const char *ql_prompt_bos(const ql_tokenizer *tok) {
    return piece(tok, tok ? ql_tokenizer_bos(tok) : -1);
}

const char *ql_prompt_eos(const ql_tokenizer *tok) {
    return piece(tok, tok ? ql_tokenizer_eos(tok) : -1);
}

static ql_status from_chat(const ql_prompter *p, ql_chat *chat, ql_ids *ids) {
    ql_rendered r;
    chat->add_generation_prompt = true;
    chat->answers = QL_ANSWERS_NONE;
    QL_TRY(ql_template_render_chat(p->chat, chat, &r));
    ql_status s = ql_rendered_encode(&r, p->tok, ids, NULL);
    ql_rendered_free(&r);
    return s;
}

ql_status ql_prompt_text(const ql_prompter *p, const char *text, size_t len, ql_ids *ids) {
    if (!p->tok) return QL_FAIL(QL_ERR_INVALID, "a prompt in words needs a tokenizer");
    if (!p->chat) {
        return ql_tokenizer_encode(p->tok, text, len,
                                   QL_ENCODE_ADD_SPECIAL | QL_ENCODE_PARSE_SPECIAL, ids);
    }
    ql_message m[2];
    size_t n = 0;
    if (p->system) m[n++] = QL_MESSAGE("system", p->system, strlen(p->system));
    m[n++] = QL_MESSAGE("user", text, len);
    ql_chat chat = {
        .messages = m, .n = n, .bos = ql_prompt_bos(p->tok), .eos = ql_prompt_eos(p->tok)};
    return from_chat(p, &chat, ids);
}

static ql_status read_messages(const json_t *list, const char *where, ql_message *m) {
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *x = json_array_get(list, i);
        const json_t *role = json_object_get(x, "role"), *text = json_object_get(x, "content");
        if (!json_is_string(role) || !(json_is_string(text) || ql_message_says_more(x))) {
            return QL_FAIL(QL_ERR_FORMAT, "%s: message %zu needs the strings 'role' and 'content'",
                           where, i + 1);
        }
        bool words = json_is_string(text);
        m[i] = QL_MESSAGE(json_string_value(role), words ? json_string_value(text) : "",
                          words ? json_string_length(text) : 0);
        m[i].object = x;
    }
    return QL_OK;
}

ql_status ql_prompt_chat(const json_t *row, const char *where, const ql_tokenizer *tok,
                         ql_message **messages, ql_chat *out) {
    const json_t *list = json_object_get(row, "messages");
    size_t n = json_is_array(list) ? json_array_size(list) : 0;
    if (!n) return QL_FAIL(QL_ERR_FORMAT, "%s: 'messages' must be a list of messages", where);
    ql_message *m = ql_host_calloc(n, sizeof *m);
    if (!m) return QL_NOMEM("messages");
    ql_status s = read_messages(list, where, m);
    if (s != QL_OK) {
        ql_host_free(m);
        return s;
    }
    const json_t *tools = json_object_get(row, "tools"), *docs = json_object_get(row, "documents");
    *messages = m;
    *out = (ql_chat){.messages = m,
                     .n = n,
                     .tools = json_array_size(tools) ? tools : NULL,
                     .documents = json_array_size(docs) ? docs : NULL,
                     .bos = ql_prompt_bos(tok),
                     .eos = ql_prompt_eos(tok)};
    return QL_OK;
}

static ql_status push_ids(const json_t *list, const char *where, ql_ids *ids) {
    size_t n = json_array_size(list);
    QL_TRY(ql_host_grow((void **)&ids->ids, &ids->cap, ids->n + n, sizeof *ids->ids));
    for (size_t i = 0; i < n; i++) {
        const json_t *x = json_array_get(list, i);
        json_int_t id = json_is_integer(x) ? json_integer_value(x) : -1;
        if (id < 0 || id > INT32_MAX) {
            return QL_FAIL(QL_ERR_FORMAT, "%s: item %zu of 'ids' is no token id", where, i + 1);
        }
        ids->ids[ids->n++] = (int32_t)id;
    }
    return QL_OK;
}

ql_status ql_prompt_row(const ql_prompter *p, const json_t *row, const char *where, ql_ids *ids) {
    const json_t *list = json_object_get(row, "ids"), *text = json_object_get(row, "prompt");
    if (json_is_array(list)) return push_ids(list, where, ids);
    if (json_is_string(text))
        return ql_prompt_text(p, json_string_value(text), json_string_length(text), ids);
    if (!p->chat) {
        return QL_FAIL(QL_ERR_FORMAT,
                       "%s: needs 'prompt' or 'ids' ('messages' need --chat_template)", where);
    }
    ql_message *m;
    ql_chat chat;
    QL_TRY(ql_prompt_chat(row, where, p->tok, &m, &chat));
    ql_status s = from_chat(p, &chat, ids);
    ql_host_free(m);
    return s;
}

static void add_stop(ql_stops *s, int32_t id) {
    bool room = s->n < (int32_t)(sizeof s->ids / sizeof *s->ids);
    if (id >= 0 && room && !ql_stops_have(s, id)) s->ids[s->n++] = id;
}

void ql_stops_find(const ql_arch *arch, const ql_prompter *p, ql_stops *out) {
    *out = (ql_stops){.n = 0};
    for (int32_t i = 0; i < arch->n_eos; i++) add_stop(out, arch->eos[i]);
    if (!p->tok) return;
    add_stop(out, ql_tokenizer_eos(p->tok));
    const char *stop = p->chat ? ql_template_stop(p->chat) : "";
    if (*stop) add_stop(out, ql_tokenizer_id(p->tok, stop));
}

bool ql_stops_have(const ql_stops *s, int32_t id) {
    for (int32_t i = 0; i < s->n; i++)
        if (s->ids[i] == id) return true;
    return false;
}
