/*
 * dataset_row.c - one JSON object to messages or to a (source, target) pair, for every format.
 *
 * Nothing is guessed: a missing key, a wrong type, an unknown role or an empty answer is refused
 * with a sentence that names file and row.
 */
#include <stdio.h>
#include <string.h>

#include "core/base/hostmem.h"
#include "core/base/json.h"
#include "core/data/dataset_internal.h"

static const char *const FORMAT_NAMES[QL_DATA_FORMAT_COUNT] = {
    [QL_DATA_AUTO] = "auto",
    [QL_DATA_TEXT] = "text",
    [QL_DATA_COMPLETION] = "completion",
    [QL_DATA_INPUT_OUTPUT] = "input-output",
    [QL_DATA_ALPACA] = "alpaca",
    [QL_DATA_MESSAGES] = "messages",
    [QL_DATA_SHAREGPT] = "sharegpt",
    [QL_DATA_TOKENS] = "tokens",
    [QL_DATA_CLASSIFICATION] = "classification",
};

const char *ql_data_format_name(ql_data_format f) {
    return (unsigned)f < QL_DATA_FORMAT_COUNT ? FORMAT_NAMES[f] : "unknown";
}

bool ql_data_format_find(const char *name, ql_data_format *out) {
    for (int i = 0; i < QL_DATA_FORMAT_COUNT; i++) {
        if (strcmp(name, FORMAT_NAMES[i]) == 0) {
            *out = (ql_data_format)i;
            return true;
        }
    }
    return false;
}

void ql_row_memory_free(ql_row_memory *m) {
    ql_host_free(m->messages);
    ql_host_free(m->text);
    *m = (ql_row_memory){0};
}

static ql_status unknown_shape(const json_t *row, const char *where) {
    char keys[160] = "";
    size_t used = 0;
    for (void *it = json_object_iter((json_t *)(uintptr_t)row); it && used < sizeof keys - 1;
         it = json_object_iter_next((json_t *)(uintptr_t)row, it)) {
        int n = snprintf(keys + used, sizeof keys - used, "%s%.40s", used ? ", " : "",
                         json_object_iter_key(it));
        used += n > 0 ? (size_t)n : 0;
    }
    return QL_FAIL(QL_ERR_FORMAT,
                   "%s: the keys (%s) fit no known format: expected messages, conversations, "
                   "instruction + output, prompt + completion, input + output, text, or input_ids; "
                   "rename the keys or name the format with --dataset_format",
                   where, keys[0] ? keys : "none");
}

/* Rows of classes have keys of many names; what is missing is said when they are read. */
static bool fits_task(ql_data_format f, bool pair, ql_task task) {
    switch (task) {
    case QL_TASK_CLASSIFY: return f == QL_DATA_TOKENS || f == QL_DATA_CLASSIFICATION;
    case QL_TASK_SEQ2SEQ: return pair && f != QL_DATA_CLASSIFICATION;
    case QL_TASK_CAUSAL: break;
    }
    return f != QL_DATA_CLASSIFICATION;
}

ql_status ql_row_detect(const json_t *row, const char *where, ql_task task, ql_data_format *out) {
    static const struct {
        const char *first, *second;
        ql_data_format format;
        bool pair; /* it has a source and a target */
    } SHAPES[] = {
        {"input_ids", NULL, QL_DATA_TOKENS, true},
        {"messages", NULL, QL_DATA_MESSAGES, true},
        {"conversations", NULL, QL_DATA_SHAREGPT, true},
        {"instruction", "output", QL_DATA_ALPACA, true},
        {"prompt", "completion", QL_DATA_COMPLETION, true},
        {"input", "output", QL_DATA_INPUT_OUTPUT, true},
        {"text", NULL, QL_DATA_COMPLETION, false},
        {NULL, NULL, QL_DATA_CLASSIFICATION, false},
    };
    if (!json_is_object(row)) return QL_FAIL(QL_ERR_FORMAT, "%s: a row must be an object", where);
    for (size_t i = 0; i < sizeof SHAPES / sizeof SHAPES[0]; i++) {
        if (!fits_task(SHAPES[i].format, SHAPES[i].pair, task)) continue;
        if (SHAPES[i].first && !ql_json_has(row, SHAPES[i].first)) continue;
        if (SHAPES[i].second && !ql_json_has(row, SHAPES[i].second)) continue;
        *out = SHAPES[i].format;
        return QL_OK;
    }
    return unknown_shape(row, where);
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
        return QL_FAIL(QL_ERR_FORMAT, "%s: the key '%s' is missing", where, key);
    }
    if (!json_is_string(v)) {
        return QL_FAIL(QL_ERR_FORMAT, "%s: '%s' must be a string", where, key);
    }
    *out = json_string_value(v);
    *len = json_string_length(v);
    return QL_OK;
}

static ql_status need_answer(const json_t *o, const char *where, const char *key, const char **out,
                             size_t *len) {
    QL_TRY(ql_row_string(o, where, key, out, len));
    if (blank(*out, *len)) {
        return QL_FAIL(
            QL_ERR_FORMAT,
            "%s: the answer '%s' is empty, so the row teaches nothing: remove the row or "
            "fill it",
            where, key);
    }
    return QL_OK;
}

