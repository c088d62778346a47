/*
 * dataset_example.c - a row's texts to ids and labels.
 *
 * Source and target are tokenized apart; BOS and EOS are ids, never text, so the words "<s>" in a
 * user's text stay words. ids and labels of an example are one block.
 */
#include <limits.h>
#include <string.h>

#include "core/base/hostmem.h"
#include "core/base/json.h"
#include "core/data/chars.h"
#include "core/data/dataset_internal.h"

void ql_example_free(ql_example *e) {
    if (!e) return;
    if (!e->borrowed) ql_host_free(e->ids);
    *e = (ql_example){0};
}

ql_dataset_opts ql_dataset_opts_default(void) {
    return (ql_dataset_opts){.format = QL_DATA_AUTO, .truncation = QL_TRUNCATE_ERROR};
}

/* ids or labels (which may be QL_IGNORE). */
ql_status ql_check_vocab(const char *where, const int32_t *ids, size_t n, bool labels,
                         int32_t vocab) {
    for (size_t i = 0; i < n; i++) {
        if (ids[i] >= 0 && (vocab == 0 || ids[i] < vocab)) continue;
        if (labels && ids[i] == QL_IGNORE) continue;
        return QL_REFUSE(QL_PROBLEM_VOCABULARY,
                         "%s: token %zu has id %d, outside the model's vocabulary of %d: the "
                         "tokenizer belongs to another model",
                         where, i + 1, ids[i], vocab);
    }
    return QL_OK;
}

ql_status ql_too_long(const char *where, size_t n, size_t limit) {
    return QL_REFUSE(QL_PROBLEM_TOO_LONG,
                     "%s: %zu tokens, the limit is %zu: raise --max_seq_len, shorten the row, or "
                     "allow cutting with --truncation left or right",
                     where, n, limit);
}

static int32_t count_supervised(const int32_t *labels, size_t n) {
    int32_t count = 0;
    for (size_t i = 1; i < n; i++) count += labels[i] != QL_IGNORE;
    return count;
}

ql_status ql_example_finish(const char *where, const ql_labelled *t, const ql_dataset_opts *o,
                            ql_example *out) {
    const int32_t *ids = t->ids, *labels = t->labels;
    size_t n = t->n;
    QL_TRY(ql_check_vocab(where, ids, n, false, o->vocab));
    QL_TRY(ql_check_vocab(where, labels, n, true, o->vocab));
    size_t limit = o->max_len > 0 ? (size_t)o->max_len : INT32_MAX / 2, skip = 0, head = 0;
    if (n > limit && (o->truncation == QL_TRUNCATE_ERROR || o->max_len == 0))
        return ql_too_long(where, n, limit);
    size_t keep = n < limit ? n : limit;
    if (o->truncation == QL_TRUNCATE_LEFT) {
        skip = n - keep;
        head = skip > 0 && t->keep_first ? 1 : 0;
    }
    int32_t supervised = keep ? count_supervised(labels + skip, keep) : 0;
    if (supervised == 0) {
        return QL_REFUSE(
            QL_PROBLEM_EMPTY_MASK,
            "%s: no token of an answer is left to learn (%zu tokens%s): remove the row "
            "or %s",
            where, n, keep < n ? ", cut" : "",
            keep < n ? "raise --max_seq_len" : "give it an answer");
    }
    int32_t *block = ql_host_calloc(keep, (t->weights ? 3 : 2) * sizeof(int32_t));
    if (!block) return QL_NOMEM("a training row");
    memcpy(block, ids + skip, keep * sizeof(int32_t));
    memcpy(block + keep, labels + skip, keep * sizeof(int32_t));
    if (head) {
        block[0] = ids[0];
        block[keep] = labels[0];
    }
    float *weights = t->weights ? (float *)(block + 2 * keep) : NULL;
    if (weights) memcpy(weights, t->weights + skip, keep * sizeof(float));
    if (weights && head) weights[0] = t->weights[0];
    *out = (ql_example){.ids = block,
                        .labels = block + keep,
                        .n = (int32_t)keep,
                        .weights = weights,
                        .supervised = supervised,
                        .chars = (int32_t)keep};
    return QL_OK;
}

