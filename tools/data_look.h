/*
 * data_look.h - what `qlora data` knows before it reads rows: flags, the model's tokenizer and
 * template where a model is named, and what the rows teach.
 */
#ifndef QLORA_TOOLS_DATA_LOOK_H
#define QLORA_TOOLS_DATA_LOOK_H

#include "core/data/check.h"
#include "tools/data_args.h"

typedef struct ql_data_options {
    const char *action, *model, *tokenizer, *ignore, *html, *output_dir;
    int64_t row, rows; /* which row; how many, below 0 = as many as suit the output */
    ql_data_args data;
} ql_data_options;

typedef struct ql_look {
    const ql_data_options *a;
    ql_data data;  /* tok NULL = no model was named */
    bool has_arch; /* the model's config.json was read */
    ql_arch arch;
    ql_dataset_opts o;
} ql_look;

/* Says what fails. */
QL_NODISCARD ql_exit ql_look_open(ql_cli *cli, const ql_data_options *a, ql_look *out);
void ql_look_close(ql_look *l);
/* The names of --ignore, and where an answer ends, into the options of a check. */
QL_NODISCARD ql_status ql_look_check_opts(const ql_look *l, ql_check_opts *out);

/* Text of token i of ids, as it adds to the text before it; owned, may hold parts of a character.
 */
QL_NODISCARD ql_status ql_token_text(const ql_tokenizer *tok, const int32_t *ids, int64_t i,
                                     char **text, size_t *len);
/* "on" learned, "eos" its end, "sep" special, "off", or "bad": a start token after the first. */
const char *ql_token_class(const ql_look *l, const ql_example *e, int32_t i);

/* The actions. */
ql_exit ql_data_check(ql_cli *cli, ql_look *l);
ql_exit ql_data_show(ql_cli *cli, ql_look *l);
ql_exit ql_data_stats(ql_cli *cli, ql_look *l);
ql_exit ql_data_split(ql_cli *cli, const ql_data_options *a);

#endif /* QLORA_TOOLS_DATA_LOOK_H */
