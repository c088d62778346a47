/*
 * dataset_row.c - one JSON object to messages or to a (source, target) pair: conversations,
 * completions, Alpaca, and what the readers of the other formats are made of.
 *
 * Nothing is guessed: a missing key, a wrong type, an unknown role or an empty answer is refused
 * with a sentence that names file and row.
 */
#include <stdio.h>
#include <string.h>

#include "core/base/hostmem.h"
#include "core/base/json.h"
#include "core/data/dataset_internal.h"

void ql_row_memory_free(ql_row_memory *m) {
    ql_host_free(m->messages);
    ql_host_free(m->text);
    *m = (ql_row_memory){0};
}

ql_status ql_row_buffer(ql_row_memory *m, size_t size) {
    ql_host_free(m->text);
    m->text = ql_host_calloc(size, 1);
    return m->text ? QL_OK : QL_NOMEM("a row's text");
}

static bool blank(const char *s, size_t len) {
    for (size_t i = 0; i < len; i++) {
        if (!strchr(" \t\r\n\v\f", s[i]) || s[i] == '\0') return false;
    }
    return true;
}

ql_status ql_row_string(const json_t *o, const char *where, const char *key, const char **out,
                        size_t *len) {
    const json_t *v = json_object_get(o, key);
    if (!v || json_is_null(v)) {
        return QL_REFUSE(QL_PROBLEM_MISSING_KEY, "%s: the key '%s' is missing", where, key);
    }
    if (!json_is_string(v)) {
        return QL_REFUSE(QL_PROBLEM_TYPE, "%s: '%s' must be a string", where, key);
    }
    *out = json_string_value(v);
    *len = json_string_length(v);
    return QL_OK;
}

ql_status ql_row_need_answer(const char *where, const char *key, const char *text, size_t len) {
    if (!blank(text, len)) return QL_OK;
    return QL_REFUSE(
        QL_PROBLEM_EMPTY_ANSWER,
        "%s: the answer '%s' is empty, so the row teaches nothing: remove the row or fill it",
        where, key);
}

static ql_status need_answer(const json_t *o, const char *where, const char *key, const char **out,
                             size_t *len) {
    QL_TRY(ql_row_string(o, where, key, out, len));
    return ql_row_need_answer(where, key, *out, *len);
}

ql_status ql_row_all(const json_t *row, const char *where, const char *key, ql_row *out) {
    return need_answer(row, where, key, &out->target, &out->target_len);
}

ql_status ql_row_add_message(ql_row_memory *m, ql_row *out, const ql_message *message) {
    QL_TRY(ql_host_grow((void **)&m->messages, &m->cap, out->n_messages + 1, sizeof(ql_message)));
    m->messages[out->n_messages++] = *message;
    out->messages = m->messages;
    return QL_OK;
}

/* Role names of sharegpt files; NULL = unknown. */
static const char *sharegpt_role(const char *from) {
    static const char *const PAIRS[][2] = {
        {"human", "user"},          {"user", "user"},     {"gpt", "assistant"},
        {"assistant", "assistant"}, {"system", "system"},
    };
    for (size_t i = 0; i < sizeof PAIRS / sizeof PAIRS[0]; i++) {
        if (strcmp(from, PAIRS[i][0]) == 0) return PAIRS[i][1];
    }
    return NULL;
}

/* What a message says about its place in the loss: {"weight": w} or {"train": false}. */
static ql_status read_weight(const json_t *item, const char *where, size_t index, ql_message *m) {
    char what[QL_WHERE_MAX + 32];
    bool train = true;
    double weight = 1;
    (void)snprintf(what, sizeof what, "%s: message %zu", where, index + 1);
    QL_TRY(ql_json_get_bool(item, what, "train", &train));
    QL_TRY(ql_json_get_f64(item, what, "weight", 0, 1e4, &weight));
    if (ql_json_has(item, "train") && ql_json_has(item, "weight") && train != (weight != 0)) {
        return QL_FAIL(QL_ERR_FORMAT, "%s: 'train' says %s and 'weight' %g: give one of them", what,
                       train ? "true" : "false", weight);
    }
    m->weighted = !train || weight != 1;
    m->weight = train ? (float)weight : 0.0f;
    return QL_OK;
}

