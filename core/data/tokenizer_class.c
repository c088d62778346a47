/*
 * tokenizer_class.c - the table of classes, as transformers 5 defines them.
 */
#include "core/data/tokenizer_class.h"

#include <string.h>

#include "core/base/fs.h"
#include "core/base/json.h"

#define NAMES(...)  ((const char *const[]){__VA_ARGS__, NULL})
#define BERT_TOKENS .unk = "[UNK]", .sep = "[SEP]", .pad = "[PAD]", .cls = "[CLS]", .mask = "[MASK]"
#define ROBERTA_TOKENS                                                                             \
    .bos = "<s>", .eos = "</s>", .unk = "<unk>", .sep = "</s>", .pad = "<pad>", .cls = "<s>",      \
    .mask = "<mask>"
#define END_OF_TEXT "<|endoftext|>"

static const ql_tokenizer_class classes[] = {
    {.names = NAMES("GPT2Tokenizer", "gpt2", "gptj", "gpt_neo", "opt"),
     .files = QL_CLASS_GPT2,
     .bos = END_OF_TEXT,
     .eos = END_OF_TEXT,
     .unk = END_OF_TEXT},
    {.names = NAMES("RobertaTokenizer", "BartTokenizer", "LongformerTokenizer", "LEDTokenizer",
                    "roberta", "bart", "longformer", "led"),
     .files = QL_CLASS_ROBERTA,
     ROBERTA_TOKENS},
    {.names = NAMES("BertTokenizer", "DistilBertTokenizer", "ElectraTokenizer", "bert",
                    "distilbert", "electra"),
     .files = QL_CLASS_BERT,
     BERT_TOKENS},
    {.names = NAMES("T5Tokenizer", "t5", "mt5", "umt5"),
     .eos = "</s>",
     .unk = "<unk>",
     .pad = "<pad>"},
    {.names = NAMES("DebertaV2Tokenizer", "deberta-v2"),
     .bos = "[CLS]",
     .eos = "[SEP]",
     BERT_TOKENS},
    {.names =
         NAMES("MBartTokenizer", "MBart50Tokenizer", "XLMRobertaTokenizer", "mbart", "xlm-roberta"),
     ROBERTA_TOKENS},
};

static const ql_tokenizer_class *by_name(const char *name, size_t len) {
    for (size_t i = 0; i < sizeof classes / sizeof *classes; i++)
        for (const char *const *s = classes[i].names; *s; s++)
            if (strlen(*s) == len && memcmp(*s, name, len) == 0) return &classes[i];
    return NULL;
}

/* "BertTokenizerFast" is "BertTokenizer". */
static const ql_tokenizer_class *by_class(const char *name) {
    size_t n = strlen(name);
    if (n > 4 && strcmp(name + n - 4, "Fast") == 0) n -= 4;
    return by_name(name, n);
}

ql_status ql_tokenizer_class_find(const char *dir, const json_t *config,
                                  const ql_tokenizer_class **out) {
    char path[QL_PATH_MAX];
    const char *name = json_string_value(json_object_get(config, "tokenizer_class"));
    *out = name ? by_class(name) : NULL;
    QL_TRY(ql_path_join(path, dir, "config.json"));
    if (*out || !ql_file_exists(path)) return QL_OK;
    json_t *model;
    QL_TRY(ql_json_read(path, &model));
    const char *type = json_string_value(json_object_get(model, "model_type"));
    if (!name) name = json_string_value(json_object_get(model, "tokenizer_class"));
    if (name) {
        *out = by_class(name);
    } else if (type) {
        *out = by_name(type, strlen(type));
    }
    json_decref(model);
    return QL_OK;
}
