/*
 * dataset.h - files of examples to token sequences with labels.
 *
 * CAUSAL: every format is reduced to a sequence of (text, learn?) pieces, tokenized apart, EOS
 * supervised. CLASSIFY: a text or a pair, joined as the tokenizer's post-processor says. SEQ2SEQ:
 * source and target encoded each with the tokenizer's special tokens; an EOS is added to a target
 * that has none.
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
    QL_DATA_CLASSIFICATION,
    QL_DATA_OASST1,
    QL_DATA_CHIP2,
    QL_DATA_SELF_INSTRUCT,
    QL_DATA_HH_RLHF,
    QL_DATA_UNNATURAL,
    QL_DATA_FLAN,
    QL_DATA_GSM8K,
    QL_DATA_MMLU,
    QL_DATA_FORMAT_COUNT
} ql_data_format;
const char *ql_data_format_name(ql_data_format f);
bool ql_data_format_find(const char *name, ql_data_format *out);

/* What a row teaches (docs/training.md). */
typedef enum ql_task {
    QL_TASK_CAUSAL,   /* each token from those before it                                       */
    QL_TASK_CLASSIFY, /* one class or one number for a text or a pair of texts                 */
    QL_TASK_SEQ2SEQ   /* target text from a source text, two token streams, teacher forcing    */
} ql_task;

/* What a conversation teaches: every answer, everything, or the last answer. */
typedef enum ql_train_on { QL_TRAIN_ON_ASSISTANT, QL_TRAIN_ON_ALL, QL_TRAIN_ON_LAST } ql_train_on;

typedef enum ql_truncation { QL_TRUNCATE_ERROR, QL_TRUNCATE_LEFT, QL_TRUNCATE_RIGHT } ql_truncation;

typedef struct ql_dataset_opts {
    ql_data_format format;   /* auto: by file name and the first row's keys             */
    const ql_template *chat; /* for messages, sharegpt, prompt/completion, alpaca; NULL = plain text
                                joins (alpaca text) */
    bool train_on_source;    /* false: loss on answers only                             */
    ql_train_on train_on;    /* conversations; train_on_source means ALL                */
    int32_t max_len;         /* tokens of a row; 0 = no limit                           */
    ql_truncation truncation; /* error; left keeps a BOS in front                        */
    int32_t source_max_len, target_max_len; /* 0 = off; qlora.py's cutting of source and target, for
                                               rows without a chat template; with either, BOS is
                                               written whenever the tokenizer has one */
    int64_t max_rows; /* 0 = all                                                 */
    int32_t vocab;    /* ids at or above are refused; 0 = unchecked              */
    ql_task task;
    int32_t num_labels;        /* CLASSIFY: classes; 1 = regression                       */
    const char *const *labels; /* CLASSIFY: names of the classes [num_labels]; NULL = numbers */
    int32_t type_rows; /* CLASSIFY: token types that the model has, ids at or above are refused;
                          0 = it has no such table, types are left out */
    int32_t decoder_start, pad; /* SEQ2SEQ: first decoder id, below 0: the last label moves to the
                                   front; what stands for an ignored label */
    const char *source_prefix;  /* SEQ2SEQ: put in front of every source text; NULL = none   */
    const char *scratch_dir; /* where tokens go beyond keep_bytes of them; NULL = all in memory */
    uint64_t keep_bytes;
    bool texts_only; /* nothing becomes tokens (checks): conversations need no template */
} ql_dataset_opts;
ql_dataset_opts ql_dataset_opts_default(void);

#define QL_IGNORE  (-100)
#define QL_WHY_MAX 240 /* "by the keys instruction and output; it could also be ..." */
/* CAUSAL: label i = ids[i] or QL_IGNORE, not shifted. SEQ2SEQ: ids are the decoder's inputs (start
 * id, then the target without its last id) and label i is what row i predicts. CLASSIFY: labels is
 * NULL; `target` or, for regression, `value` is the answer. */
typedef struct ql_example {
    int32_t *ids, *labels; /* [n], one block (ids)                                    */
    int32_t *types;        /* [n] token type ids, inside the block; NULL = all 0      */
    int32_t n;
    int32_t *source;    /* SEQ2SEQ: encoder ids [n_source], inside the block       */
    int32_t n_source;   /* 0 for the other tasks                                   */
    int32_t target;     /* CLASSIFY                                                */
    float value;        /* CLASSIFY with one label: regression                     */
    float *weights;     /* [n] of the labels in the loss, inside the block; NULL = all 1 */
    int32_t supervised; /* targets that count                                      */
    int32_t chars;      /* characters of the texts before they became tokens; rows of ids: tokens */
    int64_t row;        /* from 1, in the file; blank lines are not counted        */
    bool borrowed;      /* the block belongs to the set's store or to another example */
} ql_example;
typedef struct ql_dataset {
    ql_example *items;
    int64_t n;
    int64_t tokens, supervised; /* tokens: of sources too */
    int32_t longest, longest_source;
    bool weighted; /* some example has weights */
    ql_data_format format;
    ql_task task;
    char why[QL_WHY_MAX];       /* what decided the format; "" = it was named */
    struct ql_row_store *store; /* where tokens are that memory does not hold; NULL = nowhere */
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
/* `from` behind the rows of `to`; its rows are numbered on from those of `to` (row keys stay
 * different). from is empty then, also on failure. Both have one task. */
QL_NODISCARD ql_status ql_dataset_append(ql_dataset *to, ql_dataset *from);
/* How often an epoch shows the rows numbered up to last_row (and above the weight before). */
typedef struct ql_row_weight {
    int64_t last_row;
    double weight; /* above 0: 2 = twice, 0.5 = a half, drawn by seed */
} ql_row_weight;
QL_NODISCARD ql_status ql_dataset_weigh(ql_dataset *d, const ql_row_weight *weights, int32_t n,
                                        uint64_t seed);
/* Sets the counts anew from the items. */
void ql_dataset_recount(ql_dataset *d);
/* Adds one example to the counts (tokens, supervised, longest). */
void ql_dataset_count(ql_dataset *d, const ql_example *e);
/* One number for everything that training sees of the rows: ids, labels, weights, answers, their
 * order. */
uint64_t ql_dataset_digest(const ql_dataset *d);

/* What the labels of a file of classified rows are. Either all are names (distinct, in the order of
 * their bytes) or all are numbers. */
typedef struct ql_label_set {
    char **names; /* [n]; NULL = numbers                                     */
    int32_t n;    /* classes; with numbers: the largest + 1                  */
    bool real;    /* some number is no class: it has a fraction or a sign    */
    size_t cap;
} ql_label_set;
QL_NODISCARD ql_status ql_dataset_labels(const char *path, ql_label_set *out);
/* The same for files with faults: what cannot be read is passed over, and so is a name among
 * numbers or a number among names. */
QL_NODISCARD ql_status ql_dataset_labels_seen(const char *path, ql_label_set *out);
void ql_label_set_free(ql_label_set *s);

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