/* The text of a message; "" where it says something else instead. An answer that is learned must
 * say something. */
static ql_status read_content(const json_t *item, const char *where, const char *key,
                              ql_message *m) {
    bool more = m->object && ql_message_says_more(m->object);
    if (more && !json_is_string(json_object_get(item, key))) {
        m->content = "";
        return QL_OK;
    }
    bool learned = strcmp(m->role, "assistant") == 0 && !(m->weighted && m->weight == 0);
    return learned && !more ? need_answer(item, where, key, &m->content, &m->content_len)
                            : ql_row_string(item, where, key, &m->content, &m->content_len);
}

static ql_status read_message(const json_t *item, const char *where, size_t index, ql_row_memory *m,
                              ql_row *out) {
    if (!json_is_object(item)) {
        return QL_REFUSE(QL_PROBLEM_TYPE, "%s: message %zu must be an object", where, index + 1);
    }
    bool sharegpt = ql_json_has(item, "from");
    const char *role, *named;
    size_t len;
    QL_TRY(ql_row_string(item, where, sharegpt ? "from" : "role", &named, &len));
    role = sharegpt ? sharegpt_role(named) : named;
    if (!role) {
        return QL_REFUSE(QL_PROBLEM_ROLE,
                         "%s: message %zu is from '%s', expected human, gpt or system", where,
                         index + 1, named);
    }
    ql_message made = {.role = role, .object = sharegpt ? NULL : item};
    QL_TRY(read_weight(item, where, index, &made));
    QL_TRY(read_content(item, where, sharegpt ? "value" : "content", &made));
    return ql_row_add_message(m, out, &made);
}

static ql_status read_list(const json_t *row, const char *where, const char *key,
                           const json_t **out) {
    const json_t *list = ql_json_has(row, key) ? json_object_get(row, key) : NULL;
    if (list && !json_is_array(list))
        return QL_REFUSE(QL_PROBLEM_TYPE, "%s: '%s' must be a list of objects", where, key);
    *out = json_array_size(list) ? list : NULL;
    return QL_OK;
}

static ql_status read_messages(const json_t *row, const char *where, ql_data_format format,
                               const ql_dataset_opts *o, ql_row_memory *m, ql_row *out) {
    const char *key = format == QL_DATA_MESSAGES ? "messages" : "conversations";
    const json_t *list = json_object_get(row, key);
    if (!json_is_array(list) || json_array_size(list) == 0) {
        return QL_REFUSE(json_is_array(list) ? QL_PROBLEM_NO_ANSWER : QL_PROBLEM_TYPE,
                         "%s: '%s' must be a list with at least one message", where, key);
    }
    if (!o->chat && !o->texts_only && o->task != QL_TASK_SEQ2SEQ) {
        return QL_REFUSE(
            QL_PROBLEM_TEMPLATE,
            "%s: conversations need a chat template and the model names none that this "
            "version knows: choose one with --chat_template (%s)",
            where, ql_template_names());
    }
    QL_TRY(read_list(row, where, "tools", &out->tools));
    QL_TRY(read_list(row, where, "documents", &out->documents));
    if (ql_json_has(row, "system")) {
        const char *text;
        size_t len;
        QL_TRY(ql_row_string(row, where, "system", &text, &len));
        QL_TRY(ql_row_add_message(m, out, &QL_MESSAGE("system", text, len)));
    }
    bool answered = false;
    for (size_t i = 0; i < json_array_size(list); i++) {
        QL_TRY(read_message(json_array_get(list, i), where, i, m, out));
        answered = answered || strcmp(m->messages[out->n_messages - 1].role, "assistant") == 0;
    }
    if (!answered) {
        return QL_REFUSE(
            QL_PROBLEM_NO_ANSWER,
            "%s: no message of an assistant, so the row teaches nothing: remove the row "
            "or add the answer",
            where);
    }
    return QL_OK;
}

ql_status ql_row_pair(const json_t *row, const char *where, const char *source_key,
                      const char *target_key, ql_row *out) {
    QL_TRY(ql_row_string(row, where, source_key, &out->source, &out->source_len));
    return need_answer(row, where, target_key, &out->target, &out->target_len);
}

