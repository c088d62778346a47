/*
 * template_render.c - messages to text and spans by a template's description; the Alpaca prompt.
 *
 * Text grows in one buffer and spans in another. Neighbouring text of the same kind is one span, so
 * contents and the words of the template around them are tokenized together, as transformers does.
 */
#include <string.h>

#include "core/base/hostmem.h"
#include "core/data/space.h"
#include "core/data/template_internal.h"

void ql_rendered_free(ql_rendered *r) {
    if (!r) return;
    ql_host_free(r->text);
    ql_host_free(r->spans);
    *r = (ql_rendered){0};
}

ql_status ql_span_put(ql_span_writer *w, const char *s, size_t len, size_t turn, bool mark) {
    if (len == 0) return QL_OK;
    QL_TRY(ql_host_grow((void **)&w->r.text, &w->text_cap, w->r.len + len + 1, 1));
    QL_TRY(ql_host_grow((void **)&w->r.spans, &w->span_cap, w->r.n_spans + 1, sizeof(ql_span)));
    memcpy(w->r.text + w->r.len, s, len);
    ql_span *next = w->r.spans + w->r.n_spans;
    if (w->r.n_spans && !mark && !next[-1].mark && next[-1].turn == turn) {
        next[-1].end += len;
    } else {
        *next = (ql_span){w->r.len, w->r.len + len, turn, mark};
        w->r.n_spans++;
    }
    w->r.len += len;
    w->r.text[w->r.len] = '\0';
    return QL_OK;
}

/* Writes one of the template's own texts, in which bytes 1 to 4 are markup. */
static ql_status put_markup(ql_span_writer *w, const char *s, size_t turn) {
    while (s && *s) {
        size_t len = strcspn(s, "\1\2\3\4");
        QL_TRY(ql_span_put(w, s, len, turn, false));
        s += len;
        if (*s == MARK_BEGIN) {
            size_t mark = strcspn(s + 1, "\2");
            QL_TRY(ql_span_put(w, s + 1, mark, turn, true));
            s += mark + 2;
        } else if (*s == BOS_CODE || *s == EOS_CODE) {
            const char *token = *s == BOS_CODE ? w->bos : w->eos;
            QL_TRY(ql_span_put(w, token, strlen(token), turn, true));
            s++;
        }
    }
    return QL_OK;
}

enum { TRIM_LEFT = 1, TRIM_RIGHT = 2 };

static ql_status put_content(ql_span_writer *w, const ql_message *m, size_t turn, unsigned trim) {
    const char *s = m->content;
    size_t len = m->content_len;
    for (size_t n; (trim & TRIM_LEFT) && (n = ql_space_at(s, len)) > 0; len -= n) s += n;
    for (size_t n; (trim & TRIM_RIGHT) && (n = ql_space_before(s, len)) > 0;) len -= n;
    return ql_span_put(w, s, len, turn, false);
}

static unsigned trim_of(const ql_template *t) {
    return t->flags & TRIM_CONTENTS ? TRIM_LEFT | TRIM_RIGHT : 0;
}

static ql_status put_system(ql_span_writer *w, const ql_template *t, const ql_message *m,
                            unsigned trim) {
    QL_TRY(put_markup(w, t->system[0], 0));
    QL_TRY(put_content(w, m, 0, trim));
    return put_markup(w, t->system[1], 0);
}

/* `folded`: the system message that belongs inside this turn, or NULL. It is kept as it is; the
 * user's text then follows the system block, so only its right end is trimmed. */
static ql_status put_user(ql_span_writer *w, const ql_template *t, const ql_message *m,
                          const ql_message *folded) {
    unsigned trim = trim_of(t);
    QL_TRY(put_markup(w, t->user[0], 0));
    if (folded) {
        QL_TRY(put_system(w, t, folded, 0));
        trim &= ~(unsigned)TRIM_LEFT;
    }
    QL_TRY(put_content(w, m, 0, trim));
    return put_markup(w, t->user[1], 0);
}

/* `turn`: the number of this message, from 1. */
static ql_status put_assistant(ql_span_writer *w, const ql_template *t, const ql_message *m,
                               size_t turn) {
    QL_TRY(put_markup(w, t->assistant, 0));
    QL_TRY(put_markup(w, t->lead, turn));
    QL_TRY(put_content(w, m, turn, trim_of(t)));
    QL_TRY(put_markup(w, t->tail, turn));
    return put_markup(w, t->after, 0);
}

bool ql_message_says_more(const json_t *message) {
    return json_array_size(json_object_get(message, "tool_calls")) > 0 ||
           json_array_size(json_object_get(message, "content")) > 0 ||
           json_is_string(json_object_get(message, "reasoning_content"));
}

