/*
 * dataset_detect.c - names of the formats, and which one an object has: by its keys, in a fixed
 * order, with the reason and the alternatives as a sentence.
 */
#include <stdio.h>
#include <string.h>

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
    [QL_DATA_OASST1] = "oasst1",
    [QL_DATA_CHIP2] = "chip2",
    [QL_DATA_SELF_INSTRUCT] = "self-instruct",
    [QL_DATA_HH_RLHF] = "hh-rlhf",
    [QL_DATA_UNNATURAL] = "unnatural",
    [QL_DATA_FLAN] = "flan",
    [QL_DATA_GSM8K] = "gsm8k",
    [QL_DATA_MMLU] = "mmlu",
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

/* A format by its keys and, for one `text` of many meanings, by a mark that stands in it. */
typedef struct shape {
    const char *keys[3]; /* all present and not null                  */
    const char *without; /* a key that speaks against it; NULL = none */
    const char *mark;    /* stands in the text of keys[0]             */
    ql_data_format format;
    bool pair; /* it has a source and a target */
} shape;

static const shape SHAPES[] = {
    {{"input_ids"}, NULL, NULL, QL_DATA_TOKENS, true},
    {{"messages"}, NULL, NULL, QL_DATA_MESSAGES, true},
    {{"conversations"}, NULL, NULL, QL_DATA_SHAREGPT, true},
    {{"prompt", "message_tree_id"}, NULL, NULL, QL_DATA_OASST1, false},
    {{"instruction_with_input", "output"}, NULL, NULL, QL_DATA_UNNATURAL, true},
    {{"instruction", "output"}, NULL, NULL, QL_DATA_ALPACA, true},
    {{"prompt", "completion"}, NULL, NULL, QL_DATA_COMPLETION, true},
    {{"chosen"}, "prompt", NULL, QL_DATA_HH_RLHF, false},
    {{"inputs", "targets"}, NULL, NULL, QL_DATA_FLAN, true},
    {{"question", "choices", "answer"}, NULL, NULL, QL_DATA_MMLU, true},
    {{"question", "answer"}, "choices", NULL, QL_DATA_GSM8K, true},
    {{"input", "output"}, NULL, NULL, QL_DATA_INPUT_OUTPUT, true},
    {{"text"}, "parent_id", "\n<bot>: ", QL_DATA_CHIP2, true},
    {{"text"}, "parent_id", "### Human: ", QL_DATA_OASST1, false},
    {{"text"}, "parent_id", NULL, QL_DATA_COMPLETION, false},
    {{NULL}, NULL, NULL, QL_DATA_CLASSIFICATION, false},
};
enum { N_SHAPES = sizeof SHAPES / sizeof SHAPES[0] };

/* Rows of classes have keys of many names; what is missing is said when they are read. */
static bool fits_task(const shape *s, ql_task task) {
    switch (task) {
    case QL_TASK_CLASSIFY:
        return s->format == QL_DATA_TOKENS || s->format == QL_DATA_CLASSIFICATION;
    case QL_TASK_SEQ2SEQ: return s->pair && s->format != QL_DATA_CLASSIFICATION;
    case QL_TASK_CAUSAL: break;
    }
    return s->format != QL_DATA_CLASSIFICATION;
}

static bool fits_row(const shape *s, const json_t *row) {
    for (int i = 0; i < 3 && s->keys[i]; i++)
        if (!ql_json_has(row, s->keys[i])) return false;
    if (s->without && ql_json_has(row, s->without)) return false;
    if (!s->mark) return true;
    const char *text = json_string_value(json_object_get(row, s->keys[0]));
    return text && strstr(text, s->mark);
}

static void add_text(char *out, size_t size, const char *text) {
    size_t used = strlen(out);
    (void)snprintf(out + used, size - used, "%s", text);
}

/* "instruction and output" */
static void add_keys(char *out, size_t size, const shape *s) {
    for (int i = 0; i < 3 && s->keys[i]; i++) {
        bool end = i == 2 || !s->keys[i + 1];
        if (i) add_text(out, size, end ? " and " : ", ");
        add_text(out, size, s->keys[i]);
    }
}

static void explain(const shape *chosen, const json_t *row, ql_task task, char *out, size_t size) {
    bool one = chosen->keys[0] && !chosen->keys[1];
    (void)snprintf(out, size, "%s", chosen->keys[0] ? one ? "by the key " : "by the keys " : "");
    add_keys(out, size, chosen);
    if (!chosen->keys[0]) add_text(out, size, "by the task");
    if (chosen->mark) {
        add_text(out, size, ", whose text holds '");
        add_text(out, size, chosen->mark + (chosen->mark[0] == '\n'));
        add_text(out, size, "'");
    }
    bool other = false;
    unsigned named = 1u << chosen->format;
    for (const shape *s = chosen + 1; s < SHAPES + N_SHAPES; s++) {
        if (!fits_task(s, task) || !fits_row(s, row) || named & (1u << s->format)) continue;
        named |= 1u << s->format;
        add_text(out, size, other ? ", " : "; it could also be ");
        add_text(out, size, FORMAT_NAMES[s->format]);
        add_text(out, size, " (");
        add_keys(out, size, s);
        add_text(out, size, ")");
        other = true;
    }
}

static ql_status unknown_shape(const json_t *row, const char *where) {
    char keys[160] = "";
    size_t used = 0;
    if (ql_json_has(row, "message_id") && ql_json_has(row, "parent_id")) {
        return QL_REFUSE(QL_PROBLEM_KEYS,
                         "%s: one message of an OASST1 file of messages; the file of trees "
                         "(*.trees.jsonl) holds whole conversations",
                         where);
    }
    if (ql_json_has(row, "chosen") && ql_json_has(row, "prompt")) {
        return QL_REFUSE(QL_PROBLEM_KEYS,
                         "%s: prompt, chosen and rejected are pairs of preferences (dpo), which "
                         "this version does not learn; --dataset_format hh-rlhf learns 'chosen'",
                         where);
    }
    for (void *it = json_object_iter((json_t *)(uintptr_t)row); it && used < sizeof keys - 1;
         it = json_object_iter_next((json_t *)(uintptr_t)row, it)) {
        int n = snprintf(keys + used, sizeof keys - used, "%s%.40s", used ? ", " : "",
                         json_object_iter_key(it));
        used += n > 0 ? (size_t)n : 0;
    }
    return QL_REFUSE(
        QL_PROBLEM_KEYS,
        "%s: the keys (%s) fit no known format: expected messages, conversations, "
        "instruction + output, prompt + completion, input + output, inputs + targets, "
        "question + answer, chosen, text, or input_ids; rename the keys or name the format with "
        "--dataset_format",
        where, keys[0] ? keys : "none");
}

ql_status ql_row_detect(const json_t *row, const char *where, ql_task task, ql_data_format *out,
                        char *why, size_t size) {
    if (!json_is_object(row)) return ql_no_object(where);
    for (size_t i = 0; i < N_SHAPES; i++) {
        if (!fits_task(&SHAPES[i], task) || !fits_row(&SHAPES[i], row)) continue;
        *out = SHAPES[i].format;
        if (why) explain(&SHAPES[i], row, task, why, size);
        return QL_OK;
    }
    return unknown_shape(row, where);
}

ql_status ql_no_object(const char *where) {
    return QL_REFUSE(QL_PROBLEM_KEYS, "%s: a row must be an object", where);
}
