/*
 * test_template_own.c - models' own templates: the recorded oracle, answers as the named templates
 * know them, {% generation %}, tools, and what is refused.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/hostmem.h"
#include "core/data/template.h"
#include "tests/core/data_fixture.h"

#define MAX_MESSAGES 8
#define CHATML                                                                                     \
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}"
#define CHATML_TURN                                                                                \
    CHATML "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
#define DEFAULT_SYSTEM(text)                                                                       \
    "{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\\n" text        \
    "<|im_end|>\\n' }}{% endif %}"
#define ROLES(names)                                                                               \
    "{% if message.role not in [" names                                                            \
    "] %}{{ raise_exception('role ' ~ message.role) }}{% endif %}"
#define ALTERNATE                                                                                  \
    "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles "     \
    "must alternate') }}{% endif %}"
#define POLITE         "The assistant gives helpful, detailed, and polite answers to the user's questions."
#define AN_ASSISTANT   " and an artificial intelligence assistant. " POLITE
#define VICUNA_SYSTEM  "A chat between a curious user" AN_ASSISTANT
#define GUANACO_SYSTEM "A chat between a curious human" AN_ASSISTANT

/* Written in the manner of the models' own texts; the names are the oracle's. */
static const struct {
    const char *name, *jinja;
} OWN[] = {
    {"smollm2",
     "{% for message in messages %}" DEFAULT_SYSTEM(
         "You are a helpful AI assistant named SmolLM, trained by Hugging Face") CHATML_TURN},
    {"qwen2_5",
     "{% for message in messages %}" DEFAULT_SYSTEM(
         "You are Qwen, created by Alibaba Cloud. You are a helpful assistant.") CHATML_TURN},
    {"llama2",
     "{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}"
     "{% set system_message = messages[0]['content'] %}{% else %}{% set loop_messages = messages %}"
     "{% set system_message = false %}{% endif %}{% for message in loop_messages %}" ALTERNATE
     "{% if loop.index0 == 0 and system_message != false %}{% set content = '<<SYS>>\\n' + "
     "system_message + '\\n<</SYS>>\\n\\n' + message['content'] %}{% else %}{% set content = "
     "message['content'] %}{% endif %}{% if message['role'] == 'user' %}{{ bos_token + '[INST] ' + "
     "content.strip() + ' [/INST]' }}{% elif message['role'] == 'assistant' %}{{ ' ' + "
     "content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}"},
    {"llama3",
     "{%- for message in messages -%}{%- set content = '<|start_header_id|>' + message['role'] + "
     "'<|end_header_id|>\\n\\n' + message['content'] | trim + '<|eot_id|>' -%}{%- if loop.index0 "
     "== "
     "0 -%}{%- set content = bos_token + content -%}{%- endif -%}{{- content -}}{%- endfor -%}"
     "{%- if add_generation_prompt -%}{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' "
     "-}}{%- endif -%}"},
    {"llama3_fixture_config",
     "{% set loop_messages = messages %}{% for message in loop_messages %}{% set content = "
     "'<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n'+ message['content'] | "
     "trim "
     "+ '<|eot_id|>' %}{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif "
     "%}{{ "
     "content }}{% endfor %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}"},
    {"mistral",
     "{{ bos_token }}{% for message in messages %}{% if message.role == 'system' %}{{ "
     "raise_exception('no system') }}{% endif %}" ALTERNATE
     "{% if message['role'] == 'user' %}{{ '[INST] ' + message['content'] + ' [/INST]' }}"
     "{% elif message['role'] == 'assistant' %}{{ message['content'] + eos_token }}{% endif %}"
     "{% endfor %}"},
    {"gemma",
     "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not "
     "supported') }}{% endif %}{% for message in messages %}" ALTERNATE
     "{% if message['role'] == 'assistant' %}{% set role = 'model' %}{% else %}{% set role = "
     "message['role'] %}{% endif %}{{ '<start_of_turn>' + role + '\\n' + message['content'] | trim "
     "+ "
     "'<end_of_turn>\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<start_of_turn>model\\n' "
     "}}{% endif %}"},
    {"vicuna",
     "{% if messages[0].role == 'system' %}{{ messages[0].content }}{% set messages = messages[1:] "
     "%}{% else %}" VICUNA_SYSTEM "{% endif %}{{ ' ' }}{% for message in messages %}" ROLES(
         "'user', 'assistant'") "{% if message.role == 'user' %}{{ 'USER: ' ~ message.content ~ ' "
                                "' "
                                "}}{% else %}{{ 'ASSISTANT: ' ~ message.content ~ eos_token "
                                "}}{% endif %}{% endfor %}{% if add_generation_prompt %}ASSISTANT:"
                                "{% endif %}"},
    {"guanaco_train",
     "{% for message in messages %}" ROLES(
         "'user', 'assistant'") "{% if message.role == 'user' %}{{ '### Human: ' ~ message.content "
                                "}}{% else %}{{ '### Assistant: ' ~ message.content }}{% endif %}"
                                "{% endfor %}{% if add_generation_prompt %}### Assistant:{% endif "
                                "%}"},
    {"guanaco_chat",
     "{% if messages[0].role == 'system' %}{{ messages[0].content }}{% set messages = messages[1:] "
     "%}{% else %}" GUANACO_SYSTEM "{% endif %}{% for message in messages %}" ROLES(
         "'user', 'assistant'") "{% if message.role == 'user' %}{{ ' ### Human: ' ~ "
                                "message.content "
                                "}}{% else %}{{ ' ### Assistant: ' ~ message.content }}{% endif %}"
                                "{% endfor %}{% if add_generation_prompt %}{{ ' ### Assistant:' }}"
                                "{% endif %}"},
};
#define N_OWN (sizeof OWN / sizeof *OWN)

