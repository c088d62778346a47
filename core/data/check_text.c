/* check_text.c - see check_text.h. */
#include "core/data/check_text.h"

#include <stdio.h>
#include <string.h>

#include "core/base/hostmem.h"
#include "core/base/json.h"
#include "core/data/chars.h"

/* ------------------------------------------------------------------- marks */

/* Control marks of the templates that models come with. */
static const char *const COMMON[] = {"<|im_start|>",
                                     "<|im_end|>",
                                     "<|endoftext|>",
                                     "<|eot_id|>",
                                     "<|begin_of_text|>",
                                     "<|end_of_text|>",
                                     "<|start_header_id|>",
                                     "<|end_header_id|>",
                                     "[INST]",
                                     "[/INST]",
                                     "<<SYS>>",
                                     "<</SYS>>",
                                     "<start_of_turn>",
                                     "<end_of_turn>",
                                     "<|user|>",
                                     "<|assistant|>",
                                     "<|system|>",
                                     "<|end|>"};

static ql_status add_mark(ql_marks *m, const char *text) {
    for (size_t i = 0; i < m->n; i++)
        if (strcmp(m->texts[i], text) == 0) return QL_OK;
    QL_TRY(ql_host_grow((void **)&m->texts, &m->cap, m->n + 1, sizeof *m->texts));
    m->texts[m->n++] = text;
    m->first[(unsigned char)text[0]] = true;
    return QL_OK;
}

/* What stands for unknown or hidden words does stand in prepared texts (WikiText's <unk>). */
static bool is_placeholder(const ql_tokenizer *tok, int32_t id) {
    return id == ql_tokenizer_unk(tok) || id == ql_tokenizer_mask(tok);
}

static ql_status collect(const ql_tokenizer *tok, ql_marks *m) {
    for (size_t i = 0; i < sizeof COMMON / sizeof *COMMON; i++) QL_TRY(add_mark(m, COMMON[i]));
    for (int32_t id = 0; tok && id < ql_tokenizer_size(tok); id++) {
        if (!ql_tokenizer_is_special(tok, id) || is_placeholder(tok, id)) continue;
        const char *piece = ql_tokenizer_piece(tok, id);
        if (piece && strlen(piece) > 2) QL_TRY(add_mark(m, piece));
    }
    return QL_OK;
}

ql_status ql_marks_collect(const ql_tokenizer *tok, ql_marks *out) {
    ql_marks m = {0};
    ql_status s = collect(tok, &m);
    if (s == QL_OK) {
        *out = m;
    } else {
        ql_marks_free(&m);
    }
    return s;
}

void ql_marks_free(ql_marks *m) {
    ql_host_free(m->texts);
    *m = (ql_marks){0};
}

static const char *mark_in(const ql_marks *m, const char *s, size_t len) {
    for (size_t i = 0; i < len; i++) {
        if (!m->first[(unsigned char)s[i]]) continue;
        for (size_t k = 0; k < m->n; k++) {
            size_t n = strlen(m->texts[k]);
            if (n <= len - i && memcmp(s + i, m->texts[k], n) == 0) return m->texts[k];
        }
    }
    return NULL;
}

/* Headings that the text form of this format or template writes itself. */
static const char *heading_in(ql_data_format format, const ql_template *chat, const char *text) {
    static const struct {
        const char *of, *marks[3];
    } HEADINGS[] = {{"alpaca", {"### Instruction:", "### Response:", "### Input:"}},
                    {"guanaco_train", {"### Human:", "### Assistant:", NULL}},
                    {"guanaco_chat", {"### Human:", "### Assistant:", NULL}},
                    {"vicuna", {"USER:", "ASSISTANT:", NULL}}};
    const char *form = chat ? ql_template_name(chat) : format == QL_DATA_ALPACA ? "alpaca" : "";
    for (size_t i = 0; i < sizeof HEADINGS / sizeof *HEADINGS; i++) {
        if (strcmp(form, HEADINGS[i].of) != 0) continue;
        for (int k = 0; k < 3 && HEADINGS[i].marks[k]; k++)
            if (strstr(text, HEADINGS[i].marks[k])) return HEADINGS[i].marks[k];
    }
    return NULL;
}

