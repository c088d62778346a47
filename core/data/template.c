/*
 * template.c - the table of named chat templates, and recognising a Jinja text by what it contains.
 *
 * Recognition is conservative: a text that holds more than the named template writes (tools, dates,
 * another default system text) is not recognised, and the user chooses.
 */
#include "core/data/template.h"

#include <string.h>

#include "core/data/template_internal.h"

#define SMOLLM2_SYSTEM "You are a helpful AI assistant named SmolLM, trained by Hugging Face"
#define QWEN2_5_SYSTEM "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."
#define POLITE         "The assistant gives helpful, detailed, and polite answers to the user's questions."
#define VICUNA_SYSTEM                                                                              \
    "A chat between a curious user and an artificial intelligence assistant. " POLITE
#define GUANACO_SYSTEM                                                                             \
    "A chat between a curious human and an artificial intelligence assistant. " POLITE
#define ALPACA_SYSTEM                                                                              \
    "Below is an instruction that describes a task. Write a response that appropriately "          \
    "completes the request."

#define CHATML(template_name, system_text)                                                         \
    {                                                                                              \
        .name = template_name, .flags = SYSTEM_ANYWHERE, .stop = "<|im_end|>", .start = "",        \
        .default_system = system_text,                                                             \
        .system = {MARK("<|im_start|>") "system\n", MARK("<|im_end|>") "\n"},                      \
        .user = {MARK("<|im_start|>") "user\n", MARK("<|im_end|>") "\n"},                          \
        .assistant = MARK("<|im_start|>") "assistant\n", .lead = "", .tail = MARK("<|im_end|>"),   \
        .after = "\n", .prompt = MARK("<|im_start|>") "assistant\n",                               \
    }

#define LLAMA3_TURN(role) MARK("<|start_header_id|>") role MARK("<|end_header_id|>") "\n\n"
#define LLAMA3(template_name, more_flags)                                                          \
    {                                                                                              \
        .name = template_name, .flags = TRIM_CONTENTS | SYSTEM_ANYWHERE | (more_flags),            \
        .stop = "<|eot_id|>", .start = BOS, .system = {LLAMA3_TURN("system"), MARK("<|eot_id|>")}, \
        .user = {LLAMA3_TURN("user"), MARK("<|eot_id|>")}, .assistant = LLAMA3_TURN("assistant"),  \
        .lead = "", .tail = MARK("<|eot_id|>"), .after = "", .prompt = LLAMA3_TURN("assistant"),   \
    }

static const ql_template TEMPLATES[] = {
    CHATML("chatml", NULL),
    CHATML("smollm2", SMOLLM2_SYSTEM),
    CHATML("qwen2_5", QWEN2_5_SYSTEM),
    {
        .name = "llama2",
        .flags = TRIM_CONTENTS | MUST_ALTERNATE | FOLD_SYSTEM,
        .stop = "",
        .start = "",
        .system = {"<<SYS>>\n", "\n<</SYS>>\n\n"},
        .user = {BOS "[INST] ", " [/INST]"},
        .assistant = "",
        .lead = " ",
        .tail = " " EOS,
        .after = "",
        .prompt = "",
    },
    LLAMA3("llama3", 0),
    LLAMA3("llama3_open", ALWAYS_PROMPT),
    {
        .name = "mistral",
        .flags = MUST_ALTERNATE,
        .stop = "",
        .start = BOS,
        .user = {MARK("[INST]") " ", " " MARK("[/INST]")},
        .assistant = "",
        .lead = "",
        .tail = EOS,
        .after = "",
        .prompt = "",
    },
    {
        .name = "gemma",
        .flags = TRIM_CONTENTS | MUST_ALTERNATE,
        .stop = "<end_of_turn>",
        .start = BOS,
        .user = {MARK("<start_of_turn>") "user\n", MARK("<end_of_turn>") "\n"},
        .assistant = MARK("<start_of_turn>") "model\n",
        .lead = "",
        .tail = MARK("<end_of_turn>"),
        .after = "\n",
        .prompt = MARK("<start_of_turn>") "model\n",
    },
    {
        .name = "zephyr",
        .flags = SYSTEM_ANYWHERE,
        .stop = "",
        .start = "",
        .system = {MARK("<|system|>") "\n", EOS "\n"},
        .user = {MARK("<|user|>") "\n", EOS "\n"},
        .assistant = MARK("<|assistant|>") "\n",
        .lead = "",
        .tail = EOS,
        .after = "\n",
        .prompt = MARK("<|assistant|>") "\n",
    },
    {
        .name = "vicuna",
        .flags = 0,
        .stop = "",
        .start = "",
        .default_system = VICUNA_SYSTEM,
        .system = {"", " "},
        .user = {"USER: ", " "},
        .assistant = "ASSISTANT:",
        .lead = " ",
        .tail = EOS,
        .after = "",
        .prompt = "ASSISTANT:",
    },
    {
        .name = "alpaca",
        .flags = MUST_ALTERNATE,
        .stop = "",
        .start = "",
        .default_system = ALPACA_SYSTEM,
        .system = {"", "\n\n"},
        .user = {"### Instruction:\n", "\n\n"},
        .assistant = "### Response: ",
        .lead = "",
        .tail = EOS,
        .after = "\n\n",
        .prompt = "### Response: ",
    },
    {
        .name = "guanaco_train",
        .flags = 0,
        .stop = "",
        .start = "",
        .user = {"### Human: ", ""},
        .assistant = "### Assistant:",
        .lead = " ",
        .tail = "",
        .after = "",
        .prompt = "### Assistant:",
    },
    {
        .name = "guanaco_chat",
        .flags = 0,
        .stop = "",
        .start = "",
        .default_system = GUANACO_SYSTEM,
        .system = {"", ""},
        .user = {" ### Human: ", ""},
        .assistant = " ### Assistant:",
        .lead = " ",
        .tail = "",
        .after = "",
        .prompt = " ### Assistant:",
    },
};

