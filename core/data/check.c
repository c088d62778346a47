/* check.c - see check.h. */
#include "core/data/check.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <xxhash.h>

#include "core/base/hostmem.h"
#include "core/base/json.h"
#include "core/data/check_text.h"
#include "core/data/seen.h"

#define SENTENCE 512

typedef struct checker {
    const ql_check_opts *c;
    const ql_tokenizer *tok;
    const ql_dataset_opts *o;
    ql_walk walk;
    ql_check_report report;
    size_t cap_lengths;
    ql_marks marks;
    ql_seen rows, texts; /* whole rows; texts of classified rows with their class */
    ql_seen eval;        /* questions of the evaluation set                       */
    ql_row_memory memory;
    XXH3_state_t *hash;
    int64_t found;  /* problems of the present row */
    size_t written; /* bytes of a start token that the present row's own words begin with */
} checker;

static ql_status report(checker *k, int64_t row, ql_problem kind, const char *message) {
    if (k->c->ignore[kind]) return QL_OK;
    k->found++;
    k->report.problems[kind]++;
    k->report.n_problems++;
    return k->c->problem(k->c->user, row, kind, message);
}

/* ----------------------------------------------------------------- digests */

static void hash_part(XXH3_state_t *h, const void *data, size_t len) {
    uint64_t n = len;
    (void)XXH3_128bits_update(h, &n, sizeof n);
    if (len) (void)XXH3_128bits_update(h, data, len);
}

static ql_row_digest digest_of(XXH3_state_t *h) {
    XXH128_hash_t d = XXH3_128bits_digest(h);
    return (ql_row_digest){d.low64, d.high64};
}

/* The question of a row, or all of one that has none. */
static ql_row_digest question_digest(XXH3_state_t *h, const ql_row *t) {
    (void)XXH3_128bits_reset(h);
    size_t turns = 0;
    while (turns < t->n_messages && strcmp(t->messages[turns].role, "assistant") != 0) turns++;
    for (size_t i = 0; i < turns; i++)
        hash_part(h, t->messages[i].content, t->messages[i].content_len);
    if (!t->messages && t->source_len) hash_part(h, t->source, t->source_len);
    if (!t->messages && !t->source_len) hash_part(h, t->target, t->target_len);
    return digest_of(h);
}

static ql_row_digest row_digest(XXH3_state_t *h, const ql_row *t) {
    (void)XXH3_128bits_reset(h);
    for (size_t i = 0; i < t->n_messages; i++) {
        hash_part(h, t->messages[i].role, strlen(t->messages[i].role));
        hash_part(h, t->messages[i].content, t->messages[i].content_len);
    }
    if (!t->messages) {
        hash_part(h, t->source, t->source_len);
        hash_part(h, t->target, t->target_len);
    }
    return digest_of(h);
}

static ql_row_digest token_digest(XXH3_state_t *h, const ql_example *e) {
    (void)XXH3_128bits_reset(h);
    hash_part(h, e->ids, (size_t)e->n * sizeof *e->ids);
    if (e->labels) hash_part(h, e->labels, (size_t)e->n * sizeof *e->labels);
    if (e->source) hash_part(h, e->source, (size_t)e->n_source * sizeof *e->source);
    hash_part(h, &e->target, sizeof e->target);
    hash_part(h, &e->value, sizeof e->value);
    return digest_of(h);
}

/* The texts of a classified row; false = it has none. */
static bool class_digest(XXH3_state_t *h, const ql_walk_row *r, ql_row_digest *out) {
    const char *a, *b;
    size_t a_len, b_len;
    if (!r->object || ql_row_texts(r->object, r->where, &a, &a_len, &b, &b_len) != QL_OK)
        return false;
    (void)XXH3_128bits_reset(h);
    hash_part(h, a, a_len);
    hash_part(h, b, b ? b_len : 0);
    *out = digest_of(h);
    return true;
}

/* ------------------------------------------------------ duplicates and overlap */

