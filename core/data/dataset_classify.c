/*
 * dataset_classify.c - rows with a class or a number: a text or a pair, joined by the tokenizer.
 *
 * The label is a class name, a class number or, with one class, the number to predict. Nothing is
 * guessed: an unknown name, a number that is no class and a list of labels are refused.
 */
#include <float.h>
#include <limits.h>
#include <math.h>
#include <string.h>

#include "core/base/hostmem.h"
#include "core/base/json.h"
#include "core/data/chars.h"
#include "core/data/dataset_internal.h"

/* ------------------------------------------------------------------ labels */

/* The key of the answer; NULL = none. */
static const char *label_key(const json_t *row) {
    static const char *const KEYS[] = {"label", "labels", "target"};
    for (size_t i = 0; i < sizeof KEYS / sizeof *KEYS; i++)
        if (ql_json_has(row, KEYS[i])) return KEYS[i];
    return NULL;
}

ql_status ql_row_label_read(const json_t *row, const char *where, ql_row_label *out) {
    if (!json_is_object(row)) return ql_no_object(where);
    const char *key = label_key(row);
    if (!key) {
        return QL_REFUSE(QL_PROBLEM_MISSING_KEY,
                         "%s: no key 'label', 'labels' or 'target' with the answer", where);
    }
    const json_t *v = json_object_get(row, key);
    if (json_is_array(v)) {
        return QL_REFUSE(QL_PROBLEM_TYPE, "%s: '%s' is a list; one label per row is learned", where,
                         key);
    }
    *out = (ql_row_label){.name = json_string_value(v)};
    if (json_is_number(v)) out->number = json_number_value(v);
    if (json_is_boolean(v)) out->number = json_is_true(v);
    if (!out->name && !json_is_number(v) && !json_is_boolean(v)) {
        return QL_REFUSE(QL_PROBLEM_TYPE, "%s: '%s' must be a name or a number", where, key);
    }
    return QL_OK;
}

static ql_status find_name(const char *name, const char *where, const ql_dataset_opts *o,
                           int32_t *out) {
    for (int32_t i = 0; o->labels && i < o->num_labels; i++) {
        if (strcmp(o->labels[i], name) != 0) continue;
        *out = i;
        return QL_OK;
    }
    if (!o->labels) {
        return QL_REFUSE(QL_PROBLEM_CLASS,
                         "%s: the label '%.80s' is a name, the classes have numbers", where, name);
    }
    return QL_REFUSE(QL_PROBLEM_CLASS, "%s: the label '%.80s' is none of the %d classes (%.80s%s)",
                     where, name, o->num_labels, o->labels[0], o->num_labels > 1 ? ", ..." : "");
}

static ql_status set_label(const ql_row_label *l, const char *where, const ql_dataset_opts *o,
                           ql_example *e) {
    if (o->num_labels == 1) {
        if (l->name) {
            return QL_REFUSE(QL_PROBLEM_CLASS,
                             "%s: the label '%.80s' is a name; with one label a number is learned",
                             where, l->name);
        }
        if (!(fabs(l->number) <= (double)FLT_MAX)) {
            return QL_REFUSE(QL_PROBLEM_CLASS, "%s: the label %g is too large", where, l->number);
        }
        e->value = (float)l->number;
        return QL_OK;
    }
    if (l->name) return find_name(l->name, where, o, &e->target);
    if (!(l->number >= 0 && l->number < o->num_labels) || l->number != floor(l->number)) {
        return QL_REFUSE(QL_PROBLEM_CLASS, "%s: the label %.9g is no class; they are 0 to %d",
                         where, l->number, o->num_labels - 1);
    }
    e->target = (int32_t)l->number;
    return QL_OK;
}

/* ------------------------------------------------------------------- texts */

typedef struct texts {
    const char *a, *b; /* b NULL = one text */
    size_t a_len, b_len;
} texts;

static ql_status find_texts(const json_t *row, const char *where, texts *out) {
    static const struct {
        const char *a, *b;
    } KEYS[] = {{"sentence1", "sentence2"}, {"premise", "hypothesis"},
                {"question1", "question2"}, {"question", "sentence"},
                {"text_a", "text_b"},       {"text1", "text2"},
                {"sentence", NULL},         {"text", NULL}};
    for (size_t i = 0; i < sizeof KEYS / sizeof *KEYS; i++) {
        if (!ql_json_has(row, KEYS[i].a)) continue;
        if (KEYS[i].b && !ql_json_has(row, KEYS[i].b)) continue;
        QL_TRY(ql_row_string(row, where, KEYS[i].a, &out->a, &out->a_len));
        if (KEYS[i].b) QL_TRY(ql_row_string(row, where, KEYS[i].b, &out->b, &out->b_len));
        if (!ql_text_is_blank(out->a, out->a_len) || (out->b && out->b_len)) return QL_OK;
        return QL_REFUSE(QL_PROBLEM_EMPTY_PROMPT, "%s: there is no text to classify", where);
    }
    return QL_REFUSE(QL_PROBLEM_MISSING_KEY,
                     "%s: no text to classify: expected text, sentence, or a pair (sentence1 + "
                     "sentence2, premise + hypothesis, question + sentence, question1 + question2, "
                     "text_a + text_b); rename the keys",
                     where);
}

