/*
 * data_show.c - `qlora data show`: rows as the model sees them, for people, as JSON lines, as a
 * page.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/hostmem.h"
#include "tools/data_page.h"
#include "tools/engine.h"

typedef struct show {
    ql_cli *cli;
    ql_look *l;
    ql_walk walk;
    ql_html *page; /* NULL = not wanted */
    int64_t most;  /* rows; 0 = all */
    int64_t shown, refused;
} show;

/* ----------------------------------------------------------------- JSON lines */

/* Text of ids [first, end); what is no UTF-8 (a piece of a character) becomes U+FFFD. */
static ql_status decoded(const ql_tokenizer *tok, const int32_t *ids, int32_t first, int32_t end,
                         json_t **out) {
    char *text;
    size_t len;
    QL_TRY(ql_tokenizer_decode(tok, ids + first, (size_t)(end - first), false, &text, &len));
    *out = json_stringn(text, len);
    for (size_t i = 0; !*out && i < len; i++)
        if ((unsigned char)text[i] >= 0x80) text[i] = '?';
    if (!*out) *out = json_stringn(text, len);
    ql_host_free(text);
    return *out ? QL_OK : QL_NOMEM("a row's text");
}

static json_t *id_list(const int32_t *ids, int32_t n) {
    json_t *list = json_array();
    for (int32_t i = 0; list && ids && i < n; i++)
        json_array_append_new(list, json_integer(ids[i]));
    return list;
}

/* A conversation's source ends where the first learned token begins. */
static ql_status conversation_texts(const show *s, const ql_walk_row *r, json_t *doc) {
    const ql_example *e = r->example;
    json_t *source = NULL, *target = NULL;
    int32_t first = 0;
    while (first < e->n && e->labels[first] == QL_IGNORE) first++;
    QL_TRY(decoded(s->l->data.tok, e->ids, 0, first, &source));
    json_object_set_new(doc, "source", source);
    QL_TRY(decoded(s->l->data.tok, e->ids, first, e->n, &target));
    json_object_set_new(doc, "target", target);
    return QL_OK;
}

/* Messages without a tokenizer: the turns before the last, and the last. */
static void put_messages(const ql_row *t, json_t *doc) {
    json_t *source = json_array();
    for (size_t i = 0; i + 1 < t->n_messages; i++) {
        json_array_append_new(
            source, json_pack("{s:s, s:o}", "role", t->messages[i].role, "content",
                              json_stringn(t->messages[i].content, t->messages[i].content_len)));
    }
    const ql_message *last = &t->messages[t->n_messages - 1];
    json_object_set_new(doc, "source", source);
    json_object_set_new(doc, "target", json_stringn(last->content, last->content_len));
}

static ql_status class_texts(const show *s, const ql_walk_row *r, json_t *doc) {
    const char *a, *b = NULL;
    size_t a_len, b_len = 0;
    const ql_example *e = r->example;
    if (s->walk.format == QL_DATA_TOKENS) return QL_OK;
    QL_TRY(ql_row_texts(r->object, r->where, &a, &a_len, &b, &b_len));
    json_object_set_new(doc, "source", json_stringn(a, a_len));
    if (b) json_object_set_new(doc, "source2", json_stringn(b, b_len));
    if (!e) return QL_OK;
    const char *const *names = s->l->o.labels;
    json_object_set_new(doc, "target",
                        s->l->o.num_labels == 1 ? json_real((double)e->value)
                        : names                 ? json_string(names[e->target])
                                                : json_integer(e->target));
    return QL_OK;
}

