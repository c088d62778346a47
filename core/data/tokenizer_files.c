/*
 * tokenizer_files.c - folders without tokenizer.json: vocab.json with merges.txt, or vocab.txt.
 *
 * The files are put into the tokenizer.json that transformers would write for the class, which is
 * then read as any other.
 */
#include <string.h>

#include "core/base/fs.h"
#include "core/base/hostmem.h"
#include "core/base/json.h"
#include "core/data/tokenizer_class.h"
#include "core/data/tokenizer_impl.h"

#define LINES_MAX_BYTES ((uint64_t)64 << 20)

#define CURE                                                                                       \
    "; make a tokenizer.json with transformers: "                                                  \
    "AutoTokenizer.from_pretrained(folder).save_pretrained(folder)"

typedef struct folder {
    const char *dir;
    json_t *config; /* tokenizer_config.json, or an empty object */
    const ql_tokenizer_class *class;
    char vocab[QL_PATH_MAX];
} folder;

/* ------------------------------------------------------------------------- lines */

/* Calls `add` for every line of a file that has one (without its end). */
typedef ql_status (*line_fn)(json_t *into, const char *line, size_t len, json_int_t i);

static ql_status each_line(const char *path, line_fn add, json_t *into) {
    char *text;
    size_t len;
    QL_TRY(ql_file_read(path, LINES_MAX_BYTES, &text, &len));
    size_t valid = ql_utf8_valid(text, len);
    ql_status st =
        valid == len ? QL_OK : QL_FAIL(QL_ERR_FORMAT, "%s: not UTF-8 at byte %zu", path, valid);
    json_int_t i = 0;
    for (size_t at = 0; st == QL_OK && at < len; i++) {
        const char *end = memchr(text + at, '\n', len - at);
        size_t n = end ? (size_t)(end - text) - at : len - at, next = at + n + 1;
        if (n && text[at + n - 1] == '\r') n--;
        st = add(into, text + at, n, i);
        at = next;
    }
    ql_host_free(text);
    return st;
}

/* A piece that comes twice has its later id, as in transformers. */
static ql_status add_piece(json_t *vocab, const char *line, size_t len, json_int_t id) {
    char *key = ql_host_strndup(line, len);
    bool put = key && json_object_set_new(vocab, key, json_integer(id)) == 0;
    ql_host_free(key);
    return put ? QL_OK : QL_NOMEM("vocab.txt");
}

static ql_status add_merge(json_t *merges, const char *line, size_t len, json_int_t i) {
    if (len == 0 || (i == 0 && line[0] == '#')) return QL_OK; /* "#version: 0.2" */
    if (json_array_append_new(merges, json_stringn(line, len)) == 0) return QL_OK;
    return QL_NOMEM("merges.txt");
}

/* ------------------------------------------------------------------- the documents */

/* Reads the files and takes over none of the values. */
static ql_status byte_level_model(const folder *f, json_t **out) {
    char path[QL_PATH_MAX];
    QL_TRY(ql_path_join(path, f->dir, "merges.txt"));
    json_t *vocab, *merges = json_array();
    ql_status st = ql_json_read(f->vocab, &vocab);
    if (st != QL_OK) {
        json_decref(merges);
        return st;
    }
    st = merges ? each_line(path, add_merge, merges) : QL_NOMEM("merges.txt");
    *out = json_pack("{s:s, s:o, s:o}", "type", "BPE", "vocab", vocab, "merges", merges);
    if (st == QL_OK && !*out) st = QL_NOMEM("a tokenizer");
    if (st == QL_OK) return QL_OK;
    json_decref(*out);
    *out = NULL;
    return st;
}

static ql_status wordpiece_model(const folder *f, json_t **out) {
    json_t *vocab = json_object();
    if (!vocab) return QL_NOMEM("vocab.txt");
    ql_status st = each_line(f->vocab, add_piece, vocab);
    const char *unk = f->class->unk;
    if (st == QL_OK) st = ql_json_get_str(f->config, f->dir, "unk_token", &unk);
    *out = json_pack("{s:s, s:s, s:o}", "type", "WordPiece", "unk_token", unk, "vocab", vocab);
    if (st == QL_OK && !*out) st = QL_NOMEM("a tokenizer");
    if (st == QL_OK) return QL_OK;
    json_decref(*out);
    *out = NULL;
    return st;
}

/* [token, its id], for a post-processor. The config may name another token than the class. */
static ql_status token_pair(const folder *f, const json_t *vocab, const char *key,
                            const char *fallback, json_t **out) {
    const json_t *v = json_object_get(f->config, key);
    if (json_is_object(v)) v = json_object_get(v, "content");
    const char *token = json_is_string(v) ? json_string_value(v) : fallback;
    const json_t *id = json_object_get(vocab, token);
    if (!json_is_integer(id)) {
        return QL_FAIL(QL_ERR_FORMAT, "%s: %s '%s' is not in the vocabulary", f->vocab, key, token);
    }
    *out = json_pack("[s, I]", token, json_integer_value(id));
    return *out ? QL_OK : QL_NOMEM("a tokenizer");
}

