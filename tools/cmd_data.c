/*
 * cmd_data.c - `qlora data`: a data set before anything is trained on it.
 */
#include <string.h>

#include "tools/data_look.h"

#define OF(field) offsetof(ql_data_options, field)
static const ql_arg args[] = {
    {.name = "action",
     .kind = QL_ARG_CHOICE,
     .flags = QL_ARG_POSITIONAL | QL_ARG_REQUIRED,
     .at = OF(action),
     .choices = "check show stats split|pack",
     .help = "check: faults; show: what is learned; stats; split: train and eval files"},
    QL_DATA_ARGS(ql_data_options, data, QL_ARG_POSITIONAL | QL_ARG_REQUIRED),
    {.name = "model_name_or_path",
     .also = "-m --model",
     .kind = QL_ARG_TEXT,
     .at = OF(model),
     .value = "D",
     .help = "the model, or a folder with its tokenizer; without it only texts are looked at"},
    {.name = "tokenizer",
     .kind = QL_ARG_TEXT,
     .at = OF(tokenizer),
     .value = "D",
     .help = "folder with tokenizer files, or a .gguf  [the model's]"},
    {.name = "ignore",
     .kind = QL_ARG_TEXT,
     .flags = QL_ARG_LIST,
     .at = OF(ignore),
     .value = "KIND,...",
     .help = "check, stats: kinds of problems that are none"},
    {.name = "row",
     .kind = QL_ARG_INT,
     .at = OF(row),
     .fallback = "0",
     .lo = 0,
     .hi = 0x1p53,
     .help = "show: this row only"},
    {.name = "rows",
     .kind = QL_ARG_INT,
     .at = OF(rows),
     .fallback = "-1",
     .lo = -1,
     .hi = 0x1p53,
     .help = "show: the first N rows, 0 = all; -1: 5, 100 of a page, all of --json"},
    {.name = "html",
     .kind = QL_ARG_TEXT,
     .at = OF(html),
     .value = "FILE",
     .help = "write a page, too"},
    {.name = "output_dir",
     .kind = QL_ARG_TEXT,
     .at = OF(output_dir),
     .value = "D",
     .help = "split: folder for train.jsonl and eval.jsonl"},
};

static ql_exit run(ql_cli *cli, void *opts) {
    const ql_data_options *a = opts;
    if (strcmp(a->action, "split") == 0) return ql_data_split(cli, a);
    ql_look look;
    ql_exit code = ql_look_open(cli, a, &look);
    if (code != QL_EXIT_OK) return code;
    if (strcmp(a->action, "check") == 0) code = ql_data_check(cli, &look);
    if (strcmp(a->action, "show") == 0) code = ql_data_show(cli, &look);
    if (strcmp(a->action, "stats") == 0) code = ql_data_stats(cli, &look);
    ql_look_close(&look);
    return code;
}

const ql_command ql_cmd_data = {
    .name = "data",
    .summary = "Look at a data set: faults, what is learned, lengths; split it.",
    .usage = "check|show|stats|split FILE [-m D] [--key value]...",
    .about =
        "\nRows are read as `qlora train` reads them, with the same flags. `check` exits with 3 "
        "when it finds a problem.\nIts --json is {\"rows\", \"problems\": [{\"row\", \"kind\", "
        "\"message\"}]}; that of `show` is a line\n{\"source\", \"target\", \"input_ids\", "
        "\"labels\"} for each row.\n",
    .examples = "  qlora data check rows.jsonl -m ./model --eval_dataset heldout.jsonl\n"
                "  qlora data show rows.jsonl -m ./model --row 17\n"
                "  qlora data show rows.jsonl -m ./model --html rows.html\n"
                "  qlora data split rows.jsonl --eval_dataset_size 0.05 --output_dir parts\n",
    .args = args,
    .n_args = sizeof args / sizeof *args,
    .opts_bytes = sizeof(ql_data_options),
    .run = run,
};
