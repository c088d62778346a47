/*
 * data_check.c - `qlora data check`: what is wrong, row by row; `qlora data stats`: what the rows
 * are together.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/base/hostmem.h"
#include "core/train/pack.h"
#include "tools/data_page.h"
#include "tools/engine.h"

enum { MOST_LINES = 100, MOST_PAGE_ROWS = 200 };

/* Where problems go while the file is read. */
typedef struct findings {
    ql_cli *cli;
    const ql_look *l;
    json_t *list;  /* problems for --json; NULL = not wanted */
    ql_html *page; /* NULL = not wanted */
    bool print;
    int64_t printed, on_page;
    char first[512]; /* the present row's first problem */
    int64_t first_row;
} findings;

static ql_status take_problem(void *user, int64_t row, ql_problem kind, const char *message) {
    findings *f = user;
    if (f->first_row != row) {
        f->first_row = row;
        (void)snprintf(f->first, sizeof f->first, "%s: %s", ql_problem_name(kind), message);
    }
    if (f->list) {
        json_t *p =
            json_pack("{s:I, s:s, s:o}", "row", (json_int_t)row, "kind", ql_problem_name(kind),
                      "message", json_stringn_nocheck(message, strlen(message)));
        if (!p || json_array_append_new(f->list, p) != 0) return QL_NOMEM("the problems");
    }
    if (!f->print) return QL_OK;
    if (f->printed++ < MOST_LINES) {
        ql_print(&f->cli->out, "row %s: %s: %s\n", ql_text_count(row).s, ql_problem_name(kind),
                 message);
    } else if (f->printed == MOST_LINES + 1) {
        ql_print(&f->cli->out, "... (--json lists all)\n");
    }
    return QL_OK;
}

static ql_status take_row(void *user, const ql_walk_row *row, int64_t n) {
    findings *f = user;
    if (n == 0 || !f->page || f->on_page++ >= MOST_PAGE_ROWS) return QL_OK;
    ql_page_row(f->page, f->l, row, f->first);
    return QL_OK;
}

/* A file that cannot be read as rows at all is a problem of row 0. */
static ql_status check_file(findings *f, ql_check_opts *c, ql_check_report *r) {
    c->problem = take_problem;
    c->row = take_row;
    c->user = f;
    ql_problem_note(QL_PROBLEM_ROW);
    ql_status s = ql_check_file(f->l->a->data.dataset, f->l->data.tok, &f->l->o, c, r);
    if (s != QL_ERR_FORMAT) return s;
    char message[512];
    (void)snprintf(message, sizeof message, "%s", ql_last_error());
    ql_problem kind = ql_problem_last();
    *r = (ql_check_report){.n_problems = 1};
    r->problems[kind] = 1;
    return take_problem(f, 0, kind, message);
}

static void print_kinds(ql_out *out, const ql_check_report *r) {
    for (int k = 0; k < QL_PROBLEM_COUNT; k++) {
        if (r->problems[k])
            ql_print(out, "  %-16s %s\n", ql_problem_name((ql_problem)k),
                     ql_text_count(r->problems[k]).s);
    }
}

static void print_format(ql_out *out, const ql_look *l, const ql_check_report *r) {
    ql_print(out, "%s: %s rows, %s%s%s, %s%s\n", l->a->data.dataset, ql_text_count(r->rows).s,
             ql_data_format_name(r->format), r->why[0] ? " " : "", r->why, ql_task_name(l->o.task),
             l->data.tok ? "" : "; without -m only the texts are looked at");
}

static ql_status open_page(const ql_look *l, const char *what, ql_html **page) {
    char title[256];
    *page = NULL;
    if (!l->a->html) return QL_OK;
    (void)snprintf(title, sizeof title, "%s: %.200s", what, l->a->data.dataset);
    QL_TRY(ql_html_open(l->a->html, title, page));
    ql_html_section(*page, "Rows with problems");
    ql_html_token_legend(*page);
    return QL_OK;
}

static ql_status run_check(ql_cli *cli, ql_look *l, ql_check_report *r, json_t **list) {
    ql_check_opts c = {0};
    findings f = {.cli = cli, .l = l, .print = true};
    QL_TRY(ql_look_check_opts(l, &c));
    if (cli->json) {
        f.list = *list = json_array();
        if (!f.list) return QL_NOMEM("the problems");
    }
    QL_TRY(open_page(l, "Check", &f.page));
    ql_status s = check_file(&f, &c, r);
    if (!f.page) return s;
    if (s != QL_OK) {
        ql_html_abort(f.page);
        return s;
    }
    if (r->n_problems == 0) ql_html_notice(f.page, "good", "No problem was found.");
    ql_html_section(f.page, "All rows");
    ql_page_report(f.page, l, r);
    return ql_html_commit(f.page);
}

