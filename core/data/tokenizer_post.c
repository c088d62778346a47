/*
 * tokenizer_post.c - the post-processor of tokenizer.json as slots.
 *
 * At most one component may add ids: what two of them in a Sequence mean is not defined.
 */
#include <string.h>

#include "core/base/json.h"
#include "core/data/components.h"

static ql_status push_known(const ql_tokenizer *t, ql_slots *s, const json_t *id, int64_t type,
                            const char *what) {
    json_int_t i = json_is_integer(id) ? json_integer_value(id) : -1;
    if (i < 0 || i >= ql_tokenizer_size(t) || !ql_tokenizer_piece(t, (int32_t)i)) {
        return QL_FAIL(QL_ERR_FORMAT,
                       "%s: the post-processor names id %lld, which is not in the vocabulary", what,
                       (long long)i);
    }
    return ql_slots_push(s, (int32_t)i, (int32_t)type);
}

/* -------------------------------------------------------------------- templates */

/* The ids of one {"SpecialToken": {"id": name}} of a template. */
static ql_status push_special(const ql_tokenizer *t, const json_t *processor, const json_t *token,
                              int64_t type, ql_slots *s, const char *what) {
    ql_string name;
    QL_TRY(ql_component_string(token, what, "id", &name));
    const json_t *all = json_object_get(processor, "special_tokens");
    const json_t *ids = json_object_get(json_object_get(all, name.s), "ids");
    if (!json_array_size(ids)) {
        return QL_FAIL(QL_ERR_FORMAT,
                       "%s: the template uses '%s', but 'special_tokens' gives no ids for it", what,
                       name.s);
    }
    for (size_t i = 0; i < json_array_size(ids); i++)
        QL_TRY(push_known(t, s, json_array_get(ids, i), type, what));
    return QL_OK;
}

/* {"Sequence": {"id": "A", "type_id": 0}}; the letter defaults to A. */
static ql_status push_sequence(const json_t *sequence, int64_t type, ql_slots *s,
                               const char *what) {
    const char *id = "A";
    QL_TRY(ql_json_get_str(sequence, what, "id", &id));
    if (strcmp(id, "A") == 0) return ql_slots_push(s, QL_SLOT_A, (int32_t)type);
    if (strcmp(id, "B") == 0) return ql_slots_push(s, QL_SLOT_B, (int32_t)type);
    return QL_FAIL(QL_ERR_FORMAT, "%s: the template has the text '%s', expected A or B", what, id);
}

static ql_status read_list(const ql_tokenizer *t, const json_t *processor, const char *key,
                           ql_slots *s, const char *what) {
    const json_t *list = json_object_get(processor, key);
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *piece = json_array_get(list, i);
        const json_t *sequence = json_object_get(piece, "Sequence");
        const json_t *token = json_object_get(piece, "SpecialToken");
        int64_t type = 0;
        QL_TRY(ql_json_get_i64(sequence ? sequence : token, what, "type_id", 0, INT32_MAX, &type));
        if (sequence) {
            QL_TRY(push_sequence(sequence, type, s, what));
        } else {
            QL_TRY(push_special(t, processor, token, type, s, what));
        }
    }
    return QL_OK;
}

static ql_status check_texts(const ql_slots *s, const char *name, size_t want_b, const char *what) {
    size_t a = 0, b = 0;
    for (size_t i = 0; i < s->n; i++) {
        a += s->v[i].id == QL_SLOT_A;
        b += s->v[i].id == QL_SLOT_B;
    }
    if (a == 1 && b == want_b) return QL_OK;
    return QL_FAIL(QL_ERR_FORMAT,
                   "%s: the template '%s' holds the first text %zu times and the second %zu times, "
                   "expected 1 and %zu",
                   what, name, a, b, want_b);
}

static ql_status read_template(ql_tokenizer *t, const json_t *o, const char *what) {
    QL_TRY(read_list(t, o, "single", &t->post.single, what));
    QL_TRY(check_texts(&t->post.single, "single", 0, what));
    if (!ql_json_has(o, "pair")) return QL_OK; /* the texts alone */
    QL_TRY(read_list(t, o, "pair", &t->post.pair, what));
    return check_texts(&t->post.pair, "pair", 1, what);
}

/* ---------------------------------------------------------------- BERT and RoBERTa
 * "cls" and "sep" are [text, id].
 *   BERT      cls A sep       cls A sep B sep, the last two of type 1
 *   RoBERTa   cls A sep       cls A sep sep B sep, all of type 0 */

static ql_status read_wrapping(ql_tokenizer *t, const json_t *o, bool roberta, const char *what) {
    const json_t *cls = json_array_get(json_object_get(o, "cls"), 1);
    const json_t *sep = json_array_get(json_object_get(o, "sep"), 1);
    ql_slots *both[] = {&t->post.single, &t->post.pair};
    for (size_t i = 0; i < 2; i++) {
        QL_TRY(push_known(t, both[i], cls, 0, what));
        QL_TRY(ql_slots_push(both[i], QL_SLOT_A, 0));
        QL_TRY(push_known(t, both[i], sep, 0, what));
    }
    int32_t type = roberta ? 0 : 1;
    if (roberta) QL_TRY(push_known(t, &t->post.pair, sep, type, what));
    QL_TRY(ql_slots_push(&t->post.pair, QL_SLOT_B, type));
    QL_TRY(push_known(t, &t->post.pair, sep, type, what));
    t->post.wraps = true;
    return QL_OK;
}

static ql_status add_processor(ql_tokenizer *t, const json_t *o, const char *type,
                               const char *what) {
    if (strcmp(type, "ByteLevel") == 0) return QL_OK; /* only concerns character offsets */
    bool is_template = strcmp(type, "TemplateProcessing") == 0;
    bool roberta = strcmp(type, "RobertaProcessing") == 0;
    if (!is_template && !roberta && strcmp(type, "BertProcessing") != 0)
        return ql_component_unknown("post-processor", type, what);
    if (t->post.single.n) {
        return QL_FAIL(QL_ERR_UNSUPPORTED,
                       "%s: two components of 'post_processor' add tokens, only one is supported",
                       what);
    }
    return is_template ? read_template(t, o, what) : read_wrapping(t, o, roberta, what);
}

ql_status ql_tokenizer_load_postprocessor(ql_tokenizer *t, const json_t *root, const char *what) {
    static const ql_part part = {"post_processor", "processors", add_processor};
    return ql_components_each(t, root, &part, what);
}

/* ------------------------------------------------------------------- bos and eos */

/* [bos] A [eos], and the same again for B of type 1. */
ql_status ql_tokenizer_surround(ql_tokenizer *t, int32_t bos, int32_t eos) {
    t->post.single.n = t->post.pair.n = 0;
    t->post.wraps = false;
    ql_slots *both[] = {&t->post.single, &t->post.pair};
    for (size_t i = 0; i < 2; i++) {
        for (int32_t type = 0; type <= (int32_t)i; type++) {
            if (bos >= 0) QL_TRY(ql_slots_push(both[i], bos, type));
            QL_TRY(ql_slots_push(both[i], type ? QL_SLOT_B : QL_SLOT_A, type));
            if (eos >= 0) QL_TRY(ql_slots_push(both[i], eos, type));
        }
    }
    return QL_OK;
}
