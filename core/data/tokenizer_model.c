/*
 * tokenizer_model.c - 'model' of tokenizer.json: BPE, WordPiece or Unigram.
 */
#include <string.h>

#include "core/base/hostmem.h"
#include "core/base/json.h"
#include "core/data/tokenizer_impl.h"

/* ------------------------------------------------------------------------- BPE */

static ql_status load_vocab(ql_tokenizer *t, json_t *model, const char *what) {
    json_t *vocab = json_object_get(model, "vocab");
    if (!json_is_object(vocab) || json_object_size(vocab) == 0) {
        return QL_FAIL(QL_ERR_FORMAT, "%s: 'vocab' of the model must be an object of token: id",
                       what);
    }
    const char *key;
    json_t *id;
    json_object_foreach(vocab, key, id) {
        if (!json_is_integer(id)) {
            return QL_FAIL(QL_ERR_FORMAT, "%s: the id of token '%s' must be an integer", what, key);
        }
        QL_TRY(ql_vocab_add(&t->vocab, key, strlen(key), json_integer_value(id), what));
    }
    return QL_OK;
}

/* "left right" or ["left", "right"]. */
static ql_status read_merge(const json_t *m, size_t rank, const char *what, ql_merge_names *out) {
    const json_t *l = json_array_get(m, 0), *r = json_array_get(m, 1);
    if (json_array_size(m) == 2 && json_is_string(l) && json_is_string(r)) {
        *out = (ql_merge_names){json_string_value(l), json_string_value(r), json_string_length(l),
                                json_string_length(r)};
        return QL_OK;
    }
    const char *s = json_string_value(m);
    const char *space = s ? strchr(s, ' ') : NULL;
    if (!space || strchr(space + 1, ' ')) {
        return QL_FAIL(QL_ERR_FORMAT,
                       "%s: merge %zu must be two tokens with one space between "
                       "them, or an array of two strings",
                       what, rank);
    }
    *out = (ql_merge_names){s, space + 1, (size_t)(space - s), strlen(space + 1)};
    return QL_OK;
}

static ql_status load_merges(ql_tokenizer *t, const json_t *model, const char *what) {
    const json_t *merges = json_object_get(model, "merges");
    if (!json_is_array(merges)) {
        return QL_FAIL(QL_ERR_FORMAT, "%s: 'merges' of the model must be an array", what);
    }
    QL_TRY(ql_bpe_reserve(&t->bpe, json_array_size(merges)));
    ql_text joined = {0};
    ql_status st = QL_OK;
    for (size_t i = 0; i < json_array_size(merges) && st == QL_OK; i++) {
        ql_merge_names names = {0};
        st = read_merge(json_array_get(merges, i), i, what, &names);
        if (st == QL_OK) st = ql_bpe_add_merge(&t->bpe, &t->vocab, i, &names, &joined, what);
    }
    ql_text_free(&joined);
    return st;
}

/* Options of BPE that change the result and are not supported. */
static ql_status refuse_options(const json_t *model, const char *what) {
    double dropout = 0;
    const char *affixes[] = {"continuing_subword_prefix", "end_of_word_suffix"};
    QL_TRY(ql_json_get_f64(model, what, "dropout", 0, 1, &dropout));
    if (dropout > 0) {
        return QL_FAIL(QL_ERR_UNSUPPORTED, "%s: BPE dropout %g is not supported, expected null",
                       what, dropout);
    }
    for (size_t i = 0; i < sizeof affixes / sizeof *affixes; i++) {
        const char *s = "";
        QL_TRY(ql_json_get_str(model, what, affixes[i], &s));
        if (*s) {
            return QL_FAIL(QL_ERR_UNSUPPORTED, "%s: '%s' is '%s', only null is supported", what,
                           affixes[i], s);
        }
    }
    return QL_OK;
}

static ql_status find_unk(const ql_tokenizer *t, const char *unk, const char *what, int32_t *id) {
    *id = ql_tokenizer_id(t, unk);
    if (*id >= 0) return QL_OK;
    return QL_FAIL(QL_ERR_FORMAT, "%s: unk_token '%s' is not in the vocabulary", what, unk);
}

static ql_status load_bpe(ql_tokenizer *t, json_t *model, const char *what) {
    QL_TRY(refuse_options(model, what));
    QL_TRY(ql_json_get_bool(model, what, "byte_fallback", &t->bpe.byte_fallback));
    QL_TRY(ql_json_get_bool(model, what, "fuse_unk", &t->bpe.fuse_unk));
    QL_TRY(ql_json_get_bool(model, what, "ignore_merges", &t->bpe.ignore_merges));
    QL_TRY(load_vocab(t, model, what));
    QL_TRY(load_merges(t, model, what));
    const char *unk = NULL;
    QL_TRY(ql_json_get_str(model, what, "unk_token", &unk));
    return unk ? find_unk(t, unk, what, &t->bpe.unk_id) : QL_OK;
}