/* Ids and labels under construction. */
typedef struct building {
    ql_ids ids, labels;
    float *weights; /* of conversations with weights, [ids.n] */
    int32_t chars;  /* of the texts; 0 = rows of ids */
} building;

static void building_free(building *b) {
    ql_ids_free(&b->ids);
    ql_ids_free(&b->labels);
    ql_host_free(b->weights);
}

static ql_labelled built(const building *b, bool keep_first) {
    return (ql_labelled){b->ids.ids, b->labels.ids, b->weights, b->ids.n, keep_first};
}

/* Gives the ids that have no label yet theirs. */
static ql_status label(building *b, bool learn) {
    while (b->labels.n < b->ids.n) {
        QL_TRY(ql_ids_push(&b->labels, learn ? b->ids.ids[b->labels.n] : QL_IGNORE));
    }
    return QL_OK;
}

/* Drops ids past `max` (0 = no limit) counted from `first`. */
static void cut(building *b, size_t first, int32_t max) {
    if (max > 0 && b->ids.n - first > (size_t)max) b->ids.n = first + (size_t)max;
}

static ql_status push_eos(const ql_tokenizer *tok, building *b) {
    int32_t eos = ql_tokenizer_eos(tok);
    if (eos < 0) {
        return QL_FAIL(QL_ERR_FORMAT, "the tokenizer has no EOS token, so an answer could not end: "
                                      "set eos_token in tokenizer_config.json");
    }
    return ql_ids_push(&b->ids, eos);
}

typedef struct pair {
    const char *source, *target;
    size_t source_len, target_len;
    bool bos, learn_source;
    int32_t source_max, target_max;
} pair;

/* [BOS] source | target EOS, each side cut on its right. */
static ql_status build_pair(const ql_tokenizer *tok, const pair *p, building *b) {
    int32_t bos = ql_tokenizer_bos(tok);
    b->chars = ql_text_chars(p->source, p->source_len) + ql_text_chars(p->target, p->target_len);
    if (p->bos && bos >= 0) QL_TRY(ql_ids_push(&b->ids, bos));
    if (p->source_len) QL_TRY(ql_tokenizer_encode(tok, p->source, p->source_len, 0, &b->ids));
    cut(b, 0, p->source_max);
    QL_TRY(label(b, p->learn_source));
    size_t first = b->ids.n;
    if (p->target_len) QL_TRY(ql_tokenizer_encode(tok, p->target, p->target_len, 0, &b->ids));
    QL_TRY(push_eos(tok, b));
    cut(b, first, p->target_max);
    return label(b, true);
}

static const char *token_text(const ql_tokenizer *tok, int32_t id) {
    const char *s = id >= 0 ? ql_tokenizer_piece(tok, id) : NULL;
    return s ? s : "";
}

static ql_status check_stop(const ql_tokenizer *tok, const ql_template *t) {
    const char *stop = ql_template_stop(t);
    if (*stop == '\0' ? ql_tokenizer_eos(tok) >= 0 : ql_tokenizer_id(tok, stop) >= 0) return QL_OK;
    return QL_REFUSE(
        QL_PROBLEM_TEMPLATE,
        "template '%s' ends an answer with %s, which this tokenizer does not have: choose "
        "the model's own template with --chat_template",
        ql_template_name(t), *stop ? stop : "the EOS token");
}

/* Of which turn does `train_on` learn? SIZE_MAX = of every one. */
static size_t only_turn(const ql_row *row, ql_train_on train_on) {
    size_t last = row->n_messages;
    if (train_on != QL_TRAIN_ON_LAST) return SIZE_MAX;
    while (last > 0 && strcmp(row->messages[last - 1].role, "assistant") != 0) last--;
    return last;
}

static float weight_of(const ql_row *row, int32_t turn) {
    const ql_message *m = turn > 0 ? &row->messages[turn - 1] : NULL;
    return m && m->weighted ? m->weight : 1.0f;
}

/* Labels of the ids by the turns they belong to. Weights of 0 are no labels; others are kept only
 * when one differs from 1. */