static ql_status check_duplicate(checker *k, const ql_walk_row *r, ql_row_digest d) {
    const ql_seen_slot *first = ql_seen_find(&k->rows, d);
    char text[SENTENCE];
    if (!first) return ql_seen_add(&k->rows, d, r->row, 0);
    (void)snprintf(text, sizeof text, "the same as row %" PRId64, first->row);
    return report(k, r->row, QL_PROBLEM_DUPLICATE, text);
}

/* The class of a row as a number that equal classes share. */
static int32_t class_code(const ql_walk_row *r) {
    ql_row_label l;
    if (ql_row_label_read(r->object, r->where, &l) != QL_OK) return 0;
    return (int32_t)(l.name ? XXH3_64bits(l.name, strlen(l.name))
                            : XXH3_64bits(&l.number, sizeof l.number));
}

static ql_status check_class(checker *k, const ql_walk_row *r) {
    ql_row_digest d;
    char text[SENTENCE];
    if (!class_digest(k->hash, r, &d)) return QL_OK;
    int32_t code = class_code(r);
    const ql_seen_slot *first = ql_seen_find(&k->texts, d);
    if (!first) return ql_seen_add(&k->texts, d, r->row, code);
    bool same = first->note == code;
    (void)snprintf(text, sizeof text,
                   same ? "the same as row %" PRId64
                        : "the text of row %" PRId64 " with another class",
                   first->row);
    return report(k, r->row, same ? QL_PROBLEM_DUPLICATE : QL_PROBLEM_CONFLICT, text);
}

static ql_status check_overlap(checker *k, const ql_walk_row *r, ql_row_digest d) {
    const ql_seen_slot *other = ql_seen_find(&k->eval, d);
    char text[SENTENCE];
    if (!other) return QL_OK;
    (void)snprintf(text, sizeof text, "row %" PRId64 " of %.300s asks the same", other->row,
                   k->c->eval_path);
    return report(k, r->row, QL_PROBLEM_OVERLAP, text);
}

static ql_status check_copies(checker *k, const ql_walk_row *r) {
    ql_row_digest d;
    if (k->o->task == QL_TASK_CLASSIFY && k->walk.format != QL_DATA_TOKENS) {
        QL_TRY(check_class(k, r));
        return class_digest(k->hash, r, &d) ? check_overlap(k, r, d) : QL_OK;
    }
    if (r->texts) {
        QL_TRY(check_duplicate(k, r, row_digest(k->hash, r->texts)));
        return check_overlap(k, r, question_digest(k->hash, r->texts));
    }
    if (!r->example) return QL_OK;
    d = token_digest(k->hash, r->example);
    QL_TRY(check_duplicate(k, r, d));
    return check_overlap(k, r, d);
}

/* ------------------------------------------------------------------- texts */

static ql_status check_parts(checker *k, const ql_walk_row *r) {
    ql_text_part parts[QL_MOST_PARTS];
    char text[SENTENCE];
    if (!r->object || k->walk.format == QL_DATA_TOKENS) return QL_OK;
    size_t n = ql_row_parts(r, k->walk.format, parts);
    if (n && k->written) { /* reported as the second start token */
        parts[0].text += k->written;
        parts[0].len -= k->written;
    }
    for (size_t i = 0; i < n; i++) {
        if (!ql_check_encoding(&parts[i], text, sizeof text)) continue;
        QL_TRY(report(k, r->row, QL_PROBLEM_ENCODING, text));
        break;
    }
    for (size_t i = 0; i < n; i++) {
        if (!ql_check_marks(&k->marks, k->walk.format, k->o->chat, &parts[i], text, sizeof text))
            continue;
        return report(k, r->row, QL_PROBLEM_TEMPLATE_MARKER, text);
    }
    return QL_OK;
}