ql_status ql_row_turns(ql_row_memory *m, ql_row *out) {
    QL_TRY(ql_row_add_message(m, out, &QL_MESSAGE("user", out->source, out->source_len)));
    return ql_row_add_message(m, out, &QL_MESSAGE("assistant", out->target, out->target_len));
}

static ql_status read_completion(const json_t *row, const char *where, const ql_dataset_opts *o,
                                 ql_row_memory *m, ql_row *out) {
    bool causal = o->task == QL_TASK_CAUSAL;
    if (causal && !ql_json_has(row, "prompt") && ql_json_has(row, "text")) {
        return ql_row_all(row, where, "text", out);
    }
    QL_TRY(ql_row_pair(row, where, "prompt", "completion", out));
    return o->chat && causal ? ql_row_turns(m, out) : QL_OK;
}

/* An encoder-decoder reads one question and writes one answer; there is no template. */
static ql_status one_turn(const char *where, ql_row *r) {
    const ql_message *m = r->messages;
    if (r->n_messages != 2 || strcmp(m[0].role, "user") != 0 ||
        strcmp(m[1].role, "assistant") != 0) {
        return QL_REFUSE(
            QL_PROBLEM_TURNS,
            "%s: an encoder-decoder takes one message of a user and one answer, this row "
            "has %zu messages",
            where, r->n_messages);
    }
    *r = (ql_row){.source = m[0].content,
                  .source_len = m[0].content_len,
                  .target = m[1].content,
                  .target_len = m[1].content_len};
    return QL_OK;
}

/* Instruction and input as one user message for a chat template; as the Alpaca text without a
 * template, and for the template of that name, which is the same text. An encoder-decoder gets the
 * two joined unless that template is asked for. */
static ql_status read_alpaca(const json_t *row, const char *where, const ql_dataset_opts *o,
                             ql_row_memory *m, ql_row *out) {
    const char *input = "";
    size_t len = 0;
    QL_TRY(ql_row_pair(row, where, "instruction", "output", out));
    if (ql_json_has(row, "input")) QL_TRY(ql_row_string(row, where, "input", &input, &len));
    bool causal = o->task == QL_TASK_CAUSAL;
    if (o->chat ? strcmp(ql_template_name(o->chat), "alpaca") == 0 : causal) {
        ql_host_free(m->text);
        m->text = NULL;
        QL_TRY(ql_alpaca_prompt(out->source, input, true, &m->text));
        out->source = m->text;
        out->source_len = strlen(m->text);
        return QL_OK;
    }
    if (len > 0) {
        size_t size = out->source_len + len + 3;
        QL_TRY(ql_row_buffer(m, size));
        (void)snprintf(m->text, size, "%s\n\n%s", out->source, input);
        out->source = m->text;
        out->source_len = size - 1;
    }
    return causal ? ql_row_turns(m, out) : QL_OK;
}

ql_status ql_row_read(const json_t *row, const char *where, ql_data_format format,
                      const ql_dataset_opts *o, ql_row_memory *m, ql_row *out) {
    *out = (ql_row){0};
    if (!json_is_object(row)) return ql_no_object(where);
    switch (format) {
    case QL_DATA_COMPLETION: return read_completion(row, where, o, m, out);
    case QL_DATA_ALPACA: return read_alpaca(row, where, o, m, out);
    case QL_DATA_MESSAGES:
    case QL_DATA_SHAREGPT:
        QL_TRY(read_messages(row, where, format, o, m, out));
        return o->task == QL_TASK_SEQ2SEQ ? one_turn(where, out) : QL_OK;
    case QL_DATA_OASST1: return ql_row_read_oasst1(row, where, o, m, out);
    case QL_DATA_INPUT_OUTPUT:
    case QL_DATA_SELF_INSTRUCT:
    case QL_DATA_UNNATURAL:
    case QL_DATA_HH_RLHF:
    case QL_DATA_CHIP2:
    case QL_DATA_FLAN:
    case QL_DATA_GSM8K:
    case QL_DATA_MMLU: return ql_row_read_pair(row, where, format, o, m, out);
    default:
        return QL_FAIL(QL_ERR_INVALID, "%s: format '%s' has no JSON rows", where,
                       ql_data_format_name(format));
    }
}