static ql_status label_turns(const ql_row *row, const ql_dataset_opts *o, const ql_ids *turn,
                             building *b) {
    bool all = o->train_on_source || o->train_on == QL_TRAIN_ON_ALL, real = false;
    size_t only = only_turn(row, o->train_on);
    for (size_t i = 0; i < turn->n; i++) {
        float weight = weight_of(row, turn->ids[i]);
        bool answer = turn->ids[i] > 0 && (only == SIZE_MAX || (size_t)turn->ids[i] == only);
        bool learn = weight != 0 && (all || answer);
        real = real || (learn && weight != 1.0f);
        QL_TRY(ql_ids_push(&b->labels, learn ? b->ids.ids[i] : QL_IGNORE));
    }
    if (!real) return QL_OK;
    b->weights = ql_host_calloc(turn->n + 1, sizeof(float)); /* one more: an EOS may follow */
    if (!b->weights) return QL_NOMEM("the weights of a row");
    for (size_t i = 0; i < turn->n; i++) b->weights[i] = weight_of(row, turn->ids[i]);
    return QL_OK;
}

/* The EOS that the template does not write after the last answer. */
static ql_status close_turn(const ql_tokenizer *tok, const ql_row *row, const ql_rendered *r,
                            building *b) {
    const ql_message *last = &row->messages[row->n_messages - 1];
    if (r->closed || strcmp(last->role, "assistant") != 0) return QL_OK;
    float weight = weight_of(row, (int32_t)row->n_messages);
    QL_TRY(push_eos(tok, b));
    if (b->weights) b->weights[b->ids.n - 1] = weight;
    return label(b, weight != 0);
}

/* Answers are looked for where labels or weights go by them. */
static ql_chat chat_of(const ql_tokenizer *tok, const ql_row *row, const ql_dataset_opts *o) {
    ql_chat c = {.messages = row->messages,
                 .n = row->n_messages,
                 .tools = row->tools,
                 .documents = row->documents,
                 .bos = token_text(tok, ql_tokenizer_bos(tok)),
                 .eos = token_text(tok, ql_tokenizer_eos(tok)),
                 .answers = o->train_on == QL_TRAIN_ON_LAST ? QL_ANSWERS_LAST : QL_ANSWERS_ALL};
    bool all = o->train_on_source || o->train_on == QL_TRAIN_ON_ALL, weighted = false;
    for (size_t i = 0; i < c.n; i++) weighted = weighted || c.messages[i].weighted;
    if (all) c.answers = weighted ? QL_ANSWERS_EVERY : QL_ANSWERS_NONE;
    return c;
}

static ql_status build_chat(const ql_tokenizer *tok, const ql_row *row, const ql_dataset_opts *o,
                            building *b) {
    ql_rendered r = {0};
    ql_ids turn = {0};
    QL_TRY(check_stop(tok, o->chat));
    ql_problem_note(QL_PROBLEM_TEMPLATE);
    const ql_chat chat = chat_of(tok, row, o);
    QL_TRY(ql_template_render_chat(o->chat, &chat, &r));
    ql_problem_note(QL_PROBLEM_ROW);
    b->chars = ql_text_chars(r.text, r.len);
    ql_status s = ql_rendered_encode(&r, tok, &b->ids, &turn);
    if (s == QL_OK) s = label_turns(row, o, &turn, b);
    if (s == QL_OK) s = close_turn(tok, row, &r, b);
    ql_ids_free(&turn);
    ql_rendered_free(&r);
    return s;
}

static ql_status build_row(const ql_tokenizer *tok, const ql_row *row, const ql_dataset_opts *o,
                           building *b) {
    if (row->messages) return build_chat(tok, row, o, b);
    bool qlora_rule = o->source_max_len > 0 || o->target_max_len > 0;
    pair p = {
        .source = row->source ? row->source : "",
        .source_len = row->source_len,
        .target = row->target,
        .target_len = row->target_len,
        .bos = qlora_rule || ql_tokenizer_adds_bos(tok),
        .learn_source = o->train_on_source,
        .source_max = o->source_max_len,
        .target_max = o->target_max_len,
    };
    return build_pair(tok, &p, b);
}

ql_status ql_name_row(ql_status s, const char *where) {
    char cause[1024];
    if (s == QL_OK || s == QL_ERR_NOMEM_HOST) return s;
    size_t n = strlen(ql_last_error());
    if (n >= sizeof cause) n = sizeof cause - 1;
    memcpy(cause, ql_last_error(), n);
    cause[n] = '\0';
    return QL_FAIL(s, "%s: %s", where, cause);
}

