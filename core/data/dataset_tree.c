/*
 * dataset_tree.c - OASST1: a tree of messages to the conversation of its best answers; the flat
 * form of the Guanaco set to one text.
 *
 * The path begins at the prompt and takes the reply of the lowest rank, unranked ones last; deleted
 * replies do not count. What a user said last without an answer is left out.
 */
#include <string.h>

#include "core/base/hostmem.h"
#include "core/base/json.h"
#include "core/data/dataset_internal.h"

/* "prompter" and "assistant" to the roles of templates; NULL = another. */
static const char *role_of(const char *name) {
    if (strcmp(name, "prompter") == 0) return "user";
    return strcmp(name, "assistant") == 0 ? name : NULL;
}

static double rank_of(const json_t *node) {
    const json_t *rank = json_object_get(node, "rank");
    return json_is_number(rank) ? json_number_value(rank) : 1e300;
}

static const json_t *best_reply(const json_t *node) {
    const json_t *list = json_object_get(node, "replies"), *best = NULL;
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *r = json_array_get(list, i);
        if (!json_is_object(r) || json_is_true(json_object_get(r, "deleted"))) continue;
        if (!best || rank_of(r) < rank_of(best)) best = r;
    }
    return best;
}

static ql_status add_node(const json_t *node, const char *where, ql_row_memory *m, ql_row *out) {
    const char *named, *text;
    size_t len;
    QL_TRY(ql_row_string(node, where, "role", &named, &len));
    const char *role = role_of(named);
    if (!role) {
        return QL_REFUSE(QL_PROBLEM_ROLE, "%s: a message of '%s', expected prompter or assistant",
                         where, named);
    }
    QL_TRY(ql_row_string(node, where, "text", &text, &len));
    if (strcmp(role, "assistant") == 0) QL_TRY(ql_row_need_answer(where, "text", text, len));
    return ql_row_add_message(m, out, &QL_MESSAGE(role, text, len));
}

/* "### Human: ...### Assistant: ..." as the Guanaco set has it, all of it learned. */
static ql_status join_turns(ql_row_memory *m, ql_row *out) {
    static const char *const HUMAN = "### Human: ", *const ASSISTANT = "### Assistant: ";
    size_t size = 1, used = 0;
    for (size_t i = 0; i < out->n_messages; i++)
        size += strlen(ASSISTANT) + out->messages[i].content_len;
    QL_TRY(ql_row_buffer(m, size));
    for (size_t i = 0; i < out->n_messages; i++) {
        const ql_message *t = &out->messages[i];
        const char *mark = strcmp(t->role, "user") == 0 ? HUMAN : ASSISTANT;
        memcpy(m->text + used, mark, strlen(mark));
        used += strlen(mark);
        memcpy(m->text + used, t->content, t->content_len);
        used += t->content_len;
    }
    *out = (ql_row){.target = m->text, .target_len = used};
    return QL_OK;
}

static ql_status read_tree(const json_t *row, const char *where, const ql_dataset_opts *o,
                           ql_row_memory *m, ql_row *out) {
    const json_t *node = json_object_get(row, "prompt");
    if (!json_is_object(node)) {
        return QL_REFUSE(QL_PROBLEM_TYPE, "%s: 'prompt' must be a message with its replies", where);
    }
    for (; node; node = best_reply(node)) QL_TRY(add_node(node, where, m, out));
    while (out->n_messages && strcmp(out->messages[out->n_messages - 1].role, "assistant") != 0)
        out->n_messages--;
    if (out->n_messages == 0) {
        return QL_REFUSE(QL_PROBLEM_NO_ANSWER,
                         "%s: nobody answers the prompt, so the row teaches nothing: remove it",
                         where);
    }
    return o->chat && o->task == QL_TASK_CAUSAL ? QL_OK : join_turns(m, out);
}

ql_status ql_row_read_oasst1(const json_t *row, const char *where, const ql_dataset_opts *o,
                             ql_row_memory *m, ql_row *out) {
    if (json_is_string(json_object_get(row, "text"))) return ql_row_all(row, where, "text", out);
    return read_tree(row, where, o, m, out);
}