static ql_template *open_own(const char *jinja, const char *kwargs, const ql_tokenizer *tok) {
    ql_template *t = NULL;
    json_t *k = kwargs ? json_loads(kwargs, 0, NULL) : NULL;
    if (ql_template_open("own", jinja, strlen(jinja), k, tok, &t) != QL_OK)
        fail_msg("%s", ql_last_error());
    json_decref(k);
    return t;
}

static size_t read_messages(const json_t *list, ql_message *m) {
    size_t n = json_array_size(list);
    assert_true(n <= MAX_MESSAGES);
    for (size_t i = 0; i < n; i++) {
        const json_t *item = json_array_get(list, i), *content = json_object_get(item, "content");
        m[i] = QL_MESSAGE(json_string_value(json_object_get(item, "role")),
                          json_string_value(content), json_string_length(content));
        m[i].object = item;
    }
    return n;
}

/* ------------------------------------------------------- the oracle, the named ones */

static void same_answers(const char *name, const ql_rendered *a, const ql_rendered *b) {
    assert_int_equal(a->len, b->len);
    size_t i = 0, k = 0;
    for (size_t at = 0; at < a->len; at++) {
        while (a->spans[i].end <= at) i++;
        while (b->spans[k].end <= at) k++;
        if (a->spans[i].turn == b->spans[k].turn) continue;
        fail_msg("%s: byte %zu of\n%s\nis of answer %zu, expected %zu", name, at, a->text,
                 a->spans[i].turn, b->spans[k].turn);
    }
    assert_int_equal(a->closed, b->closed);
}

static void check_line(const json_t *line, const char *name, const ql_template *own) {
    bool llama3 = strncmp(name, "llama3", 6) == 0, gemma = strcmp(name, "gemma") == 0;
    const char *bos = llama3 ? "<|begin_of_text|>" : gemma ? "<bos>" : "<s>";
    const char *eos = llama3 ? "<|end_of_text|>" : gemma ? "<eos>" : "</s>";
    ql_message m[MAX_MESSAGES];
    ql_rendered r = {0}, named = {0};
    size_t n = read_messages(json_object_get(line, "messages"), m);
    bool prompt = json_is_true(json_object_get(line, "add_generation_prompt"));
    ql_status s = ql_template_render(own, m, n, prompt, bos, eos, &r);
    if (json_is_true(json_object_get(line, "error"))) {
        assert_int_equal(s, QL_ERR_FORMAT);
        return;
    }
    if (s != QL_OK) fail_msg("%s: %s", name, ql_last_error());
    assert_string_equal(r.text, json_string_value(json_object_get(line, "rendered")));
    const ql_template *t =
        ql_template_find(strcmp(name, "llama3_fixture_config") == 0 ? "llama3_open" : name);
    if (!prompt) {
        assert_int_equal(ql_template_render(t, m, n, false, bos, eos, &named), QL_OK);
        if (n && strcmp(m[n - 1].role, "assistant") == 0) same_answers(name, &r, &named);
    }
    ql_rendered_free(&r);
    ql_rendered_free(&named);
}

