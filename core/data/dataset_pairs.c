/*
 * dataset_pairs.c - rows that are one question and one answer under other names, as qlora.py and
 * the sets themselves write them (table of spec/data.md).
 *
 * Joined as they are, like input-output; FLAN, GSM8K and MMLU become a question and an answer of
 * the chat template where there is one.
 */
#include <stdio.h>
#include <string.h>

#include "core/base/hostmem.h"
#include "core/base/json.h"
#include "core/data/dataset_internal.h"

/* ------------------------------------------------------------------- chip2 */

static const char *const HUMAN = "<human>: ";
static const char *const BOT = "\n<bot>: ";

/* Source: what stands before the first mark of the bot, without the marks of the human; target:
 * what stands between that mark and the next. */
static ql_status read_chip2(const json_t *row, const char *where, ql_row_memory *m, ql_row *out) {
    const char *text;
    size_t len, used = 0;
    QL_TRY(ql_row_string(row, where, "text", &text, &len));
    const char *bot = strstr(text, BOT);
    if (!bot) {
        return QL_REFUSE(QL_PROBLEM_NO_ANSWER, "%s: 'text' has no line that begins with '<bot>: '",
                         where);
    }
    QL_TRY(ql_row_buffer(m, (size_t)(bot - text) + 1));
    for (const char *at = text; at < bot;) {
        if (strncmp(at, HUMAN, strlen(HUMAN)) == 0) {
            at += strlen(HUMAN);
        } else {
            m->text[used++] = *at++;
        }
    }
    const char *answer = bot + strlen(BOT), *end = strstr(answer, BOT);
    *out = (ql_row){.source = m->text,
                    .source_len = used,
                    .target = answer,
                    .target_len = end ? (size_t)(end - answer) : strlen(answer)};
    return ql_row_need_answer(where, "text", out->target, out->target_len);
}

/* ---------------------------------------------------------- questions and choices */

/* The source is m->text[0, len); a space and the answer go behind it. */
static ql_status set_pair(ql_row_memory *m, size_t len, size_t size, const char *answer,
                          ql_row *out) {
    int n = snprintf(m->text + len + 1, size - len - 1, " %s", answer);
    *out = (ql_row){
        .source = m->text, .source_len = len, .target = m->text + len + 1, .target_len = (size_t)n};
    return QL_OK;
}

/* "Question: ...\nAnswer:" and " ...": the text that GSM8K is evaluated with, byte for byte. */
static ql_status read_gsm8k(const json_t *row, const char *where, ql_row_memory *m, ql_row *out) {
    QL_TRY(ql_row_pair(row, where, "question", "answer", out));
    size_t size = out->source_len + out->target_len + 32;
    QL_TRY(ql_row_buffer(m, size));
    int n = snprintf(m->text, size, "Question: %s\nAnswer:", out->source);
    return set_pair(m, (size_t)n, size, out->target, out);
}

static ql_status mmlu_answer(const json_t *row, const char *where, size_t choices, ql_row *out) {
    static const char *const LETTERS[] = {"A", "B", "C", "D", "E", "F", "G", "H"};
    const json_t *v = json_object_get(row, "answer");
    const char *named = json_string_value(v);
    for (size_t i = 0; i < choices && i < sizeof LETTERS / sizeof *LETTERS; i++) {
        bool found = named ? strcmp(named, LETTERS[i]) == 0
                           : json_is_integer(v) && json_integer_value(v) == (json_int_t)i;
        if (!found) continue;
        out->target = LETTERS[i];
        out->target_len = 1;
        return QL_OK;
    }
    return QL_REFUSE(QL_PROBLEM_CLASS,
                     "%s: 'answer' must be a letter from A on or a number from 0 on, one of the "
                     "%zu choices",
                     where, choices);
}

/* Question, "A. " and the choices on lines, "Answer:"; the answer is a space and the letter. */
static ql_status read_mmlu(const json_t *row, const char *where, ql_row_memory *m, ql_row *out) {
    const json_t *choices = json_object_get(row, "choices");
    size_t n = json_array_size(choices), size = 32;
    QL_TRY(ql_row_string(row, where, "question", &out->source, &out->source_len));
    if (n < 2 || n > 8) {
        return QL_REFUSE(QL_PROBLEM_TYPE, "%s: 'choices' must be a list of 2 to 8 texts", where);
    }
    size += out->source_len;
    for (size_t i = 0; i < n; i++) {
        const json_t *c = json_array_get(choices, i);
        if (!json_is_string(c)) {
            return QL_REFUSE(QL_PROBLEM_TYPE, "%s: choice %zu must be a string", where, i + 1);
        }
        size += json_string_length(c) + 8;
    }
    QL_TRY(mmlu_answer(row, where, n, out));
    QL_TRY(ql_row_buffer(m, size));
    size_t used = (size_t)snprintf(m->text, size, "%s\n", out->source);
    for (size_t i = 0; i < n; i++) {
        used += (size_t)snprintf(m->text + used, size - used, "%c. %s\n", (char)('A' + i),
                                 json_string_value(json_array_get(choices, i)));
    }
    used += (size_t)snprintf(m->text + used, size - used, "Answer:");
    return set_pair(m, used, size, out->target, out);
}

ql_status ql_row_read_pair(const json_t *row, const char *where, ql_data_format format,
                           const ql_dataset_opts *o, ql_row_memory *m, ql_row *out) {
    bool turns = o->chat && o->task == QL_TASK_CAUSAL;
    switch (format) {
    case QL_DATA_INPUT_OUTPUT: return ql_row_pair(row, where, "input", "output", out);
    case QL_DATA_SELF_INSTRUCT: return ql_row_pair(row, where, "prompt", "completion", out);
    case QL_DATA_UNNATURAL: return ql_row_pair(row, where, "instruction_with_input", "output", out);
    case QL_DATA_HH_RLHF: return ql_row_all(row, where, "chosen", out);
    case QL_DATA_CHIP2: return read_chip2(row, where, m, out);
    case QL_DATA_FLAN: QL_TRY(ql_row_pair(row, where, "inputs", "targets", out)); break;
    case QL_DATA_GSM8K:
        if (!turns) return read_gsm8k(row, where, m, out);
        QL_TRY(ql_row_pair(row, where, "question", "answer", out));
        break;
    default: QL_TRY(read_mmlu(row, where, m, out)); break;
    }
    return turns ? ql_row_turns(m, out) : QL_OK;
}