ql_status ql_row_texts(const json_t *row, const char *where, const char **a, size_t *a_len,
                       const char **b, size_t *b_len) {
    texts t = {0};
    QL_TRY(find_texts(row, where, &t));
    *a = t.a;
    *a_len = t.a_len;
    *b = t.b;
    *b_len = t.b_len;
    return QL_OK;
}

typedef struct encoded {
    ql_ids ids, types;
    int32_t chars;
} encoded;

static ql_status encode(const ql_tokenizer *tok, const json_t *row, const char *where,
                        const ql_dataset_opts *o, encoded *out) {
    texts t = {0};
    QL_TRY(find_texts(row, where, &t));
    out->chars = ql_text_chars(t.a, t.a_len) + (t.b ? ql_text_chars(t.b, t.b_len) : 0);
    if (o->truncation == QL_TRUNCATE_LEFT) {
        return QL_FAIL(QL_ERR_INVALID,
                       "texts to classify are cut where the tokenizer says, the longer one first: "
                       "use --truncation right");
    }
    int32_t limit = o->truncation == QL_TRUNCATE_ERROR ? 0 : o->max_len;
    return ql_name_row(ql_tokenizer_encode_pair_limit(tok, t.a, t.a_len, t.b, t.b_len, limit,
                                                      QL_ENCODE_ADD_SPECIAL, &out->ids,
                                                      &out->types),
                       where);
}

static ql_status read_tokens(const json_t *row, const char *where, encoded *out) {
    QL_TRY(ql_row_ids(row, where, "input_ids", 0, &out->ids));
    if (!ql_json_has(row, "token_type_ids")) {
        for (size_t i = 0; i < out->ids.n; i++) QL_TRY(ql_ids_push(&out->types, 0));
        return QL_OK;
    }
    QL_TRY(ql_row_ids(row, where, "token_type_ids", 0, &out->types));
    if (out->types.n == out->ids.n) return QL_OK;
    return QL_FAIL(QL_ERR_FORMAT, "%s: %zu input_ids but %zu token_type_ids", where, out->ids.n,
                   out->types.n);
}

/* ----------------------------------------------------------------- example */

/* Does the model read types, and are they in its table? */
static ql_status check_types(const char *where, const ql_ids *types, int32_t rows, bool *keep) {
    *keep = false;
    for (size_t i = 0; rows > 0 && i < types->n; i++) {
        if (types->ids[i] >= rows) {
            return QL_FAIL(QL_ERR_FORMAT, "%s: token %zu has type %d, the model has %d types",
                           where, i + 1, types->ids[i], rows);
        }
        *keep = *keep || types->ids[i] != 0;
    }
    return QL_OK;
}

static ql_status finish(const char *where, const encoded *v, const ql_dataset_opts *o,
                        ql_example *e) {
    size_t n = v->ids.n, limit = o->max_len > 0 ? (size_t)o->max_len : INT32_MAX / 2;
    bool types;
    QL_TRY(ql_check_vocab(where, v->ids.ids, n, false, o->vocab));
    QL_TRY(check_types(where, &v->types, o->type_rows, &types));
    if (n > limit) return ql_too_long(where, n, limit);
    if (n == 0) return QL_FAIL(QL_ERR_FORMAT, "%s: the row has no token", where);
    e->ids = ql_host_calloc(types ? 2 * n : n, sizeof(int32_t));
    if (!e->ids) return QL_NOMEM("a training row");
    memcpy(e->ids, v->ids.ids, n * sizeof(int32_t));
    if (types) {
        e->types = e->ids + n;
        memcpy(e->types, v->types.ids, n * sizeof(int32_t));
    }
    e->n = (int32_t)n;
    e->chars = v->chars ? v->chars : e->n;
    e->supervised = 1;
    return QL_OK;
}

ql_status ql_example_classified(const ql_tokenizer *tok, const json_t *row, const char *where,
                                bool tokens, const ql_dataset_opts *o, ql_example *out) {
    ql_row_label label = {0};
    ql_example e = {0};
    encoded v = {0};
    QL_TRY(ql_row_label_read(row, where, &label));
    QL_TRY(set_label(&label, where, o, &e));
    ql_status s = tokens ? read_tokens(row, where, &v) : encode(tok, row, where, o, &v);
    if (s == QL_OK) s = finish(where, &v, o, &e);
    ql_ids_free(&v.ids);
    ql_ids_free(&v.types);
    if (s == QL_OK) *out = e;
    return s;
}