ql_status ql_example_from_row(const ql_tokenizer *tok, const ql_row *row, const char *where,
                              const ql_dataset_opts *o, ql_example *out) {
    building b = {0};
    ql_status s = ql_name_row(build_row(tok, row, o, &b), where);
    if (s == QL_OK) {
        bool bos = b.ids.n > 0 && b.ids.ids[0] == ql_tokenizer_bos(tok);
        ql_labelled t = built(&b, bos);
        s = ql_example_finish(where, &t, o, out);
    }
    if (s == QL_OK) out->chars = b.chars;
    building_free(&b);
    return s;
}

ql_status ql_example_from_pair(const ql_tokenizer *tok, const char *source, const char *target,
                               const ql_dataset_opts *o, ql_example *out) {
    building b = {0};
    pair p = {
        .source = source,
        .source_len = strlen(source),
        .target = target,
        .target_len = strlen(target),
        .bos = true,
        .learn_source = o->train_on_source,
        .source_max = o->source_max_len,
        .target_max = o->target_max_len,
    };
    ql_status s = build_pair(tok, &p, &b);
    if (s == QL_OK) {
        ql_labelled t = built(&b, true);
        s = ql_example_finish("pair", &t, o, out);
    }
    if (s == QL_OK) out->chars = b.chars;
    building_free(&b);
    return s;
}

ql_status ql_row_ids(const json_t *row, const char *where, const char *key, int32_t lowest,
                     ql_ids *out) {
    const json_t *list = json_object_get(row, key);
    if (!json_is_array(list)) {
        return QL_REFUSE(QL_PROBLEM_TYPE, "%s: '%s' must be a list of integers", where, key);
    }
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *v = json_array_get(list, i);
        json_int_t id = json_is_integer(v) ? json_integer_value(v) : INT32_MIN;
        if (id != QL_IGNORE && (id < 0 || id > INT32_MAX)) id = INT32_MIN;
        if (id < lowest) {
            return QL_REFUSE(QL_PROBLEM_VOCABULARY, "%s: item %zu of '%s' is no token id", where,
                             i + 1, key);
        }
        QL_TRY(ql_ids_push(out, (int32_t)id));
    }
    return QL_OK;
}

/* Labels that run one ahead of the ids were shifted already: training on them would predict the
 * token after the next, silently. */
static ql_status check_shift(const char *where, const ql_ids *ids, const ql_ids *labels) {
    bool other = false; /* a label differs from its token */
    size_t ahead = 0;   /* labels that are the next token */
    for (size_t i = 0; i < ids->n; i++) {
        if (labels->ids[i] == QL_IGNORE) continue;
        other = other || labels->ids[i] != ids->ids[i];
        if (i + 1 == ids->n) continue;
        if (labels->ids[i] != ids->ids[i + 1]) return QL_OK;
        ahead++;
    }
    if (!other || ahead == 0) return QL_OK;
    return QL_REFUSE(QL_PROBLEM_LABELS,
                     "%s: the labels are shifted (label i is token i + 1); give labels equal to "
                     "input_ids or %d, they are shifted here",
                     where, QL_IGNORE);
}

ql_status ql_example_from_tokens(const json_t *row, const char *where, const ql_dataset_opts *o,
                                 ql_example *out) {
    building b = {0};
    ql_status s = ql_row_ids(row, where, "input_ids", 0, &b.ids);
    if (s == QL_OK && ql_json_has(row, "labels")) {
        s = ql_row_ids(row, where, "labels", QL_IGNORE, &b.labels);
    } else if (s == QL_OK) {
        s = label(&b, true);
    }
    if (s == QL_OK && b.labels.n != b.ids.n) {
        s = QL_REFUSE(QL_PROBLEM_LABELS, "%s: %zu input_ids but %zu labels", where, b.ids.n,
                      b.labels.n);
    }
    if (s == QL_OK) s = check_shift(where, &b.ids, &b.labels);
    if (s == QL_OK) {
        ql_labelled t = built(&b, false);
        s = ql_example_finish(where, &t, o, out);
    }
    building_free(&b);
    return s;
}