static ql_status check_texts(checker *k, const ql_walk_row *r) {
    char text[SENTENCE];
    const ql_row *t = r->texts;
    QL_TRY(check_parts(k, r));
    if (!t) return QL_OK;
    if (t->messages && ql_check_turns(t, text, sizeof text))
        QL_TRY(report(k, r->row, QL_PROBLEM_TURNS, text));
    if (ql_check_prompt(t, k->walk.format, r->object, text, sizeof text))
        QL_TRY(report(k, r->row, QL_PROBLEM_EMPTY_PROMPT, text));
    else if (ql_check_echo(t, k->walk.format, r->object, text, sizeof text))
        QL_TRY(report(k, r->row, QL_PROBLEM_ECHO, text));
    return QL_OK;
}

/* ------------------------------------------------------------------ tokens */

/* Tokens of the row without any limit; what is refused then counts as uncut. */
static ql_status uncut_length(checker *k, const ql_walk_row *r, int32_t *out) {
    ql_dataset_opts o = *k->o;
    ql_example e = {0};
    bool sides = o.source_max_len > 0 || o.target_max_len > 0;
    *out = r->example->n + r->example->n_source;
    if (!r->object || (!sides && o.truncation == QL_TRUNCATE_ERROR)) return QL_OK;
    if (!sides && r->example->n < o.max_len && r->example->n_source < o.max_len) return QL_OK;
    o.max_len = 0;
    o.source_max_len = o.target_max_len = sides ? INT32_MAX / 4 : 0;
    o.truncation = QL_TRUNCATE_ERROR;
    ql_status s =
        ql_example_make(k->tok, r->object, r->where, k->walk.format, &o, &k->memory, NULL, &e);
    if (s == QL_ERR_FORMAT) return QL_OK;
    if (s == QL_OK) *out = e.n + e.n_source;
    ql_example_free(&e);
    return s;
}

static bool ends_answer(const ql_check_opts *c, const ql_example *e) {
    int32_t last = QL_IGNORE;
    for (int32_t i = e->n; i > 0 && last == QL_IGNORE; i--) last = e->labels[i - 1];
    for (int32_t i = 0; i < c->n_stop; i++)
        if (last == c->stop[i]) return true;
    return false;
}

/* One problem for a row that was cut: it lost the end of its answer, or something else. */
static ql_status check_ends(checker *k, const ql_walk_row *r) {
    const ql_example *e = r->example;
    char text[SENTENCE];
    int32_t full, has = e->n + e->n_source;
    QL_TRY(uncut_length(k, r, &full));
    bool ends = !e->labels || !k->c->n_stop || k->walk.format == QL_DATA_TOKENS ||
                k->walk.format == QL_DATA_TEXT || ends_answer(k->c, e);
    if (full > has) {
        (void)snprintf(text, sizeof text, "cut from %d to %d tokens%s", full, has,
                       ends ? ""
                            : "; the end of the answer is lost, so the model is not taught to "
                              "stop: raise the limit");
        return report(k, r->row, ends ? QL_PROBLEM_TRUNCATED : QL_PROBLEM_NO_EOS, text);
    }
    if (ends) return QL_OK;
    return report(k, r->row, QL_PROBLEM_NO_EOS,
                  "the last learned token ends no answer, so the model is not taught to stop");
}

/* Two start tokens, or one and its text at the beginning of the row's own words. */
static ql_status check_start(checker *k, const ql_walk_row *r) {
    const ql_example *e = r->example;
    int32_t bos = k->tok ? ql_tokenizer_bos(k->tok) : -1;
    if (bos < 0 || e->n < 2 || k->o->task != QL_TASK_CAUSAL || e->ids[0] != bos) return QL_OK;
    const char *piece = ql_tokenizer_piece(k->tok, bos), *own = NULL;
    if (r->texts && !r->texts->messages)
        own = r->texts->source_len ? r->texts->source : r->texts->target;
    bool written = own && piece && strncmp(own, piece, strlen(piece)) == 0;
    if (e->ids[1] != bos && !written) return QL_OK;
    if (written) k->written = strlen(piece);
    return report(k, r->row, QL_PROBLEM_DOUBLE_BOS,
                  written
                      ? "the text begins with the start token, which the tokenizer adds: remove "
                        "it from the text"
                      : "the row begins with two start tokens");
}