ql_exit ql_data_check(ql_cli *cli, ql_look *l) {
    ql_check_report r = {0};
    json_t *list = NULL;
    ql_status s = run_check(cli, l, &r, &list);
    if (s != QL_OK) {
        json_decref(list);
        ql_check_report_free(&r);
        return ql_fail(&cli->out, s == QL_ERR_INVALID ? QL_STAGE_USAGE : QL_STAGE_DATA, s);
    }
    print_format(&cli->out, l, &r);
    if (r.n_problems) {
        ql_print(&cli->out, "%s problems in %s rows\n", ql_text_count(r.n_problems).s,
                 ql_text_count(r.rows - r.good).s);
        print_kinds(&cli->out, &r);
    } else {
        ql_print(&cli->out, "no problem was found\n");
    }
    ql_exit code = r.n_problems ? QL_EXIT_DATA : QL_EXIT_OK, printed = QL_EXIT_OK;
    if (cli->json)
        printed = ql_print_json(
            &cli->out, json_pack("{s:I, s:o}", "rows", (json_int_t)r.rows, "problems", list));
    ql_check_report_free(&r);
    return printed == QL_EXIT_OK ? code : printed;
}

/* ---------------------------------------------------------------------- stats */

static const struct {
    const char *name;
    double share;
} QUANTILES[] = {
    {"shortest", 0}, {"half", 0.5}, {"nine_tenths", 0.9}, {"99_percent", 0.99}, {"longest", 1}};
enum { N_QUANTILES = sizeof QUANTILES / sizeof *QUANTILES };

/* How full rows of --max_seq_len tokens, or of the longest, are after packing; 0 = unknown. */
static double packing(const ql_look *l, const ql_check_report *r) {
    int32_t room = l->o.max_len > 0 ? l->o.max_len : ql_length_quantile(r, 1);
    int64_t bins = 0;
    if (l->o.task != QL_TASK_CAUSAL || r->n_lengths == 0) return 0;
    if (ql_pack_count(r->lengths, r->n_lengths, room, &bins) != QL_OK || bins == 0) return 0;
    return (double)r->tokens / ((double)bins * room);
}

static ql_exit stats_json(ql_cli *cli, const ql_look *l, const ql_check_report *r) {
    json_t *lengths = json_object(), *problems = json_object();
    for (int i = 0; lengths && r->n_lengths && i < N_QUANTILES; i++)
        json_object_set_new(lengths, QUANTILES[i].name,
                            json_integer(ql_length_quantile(r, QUANTILES[i].share)));
    for (int k = 0; problems && k < QL_PROBLEM_COUNT; k++)
        if (r->problems[k])
            json_object_set_new(problems, ql_problem_name((ql_problem)k),
                                json_integer((json_int_t)r->problems[k]));
    double full = packing(l, r);
    json_t *doc = json_pack("{s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:o, s:o, s:o}", "file",
                            l->a->data.dataset, "format", ql_data_format_name(r->format), "why",
                            r->why, "task", ql_task_name(l->o.task), "rows", (json_int_t)r->rows,
                            "tokens", (json_int_t)r->tokens, "supervised",
                            (json_int_t)r->supervised, "lengths", lengths, "packing",
                            full > 0 ? json_real(full) : json_null(), "problems", problems);
    return ql_print_json(&cli->out, doc);
}

static void stats_text(ql_cli *cli, const ql_look *l, const ql_check_report *r) {
    print_format(&cli->out, l, r);
    if (r->n_lengths) {
        ql_print(&cli->out, "%s tokens, %s learned (%.0f %%)\n", ql_text_short((double)r->tokens).s,
                 ql_text_short((double)r->supervised).s,
                 100 * (double)r->supervised / (double)r->tokens);
        ql_print(&cli->out,
                 "tokens of a row: shortest %d, half up to %d, 90 %% %d, 99 %% %d, longest %d\n",
                 ql_length_quantile(r, 0), ql_length_quantile(r, 0.5), ql_length_quantile(r, 0.9),
                 ql_length_quantile(r, 0.99), ql_length_quantile(r, 1));
    }
    double full = packing(l, r);
    if (full > 0) ql_print(&cli->out, "packing %.1f %%\n", 100 * full);
    ql_print(&cli->out, "%s problems%s\n", ql_text_count(r->n_problems).s,
             r->n_problems ? ", `qlora data check` lists them" : "");
    print_kinds(&cli->out, r);
}

ql_exit ql_data_stats(ql_cli *cli, ql_look *l) {
    ql_check_report r = {0};
    ql_check_opts c = {0};
    findings f = {.cli = cli, .l = l};
    ql_html *page = NULL;
    ql_status s = ql_look_check_opts(l, &c);
    if (s != QL_OK) return ql_fail(&cli->out, QL_STAGE_USAGE, s);
    s = check_file(&f, &c, &r);
    char title[256];
    (void)snprintf(title, sizeof title, "Data: %.200s", l->a->data.dataset);
    if (s == QL_OK && l->a->html) s = ql_html_open(l->a->html, title, &page);
    if (s == QL_OK && page) {
        ql_page_report(page, l, &r);
        s = ql_html_commit(page);
    }
    ql_exit code = s == QL_OK ? QL_EXIT_OK : ql_fail(&cli->out, QL_STAGE_DATA, s);
    if (s == QL_OK) {
        stats_text(cli, l, &r);
        if (cli->json) code = stats_json(cli, l, &r);
    }
    ql_check_report_free(&r);
    return code;
}
