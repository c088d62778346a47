/* data_report.c - see data_report.h. */
#include "tools/data_report.h"

#include <inttypes.h>
#include <stdio.h>
#include <xxhash.h>

#include "core/base/fs.h"
#include "core/train/feed.h"
#include "tools/engine.h"

static const char *template_name(const ql_job *j) {
    return j->data.chat ? ql_template_name(j->data.chat) : "none";
}

/* How full the micro-batches of an epoch are, 0 to 1. */
static ql_status packing_share(const ql_job *j, double *out) {
    const ql_train_opts *o = &j->opts;
    ql_feed feed;
    int64_t micro = 0;
    QL_TRY(ql_feed_create(&j->data.train, o, o->batch * o->max_len / 2, &feed));
    ql_status s = ql_feed_count(&feed, &micro);
    ql_feed_free(&feed);
    double room = (double)micro * o->batch * o->max_len, rows = 0;
    for (int64_t i = 0; i < j->data.train.n; i++) rows += j->data.train.items[i].n;
    *out = room > 0 ? rows / room : 0;
    return s;
}

/* What the rows teach: "3 classes", "numbers", or how many tokens are learned. */
static void print_lesson(const ql_job *j, char *out, size_t size) {
    const ql_dataset *t = &j->data.train;
    char eos[64] = "";
    if (t->task == QL_TASK_CLASSIFY) {
        int32_t n = j->model->arch.n_labels;
        if (n == 1) (void)snprintf(out, size, "numbers");
        if (n != 1) (void)snprintf(out, size, "%d classes", n);
        return;
    }
    int64_t without = ql_data_without_eos(&j->data);
    if (without >= 0)
        (void)snprintf(eos, sizeof eos, " · %s rows without EOS", ql_text_count(without).s);
    (void)snprintf(out, size, "%s supervised (%.0f %%)%s", ql_text_short((double)t->supervised).s,
                   t->tokens ? 100.0 * (double)t->supervised / (double)t->tokens : 0.0, eos);
}

/* "template chatml", or what is read where there is no template. */
static void print_form(const ql_job *j, char *out, size_t size) {
    if (j->data.train.task == QL_TASK_CAUSAL) {
        (void)snprintf(out, size, "template %s", template_name(j));
    } else {
        (void)snprintf(out, size, "%s", ql_task_name(j->data.train.task));
    }
}

void ql_data_report_print(ql_cli *cli, const ql_job *j) {
    const ql_dataset *t = &j->data.train;
    char form[96], lesson[160], source[64] = "", packing[48] = "", eval[64] = "";
    double share = 0;
    print_form(j, form, sizeof form);
    print_lesson(j, lesson, sizeof lesson);
    if (t->longest_source)
        snprintf(source, sizeof source, "%s and ", ql_text_count(t->longest_source).s);
    if (j->opts.packing && packing_share(j, &share) == QL_OK)
        snprintf(packing, sizeof packing, " · packing %.1f %%", 100 * share);
    if (j->data.has_eval)
        snprintf(eval, sizeof eval, " · %s evaluation rows", ql_text_count(j->data.eval.n).s);
    ql_print(&cli->out, "data  %s rows (%s, %s) · %s tokens · %s · longest %s%s%s%s\n",
             ql_text_count(t->n).s, ql_data_format_name(t->format), form,
             ql_text_short((double)t->tokens).s, lesson, source, ql_text_count(t->longest).s,
             packing, eval);
}

static ql_status file_hash(const char *path, char out[17]) {
    ql_map map;
    QL_TRY(ql_map_open(path, &map));
    snprintf(out, 17, "%016" PRIx64, (uint64_t)XXH3_64bits(map.data, (size_t)map.size));
    ql_map_close(&map);
    return QL_OK;
}

static json_t *set_json(const ql_dataset *d) {
    json_t *doc =
        json_pack("{s:I, s:I, s:I, s:i}", "rows", (json_int_t)d->n, "tokens", (json_int_t)d->tokens,
                  "supervised", (json_int_t)d->supervised, "longest", (int)d->longest);
    if (doc && d->longest_source)
        json_object_set_new(doc, "longest_source", json_integer(d->longest_source));
    return doc;
}

static json_t *labels_json(const ql_job *j) {
    const ql_label_set *set = &j->data.labels;
    json_t *list = json_array();
    for (int32_t i = 0; list && set->names && i < set->n; i++)
        json_array_append_new(list, json_string(set->names[i]));
    return list;
}

/* Each file with its weight; one file stands for itself. */
static ql_status add_files(const ql_job *j, json_t *doc) {
    char hash[17];
    json_t *list = json_array();
    for (int32_t i = 0; i < j->data.n_sets; i++) {
        const ql_data_set *s = &j->data.sets[i];
        ql_status st = file_hash(s->path, hash);
        if (st != QL_OK) {
            json_decref(list);
            return st;
        }
        json_array_append_new(list,
                              json_pack("{s:s, s:f, s:I, s:s, s:s}", "file", s->path, "weight",
                                        s->weight, "rows", (json_int_t)s->rows, "format",
                                        ql_data_format_name(s->format), "xxh3_64", hash));
    }
    json_object_set_new(doc, "file", json_string(j->args->data.dataset));
    if (j->data.n_sets == 1) json_object_set_new(doc, "xxh3_64", json_string(hash));
    json_object_set_new(doc, "sets", list);
    return QL_OK;
}

ql_status ql_data_report_json(const ql_job *j, json_t **out) {
    json_t *doc = set_json(&j->data.train);
    if (!doc) return QL_NOMEM("data.json");
    ql_status s = add_files(j, doc);
    if (s != QL_OK) {
        json_decref(doc);
        return s;
    }
    double full = 0;
    if (j->opts.packing && packing_share(j, &full) == QL_OK)
        json_object_set_new(doc, "packing", json_real(full));
    json_object_set_new(doc, "format", json_string(ql_data_format_name(j->data.train.format)));
    json_object_set_new(doc, "task", json_string(ql_task_name(j->data.train.task)));
    if (j->data.train.task == QL_TASK_CLASSIFY) {
        json_object_set_new(doc, "num_labels", json_integer(j->model->arch.n_labels));
        json_object_set_new(doc, "labels", labels_json(j));
    }
    json_object_set_new(doc, "chat_template", json_string(template_name(j)));
    int64_t without = ql_data_without_eos(&j->data);
    json_object_set_new(doc, "without_eos", without < 0 ? json_null() : json_integer(without));
    if (j->data.has_eval) json_object_set_new(doc, "eval", set_json(&j->data.eval));
    *out = doc;
    return QL_OK;
}