static void own_texts_equal_the_oracle_and_find_the_answers_of_the_named(void **state) {
    (void)state;
    json_t *lines = fixture_shared_lines("eval/chat_templates.jsonl");
    if (!lines) skip();
    size_t checked = 0;
    for (size_t k = 0; k < N_OWN; k++) {
        ql_template *own = open_own(OWN[k].jinja, NULL, NULL);
        for (size_t i = 0; i < json_array_size(lines); i++) {
            const json_t *line = json_array_get(lines, i);
            const char *name = json_string_value(json_object_get(line, "template"));
            if (strcmp(name, OWN[k].name) != 0) continue;
            check_line(line, name, own);
            checked++;
        }
        ql_template_close(own);
    }
    assert_int_equal(checked, 200);
    json_decref(lines);
}

/* Every conversation of up to 5 messages, with contents that repeat each other and the marks. */
static void answers_equal_the_named_templates_on_every_order(void **state) {
    (void)state;
    static const char *const TEXTS[] = {"Yes",   " Yes ",     "<|im_end|>\nYes",
                                        "a</s>", "[/INST] x", "### Assistant: b"};
    for (size_t k = 0; k < N_OWN; k++) {
        const char *name = OWN[k].name;
        const ql_template *named =
            ql_template_find(strcmp(name, "llama3_fixture_config") == 0 ? "llama3_open" : name);
        ql_template *own = open_own(OWN[k].jinja, NULL, NULL);
        int compared = 0;
        for (unsigned bits = 0; bits < 32; bits++) {
            for (size_t n = 1; n <= 5; n++) {
                ql_message m[5];
                for (size_t i = 0; i < n; i++) {
                    const char *text = TEXTS[(i + bits) % 6];
                    m[i] = QL_MESSAGE(bits >> i & 1 ? "assistant" : "user", text, strlen(text));
                }
                ql_rendered a = {0}, b = {0};
                ql_status s = ql_template_render(named, m, n, false, "<s>", "</s>", &b);
                ql_status ours = ql_template_render(own, m, n, false, "<s>", "</s>", &a);
                /* messages[0] of none: a first answer has no text before it to go by */
                bool first = s == QL_OK && ours != QL_OK && (bits & 1) &&
                             strstr(ql_last_error(), "before it cannot be rendered");
                if (first) s = ours;
                if (s == QL_OK && ours != QL_OK) fail_msg("%s: %s", name, ql_last_error());
                assert_int_equal(s, ours);
                if (first) {
                    ql_rendered_free(&b);
                    continue;
                }
                if (s == QL_OK) assert_string_equal(a.text, b.text);
                bool last = strcmp(m[n - 1].role, "assistant") == 0;
                if (s == QL_OK && last) same_answers(name, &a, &b);
                compared += s == QL_OK && last;
                ql_rendered_free(&a);
                ql_rendered_free(&b);
            }
        }
        assert_true(compared >= 2);
        ql_template_close(own);
    }
}

/* ------------------------------------------------------------ tools, more of a model */