bool ql_check_marks(const ql_marks *m, ql_data_format format, const ql_template *chat,
                    const ql_text_part *part, char *out, size_t size) {
    const char *mark = mark_in(m, part->text, part->len);
    bool plain = format == QL_DATA_OASST1 || format == QL_DATA_COMPLETION; /* whole texts */
    if (!mark && !plain) mark = heading_in(format, chat, part->text);
    if (!mark) return false;
    (void)snprintf(out, size,
                   "'%s' holds the control mark %s; inside a text it stays text and teaches the "
                   "model to write it: remove it, or split the row into messages",
                   part->key, mark);
    return true;
}

/* ---------------------------------------------------------------- encoding */

/* UTF-8 that was read as Latin-1 and written again: "Ã©", "â€™". */
static bool twice_encoded(const char *s, size_t len) {
    for (size_t i = 0; i + 2 < len; i++) {
        if (memcmp(s + i, "\xc3\x83\xc2", 3) == 0) return true;
        if (i + 5 <= len && memcmp(s + i, "\xc3\xa2\xe2\x82\xac", 5) == 0) return true;
    }
    return false;
}

bool ql_check_encoding(const ql_text_part *part, char *out, size_t size) {
    int32_t code = ql_text_bad_char(part->text, part->len);
    if (code >= 0) {
        (void)snprintf(out, size, "'%s' holds the character U+%04X%s", part->key, (unsigned)code,
                       code == 0xfffd ? ", what is left of a damaged one" : "");
        return true;
    }
    if (!twice_encoded(part->text, part->len)) return false;
    (void)snprintf(out, size,
                   "'%s' holds UTF-8 that was encoded twice, such as the three letters of one "
                   "apostrophe",
                   part->key);
    return true;
}

/* -------------------------------------------------------------------- turns */

static bool is(const ql_message *m, const char *role) {
    return strcmp(m->role, role) == 0;
}

bool ql_check_turns(const ql_row *row, char *out, size_t size) {
    const ql_message *m = row->messages;
    size_t n = row->n_messages, first = 0;
    for (size_t i = 0; i < n; i++)
        if (!is(&m[i], "system") && !is(&m[i], "user") && !is(&m[i], "assistant")) return false;
    while (first < n && is(&m[first], "system")) first++;
    for (size_t i = first; i < n; i++) {
        const char *want = (i - first) % 2 ? "assistant" : "user";
        if (is(&m[i], want)) continue;
        (void)snprintf(out, size, "message %zu is from the %s, the %s's turn is expected", i + 1,
                       m[i].role, want);
        return true;
    }
    if (n > first && is(&m[n - 1], "assistant")) return false;
    (void)snprintf(out, size, "the last message is from the %s: nothing answers it",
                   n ? m[n - 1].role : "nobody");
    return n > 0;
}

/* ------------------------------------------------------- questions and answers */

static void trim(const char **s, size_t *len) {
    while (*len && ql_text_is_blank(*s, 1)) {
        ++*s;
        --*len;
    }
    while (*len && ql_text_is_blank(*s + *len - 1, 1)) --*len;
}

static bool equal(const char *a, size_t a_len, const char *b, size_t b_len) {
    trim(&a, &a_len);
    trim(&b, &b_len);
    return a_len > 0 && a_len == b_len && memcmp(a, b, a_len) == 0;
}

/* The key of the question where an empty one is a fault; NULL = the source may be empty. */
static const char *question_key(ql_data_format format) {
    switch (format) {
    case QL_DATA_ALPACA: return "instruction";
    case QL_DATA_FLAN: return "inputs";
    case QL_DATA_GSM8K:
    case QL_DATA_MMLU: return "question";
    case QL_DATA_UNNATURAL: return "instruction_with_input";
    default: return NULL;
    }
}

static const char *question_of(const ql_row *row, ql_data_format format, const json_t *object,
                               size_t *len) {
    const char *key = question_key(format);
    const json_t *v = key ? json_object_get(object, key) : NULL;
    *len = json_is_string(v) ? json_string_length(v) : row->source_len;
    return json_is_string(v) ? json_string_value(v) : row->source;
}

