/*
 * template.h - chat templates: messages to text, with the spans that the model has to learn.
 *
 * Named templates: chatml, smollm2, qwen2_5, llama2, llama3, mistral, gemma, zephyr, vicuna,
 * alpaca, guanaco_train, guanaco_chat (shapes: spec/data.md). A refused order or role is an error,
 * never a guess. A model's own Jinja text is interpreted (jinja.h). Placeholders in contents are
 * never expanded, control marks written in contents never become control tokens.
 */
#ifndef QLORA_CORE_DATA_TEMPLATE_H
#define QLORA_CORE_DATA_TEMPLATE_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "core/data/tokenizer.h"

typedef struct ql_message {
    const char *role;    /* "system" "user" "assistant" ...                             */
    const char *content; /* "" when the message has none (tool calls alone) or has parts */
    size_t content_len;
    const json_t *object; /* the message as it was read (name, tool calls, content parts, reasoning)
                             for a template that looks at more; NULL = role and content are all */
    bool weighted;        /* `weight` counts; otherwise it is 1                          */
    float weight;         /* of an answer's tokens in the loss; 0 = not learned          */
} ql_message;
#define QL_MESSAGE(r, text, len)                                                                   \
    (ql_message) {                                                                                 \
        .role = (r), .content = (text), .content_len = (len)                                       \
    }
/* Does a message hold more than a text: tool calls, content in parts, reasoning? */
bool ql_message_says_more(const json_t *message);
typedef struct ql_template ql_template; /* constant */

const ql_template *ql_template_find(const char *name); /* NULL = unknown */
const char *ql_template_names(void);

/* A model's own template, called `name` in messages. `kwargs`: an object of variables that the
 * template sees besides messages, tools and documents ({"enable_thinking": false}), NULL = none;
 * "strftime_now" among them is the date it is told, "2026-01-31" or "2026-01-31 12:00:00" (without
 * it 26 July 2024, so that a run does not change from day to day). `tok` knows the control marks,
 * NULL = only BOS, EOS and the common ends of turns; borrowed, outlives the template. */
QL_NODISCARD ql_status ql_template_open(const char *name, const char *jinja, size_t len,
                                        const json_t *kwargs, const ql_tokenizer *tok,
                                        ql_template **out);
void ql_template_close(const ql_template *t); /* NULL and named ones ok */
const char *ql_template_name(const ql_template *t);
/* What `name` asks for: NULL or "own" = the model's own as `tok` has it, "none", a named one, or a
 * file that ends in .jinja. *out is NULL for none and for a model without a template; close it with
 * ql_template_close. A name that is none of these, or variables that the template cannot take, are
 * QL_ERR_INVALID; a text that cannot be compiled QL_ERR_FORMAT. */
QL_NODISCARD ql_status ql_template_choose(const char *name, const json_t *kwargs,
                                          const ql_tokenizer *tok, const ql_template **out);
/* Which named template does this Jinja text describe? NULL = none recognised (ql_last_error()
 * lists the names). Only texts whose output is known to be equal are recognised. */
const ql_template *ql_template_recognise(const char *jinja);

/* Rendered text cut into spans that follow each other without gaps. An answer is what an assistant
 * says, including the end-of-turn mark that must be learned. A `mark` span is one control
 * mark of the template (or BOS, EOS): it may become a special id; other spans never do. */
typedef struct ql_span {
    size_t begin, end;
    size_t turn; /* of an answer: the message it belongs to, from 1; 0 = no answer */
    bool mark;
} ql_span;
typedef struct ql_rendered {
    char *text;
    size_t len;
    ql_span *spans;
    size_t n_spans;
    bool closed; /* the last answer ends with the mark that ends a turn */
} ql_rendered;
void ql_rendered_free(ql_rendered *r);

/* A conversation as templates see it. */
typedef struct ql_chat {
    const ql_message *messages;
    size_t n;
    const json_t *tools, *documents; /* lists, for templates that know them; NULL = none */
    bool add_generation_prompt;
    const char *bos, *eos; /* the tokens' texts, "" = none */
    /* A model's own template finds the answers by rendering up to each of them; one whose answers
     * cannot be told from the rest is refused. A named one always knows them. */
    enum {
        QL_ANSWERS_NONE,
        QL_ANSWERS_ALL,  /* those with a weight    */
        QL_ANSWERS_LAST, /* the last, if it has one */
        QL_ANSWERS_EVERY /* without a weight too   */
    } answers;
} ql_chat;
/* QL_ERR_FORMAT when the template refuses the conversation. */
QL_NODISCARD ql_status ql_template_render_chat(const ql_template *t, const ql_chat *chat,
                                               ql_rendered *out);
/* The same without tools; answers are looked for unless there is a generation prompt. */
QL_NODISCARD ql_status ql_template_render(const ql_template *t, const ql_message *m, size_t n,
                                          bool add_generation_prompt, const char *bos,
                                          const char *eos, ql_rendered *out);
/* Text of the token that ends an assistant turn under this template ("<|im_end|>"); "" = the
 * tokenizer's EOS. */
const char *ql_template_stop(const ql_template *t);

/* Appends the ids of a rendered conversation to *ids, and to *turn (NULL ok) for each id the number
 * of the message, from 1, whose answer it is part of; 0 = of none.
 * Training and generation both come through here. BOS is put in front when the tokenizer adds it
 * and the template did not write it: never twice. Text is cut at marks and where an answer begins
 * or ends, so a prompt has the same ids with and without its answer. */
QL_NODISCARD ql_status ql_rendered_encode(const ql_rendered *r, const ql_tokenizer *tok,
                                          ql_ids *ids, ql_ids *turn);

/* The Alpaca prompt (spec/data.md); the variant is chosen by `input` being empty. `qlora_ending`:
 * one space after "### Response:", else the original's end at the colon. Free *out with
 * ql_host_free. */
QL_NODISCARD ql_status ql_alpaca_prompt(const char *instruction, const char *input,
                                        bool qlora_ending, char **out);

#endif