/* Refuses what the template has no place for; `turn` counts messages after a leading system. */
static ql_status check_message(const ql_template *t, const ql_message *m, size_t i, size_t turn) {
    bool system = strcmp(m->role, "system") == 0, user = strcmp(m->role, "user") == 0;
    if (!system && !user && strcmp(m->role, "assistant") != 0) {
        return QL_FAIL(QL_ERR_FORMAT,
                       "message %zu: role '%s' is not known, template '%s' takes system, user and "
                       "assistant",
                       i + 1, m->role, t->name);
    }
    if (m->object && ql_message_says_more(m->object)) {
        return QL_FAIL(QL_ERR_FORMAT,
                       "message %zu holds tool calls, reasoning or content parts and template '%s' "
                       "writes texts only: use the model's own template",
                       i + 1, t->name);
    }
    if (system && !t->system[0]) {
        return QL_FAIL(
            QL_ERR_FORMAT,
            "message %zu: template '%s' has no system turn, put that text into the first "
            "user message",
            i + 1, t->name);
    }
    if (system && i > 0 && !(t->flags & SYSTEM_ANYWHERE)) {
        return QL_FAIL(QL_ERR_FORMAT, "message %zu: template '%s' takes a system turn only first",
                       i + 1, t->name);
    }
    if (!system && (t->flags & MUST_ALTERNATE) && user != (turn % 2 == 0)) {
        return QL_FAIL(QL_ERR_FORMAT,
                       "message %zu: role '%s' where template '%s' needs '%s' (roles alternate, "
                       "starting with user)",
                       i + 1, m->role, t->name, user ? "assistant" : "user");
    }
    return QL_OK;
}

static ql_status put_messages(ql_span_writer *w, const ql_template *t, const ql_message *m,
                              size_t n) {
    const ql_message *folded = NULL;
    size_t turn = 0;
    QL_TRY(put_markup(w, t->start, 0));
    if (t->default_system && strcmp(m[0].role, "system") != 0) {
        ql_message text = QL_MESSAGE("system", t->default_system, strlen(t->default_system));
        QL_TRY(put_system(w, t, &text, 0));
    }
    for (size_t i = 0; i < n; i++) {
        QL_TRY(check_message(t, &m[i], i, turn));
        if (strcmp(m[i].role, "system") == 0) {
            if (t->flags & FOLD_SYSTEM) {
                folded = &m[i];
            } else {
                QL_TRY(put_system(w, t, &m[i], trim_of(t)));
            }
            continue;
        }
        if (strcmp(m[i].role, "user") == 0) {
            QL_TRY(put_user(w, t, &m[i], folded));
            folded = NULL;
        } else {
            QL_TRY(put_assistant(w, t, &m[i], i + 1));
        }
        turn++;
    }
    return QL_OK;
}

static ql_status render_named(const ql_template *t, const ql_chat *c, ql_rendered *out) {
    const ql_message *m = c->messages;
    if (c->n == 1 && (t->flags & FOLD_SYSTEM) && strcmp(m[0].role, "system") == 0) {
        return QL_FAIL(QL_ERR_FORMAT, "template '%s' needs a user message after the system text",
                       t->name);
    }
    if (json_array_size(c->tools) || json_array_size(c->documents)) {
        return QL_FAIL(QL_ERR_FORMAT,
                       "template '%s' writes no tools or documents: use the model's own template",
                       t->name);
    }
    ql_span_writer w = {.bos = c->bos, .eos = c->eos};
    ql_status s = put_messages(&w, t, m, c->n);
    if (s == QL_OK && (c->add_generation_prompt || (t->flags & ALWAYS_PROMPT))) {
        s = put_markup(&w, t->prompt, 0);
    }
    if (s != QL_OK) {
        ql_rendered_free(&w.r);
        return s;
    }
    w.r.closed = t->tail[0] != '\0';
    *out = w.r;
    return QL_OK;
}

ql_status ql_template_render_chat(const ql_template *t, const ql_chat *chat, ql_rendered *out) {
    if (chat->n == 0) return QL_FAIL(QL_ERR_FORMAT, "the conversation holds no message");
    return t->own ? ql_own_render(t->own, chat, out) : render_named(t, chat, out);
}

ql_status ql_template_render(const ql_template *t, const ql_message *m, size_t n,
                             bool add_generation_prompt, const char *bos, const char *eos,
                             ql_rendered *out) {
    const ql_chat chat = {.messages = m,
                          .n = n,
                          .add_generation_prompt = add_generation_prompt,
                          .bos = bos,
                          .eos = eos,
                          .answers = add_generation_prompt ? QL_ANSWERS_NONE : QL_ANSWERS_ALL};
    return ql_template_render_chat(t, &chat, out);
}

ql_status ql_alpaca_prompt(const char *instruction, const char *input, bool qlora_ending,
                           char **out) {
    const char *parts[] = {
        "Below is an instruction that describes a task",
        *input ? ", paired with an input that provides further context" : "",
        ". Write a response that appropriately completes the request.\n\n### Instruction:\n",
        instruction,
        *input ? "\n\n### Input:\n" : "",
        input,
        "\n\n### Response:",
        qlora_ending ? " " : "",
    };
    ql_span_writer w = {0};
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        ql_status s = ql_span_put(&w, parts[i], strlen(parts[i]), 0, false);
        if (s != QL_OK) {
            ql_rendered_free(&w.r);
            return s;
        }
    }
    ql_host_free(w.r.spans);
    *out = w.r.text;
    return QL_OK;
}
