/*
 * tokenizer_class.h - what the name of a tokenizer class of transformers implies where files are
 * silent: its special tokens, and how its older vocabulary files are read.
 */
#ifndef QLORA_CORE_DATA_TOKENIZER_CLASS_H
#define QLORA_CORE_DATA_TOKENIZER_CLASS_H

#include <jansson.h>

#include "qlora/status.h"

typedef enum ql_class_files {
    QL_CLASS_JSON,    /* only tokenizer.json                                        */
    QL_CLASS_GPT2,    /* vocab.json, merges.txt: byte-level BPE, nothing around it  */
    QL_CLASS_ROBERTA, /* the same with RobertaProcessing                            */
    QL_CLASS_BERT     /* vocab.txt: WordPiece                                       */
} ql_class_files;

typedef struct ql_tokenizer_class {
    const char *const *names; /* of the class without "Fast", and of model types; ends with NULL */
    ql_class_files files;
    const char *bos, *eos, *unk, *sep, *pad, *cls, *mask; /* NULL = none */
} ql_tokenizer_class;

/* By tokenizer_class of tokenizer_config.json (`config`, may be NULL), else by tokenizer_class or
 * model_type of the config.json in `dir`; *out is NULL when the class is not known. */
QL_NODISCARD ql_status ql_tokenizer_class_find(const char *dir, const json_t *config,
                                               const ql_tokenizer_class **out);

#endif