static ql_status add_message(ql_row_memory *m, ql_row *out, const ql_message *message) {
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
        return QL_FAIL(QL_ERR_FORMAT, "%s: message %zu must be an object", where, index + 1);
    }
    bool sharegpt = ql_json_has(item, "from");
    const char *role, *named;
    size_t len;
    QL_TRY(ql_row_string(item, where, sharegpt ? "from" : "role", &named, &len));
    role = sharegpt ? sharegpt_role(named) : named;
    if (!role) {
        return QL_FAIL(QL_ERR_FORMAT, "%s: message %zu is from '%s', expected human, gpt or system",
                       where, index + 1, named);
    }
    ql_message made = {.role = role, .object = sharegpt ? NULL : item};
    QL_TRY(read_weight(item, where, index, &made));
    QL_TRY(read_content(item, where, sharegpt ? "value" : "content", &made));
    return add_message(m, out, &made);
}

static ql_status read_messages(const json_t *row, const char *where, ql_data_format format,
                               const ql_dataset_opts *o, ql_row_memory *m, ql_row *out) {
    const char *key = format == QL_DATA_MESSAGES ? "messages" : "conversations";
    const json_t *list = json_object_get(row, key);
    if (!json_is_array(list) || json_array_size(list) == 0) {
        return QL_FAIL(QL_ERR_FORMAT, "%s: '%s' must be a list with at least one message", where,
                       key);
    }
    if (!o->chat && o->task != QL_TASK_SEQ2SEQ) {
        return QL_FAIL(QL_ERR_FORMAT,
                       "%s: conversations need a chat template and the model names none that this "
                       "version knows: choose one with --chat_template (%s)",
                       where, ql_template_names());
    }
    if (ql_json_has(row, "system")) {
        const char *text;
        size_t len;
        QL_TRY(ql_row_string(row, where, "system", &text, &len));
        QL_TRY(add_message(m, out, &QL_MESSAGE("system", text, len)));
    }
    bool answered = false;
    for (size_t i = 0; i < json_array_size(list); i++) {
        QL_TRY(read_message(json_array_get(list, i), where, i, m, out));
        answered = answered || strcmp(m->messages[out->n_messages - 1].role, "assistant") == 0;
    }
    if (!answered) {
        return QL_FAIL(QL_ERR_FORMAT,
                       "%s: no message of an assistant, so the row teaches nothing: remove the row "
                       "or add the answer",
                       where);
    }
    return QL_OK;
}

static ql_status read_pair(const json_t *row, const char *where, const char *source_key,
                           const char *target_key, ql_row *out) {
    QL_TRY(ql_row_string(row, where, source_key, &out->source, &out->source_len));
    return need_answer(row, where, target_key, &out->target, &out->target_len);
}

static ql_status pair_to_messages(ql_row_memory *m, ql_row *out) {
    QL_TRY(add_message(m, out, &QL_MESSAGE("user", out->source, out->source_len)));
    return add_message(m, out, &QL_MESSAGE("assistant", out->target, out->target_len));
}

static ql_status read_completion(const json_t *row, const char *where, const ql_dataset_opts *o,
                                 ql_row_memory *m, ql_row *out) {
    bool causal = o->task == QL_TASK_CAUSAL;
    if (causal && !ql_json_has(row, "prompt") && ql_json_has(row, "text")) {
        return need_answer(row, where, "text", &out->target, &out->target_len);
    }
    QL_TRY(read_pair(row, where, "prompt", "completion", out));
    return o->chat && causal ? pair_to_messages(m, out) : QL_OK;
}

/* An encoder-decoder reads one question and writes one answer; there is no template. */
static ql_status one_turn(const char *where, ql_row *r) {
    const ql_message *m = r->messages;
    if (r->n_messages != 2 || strcmp(m[0].role, "user") != 0 ||
        strcmp(m[1].role, "assistant") != 0) {
        return QL_FAIL(
            QL_ERR_FORMAT,
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
    QL_TRY(read_pair(row, where, "instruction", "output", out));
    if (ql_json_has(row, "input")) QL_TRY(ql_row_string(row, where, "input", &input, &len));
    ql_host_free(m->text);
    m->text = NULL;
    bool causal = o->task == QL_TASK_CAUSAL;
    if (o->chat ? strcmp(ql_template_name(o->chat), "alpaca") == 0 : causal) {
        QL_TRY(ql_alpaca_prompt(out->source, input, true, &m->text));
        out->source = m->text;
        out->source_len = strlen(m->text);
        return QL_OK;
    }
    if (len > 0) {
        size_t size = out->source_len + len + 3;
        m->text = ql_host_calloc(size, 1);
        if (!m->text) return QL_NOMEM("a row's prompt");
        (void)snprintf(m->text, size, "%s\n\n%s", out->source, input);
        out->source = m->text;
        out->source_len = size - 1;
    }
    return causal ? pair_to_messages(m, out) : QL_OK;
}

ql_status ql_row_read(const json_t *row, const char *where, ql_data_format format,
                      const ql_dataset_opts *o, ql_row_memory *m, ql_row *out) {
    *out = (ql_row){0};
    if (!json_is_object(row)) return QL_FAIL(QL_ERR_FORMAT, "%s: a row must be an object", where);
    switch (format) {
    case QL_DATA_COMPLETION: return read_completion(row, where, o, m, out);
    case QL_DATA_INPUT_OUTPUT: return read_pair(row, where, "input", "output", out);
    case QL_DATA_ALPACA: return read_alpaca(row, where, o, m, out);
    case QL_DATA_MESSAGES:
    case QL_DATA_SHAREGPT:
        QL_TRY(read_messages(row, where, format, o, m, out));
        return o->task == QL_TASK_SEQ2SEQ ? one_turn(where, out) : QL_OK;
    default:
        return QL_FAIL(QL_ERR_INVALID, "%s: format '%s' has no JSON rows", where,
                       ql_data_format_name(format));
    }
}