static ql_status fill_line(const show *s, const ql_walk_row *r, json_t *doc) {
    const ql_row *t = r->texts;
    const ql_example *e = r->example;
    if (s->l->o.task == QL_TASK_CLASSIFY) {
        QL_TRY(class_texts(s, r, doc));
    } else if (t && !t->messages) {
        json_object_set_new(doc, "source", json_stringn(t->source ? t->source : "", t->source_len));
        json_object_set_new(doc, "target", json_stringn(t->target, t->target_len));
    } else if (t && !e) {
        put_messages(t, doc);
    } else if (e && e->labels && s->l->data.tok && s->l->o.task == QL_TASK_CAUSAL) {
        QL_TRY(conversation_texts(s, r, doc));
    }
    if (!e) return QL_OK;
    bool seq2seq = s->l->o.task == QL_TASK_SEQ2SEQ;
    json_object_set_new(doc, "input_ids",
                        seq2seq ? id_list(e->source, e->n_source) : id_list(e->ids, e->n));
    if (e->labels) json_object_set_new(doc, "labels", id_list(e->labels, e->n));
    return QL_OK;
}

static ql_status print_line(const show *s, const ql_walk_row *r) {
    json_t *doc = json_object();
    if (!doc) return QL_NOMEM("a row");
    ql_status st = fill_line(s, r, doc);
    char *line = st == QL_OK ? json_dumps(doc, JSON_ENSURE_ASCII) : NULL;
    json_decref(doc);
    if (st == QL_OK && !line) st = QL_NOMEM("a row");
    if (st == QL_OK && (fputs(line, stdout) == EOF || putchar('\n') == EOF))
        st = QL_FAIL(QL_ERR_IO, "stdout could not be written");
    free(line);
    return st;
}

/* ------------------------------------------------------------------ for people */

static void put_escaped(const char *text, size_t len) {
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c == '\n') {
            fputs("\\n", stdout);
        } else if (c == '\t') {
            fputs("\\t", stdout);
        } else if (c < 32 || c == 127) {
            printf("\\x%02x", c);
        } else {
            putchar(c);
        }
    }
}

/* Colours: learned green, its end bold, special dim, faults red; neighbours differ in brightness.
 */
static const char *colour_of(const char *class, int32_t i) {
    if (strcmp(class, "on") == 0) return i % 2 ? "\033[32m" : "\033[92m";
    if (strcmp(class, "eos") == 0) return "\033[1;30;42m";
    if (strcmp(class, "bad") == 0 || strcmp(class, "cut") == 0) return "\033[31m";
    return i % 2 ? "\033[2m" : "\033[0m";
}

/* Name in front of a run of tokens that have one class. */
static void begin_run(const char *class) {
    printf("\n  %-4s| ", class);
}

static ql_status print_tokens(const show *s, const int32_t *ids, int32_t n, const char *fixed,
                              const ql_example *e, const char **last) {
    bool colour = s->cli->out.color;
    for (int32_t i = 0; i < n; i++) {
        const char *class = fixed ? fixed : ql_token_class(s->l, e, i);
        char *text = NULL;
        size_t len = 0;
        if (!*last || strcmp(*last, class) != 0) begin_run(class);
        *last = class;
        if (!s->l->data.tok) {
            printf("%d ", ids[i]);
            continue;
        }
        QL_TRY(ql_token_text(s->l->data.tok, ids, i, &text, &len));
        if (colour) fputs(colour_of(class, i), stdout);
        put_escaped(text, len);
        if (colour) fputs("\033[0m", stdout);
        ql_host_free(text);
    }
    return QL_OK;
}

static ql_status print_example(const show *s, const ql_walk_row *r) {
    const ql_example *e = r->example;
    const char *last = NULL;
    int32_t *lost, n;
    if (e->n_source) QL_TRY(print_tokens(s, e->source, e->n_source, "off", e, &last));
    QL_TRY(print_tokens(s, e->ids, e->n, NULL, e, &last));
    QL_TRY(ql_lost_tokens(s->l, r, &lost, &n));
    ql_status st = lost ? print_tokens(s, lost, n, "cut", e, &last) : QL_OK;
    ql_host_free(lost);
    putchar('\n');
    return st;
}

