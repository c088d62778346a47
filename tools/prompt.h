/*
 * prompt.h - prompts to token ids as training makes them, and where an answer ends.
 */
#ifndef QLORA_TOOLS_PROMPT_H
#define QLORA_TOOLS_PROMPT_H

#include "core/data/template.h"
#include "core/model/arch.h"
#include "tools/out.h"

/* How a text becomes a prompt. */
typedef struct ql_prompter {
    const ql_tokenizer *tok; /* NULL: only ids can be given                */
    const ql_template *chat; /* NULL: the text itself is the prompt        */
    const char *system;      /* system message of single prompts; NULL = the template's */
} ql_prompter;

/* The text of the tokens that a template may write: "" = none. */
const char *ql_prompt_bos(const ql_tokenizer *tok);
const char *ql_prompt_eos(const ql_tokenizer *tok);

/* One user message, or the text itself without a template. */
QL_NODISCARD ql_status ql_prompt_text(const ql_prompter *p, const char *text, size_t len,
                                      ql_ids *ids);
/* {"messages": [{"role", "content"}]} or {"prompt": text} or {"ids": [...]}; `where` names the row.
 */
QL_NODISCARD ql_status ql_prompt_row(const ql_prompter *p, const json_t *row, const char *where,
                                     ql_ids *ids);
/* A row's "messages", "tools" and "documents" for a template, with the tokens of `tok`. The
 * messages are owned: free them with ql_host_free; all else is borrowed from the row. */
QL_NODISCARD ql_status ql_prompt_chat(const json_t *row, const char *where, const ql_tokenizer *tok,
                                      ql_message **messages, ql_chat *out);

/* Ids that end an answer: the model's, the tokenizer's EOS, the template's end of turn. */
typedef struct ql_stops {
    int32_t ids[QL_MAX_EOS + 2];
    int32_t n;
} ql_stops;
void ql_stops_find(const ql_arch *arch, const ql_prompter *p, ql_stops *out);
bool ql_stops_have(const ql_stops *s, int32_t id);

#endif /* QLORA_TOOLS_PROMPT_H */
