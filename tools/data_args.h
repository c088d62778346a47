/*
 * data_args.h - flags of data sets, the tokenizer and chat template that turn them into tokens, and
 * the split into training and evaluation rows.
 */
#ifndef QLORA_TOOLS_DATA_ARGS_H
#define QLORA_TOOLS_DATA_ARGS_H

#include "core/model/arch.h"
#include "tools/cli.h"

/* Which chat template, and what it is given. */
typedef struct ql_template_args {
    const char *name, *kwargs;
} ql_template_args;

typedef struct ql_data_args {
    ql_template_args chat;
    const char *dataset, *eval_dataset, *eval_size;
    const char *format, *truncation, *train_on;
    const char *task, *source_prefix;
    int64_t max_rows, max_eval_rows, max_seq_len, source_max_len, target_max_len, num_labels;
    bool train_on_source, packing, shuffle, group_by_length;
} ql_data_args;

/* The rows of the chat template, for the member f (a ql_template_args) of the option struct T. */
#define QL_TEMPLATE_ARG(T, f)                                                                      \
    {.name = "chat_template",                                                                      \
     .kind = QL_ARG_TEXT,                                                                          \
     .at = offsetof(T, f.name),                                                                    \
     .value = "NAME",                                                                              \
     .help = "a FILE.jinja, or chatml llama2 llama3 mistral zephyr vicuna alpaca ..., or none  "   \
             "[the model's own]"},                                                                 \
    {                                                                                              \
        .name = "chat_template_kwargs", .kind = QL_ARG_TEXT,                                       \
        .flags = QL_ARG_ADVANCED | QL_ARG_MAP, .at = offsetof(T, f.kwargs), .value = "JSON",       \
        .help = "variables of the model's own template: {\"enable_thinking\": false}"              \
    }

/* Rows of the data format, for the member `f` (a ql_data_args). */
#define QL_DATA_FORMAT_ARGS(T, f)                                                                  \
    {.name = "dataset_format",                                                                     \
     .kind = QL_ARG_CHOICE,                                                                        \
     .at = offsetof(T, f.format),                                                                  \
     .fallback = "auto",                                                                           \
     .choices = "auto text completion input-output alpaca messages sharegpt tokens "               \
                "classification oasst1 chip2 self-instruct hh-rlhf unnatural flan gsm8k "          \
                "mmlu|dpo",                                                                        \
     .help = "format of the rows"},                                                                \
        QL_TEMPLATE_ARG(T, f.chat),                                                                \
        {.name = "max_seq_len",                                                                    \
         .kind = QL_ARG_INT,                                                                       \
         .at = offsetof(T, f.max_seq_len),                                                         \
         .fallback = "0",                                                                          \
         .lo = 0,                                                                                  \
         .hi = 1 << 24,                                                                            \
         .help = "tokens of a row, 0 = as long as the longest"},                                   \
        {.name = "truncation",                                                                     \
         .kind = QL_ARG_CHOICE,                                                                    \
         .at = offsetof(T, f.truncation),                                                          \
         .fallback = "error",                                                                      \
         .choices = "error left right",                                                            \
         .help = "what happens to longer rows"},                                                   \
        {.name = "source_max_len",                                                                 \
         .kind = QL_ARG_INT,                                                                       \
         .flags = QL_ARG_ADVANCED,                                                                 \
         .at = offsetof(T, f.source_max_len),                                                      \
         .fallback = "0",                                                                          \
         .lo = 0,                                                                                  \
         .hi = 1 << 24,                                                                            \
         .help = "cut prompts without a template to N tokens (qlora.py: 1024), 0 = never"},        \
        {.name = "target_max_len",                                                                 \
         .kind = QL_ARG_INT,                                                                       \
         .flags = QL_ARG_ADVANCED,                                                                 \
         .at = offsetof(T, f.target_max_len),                                                      \
         .fallback = "0",                                                                          \
         .lo = 0,                                                                                  \
         .hi = 1 << 24,                                                                            \
         .help = "cut answers without a template to N tokens (qlora.py: 256), 0 = never"},         \
        {.name = "train_on_source",                                                                \
         .kind = QL_ARG_BOOL,                                                                      \
         .at = offsetof(T, f.train_on_source),                                                     \
         .fallback = "false",                                                                      \
         .value = "B",                                                                             \
         .help = "loss on prompts too, not on answers only"},                                      \
        {.name = "num_labels",                                                                     \
         .kind = QL_ARG_INT,                                                                       \
         .at = offsetof(T, f.num_labels),                                                          \
         .fallback = "0",                                                                          \
         .lo = 0,                                                                                  \
         .hi = 100000,                                                                             \
         .help = "classes of a classifier, 1 = a number; 0: by the model or the rows"},            \
        {.name = "source_prefix",                                                                  \
         .kind = QL_ARG_TEXT,                                                                      \
         .at = offsetof(T, f.source_prefix),                                                       \
         .value = "TEXT",                                                                          \
         .help = "put in front of every source of an encoder-decoder"},                            \
    {                                                                                              \
        .name = "train_on", .kind = QL_ARG_CHOICE, .flags = QL_ARG_ADVANCED,                       \
        .at = offsetof(T, f.train_on), .fallback = "assistant", .choices = "assistant all last",   \
        .help = "what of a conversation is learned: answers, everything, the last answer"          \
    }