#define TOOLS_OWN                                                                                  \
    "{%- if tools %}\n    {{- '<|im_start|>system\\n# Tools\\n' }}\n    {%- for tool in tools "    \
    "%}\n"                                                                                         \
    "        {{- tool | tojson }}{{ '\\n' }}\n    {%- endfor %}\n    {{- '<|im_end|>\\n' }}\n"     \
    "{%- endif %}\n{%- for m in messages %}\n"                                                     \
    "    {%- if m.role == 'assistant' %}\n        {{- '<|im_start|>assistant\\n' }}\n"             \
    "        {%- if m.reasoning_content and loop.last %}\n"                                        \
    "            {{- '<think>\\n' + m.reasoning_content + '\\n</think>\\n\\n' }}\n"                \
    "        {%- endif %}\n        {{- m.content }}\n"                                             \
    "        {%- for call in m.tool_calls %}\n            {{- '\\n<tool_call>\\n' }}\n"            \
    "            {{- call.function | tojson }}\n            {{- '\\n</tool_call>' }}\n"            \
    "        {%- endfor %}\n        {{- '<|im_end|>\\n' }}\n"                                      \
    "    {%- elif m.role == 'tool' %}\n"                                                           \
    "        {{- '<|im_start|>user\\n<tool_response>\\n' + m.content + '\\n</tool_response>"       \
    "<|im_end|>\\n' }}\n    {%- else %}\n"                                                         \
    "        {{- '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}\n"               \
    "    {%- endif %}\n{%- endfor %}\n{%- if add_generation_prompt %}\n"                           \
    "    {{- '<|im_start|>assistant\\n' }}\n    {%- if enable_thinking is defined and not "        \
    "enable_thinking %}\n        {{- '<think>\\n\\n</think>\\n\\n' }}\n    {%- endif %}\n"         \
    "{%- endif %}\n"

/* The answers as one text each, "|" between them. */
static void check_answers(const ql_template *t, const char *messages, const char *tools,
                          const char *want) {
    json_t *list = json_loads(messages, 0, NULL), *more = tools ? json_loads(tools, 0, NULL) : NULL;
    ql_message m[MAX_MESSAGES];
    char got[1024] = "";
    assert_non_null(list);
    const ql_chat chat = {.messages = m,
                          .n = read_messages(list, m),
                          .tools = more,
                          .bos = "<s>",
                          .eos = "</s>",
                          .answers = QL_ANSWERS_ALL};
    for (size_t i = 0; i < chat.n; i++)
        if (!m[i].content) m[i].content = "";
    ql_rendered r = {0};
    if (ql_template_render_chat(t, &chat, &r) != QL_OK) fail_msg("%s", ql_last_error());
    size_t last = 0;
    for (size_t i = 0; i < r.n_spans; i++) {
        if (r.spans[i].turn && last && r.spans[i].turn != last) strcat(got, "|");
        if (r.spans[i].turn) {
            strncat(got, r.text + r.spans[i].begin, r.spans[i].end - r.spans[i].begin);
            last = r.spans[i].turn;
        }
    }
    assert_string_equal(got, want);
    ql_rendered_free(&r);
    json_decref(list);
    json_decref(more);
}

static void tool_calls_and_reasoning_are_part_of_the_answer(void **state) {
    (void)state;
    ql_template *t = open_own(TOOLS_OWN, NULL, NULL);
    assert_string_equal(ql_template_stop(t), "<|im_end|>");
    check_answers(t,
                  "[{\"role\": \"user\", \"content\": \"w?\"}, {\"role\": \"assistant\", "
                  "\"content\": null, \"tool_calls\": [{\"type\": \"function\", \"function\": "
                  "{\"name\": \"f\", \"arguments\": {\"x\": 1}}}]}, {\"role\": \"tool\", "
                  "\"content\": \"4\"}, {\"role\": \"assistant\", \"content\": \"It is 4.\", "
                  "\"reasoning_content\": \"hm\"}]",
                  "[{\"type\": \"function\", \"function\": {\"name\": \"f\"}}]",
                  "\n<tool_call>\n{\"name\": \"f\", \"arguments\": {\"x\": 1}}\n</tool_call>"
                  "<|im_end|>|<think>\nhm\n</think>\n\nIt is 4.<|im_end|>");
    ql_template_close(t);
    /* The prompt that switches thinking off is written in front of the last answer only here. */
    t = open_own(TOOLS_OWN, "{\"enable_thinking\": false}", NULL);
    check_answers(
        t,
        "[{\"role\": \"user\", \"content\": \"a\"}, {\"role\": \"assistant\", \"content\": "
        "\"b\"}]",
        NULL, "b<|im_end|>");
    ql_template_close(t);
}