static ql_status post_processor(const folder *f, const json_t *model, const char *type,
                                json_t **out) {
    const json_t *vocab = json_object_get(model, "vocab");
    json_t *cls = NULL, *sep = NULL;
    ql_status st = token_pair(f, vocab, "cls_token", f->class->cls, &cls);
    if (st == QL_OK) st = token_pair(f, vocab, "sep_token", f->class->sep, &sep);
    if (st == QL_OK) {
        *out = json_pack("{s:s, s:O, s:O}", "type", type, "cls", cls, "sep", sep);
        if (!*out) st = QL_NOMEM("a tokenizer");
    }
    json_decref(cls);
    json_decref(sep);
    return st;
}

/* Parts of the document beside its model; takes `model` over. */
static ql_status byte_level_root(const folder *f, json_t *model, json_t **out) {
    bool prefix = false;
    json_t *post = NULL;
    ql_status st = ql_json_get_bool(f->config, f->dir, "add_prefix_space", &prefix);
    if (st == QL_OK && f->class->files == QL_CLASS_ROBERTA)
        st = post_processor(f, model, "RobertaProcessing", &post);
    *out = json_pack("{s:o, s:{s:s, s:b}, s:{s:s}, s:o*}", "model", model, "pre_tokenizer", "type",
                     "ByteLevel", "add_prefix_space", (int)prefix, "decoder", "type", "ByteLevel",
                     "post_processor", post);
    return st == QL_OK && !*out ? QL_NOMEM("a tokenizer") : st;
}

static ql_status wordpiece_root(const folder *f, json_t *model, json_t **out) {
    bool lower = true, cjk = true;
    json_t *post = NULL;
    ql_status st = ql_json_get_bool(f->config, f->dir, "do_lower_case", &lower);
    bool accents = lower;
    if (st == QL_OK) st = ql_json_get_bool(f->config, f->dir, "tokenize_chinese_chars", &cjk);
    if (st == QL_OK) st = ql_json_get_bool(f->config, f->dir, "strip_accents", &accents);
    if (st == QL_OK) st = post_processor(f, model, "BertProcessing", &post);
    *out =
        json_pack("{s:o, s:{s:s, s:b, s:b, s:b}, s:{s:s}, s:{s:s}, s:o*}", "model", model,
                  "normalizer", "type", "BertNormalizer", "handle_chinese_chars", (int)cjk,
                  "lowercase", (int)lower, "strip_accents", (int)accents, "pre_tokenizer", "type",
                  "BertPreTokenizer", "decoder", "type", "WordPiece", "post_processor", post);
    return st == QL_OK && !*out ? QL_NOMEM("a tokenizer") : st;
}

/* --------------------------------------------------------------------- the folder */

static bool has_file(folder *f, const char *name) {
    return ql_path_join(f->vocab, f->dir, name) == QL_OK && ql_file_exists(f->vocab);
}

static ql_status refuse(folder *f) {
    static const char *const others[] = {"vocab.json",      "vocab.txt",
                                         "spiece.model",    "spm.model",
                                         "tokenizer.model", "sentencepiece.bpe.model"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        if (!has_file(f, others[i])) continue;
        const char *name = json_string_value(json_object_get(f->config, "tokenizer_class"));
        return QL_FAIL(QL_ERR_UNSUPPORTED,
                       "%s: there is no tokenizer.json, and %s of the tokenizer class '%s' cannot "
                       "be read" CURE,
                       f->dir, others[i], name ? name : "unknown");
    }
    return QL_FAIL(QL_ERR_NOT_FOUND, "%s: there is no tokenizer.json" CURE, f->dir);
}

static ql_status load(ql_tokenizer *t, folder *f) {
    QL_TRY(ql_tokenizer_class_find(f->dir, f->config, &f->class));
    ql_class_files files = f->class ? f->class->files : QL_CLASS_JSON;
    bool bert = files == QL_CLASS_BERT;
    if (files == QL_CLASS_JSON || !has_file(f, bert ? "vocab.txt" : "vocab.json")) return refuse(f);
    json_t *model = NULL, *root = NULL;
    QL_TRY(bert ? wordpiece_model(f, &model) : byte_level_model(f, &model));
    ql_status st = bert ? wordpiece_root(f, model, &root) : byte_level_root(f, model, &root);
    if (st == QL_OK) st = ql_tokenizer_load_root(t, root, f->vocab);
    json_decref(root);
    return st;
}

ql_status ql_tokenizer_load_files(ql_tokenizer *t, const char *dir) {
    char path[QL_PATH_MAX];
    folder f = {.dir = dir};
    QL_TRY(ql_path_join(path, dir, "tokenizer_config.json"));
    if (ql_file_exists(path)) {
        QL_TRY(ql_json_read(path, &f.config));
    } else {
        f.config = json_object();
        if (!f.config) return QL_NOMEM("a tokenizer");
    }
    ql_status st = load(t, &f);
    json_decref(f.config);
    return st;
}
