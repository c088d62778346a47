/* data_look.c - see data_look.h. */
#include "tools/data_look.h"

#include <string.h>

#include "core/base/fs.h"
#include "core/base/hostmem.h"
#include "core/base/json.h"
#include "tools/labels.h"

static ql_status read_config(const char *model, ql_arch *arch, json_t **config, bool *found) {
    char path[QL_PATH_MAX];
    QL_TRY(ql_path_join(path, model, "config.json"));
    *found = ql_file_exists(path);
    if (!*found) return QL_OK;
    QL_TRY(ql_json_read(path, config));
    return ql_arch_from_config(*config, path, arch);
}

/* ------------------------------------------------------------------ the task */

typedef struct peek {
    ql_walk walk;
    bool read; /* the first row that could be parsed was read */
} peek;

static ql_status first_row(void *user, const ql_walk_row *row) {
    peek *p = user;
    p->walk.enough = row->object != NULL;
    p->read = row->status == QL_OK;
    return QL_OK;
}

/* Has the first row the keys of the task? What else is wrong with the file is said later. */
static bool rows_fit(const ql_look *l, ql_task task) {
    ql_dataset_opts o = l->o;
    o.task = task;
    o.num_labels = 2;
    peek p = {.walk = {.path = l->a->data.dataset, .o = &o, .visit = first_row}};
    p.walk.user = &p;
    if (ql_walk_file(&p.walk) != QL_OK) return false;
    return task == QL_TASK_CLASSIFY ? p.read : p.walk.format != QL_DATA_AUTO;
}

/* Without a model the rows say what they teach: the next token, or a class where nothing else fits.
 */
static void choose_task(ql_look *l) {
    const char *named = l->a->data.task;
    if (l->has_arch) return;
    for (int t = 0; t < 3; t++)
        if (strcmp(named, ql_task_name((ql_task)t)) == 0) l->o.task = (ql_task)t;
    if (strcmp(named, "auto") != 0 || l->o.format == QL_DATA_TEXT || l->o.format == QL_DATA_TOKENS)
        return;
    if (l->o.format == QL_DATA_CLASSIFICATION ||
        (l->o.format == QL_DATA_AUTO && !rows_fit(l, QL_TASK_CAUSAL) &&
         rows_fit(l, QL_TASK_CLASSIFY)))
        l->o.task = QL_TASK_CLASSIFY;
}

static ql_status choose_labels(ql_look *l, const json_t *config) {
    ql_label_set *set = &l->data.labels, found = {0};
    if (l->o.task != QL_TASK_CLASSIFY) return QL_OK;
    QL_TRY(ql_labels_choose(l->a->data.num_labels, config, NULL, NULL, set));
    QL_TRY(ql_dataset_labels_seen(l->a->data.dataset, &found));
    if (!set->names && found.names && (set->n == 0 || set->n == found.n)) {
        *set = found;
    } else {
        if (set->n == 0) set->n = found.real ? 1 : found.n < 2 ? 2 : found.n;
        ql_label_set_free(&found);
    }
    l->o.num_labels = set->n;
    l->o.labels = (const char *const *)set->names;
    return QL_OK;
}

/* ------------------------------------------------------------------- opening */

static ql_status open_model(ql_cli *cli, ql_look *l, json_t **config) {
    const ql_data_options *a = l->a;
    const char *tokenizer = a->tokenizer ? a->tokenizer : a->model;
    ql_data_args named = a->data;
    named.format = "auto"; /* ids are shown as text, so rows of ids have use for it, too */
    if (tokenizer) {
        QL_TRY(ql_data_open(cli, &named, tokenizer, &l->data));
    } else {
        QL_TRY(ql_choose_template(&a->data.chat, NULL, &cli->out, &l->data.chat));
    }
    if (a->model && ql_dir_exists(a->model))
        QL_TRY(read_config(a->model, &l->arch, config, &l->has_arch));
    return l->has_arch ? ql_data_check_task(a->data.task, &l->arch) : QL_OK;
}