static ql_status check_tokens(checker *k, const ql_walk_row *r) {
    const ql_example *e = r->example;
    if (!e) return QL_OK;
    ql_check_report *p = &k->report;
    QL_TRY(ql_host_grow((void **)&p->lengths, &k->cap_lengths, (size_t)p->n_lengths + 1,
                        sizeof *p->lengths));
    p->lengths[p->n_lengths++] = e->n + e->n_source;
    p->tokens += e->n + e->n_source;
    p->supervised += e->supervised;
    QL_TRY(check_ends(k, r));
    return check_start(k, r);
}

/* -------------------------------------------------------------------- rows */

static ql_status check_refused(checker *k, const ql_walk_row *r) {
    char text[SENTENCE];
    bool order = r->kind == QL_PROBLEM_TEMPLATE && r->texts && r->texts->messages &&
                 ql_check_turns(r->texts, text, sizeof text);
    return order ? report(k, r->row, QL_PROBLEM_TURNS, text)
                 : report(k, r->row, r->kind, r->message);
}

static ql_status check_row(void *user, const ql_walk_row *r) {
    checker *k = user;
    k->found = 0;
    k->written = 0;
    if (r->status != QL_OK) {
        QL_TRY(check_refused(k, r));
    } else {
        QL_TRY(check_tokens(k, r));
        QL_TRY(check_texts(k, r));
        QL_TRY(check_copies(k, r));
    }
    k->report.good += k->found == 0;
    return k->c->row ? k->c->row(k->c->user, r, k->found) : QL_OK;
}

static ql_status note_question(void *user, const ql_walk_row *r) {
    checker *k = user;
    ql_row_digest d;
    if (r->status != QL_OK) return QL_OK;
    if (k->o->task == QL_TASK_CLASSIFY && r->object && class_digest(k->hash, r, &d))
        return ql_seen_add(&k->eval, d, r->row, 0);
    if (r->texts) return ql_seen_add(&k->eval, question_digest(k->hash, r->texts), r->row, 0);
    if (r->example) return ql_seen_add(&k->eval, token_digest(k->hash, r->example), r->row, 0);
    return QL_OK;
}

static ql_status run(checker *k, const char *path) {
    k->hash = XXH3_createState();
    if (!k->hash) return QL_NOMEM("a hash");
    QL_TRY(ql_marks_collect(k->tok, &k->marks));
    k->walk = (ql_walk){
        .path = k->c->eval_path, .tok = k->tok, .o = k->o, .visit = note_question, .user = k};
    if (k->c->eval_path) QL_TRY(ql_walk_file(&k->walk));
    k->walk.path = path;
    k->walk.visit = check_row;
    return ql_walk_file(&k->walk);
}

void ql_check_report_free(ql_check_report *r) {
    ql_host_free(r->lengths);
    *r = (ql_check_report){0};
}

ql_status ql_check_file(const char *path, const ql_tokenizer *tok, const ql_dataset_opts *o,
                        const ql_check_opts *c, ql_check_report *out) {
    checker k = {.c = c, .tok = tok, .o = o};
    ql_status s = run(&k, path);
    ql_marks_free(&k.marks);
    ql_seen_free(&k.rows);
    ql_seen_free(&k.texts);
    ql_seen_free(&k.eval);
    ql_row_memory_free(&k.memory);
    if (k.hash) (void)XXH3_freeState(k.hash);
    if (s != QL_OK) {
        ql_check_report_free(&k.report);
        return s;
    }
    k.report.rows = k.walk.rows;
    k.report.format = k.walk.format;
    memcpy(k.report.why, k.walk.why, sizeof k.report.why);
    *out = k.report;
    return QL_OK;
}