/* ------------------------------------------------------------------- WordPiece */

static ql_status load_wordpiece(ql_tokenizer *t, json_t *model, const char *what) {
    const char *unk = "[UNK]", *prefix = "##";
    int64_t chars = 100;
    QL_TRY(ql_json_get_str(model, what, "unk_token", &unk));
    QL_TRY(ql_json_get_str(model, what, "continuing_subword_prefix", &prefix));
    QL_TRY(ql_json_get_i64(model, what, "max_input_chars_per_word", 0, QL_WORDPIECE_CHARS_MAX,
                           &chars));
    t->wordpiece.max_chars = (int32_t)chars;
    QL_TRY(load_vocab(t, model, what));
    QL_TRY(ql_wordpiece_build(&t->wordpiece, &t->vocab, prefix));
    return find_unk(t, unk, what, &t->wordpiece.unk_id);
}

/* --------------------------------------------------------------------- Unigram */

/* vocab[id] is [piece, score]. */
static ql_status add_scored(ql_tokenizer *t, const json_t *row, size_t id, const char *what) {
    const json_t *piece = json_array_get(row, 0), *score = json_array_get(row, 1);
    if (json_array_size(row) != 2 || !json_is_string(piece) || !json_is_number(score)) {
        return QL_FAIL(QL_ERR_FORMAT, "%s: entry %zu of the Unigram 'vocab' must be [piece, score]",
                       what, id);
    }
    size_t len = json_string_length(piece);
    if (len > QL_UNIGRAM_PIECE_MAX) {
        return QL_FAIL(QL_ERR_FORMAT, "%s: piece %zu has %zu bytes, at most %u are taken", what, id,
                       len, QL_UNIGRAM_PIECE_MAX);
    }
    ql_unigram *u = &t->unigram;
    u->scores[id] = json_number_value(score);
    if (id == 0 || u->scores[id] < u->min_score) u->min_score = u->scores[id];
    return ql_vocab_add(&t->vocab, json_string_value(piece), len, (int64_t)id, what);
}

static ql_status load_unigram(ql_tokenizer *t, json_t *model, const char *what) {
    const json_t *vocab = json_object_get(model, "vocab");
    size_t n = json_array_size(vocab);
    if (n == 0 || n > QL_VOCAB_MAX) {
        return QL_FAIL(QL_ERR_FORMAT,
                       "%s: 'vocab' of the Unigram model must be an array of 1 to %d pieces", what,
                       QL_VOCAB_MAX);
    }
    ql_unigram *u = &t->unigram;
    u->scores = ql_host_calloc(n, sizeof *u->scores);
    if (!u->scores) return QL_NOMEM("the scores of a vocabulary");
    for (size_t i = 0; i < n; i++) QL_TRY(add_scored(t, json_array_get(vocab, i), i, what));
    int64_t unk = -1;
    QL_TRY(ql_json_get_i64(model, what, "unk_id", 0, (int64_t)n - 1, &unk));
    u->unk_id = (int32_t)unk;
    QL_TRY(ql_json_get_bool(model, what, "byte_fallback", &u->byte_fallback));
    return ql_trie_build(&u->trie, &t->vocab);
}

/* ------------------------------------------------------------------- the three */

/* Older files do not name the type. */
static const char *guess_type(const json_t *model) {
    if (ql_json_has(model, "merges")) return "BPE";
    if (json_is_array(json_object_get(model, "vocab"))) return "Unigram";
    return ql_json_has(model, "max_input_chars_per_word") ? "WordPiece" : "without a type";
}

ql_status ql_tokenizer_load_model(ql_tokenizer *t, const json_t *root, const char *what) {
    static const struct {
        const char *name;
        ql_model_kind kind;
        ql_status (*load)(ql_tokenizer *t, json_t *model, const char *what);
    } models[] = {{"BPE", QL_MODEL_BPE, load_bpe},
                  {"Unigram", QL_MODEL_UNIGRAM, load_unigram},
                  {"WordPiece", QL_MODEL_WORDPIECE, load_wordpiece}};
    json_t *model = json_object_get(root, "model");
    if (!json_is_object(model)) {
        return QL_FAIL(QL_ERR_FORMAT, "%s: 'model' must be an object", what);
    }
    const char *type = guess_type(model);
    QL_TRY(ql_json_get_str(model, what, "type", &type));
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        if (strcmp(type, models[i].name) != 0) continue;
        t->kind = models[i].kind;
        return models[i].load(t, model, what);
    }
    return QL_FAIL(QL_ERR_UNSUPPORTED,
                   "%s: model '%s' is not supported, only BPE, Unigram and WordPiece are", what,
                   type);
}
