/*
 * dataset.h - files of examples to token sequences with labels.
 *
 * Every format is reduced to a sequence of (text, learn?) pieces, tokenized apart, EOS supervised.
 * A row that teaches nothing, is too long or cannot be read is refused with file and row number
 * (from 1).
 */
#ifndef QLORA_CORE_DATA_DATASET_H
#define QLORA_CORE_DATA_DATASET_H

#include <stdbool.h>
#include <stdint.h>

#include "core/data/template.h"
#include "core/data/tokenizer.h"

typedef enum ql_data_format {
    QL_DATA_AUTO,
    QL_DATA_TEXT,
    QL_DATA_COMPLETION,
    QL_DATA_INPUT_OUTPUT,
    QL_DATA_ALPACA,
    QL_DATA_MESSAGES,
    QL_DATA_SHAREGPT,
    QL_DATA_TOKENS,
    QL_DATA_FORMAT_COUNT
} ql_data_format;
const char *ql_data_format_name(ql_data_format f);
bool ql_data_format_find(const char *name, ql_data_format *out);

typedef enum ql_truncation { QL_TRUNCATE_ERROR, QL_TRUNCATE_LEFT, QL_TRUNCATE_RIGHT } ql_truncation;

typedef struct ql_dataset_opts {
    ql_data_format format;   /* auto: by file name and the first row's keys             */
    const ql_template *chat; /* for messages, sharegpt, prompt/completion, alpaca; NULL = plain text
                                joins (alpaca text) */
    bool train_on_source;    /* false: loss on answers only                             */
    int32_t max_len;         /* tokens of a row; 0 = no limit                           */
    ql_truncation truncation; /* error; left keeps a BOS in front                        */
    int32_t source_max_len, target_max_len; /* 0 = off; qlora.py's cutting of source and target, for
                                               rows without a chat template; with either, BOS is
                                               written whenever the tokenizer has one */
    int64_t max_rows; /* 0 = all                                                 */
    int32_t vocab;    /* ids at or above are refused; 0 = unchecked              */
} ql_dataset_opts;
ql_dataset_opts ql_dataset_opts_default(void);

#define QL_IGNORE (-100)
typedef struct ql_example {
    int32_t *ids, *labels; /* [n], one block (ids); unshifted: label i = ids[i] or QL_IGNORE */
    int32_t n;
    int32_t supervised; /* targets that count: labels[1..] != QL_IGNORE            */
    int64_t row;        /* from 1, in the file; blank lines are not counted        */
} ql_example;
typedef struct ql_dataset {
    ql_example *items;
    int64_t n;
    int64_t tokens, supervised;
    int32_t longest;
    ql_data_format format;
} ql_dataset;
/* tok may be NULL for QL_DATA_TOKENS. .txt: the whole file is cut into rows of max_len tokens (a
 * last short piece is kept when it has a target). */
QL_NODISCARD ql_status ql_dataset_load(const char *path, const ql_tokenizer *tok,
                                       const ql_dataset_opts *o, ql_dataset *out);
/* The same from bytes in memory; `name` stands for the file in messages and decides by its ending
 * (.txt or not) when the format is auto. */
QL_NODISCARD ql_status ql_dataset_parse(const char *name, const char *text, size_t len,
                                        const ql_tokenizer *tok, const ql_dataset_opts *o,
                                        ql_dataset *out);
void ql_dataset_free(ql_dataset *d);

/* One training example from qlora.py's (source, target) strings; exposed for its oracle
 * sft_examples_*.jsonl. */
QL_NODISCARD ql_status ql_example_from_pair(const ql_tokenizer *tok, const char *source,
                                            const char *target, const ql_dataset_opts *o,
                                            ql_example *out);
void ql_example_free(ql_example *e);

/* Order of an epoch: a permutation of 0..n-1 from (seed, epoch); identity when !shuffle. */
QL_NODISCARD ql_status ql_epoch_order(int64_t n, uint64_t seed, int64_t epoch, bool shuffle,
                                      int64_t *order);

#endif
