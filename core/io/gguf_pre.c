/* gguf_pre.c - the table of pre-tokenizers of byte-level vocabularies. */
#include "core/io/gguf_pre.h"

#include <string.h>

#define CONTRACTIONS "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define REST         "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define LETTERS      "[^\\r\\n\\p{L}\\p{N}]?\\p{L}+"
#define OTHERS       " ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*"
#define UPPER        "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define LOWER        "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"
#define CASED(tail)                                                                                \
    "[^\\r\\n\\p{L}\\p{N}]?" UPPER "*" LOWER "+" tail "|[^\\r\\n\\p{L}\\p{N}]?" UPPER "+" LOWER    \
    "*" tail

#define LLAMA3_WORDS CONTRACTIONS "|" LETTERS "|\\p{N}{1,3}|" OTHERS "|" REST
#define QWEN2_WORDS  CONTRACTIONS "|" LETTERS "|\\p{N}|" OTHERS "|" REST
#define TEKKEN_WORDS CASED("") "|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|" REST
#define GPT4O_WORDS  CASED(CONTRACTIONS "?") "|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|" REST

#define NAMES(...) ((const char *const[]){__VA_ARGS__, NULL})

static const ql_gguf_pre schemes[] = {
    {NAMES("default"),
     {"[\\p{P}\\$\\+<=>\\^~\\|]+", QL_GPT2_WORDS, "\\p{N}+", "[0-9][0-9][0-9]"},
     false,
     false},
    {NAMES("llama3", "llama-v3", "llama-bpe", "falcon3", "pixtral"), {LLAMA3_WORDS}, true, true},
    {NAMES("dbrx", "smaug-bpe", "chatglm-bpe", "glm4"), {LLAMA3_WORDS}, false, false},
    {NAMES("gpt-2", "phi-2", "mpt", "olmo", "jais"), {QL_GPT2_WORDS}, false, false},
    {NAMES("starcoder", "refact", "command-r", "smollm", "codeshell", "exaone", "minerva-7b"),
     {"\\p{N}", QL_GPT2_WORDS},
     false,
     false},
    {NAMES("falcon"),
     {"[\\p{P}\\$\\+<=>\\^~\\|`]+", QL_GPT2_WORDS, "[0-9][0-9][0-9]"},
     false,
     false},
    {NAMES("qwen2", "deepseek-r1-qwen", "stablelm2", "hunyuan", "megrez"),
     {QWEN2_WORDS},
     false,
     false},
    {NAMES("tekken"), {TEKKEN_WORDS}, true, true},
    {NAMES("gpt-4o", "llama4"), {GPT4O_WORDS}, false, false},
};

ql_status ql_gguf_pre_read(const ql_gguf *g, const char *path, const ql_gguf_pre **out) {
    ql_str name = {"default", 7};
    QL_TRY(ql_gguf_get_str(g, "tokenizer.ggml.pre", &name));
    for (size_t i = 0; i < sizeof schemes / sizeof *schemes; i++) {
        for (const char *const *s = schemes[i].names; *s; s++) {
            if (strlen(*s) != name.len || memcmp(*s, name.s, (size_t)name.len) != 0) continue;
            *out = &schemes[i];
            return QL_OK;
        }
    }
    return QL_FAIL(QL_ERR_UNSUPPORTED, "%s: pre-tokenizer '%.*s' (tokenizer.ggml.pre) is not known",
                   path, (int)(name.len > 64 ? 64 : name.len), name.s);
}