bool ql_check_echo(const ql_row *row, ql_data_format format, const json_t *object, char *out,
                   size_t size) {
    bool found = false;
    for (size_t i = 1; i < row->n_messages && !found; i++) {
        const ql_message *m = &row->messages[i];
        found = is(m, "assistant") &&
                equal(m->content, m->content_len, m[-1].content, m[-1].content_len);
    }
    if (!row->messages && row->source) {
        size_t len;
        const char *question = question_of(row, format, object, &len);
        found = equal(question, len, row->target, row->target_len);
    }
    if (found) (void)snprintf(out, size, "the answer repeats the question word for word");
    return found;
}

bool ql_check_prompt(const ql_row *row, ql_data_format format, const json_t *object, char *out,
                     size_t size) {
    const char *key = question_key(format);
    const json_t *v = key ? json_object_get(object, key) : NULL;
    bool found = json_is_string(v) && ql_text_is_blank(json_string_value(v), json_string_length(v));
    for (size_t i = 0; i < row->n_messages && !found; i++) {
        const ql_message *m = &row->messages[i];
        found = is(m, "user") && ql_text_is_blank(m->content, m->content_len);
    }
    if (found) (void)snprintf(out, size, "the question is empty");
    return found;
}

/* -------------------------------------------------------------------- parts */

static const char *const KEYS[QL_DATA_FORMAT_COUNT][5] = {
    [QL_DATA_COMPLETION] = {"prompt", "completion", "text"},
    [QL_DATA_INPUT_OUTPUT] = {"input", "output"},
    [QL_DATA_ALPACA] = {"instruction", "input", "output"},
    [QL_DATA_CHIP2] = {"text"},
    [QL_DATA_SELF_INSTRUCT] = {"prompt", "completion"},
    [QL_DATA_HH_RLHF] = {"chosen"},
    [QL_DATA_UNNATURAL] = {"instruction_with_input", "output"},
    [QL_DATA_FLAN] = {"inputs", "targets"},
    [QL_DATA_GSM8K] = {"question", "answer"},
    [QL_DATA_MMLU] = {"question", "answer"},
    [QL_DATA_OASST1] = {"text"},
};

static void add_part(ql_text_part *parts, size_t *n, const char *key, const char *text,
                     size_t len) {
    if (text && *n < QL_MOST_PARTS) parts[(*n)++] = (ql_text_part){key, text, len};
}

static void add_value(ql_text_part *parts, size_t *n, const char *key, const json_t *v) {
    if (json_is_string(v)) add_part(parts, n, key, json_string_value(v), json_string_length(v));
}

size_t ql_row_parts(const ql_walk_row *row, ql_data_format format, ql_text_part *parts) {
    size_t n = 0;
    const json_t *o = row->object;
    if (format == QL_DATA_CLASSIFICATION) {
        const char *a = NULL, *b = NULL;
        size_t a_len = 0, b_len = 0;
        if (ql_row_texts(o, row->where, &a, &a_len, &b, &b_len) != QL_OK) return 0;
        add_part(parts, &n, "text", a, a_len);
        add_part(parts, &n, "second text", b, b_len);
        return n;
    }
    const ql_row *t = row->texts;
    bool turns = KEYS[format][0] == NULL || !json_is_string(json_object_get(o, KEYS[format][0]));
    for (size_t i = 0; turns && t && i < t->n_messages; i++) {
        const ql_message *m = &t->messages[i];
        add_part(parts, &n, m->role, m->content, m->content_len);
    }
    for (int i = 0; i < 5 && KEYS[format][i]; i++)
        add_value(parts, &n, KEYS[format][i], json_object_get(o, KEYS[format][i]));
    const json_t *choices = format == QL_DATA_MMLU ? json_object_get(o, "choices") : NULL;
    for (size_t i = 0; i < json_array_size(choices); i++)
        add_value(parts, &n, "choices", json_array_get(choices, i));
    if (n == 0 && t) add_part(parts, &n, "text", t->target, t->target_len); /* a tree as one text */
    return n;
}