static void generation_blocks_say_what_is_learned(void **state) {
    (void)state;
    ql_template *t = open_own("{% for m in messages %}<{{ m.role }}>{% if m.role == 'assistant' %}"
                              "{% generation %}{{ m.content }}.{% endgeneration %}{% else %}"
                              "{{ m.content }}{% endif %}{{ eos_token }}{% endfor %}",
                              NULL, NULL);
    check_answers(
        t,
        "[{\"role\": \"user\", \"content\": \"a\"}, {\"role\": \"assistant\", \"content\": "
        "\"b\"}, {\"role\": \"assistant\", \"content\": \"\"}, {\"role\": \"assistant\", "
        "\"content\": \"c\"}]",
        NULL, "b.|.|c.");
    ql_template_close(t);
}

static void the_date_is_fixed_unless_it_is_given(void **state) {
    (void)state;
    const ql_message m[] = {QL_MESSAGE("user", "x", 1)};
    static const char *const CASES[][2] = {
        {NULL, "26 Jul 2024"},
        {"{\"strftime_now\": \"2026-02-28\"}", "28 Feb 2026"},
        {"{\"strftime_now\": \"2024-02-29 23:59:59\"}", "29 Feb 2024"}};
    for (size_t i = 0; i < 3; i++) {
        ql_rendered r;
        ql_template *t = open_own("{{ strftime_now('%d %b %Y') }}", CASES[i][0], NULL);
        assert_int_equal(ql_template_render(t, m, 1, true, "", "", &r), QL_OK);
        assert_string_equal(r.text, CASES[i][1]);
        ql_rendered_free(&r);
        ql_template_close(t);
    }
}

/* -------------------------------------------------------------------------- marks */

static void contents_never_become_marks_of_an_own_template(void **state) {
    (void)state;
    const char *content = "<|im_end|>\n</s>";
    const ql_message m[] = {QL_MESSAGE("user", content, strlen(content)),
                            QL_MESSAGE("assistant", "<s>A", 4)};
    ql_tokenizer *tok = fixture_byte_tokenizer();
    ql_template *t = open_own("{% for message in messages %}" CHATML_TURN, NULL, tok);
    ql_rendered r;
    ql_ids ids = {0}, turn = {0};
    assert_int_equal(ql_template_render(t, m, 2, false, "<s>", "</s>", &r), QL_OK);
    assert_int_equal(ql_rendered_encode(&r, tok, &ids, &turn), QL_OK);
    assert_true(
        fixture_bytes_equal(ids.ids, ids.n, "\1\3user\n<|im_end|>\n</s>\4\n\3assistant\n<s>A\4\n"));
    for (size_t i = 0; i < ids.n; i++)
        assert_int_equal(turn.ids[i], i + 6 >= ids.n && i + 1 < ids.n ? 2 : 0);
    ql_rendered_free(&r);
    ql_ids_free(&ids);
    ql_ids_free(&turn);
    ql_template_close(t);
    ql_tokenizer_close(tok);
}

/* Phi's "<|end|>" is such a mark: the end of line behind it is no token. */
static void a_mark_takes_white_space_as_in_the_whole_text(void **state) {
    (void)state;
    const ql_message m[] = {QL_MESSAGE("user", "x", 1), QL_MESSAGE("assistant", " A", 2)};
    ql_tokenizer *tok = fixture_byte_tokenizer_stripping("<|im_end|>");
    ql_template *t = open_own("{% for message in messages %}" CHATML_TURN, NULL, tok);
    ql_rendered r;
    ql_ids ids = {0}, whole = {0};
    assert_int_equal(ql_template_render(t, m, 2, false, "", "", &r), QL_OK);
    assert_int_equal(ql_rendered_encode(&r, tok, &ids, NULL), QL_OK);
    assert_int_equal(ql_tokenizer_encode(tok, r.text, r.len, QL_ENCODE_PARSE_SPECIAL, &whole),
                     QL_OK);
    assert_int_equal(ids.n, whole.n);
    assert_memory_equal(ids.ids, whole.ids, whole.n * sizeof(int32_t));
    assert_true(fixture_bytes_equal(ids.ids, ids.n, "\3user\nx\4\3assistant\n A\4"));
    ql_rendered_free(&r);
    ql_ids_free(&ids);
    ql_ids_free(&whole);
    ql_template_close(t);
    ql_tokenizer_close(tok);
}

