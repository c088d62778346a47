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
    double room = (double)micro * o->batch * o->max_len;
    *out = room > 0 ? (double)j->data.train.tokens / room : 0;
    return s;
}

void ql_data_report_print(ql_cli *cli, const ql_job *j) {
    const ql_dataset *t = &j->data.train;
    char eos[64] = "", packing[48] = "", eval[64] = "";
    double share = 0;
    int64_t without = ql_data_without_eos(&j->data);
    if (without >= 0) snprintf(eos, sizeof eos, " · %s rows without EOS", ql_text_count(without).s);
    if (j->opts.packing && packing_share(j, &share) == QL_OK)
        snprintf(packing, sizeof packing, " · packing %.1f %%", 100 * share);
    if (j->data.has_eval)
        snprintf(eval, sizeof eval, " · %s evaluation rows", ql_text_count(j->data.eval.n).s);
    ql_print(&cli->out,
             "data  %s rows (%s, template %s) · %s tokens · %s supervised (%.0f %%)%s · longest "
             "%s%s%s\n",
             ql_text_count(t->n).s, ql_data_format_name(t->format), template_name(j),
             ql_text_short((double)t->tokens).s, ql_text_short((double)t->supervised).s,
             t->tokens ? 100.0 * (double)t->supervised / (double)t->tokens : 0.0, eos,
             ql_text_count(t->longest).s, packing, eval);
}

static ql_status file_hash(const char *path, char out[17]) {
    ql_map map;
    QL_TRY(ql_map_open(path, &map));
    snprintf(out, 17, "%016" PRIx64, (uint64_t)XXH3_64bits(map.data, (size_t)map.size));
    ql_map_close(&map);
    return QL_OK;
}

static json_t *set_json(const ql_dataset *d) {
    return json_pack("{s:I, s:I, s:I, s:i}", "rows", (json_int_t)d->n, "tokens",
                     (json_int_t)d->tokens, "supervised", (json_int_t)d->supervised, "longest",
                     (int)d->longest);
}

ql_status ql_data_report_json(const ql_job *j, json_t **out) {
    char hash[17];
    QL_TRY(file_hash(j->args->data.dataset, hash));
    json_t *doc = set_json(&j->data.train);
    if (!doc) return QL_NOMEM("data.json");
    json_object_set_new(doc, "file", json_string(j->args->data.dataset));
    json_object_set_new(doc, "xxh3_64", json_string(hash));
    json_object_set_new(doc, "format", json_string(ql_data_format_name(j->data.train.format)));
    json_object_set_new(doc, "chat_template", json_string(template_name(j)));
    int64_t without = ql_data_without_eos(&j->data);
    json_object_set_new(doc, "without_eos", without < 0 ? json_null() : json_integer(without));
    if (j->data.has_eval) json_object_set_new(doc, "eval", set_json(&j->data.eval));
    *out = doc;
    return QL_OK;
}