/* Rows of training data. */
#define QL_DATA_ARGS(T, f, dataset_flags)                                                          \
    {.name = "dataset",                                                                            \
     .kind = QL_ARG_TEXT,                                                                          \
     .flags = (dataset_flags) | QL_ARG_LIST,                                                       \
     .at = offsetof(T, f.dataset),                                                                 \
     .value = "FILE",                                                                              \
     .help = ".jsonl .json .csv .tsv .txt; several: a.jsonl:2,b.jsonl with weights"},              \
        {.name = "task",                                                                           \
         .kind = QL_ARG_CHOICE,                                                                    \
         .at = offsetof(T, f.task),                                                                \
         .fallback = "auto",                                                                       \
         .choices = "auto causal classify seq2seq",                                                \
         .help = "what the rows teach; auto: what the model is for"},                              \
        QL_DATA_FORMAT_ARGS(T, f),                                                                 \
        {.name = "eval_dataset",                                                                   \
         .kind = QL_ARG_TEXT,                                                                      \
         .at = offsetof(T, f.eval_dataset),                                                        \
         .value = "FILE",                                                                          \
         .help = "rows to evaluate on"},                                                           \
        {.name = "eval_dataset_size",                                                              \
         .kind = QL_ARG_TEXT,                                                                      \
         .at = offsetof(T, f.eval_size),                                                           \
         .value = "N",                                                                             \
         .help = "rows of --dataset set aside to evaluate on: 1024, or a part such as 0.01"},      \
        {.name = "max_train_samples",                                                              \
         .kind = QL_ARG_INT,                                                                       \
         .at = offsetof(T, f.max_rows),                                                            \
         .fallback = "0",                                                                          \
         .lo = 0,                                                                                  \
         .hi = 0x1p53,                                                                             \
         .help = "read no more rows of --dataset, 0 = all"},                                       \
        {.name = "max_eval_samples",                                                               \
         .kind = QL_ARG_INT,                                                                       \
         .flags = QL_ARG_ADVANCED,                                                                 \
         .at = offsetof(T, f.max_eval_rows),                                                       \
         .fallback = "0",                                                                          \
         .lo = 0,                                                                                  \
         .hi = 0x1p53,                                                                             \
         .help = "evaluate on no more rows, 0 = all"},                                             \
        {.name = "packing",                                                                        \
         .kind = QL_ARG_BOOL,                                                                      \
         .at = offsetof(T, f.packing),                                                             \
         .fallback = "false",                                                                      \
         .value = "B",                                                                             \
         .help = "fill micro-batches with the rows that fit best"},                                \
        {.name = "shuffle",                                                                        \
         .kind = QL_ARG_BOOL,                                                                      \
         .at = offsetof(T, f.shuffle),                                                             \
         .fallback = "true",                                                                       \
         .value = "B",                                                                             \
         .help = "a new order each epoch"},                                                        \
    {                                                                                              \
        .name = "group_by_length", .kind = QL_ARG_BOOL, .flags = QL_ARG_ADVANCED,                  \
        .at = offsetof(T, f.group_by_length), .fallback = "false", .value = "B",                   \
        .help = "rows of similar length in a step, as qlora.py orders them"                        \
    }