static void print_texts(const ql_row *t) {
    for (size_t i = 0; i < t->n_messages; i++) {
        printf("\n  %-10s| ", t->messages[i].role);
        put_escaped(t->messages[i].content, t->messages[i].content_len);
    }
    if (!t->messages) {
        printf("\n  source    | ");
        put_escaped(t->source ? t->source : "", t->source_len);
        printf("\n  target    | ");
        put_escaped(t->target, t->target_len);
    }
    putchar('\n');
}

static ql_status print_row(const show *s, const ql_walk_row *r) {
    const ql_example *e = r->example;
    printf("row %s", ql_text_count(r->row).s);
    if (r->status != QL_OK) {
        printf(": %s: %s\n", ql_problem_name(r->kind), r->message);
        return QL_OK;
    }
    if (e && s->l->o.task == QL_TASK_CLASSIFY && s->l->o.num_labels == 1) {
        printf(": %d tokens, the number %g", e->n, (double)e->value);
    } else if (e && s->l->o.task == QL_TASK_CLASSIFY) {
        const char *const *names = s->l->o.labels;
        printf(": %d tokens, class %d%s%s", e->n, e->target, names ? " " : "",
               names ? names[e->target] : "");
    } else if (e) {
        printf(": %d tokens, %d learned", e->n + e->n_source, e->supervised);
    }
    if (e) return print_example(s, r);
    if (r->texts) {
        print_texts(r->texts);
    } else {
        putchar('\n');
    }
    return QL_OK;
}

/* ---------------------------------------------------------------------- rows */

static ql_status show_row(void *user, const ql_walk_row *r) {
    show *s = user;
    const ql_data_options *a = s->l->a;
    if (a->row && r->row != a->row) return QL_OK;
    s->shown++;
    s->refused += r->status != QL_OK;
    s->walk.enough = a->row || (s->most && s->shown >= s->most);
    char problem[512];
    (void)snprintf(problem, sizeof problem, "%s: %s", ql_problem_name(r->kind), r->message);
    if (s->page) ql_page_row(s->page, s->l, r, r->status != QL_OK ? problem : NULL);
    if (!s->cli->json) return s->page ? QL_OK : print_row(s, r);
    if (r->status == QL_OK) return print_line(s, r);
    ql_note(&s->cli->out, "row %s: %s", ql_text_count(r->row).s, problem);
    return QL_OK;
}

static ql_status run_show(show *s) {
    char title[256];
    const char *html = s->l->a->html;
    (void)snprintf(title, sizeof title, "Rows: %.200s", s->l->a->data.dataset);
    if (html) {
        QL_TRY(ql_html_open(html, title, &s->page));
        ql_html_token_legend(s->page);
    }
    ql_status st = ql_walk_file(&s->walk);
    if (st == QL_OK && s->l->a->row && !s->shown) {
        st = QL_FAIL(QL_ERR_NOT_FOUND, "%s has %s rows; --row %s is none of them", s->walk.path,
                     ql_text_count(s->walk.rows).s, ql_text_count(s->l->a->row).s);
    }
    if (!s->page) return st;
    if (st == QL_OK) return ql_html_commit(s->page);
    ql_html_abort(s->page);
    return st;
}

ql_exit ql_data_show(ql_cli *cli, ql_look *l) {
    int64_t usual = cli->json ? 0 : l->a->html ? 100 : 5;
    show s = {.cli = cli, .l = l, .most = l->a->rows < 0 ? usual : l->a->rows};
    s.walk = (ql_walk){
        .path = l->a->data.dataset, .tok = l->data.tok, .o = &l->o, .visit = show_row, .user = &s};
    ql_status st = run_show(&s);
    if (st != QL_OK) return ql_fail(&cli->out, QL_STAGE_DATA, st);
    if (s.walk.why[0]) {
        ql_note(&cli->out, "format %s, %s", ql_data_format_name(s.walk.format), s.walk.why);
    }
    if (l->a->html) ql_note(&cli->out, "%s rows in %s", ql_text_count(s.shown).s, l->a->html);
    return s.refused ? QL_EXIT_DATA : QL_EXIT_OK;
}