/* ----------------------------------------------------------------------- refusals */

static void answers_that_cannot_be_told_are_refused(void **state) {
    (void)state;
    static const struct {
        const char *jinja, *sentence;
    } CASES[] = {
        {"{% for m in messages if m.role == 'user' %}{{ m.content }}{% endfor %}",
         "the template does not write it"},
        {"{{ messages|length }}{% for m in messages %}{{ m.content }}{% endfor %}",
         "the generation prompt does not stand in front of it"},
        {"{% for m in messages %}{{ m.content }}{% endfor %}{% for m in messages %}{{ m.content "
         "}}{% endfor %}",
         "the answer of message"},
        {"{% if messages|length < 2 %}{{ raise_exception('short') }}{% endif %}{% for m in "
         "messages "
         "%}{{ m.content }}{% endfor %}",
         "the messages before it cannot be rendered"},
        {"{{ raise_exception('never') }}", "line 1: the template refuses the conversation: never"},
    };
    const ql_message m[] = {QL_MESSAGE("user", "aa", 2), QL_MESSAGE("assistant", "bb", 2)};
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        ql_template *t = open_own(CASES[i].jinja, NULL, NULL);
        ql_rendered r = {0};
        assert_int_equal(ql_template_render(t, m, 2, false, "", "", &r), QL_ERR_FORMAT);
        if (!strstr(ql_last_error(), CASES[i].sentence))
            fail_msg("%s: %s", CASES[i].jinja, ql_last_error());
        assert_null(r.text);
        ql_template_close(t);
    }
    ql_template *t = NULL;
    assert_int_equal(ql_template_open("x", "{% if %}", 8, NULL, NULL, &t), QL_ERR_FORMAT);
    assert_non_null(strstr(ql_last_error(), "chat template x: line 1"));
    json_t *bad = json_loads("{\"strftime_now\": \"yesterday\"}", 0, NULL);
    assert_int_equal(ql_template_open("x", "a", 1, bad, NULL, &t), QL_ERR_INVALID);
    json_decref(bad);
    assert_null(t);
}

static void running_out_of_memory_leaks_nothing(void **state) {
    (void)state;
    const ql_message m[] = {QL_MESSAGE("user", "a", 1), QL_MESSAGE("assistant", "b", 1)};
    size_t live = ql_hostmem_live();
    ql_status s = QL_ERR_NOMEM_HOST;
    for (long n = 1; s != QL_OK; n++) {
        ql_template *t = NULL;
        ql_rendered r = {0};
        ql_hostmem_fail_after(n);
        s = ql_template_open("own", TOOLS_OWN, strlen(TOOLS_OWN), NULL, NULL, &t);
        if (s == QL_OK) s = ql_template_render(t, m, 2, false, "<s>", "</s>", &r);
        ql_hostmem_fail_after(0);
        assert_true(s == QL_OK || s == QL_ERR_NOMEM_HOST);
        ql_rendered_free(&r);
        ql_template_close(t);
        assert_int_equal(ql_hostmem_live(), live);
        assert_true(n < 2000);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(own_texts_equal_the_oracle_and_find_the_answers_of_the_named),
        cmocka_unit_test(answers_equal_the_named_templates_on_every_order),
        cmocka_unit_test(tool_calls_and_reasoning_are_part_of_the_answer),
        cmocka_unit_test(generation_blocks_say_what_is_learned),
        cmocka_unit_test(the_date_is_fixed_unless_it_is_given),
        cmocka_unit_test(contents_never_become_marks_of_an_own_template),
        cmocka_unit_test(a_mark_takes_white_space_as_in_the_whole_text),
        cmocka_unit_test(answers_that_cannot_be_told_are_refused),
        cmocka_unit_test(running_out_of_memory_leaks_nothing),
    };
    return cmocka_run_group_tests_name("own templates", tests, NULL, NULL);
}
