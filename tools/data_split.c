/*
 * data_split.c - `qlora data split`: the rows that `train --eval_dataset_size` would set aside, as
 * a file of their own.
 *
 * Rows go out as JSON lines, unchanged; the draw is that of training with the same --seed.
 */
#include <stdlib.h>
#include <string.h>

#include "core/base/fs.h"
#include "core/base/hostmem.h"
#include "tools/data_look.h"
#include "tools/engine.h"
#include "tools/lines.h"

typedef struct splitter {
    ql_row_list rows;
    const bool *drawn; /* NULL = rows are counted only */
    int64_t n;
    ql_sink train, eval;
} splitter;

static ql_status take_row(void *user, const json_t *row) {
    splitter *s = user;
    int64_t i = s->n++;
    if (!s->drawn) return QL_OK;
    ql_sink *to = s->drawn[i] ? &s->eval : &s->train;
    char *line = json_dumps(row, JSON_COMPACT | JSON_ENCODE_ANY);
    if (!line) return QL_NOMEM("a row");
    ql_status st = ql_sink_write(to, line, strlen(line));
    if (st == QL_OK) st = ql_sink_write(to, "\n", 1);
    free(line);
    return st;
}

static ql_status read_rows(splitter *s, const char *path) {
    ql_map map;
    QL_TRY(ql_map_open(path, &map));
    s->rows = (ql_row_list){.name = path, .visit = take_row, .user = s};
    s->n = 0;
    const char *text = map.data ? (const char *)map.data : "";
    size_t len = (size_t)map.size;
    ql_text_skip_mark(&text, &len);
    ql_status st = ql_rows_read(&s->rows, text, len);
    ql_map_close(&map);
    return st;
}

static ql_status open_sinks(splitter *s, const char *dir) {
    char path[QL_PATH_MAX];
    QL_TRY(ql_dir_create(dir));
    QL_TRY(ql_path_join(path, dir, "train.jsonl"));
    QL_TRY(ql_sink_open(path, &s->train));
    QL_TRY(ql_path_join(path, dir, "eval.jsonl"));
    ql_status st = ql_sink_open(path, &s->eval);
    if (st != QL_OK) ql_sink_abort(&s->train);
    return st;
}

static ql_status write_parts(splitter *s, const ql_data_options *a, int64_t n, uint64_t seed) {
    bool *drawn = ql_host_calloc((size_t)s->n + 1, sizeof *drawn);
    if (!drawn) return QL_NOMEM("the rows that are drawn");
    ql_split_draw(s->n, n, seed, drawn);
    s->drawn = drawn;
    ql_status st = open_sinks(s, a->output_dir);
    if (st == QL_OK) {
        st = read_rows(s, a->data.dataset);
        if (st == QL_OK) {
            st = ql_sink_commit(&s->train);
        } else {
            ql_sink_abort(&s->train);
        }
        if (st == QL_OK) {
            st = ql_sink_commit(&s->eval);
        } else {
            ql_sink_abort(&s->eval);
        }
    }
    ql_host_free(drawn);
    return st;
}

ql_exit ql_data_split(ql_cli *cli, const ql_data_options *a) {
    splitter s = {0};
    int64_t n = 0;
    ql_status st = QL_OK;
    if (!a->output_dir || !a->data.eval_size)
        st = QL_FAIL(QL_ERR_INVALID, "data split needs --eval_dataset_size and --output_dir");
    if (st != QL_OK) return ql_fail(&cli->out, QL_STAGE_USAGE, st);
    st = read_rows(&s, a->data.dataset);
    if (st != QL_OK) return ql_fail(&cli->out, QL_STAGE_DATA, st);
    st = ql_split_size(a->data.eval_size, s.n, &n);
    if (st != QL_OK) return ql_fail(&cli->out, QL_STAGE_USAGE, st);
    st = write_parts(&s, a, n, (uint64_t)cli->seed);
    if (st != QL_OK) return ql_fail(&cli->out, QL_STAGE_RUN, st);
    ql_print(&cli->out, "%s rows in train.jsonl, %s in eval.jsonl\n", ql_text_count(s.n - n).s,
             ql_text_count(n).s);
    return ql_print_json(
        &cli->out, json_pack("{s:I, s:I}", "train", (json_int_t)(s.n - n), "eval", (json_int_t)n));
}