/* One file of --dataset. */
typedef struct ql_data_set {
    char *path;       /* owned */
    double weight;    /* how often an epoch shows its rows */
    int64_t rows;     /* read */
    int64_t last_row; /* number of its last row among all */
    ql_data_format format;
} ql_data_set;

typedef struct ql_data {
    ql_tokenizer *tok; /* NULL for rows of token ids */
    const ql_template *chat;
    ql_dataset train, eval;
    bool has_eval;
    ql_data_set *sets; /* [n_sets] files of train */
    int32_t n_sets;
    ql_label_set labels; /* of a classifier: how many, and their names */
    int32_t stop[4];     /* ids that end an answer */
    int32_t n_stop;
} ql_data;

/* Which template: what `a` names, else the model's own, else none (NULL). A template of the model's
 * that cannot be compiled is said on `out`. Close it with ql_template_close before `tok`. */
QL_NODISCARD ql_status ql_choose_template(const ql_template_args *a, const ql_tokenizer *tok,
                                          ql_out *out, const ql_template **chat);
/* Tokenizer and template of the data; belongs to QL_STAGE_MODEL. `path` as for tokenizers. Labels
 * that *out has stay; the rest of it is replaced. */
QL_NODISCARD ql_status ql_data_open(ql_cli *cli, const ql_data_args *a, const char *path,
                                    ql_data *out);
/* How the rows of `path` are read; arch NULL = the model is not known: next tokens, no checks of
 * ids. *out borrows from `a` and `d`. */
QL_NODISCARD ql_status ql_data_opts(const ql_data_args *a, const ql_data *d, const ql_arch *arch,
                                    const char *path, ql_dataset_opts *out);
/* The files that a --dataset names, into d->sets. */
QL_NODISCARD ql_status ql_data_sets_parse(const char *text, ql_data *d);
/* Reads the rows; belongs to QL_STAGE_DATA. `arch` is the model's, data->labels must be known for a
 * classifier, `seed` decides the split. */
QL_NODISCARD ql_status ql_data_load(const ql_data_args *a, const ql_arch *arch, uint64_t seed,
                                    ql_data *data);
/* --eval_dataset_size as a number of `rows`: a count, or below 1 a part. */
QL_NODISCARD ql_status ql_split_size(const char *text, int64_t rows, int64_t *out);
/* Marks the n rows that `seed` sets aside; drawn[0..rows) is false before. */
void ql_split_draw(int64_t rows, int64_t n, uint64_t seed, bool *drawn);
/* Is the model made for --task? */
QL_NODISCARD ql_status ql_data_check_task(const char *task, const ql_arch *arch);
const char *ql_task_name(ql_task task);
void ql_data_close(ql_data *d);
/* Lengths that the plan needs: of both sets. */
typedef struct ql_longest {
    int32_t row, source; /* source: SEQ2SEQ, otherwise 0 */
} ql_longest;
ql_longest ql_data_longest(const ql_data *d);
/* Rows whose answer does not end in EOS or the template's end of turn; -1 without a tokenizer. */
int64_t ql_data_without_eos(const ql_data *d);

#endif /* QLORA_TOOLS_DATA_ARGS_H */