#define NAMES                                                                                      \
    "chatml, smollm2, qwen2_5, llama2, llama3, llama3_open, mistral, gemma, zephyr, vicuna, "      \
    "alpaca, guanaco_train, guanaco_chat"

#define N_TEMPLATES (sizeof TEMPLATES / sizeof TEMPLATES[0])

const ql_template *ql_template_find(const char *name) {
    for (size_t i = 0; name && i < N_TEMPLATES; i++) {
        if (strcmp(TEMPLATES[i].name, name) == 0) return &TEMPLATES[i];
    }
    return NULL;
}

const char *ql_template_names(void) {
    return NAMES;
}

const char *ql_template_name(const ql_template *t) {
    return t->name;
}

const char *ql_template_stop(const ql_template *t) {
    return t->stop;
}

/* A Jinja text is this template when it holds every `has` and no `lacks`. First match wins. */
typedef struct fingerprint {
    const char *name;
    const char *has[4];
    const char *lacks[4];
} fingerprint;

static const fingerprint FINGERPRINTS[] = {
    {"smollm2", {"<|im_start|>", SMOLLM2_SYSTEM}, {"tools", "think"}},
    {"qwen2_5", {"<|im_start|>", QWEN2_5_SYSTEM}, {"think"}},
    {"chatml",
     {"<|im_start|>", "<|im_end|>", "add_generation_prompt"},
     {"<|im_start|>system", "You are", "tools", "think"}},
    {"llama3",
     {"<|start_header_id|>", "<|eot_id|>", "add_generation_prompt"},
     {"Cutting Knowledge", "tools", "<|start_header_id|>system"}},
    {"llama3_open",
     {"<|start_header_id|>", "<|eot_id|>", "<|start_header_id|>assistant<|end_header_id|>"},
     {"Cutting Knowledge", "tools", "<|start_header_id|>system", "add_generation_prompt"}},
    {"llama2", {"[INST] ", " [/INST]", "<<SYS>>", "bos_token + '[INST] '"}, {"tools"}},
    {"mistral",
     {"[INST] ", " [/INST]", "eos_token"},
     {"SYS", "TOOL", "eos_token + ' '", "' ' + message"}},
    {"gemma", {"<start_of_turn>", "<end_of_turn>", "System role not supported"}, {"tools"}},
    {"zephyr", {"<|user|>", "<|assistant|>", "<|system|>", "eos_token"}, {"<|end|>", "tools"}},
    {"vicuna", {"USER: ", "ASSISTANT:", VICUNA_SYSTEM}, {"tools"}},
    {"alpaca", {ALPACA_SYSTEM, "### Instruction:", "### Response: "}, {"### Input", "tools"}},
    {"guanaco_chat", {"### Human: ", "### Assistant:", GUANACO_SYSTEM}, {"tools"}},
    {"guanaco_train", {"### Human: ", "### Assistant:"}, {"A chat between", "tools"}},
};

static bool matches(const fingerprint *f, const char *jinja) {
    for (size_t i = 0; i < 4; i++) {
        if (f->has[i] && !strstr(jinja, f->has[i])) return false;
        if (f->lacks[i] && strstr(jinja, f->lacks[i])) return false;
    }
    return true;
}

const ql_template *ql_template_recognise(const char *jinja) {
    for (size_t i = 0; jinja && i < sizeof FINGERPRINTS / sizeof FINGERPRINTS[0]; i++) {
        if (matches(&FINGERPRINTS[i], jinja)) return ql_template_find(FINGERPRINTS[i].name);
    }
    (void)QL_FAIL(QL_ERR_UNSUPPORTED,
                  "the model's own chat template is %s: choose one with --chat_template (%s)",
                  jinja ? "not one of those this version knows" : "missing", NAMES);
    return NULL;
}