static ql_exit open_all(ql_cli *cli, ql_look *l, json_t **config) {
    ql_status s = open_model(cli, l, config);
    if (s != QL_OK) return ql_fail(&cli->out, QL_STAGE_MODEL, s);
    s = ql_data_opts(&l->a->data, &l->data, l->has_arch ? &l->arch : NULL, l->a->data.dataset,
                     &l->o);
    if (s != QL_OK) return ql_fail(&cli->out, QL_STAGE_USAGE, s);
    if (!l->o.vocab && l->data.tok) l->o.vocab = ql_tokenizer_size(l->data.tok);
    choose_task(l);
    s = choose_labels(l, *config);
    return s == QL_OK ? QL_EXIT_OK : ql_fail(&cli->out, QL_STAGE_DATA, s);
}

ql_exit ql_look_open(ql_cli *cli, const ql_data_options *a, ql_look *out) {
    ql_look l = {.a = a};
    json_t *config = NULL;
    ql_exit code = open_all(cli, &l, &config);
    json_decref(config);
    if (code != QL_EXIT_OK) {
        ql_look_close(&l);
        return code;
    }
    *out = l;
    return QL_EXIT_OK;
}

void ql_look_close(ql_look *l) {
    ql_data_close(&l->data);
}

ql_status ql_look_check_opts(const ql_look *l, ql_check_opts *out) {
    const char *at = l->a->ignore ? l->a->ignore : "";
    while (*at) {
        char name[32];
        size_t n = strcspn(at, ", ");
        ql_problem kind;
        if (n < sizeof name) {
            memcpy(name, at, n);
            name[n] = '\0';
        }
        if (n >= sizeof name || !ql_problem_find(name, &kind)) {
            return QL_FAIL(QL_ERR_INVALID, "--ignore takes kinds of %s; not '%.*s'",
                           ql_problem_names(), (int)n, at);
        }
        out->ignore[kind] = true;
        at += n + strspn(at + n, ", ");
    }
    out->eval_path = l->a->data.eval_dataset;
    for (int32_t i = 0; i < l->data.n_stop; i++) out->stop[out->n_stop++] = l->data.stop[i];
    return QL_OK;
}

/* -------------------------------------------------------------------- tokens */

ql_status ql_token_text(const ql_tokenizer *tok, const int32_t *ids, int64_t i, char **text,
                        size_t *len) {
    char *before = NULL, *both = NULL;
    size_t n_before = 0, n_both = 0;
    int64_t first = i > 0 ? i - 1 : i;
    QL_TRY(ql_tokenizer_decode(tok, ids + first, (size_t)(i - first + 1), false, &both, &n_both));
    ql_status s =
        ql_tokenizer_decode(tok, ids + first, (size_t)(i - first), false, &before, &n_before);
    if (s == QL_OK && n_before <= n_both && memcmp(before, both, n_before) == 0) {
        *text = ql_host_strndup(both + n_before, n_both - n_before);
        *len = n_both - n_before;
    } else if (s == QL_OK) {
        const char *piece = ql_tokenizer_piece(tok, ids[i]);
        *text = ql_host_strdup(piece ? piece : "");
        *len = piece ? strlen(piece) : 0;
    }
    ql_host_free(before);
    ql_host_free(both);
    if (s != QL_OK) return s;
    return *text ? QL_OK : QL_NOMEM("a token's text");
}

const char *ql_token_class(const ql_look *l, const ql_example *e, int32_t i) {
    bool learned = e->labels && e->labels[i] != QL_IGNORE;
    const ql_tokenizer *tok = l->data.tok;
    if (tok && i > 0 && e->ids[i] == ql_tokenizer_bos(tok) && l->o.task == QL_TASK_CAUSAL &&
        e->ids[i] != ql_tokenizer_eos(tok))
        return "bad";
    for (int32_t k = 0; learned && k < l->data.n_stop; k++)
        if (e->labels[i] == l->data.stop[k]) return "eos";
    if (learned) return "on";
    return tok && ql_tokenizer_is_special(tok, e->ids[i]) ? "sep" : "off";
}
