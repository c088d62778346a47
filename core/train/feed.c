/* feed.c - the order of micro-batches (see feed.h). */
#include "core/train/feed.h"

#include "core/base/hostmem.h"
#include "core/train/pack.h"

/* Room for the longest row on each of the two sides. */
static ql_status check_lengths(const ql_dataset *data, const ql_train_opts *o, int32_t source) {
    if (data->longest > o->max_len) {
        return QL_FAIL(QL_ERR_INVALID, "data: the longest row has %d tokens, the plan allows %d",
                       data->longest, o->max_len);
    }
    if (data->longest_source > source) {
        return QL_FAIL(QL_ERR_INVALID, "data: the longest source has %d tokens, the plan allows %d",
                       data->longest_source, source);
    }
    return QL_OK;
}

ql_status ql_feed_create(const ql_dataset *data, const ql_train_opts *o, int32_t max_seqs,
                         ql_feed *out) {
    int32_t source = o->max_source_len > 0 ? o->max_source_len : o->max_len;
    ql_feed f = {.data = data,
                 .batch = o->packing ? max_seqs : o->batch,
                 .max_tokens = o->batch * o->max_len,
                 .max_source_tokens = data->task == QL_TASK_SEQ2SEQ ? o->batch * source : 0,
                 .packing = o->packing,
                 .shuffle = o->shuffle,
                 .group_by_length = o->group_by_length && o->shuffle && !o->packing,
                 .step_rows = (int64_t)o->batch * o->accumulate,
                 .seed = o->data_seed,
                 .order_epoch = -1};
    QL_TRY(check_lengths(data, o, source));
    f.order = ql_host_calloc((size_t)data->n + 1, sizeof(int64_t));
    bool fit = o->packing && o->shuffle;
    if (f.order && fit) f.group = ql_host_calloc((size_t)data->n + 1, sizeof(int32_t));
    if (!f.order || (fit && !f.group)) {
        ql_feed_free(&f);
        return QL_NOMEM("the order of the data");
    }
    *out = f;
    return QL_OK;
}

void ql_feed_free(ql_feed *f) {
    ql_host_free(f->order);
    ql_host_free(f->group);
    f->order = NULL;
    f->group = NULL;
}

/* How many examples from `at` on make the next micro-batch. */
static int32_t take(const ql_feed *f, int64_t at) {
    int32_t count = 0, tokens = 0, source = 0;
    if (f->group) return f->group[at];
    while (at + count < f->data->n && count < f->batch) {
        const ql_example *e = &f->data->items[f->order[at + count]];
        if (count && tokens + e->n > f->max_tokens) break;
        if (count && source + e->n_source > f->max_source_tokens) break;
        tokens += e->n;
        source += e->n_source;
        count++;
    }
    return count;
}

static ql_status load_order(ql_feed *f) {
    if (f->order_epoch == f->cursor.epoch) return QL_OK;
    QL_TRY(ql_epoch_order(f->data->n, f->seed, f->cursor.epoch, f->shuffle, f->order));
    if (f->group_by_length) QL_TRY(ql_group_by_length(f->data, f->step_rows, f->order, f->data->n));
    if (f->group) {
        ql_pack_room room = {f->max_tokens, f->max_source_tokens, f->batch};
        QL_TRY(ql_pack_order(f->data, room, f->order, f->data->n, f->group));
    }
    f->order_epoch = f->cursor.epoch;
    return QL_OK;
}

ql_status ql_feed_next(ql_feed *f, ql_batch *b, bool *epoch_ends) {
    QL_TRY(load_order(f));
    int32_t count = take(f, f->cursor.next);
    QL_TRY(ql_batch_fill(b, f->data, f->order + f->cursor.next, count));
    f->cursor.next += count;
    *epoch_ends = f->cursor.next >= f->data->n;
    if (*epoch_ends) f->cursor = (ql_cursor){f->cursor.epoch + 1, 0};
    return QL_OK;
}

ql_status ql_feed_count(ql_feed *f, int64_t *out) {
    ql_cursor saved = f->cursor;
    f->cursor = (ql_cursor){0, 0};
    ql_status s = load_order(f);
    int64_t n = 0;
    for (int64_t at = 0; s == QL_OK && at < f->data->n; n++) at += take(f, at);
    f->cursor = saved;
    *out = n;
    return s;
}
