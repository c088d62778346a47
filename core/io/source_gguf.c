/*
 * source_gguf.c - tensors of a GGUF under Hugging Face's names, with Hugging Face's values.
 *
 * Matrices stay where they are; their rows are read in Hugging Face's order. Vectors that differ
 * (norms stored as 1 + w, biases of reordered rows) are computed once and kept as F32. A tensor
 * without a Hugging Face name refuses the file: leaving it out would change the model silently.
 */
#include <stdio.h>
#include <string.h>

#include "core/io/gguf_arch.h"

#define MAX_HF_NAME 160

typedef struct reading {
    ql_source *s;
    const ql_gguf_arch *arch;
    ql_gguf_keys keys;
    int64_t cap;
} reading;

/* Tensors that the config tells already. */
static bool in_config(const ql_gguf_arch *a, const char *name) {
    if (a->longrope) {
        return strcmp(name, "rope_factors_short.weight") == 0 ||
               strcmp(name, "rope_factors_long.weight") == 0;
    }
    return a->rotation != QL_GGUF_UNROTATED && strcmp(name, "rope_freqs.weight") == 0;
}

/* The name with its numbers and suffix in the arena. */
static const char *hf_name(reading *r, const char *pattern, int64_t layer, int64_t head,
                           const char *suffix) {
    char out[MAX_HF_NAME];
    size_t n = 0;
    for (; *pattern && n < sizeof out; pattern++) {
        if (*pattern == '#' || *pattern == '*') {
            int64_t number = *pattern == '#' ? layer : head;
            n += (size_t)snprintf(out + n, sizeof out - n, "%lld", (long long)number);
        } else {
            out[n++] = *pattern;
        }
    }
    if (n < sizeof out) n += (size_t)snprintf(out + n, sizeof out - n, "%s", suffix);
    return n < sizeof out ? ql_arena_strndup(&r->s->arena, out, n) : NULL;
}

/* ------------------------------------------------------------------- changes */

/* A vector of n F32 in the arena that takes t's place; *values is to be filled. */
static ql_status new_vector(reading *r, const ql_gguf_tensor *t, ql_source_tensor *v,
                            float **values) {
    ql_gguf_tensor *own = ql_arena_alloc(&r->s->arena, 1, sizeof *own);
    float *x = ql_arena_alloc(&r->s->arena, (size_t)t->cols, sizeof *x);
    if (!own || !x) return QL_NOMEM(r->s->path);
    *own = *t;
    own->type = QL_GT_F32;
    own->data = (const uint8_t *)x;
    own->bytes = (uint64_t)t->cols * sizeof *x;
    v->gguf = own;
    *values = x;
    return QL_OK;
}

/* Elements in Hugging Face's order of the rows they belong to. */
static ql_status reorder_vector(reading *r, const ql_gguf_tensor *t, ql_source_tensor *v) {
    float *x, *file = ql_host_calloc((size_t)t->cols, sizeof *file);
    if (!file) return QL_NOMEM(r->s->path);
    ql_status st = ql_gguf_read_row(t, 0, file);
    if (st == QL_OK) st = new_vector(r, t, v, &x);
    for (int64_t i = 0; st == QL_OK && i < t->cols; i++)
        x[i] = file[ql_source_file_row(v, i, t->cols)];
    ql_host_free(file);
    v->permute_heads = v->fused_kv = 0;
    return st;
}

static ql_status order_rows(reading *r, const ql_gguf_tensor *t, ql_gguf_change change,
                            ql_source_tensor *v) {
    const ql_gguf_keys *k = &r->keys;
    bool all = change == QL_GGUF_FUSED;
    int64_t heads = change == QL_GGUF_ROTATED_K ? k->kv_heads : k->heads;
    int64_t have = t->dims == 1 ? t->cols : t->rows;
    int64_t want = (all ? heads + 2 * k->kv_heads : heads) * k->head_dim;
    if (have != want) {
        return QL_FAIL(QL_ERR_FORMAT, "%s: '%s' has %lld rows, %lld heads of %lld expected",
                       r->s->path, t->name, (long long)have,
                       (long long)(all ? heads + 2 * k->kv_heads : heads), (long long)k->head_dim);
    }
    if (all && k->kv_heads == 1) return QL_OK; /* one group: the same order */
    v->permute_heads = (int32_t)heads;
    v->fused_kv = all ? (int32_t)k->kv_heads : 0;
    return t->dims == 1 ? reorder_vector(r, t, v) : QL_OK;
}

/* Gemma's norms multiply by 1 + w; the file holds the sum. */
static ql_status subtract_one(reading *r, const ql_gguf_tensor *t, ql_source_tensor *v) {
    float *x;
    if (t->dims != 1) {
        return QL_FAIL(QL_ERR_FORMAT, "%s: '%s' has %d dimensions, a norm has one", r->s->path,
                       t->name, t->dims);
    }
    QL_TRY(new_vector(r, t, v, &x));
    QL_TRY(ql_gguf_read_row(t, 0, x));
    for (int64_t i = 0; i < t->cols; i++) x[i] -= 1.0f;
    return QL_OK;
}

/* ------------------------------------------------------------------- tensors */

static ql_status room_for(reading *r, int64_t more) {
    ql_source *s = r->s;
    if (s->n + more <= r->cap) return QL_OK;
    int64_t cap = 2 * (s->n + more);
    ql_source_tensor *all = ql_arena_alloc(&s->arena, (size_t)cap, sizeof *all);
    if (!all) return QL_NOMEM(s->path);
    if (s->n) memcpy(all, s->tensors, (size_t)s->n * sizeof *all);
    s->tensors = all;
    r->cap = cap;
    return QL_OK;
}

/* One tensor of Hugging Face for each row (head) of t. */
static ql_status add_stacked(reading *r, const ql_gguf_tensor *t, const ql_gguf_name *n,
                             int64_t layer, const char *suffix) {
    int64_t heads = n->change == QL_GGUF_STACKED_Q ? r->keys.heads : r->keys.kv_heads;
    if (t->dims > 2 || t->rows != heads || t->cols != r->keys.head_dim) {
        return QL_FAIL(QL_ERR_FORMAT, "%s: '%s' is %lld x %lld, %lld heads of %lld expected",
                       r->s->path, t->name, (long long)t->rows, (long long)t->cols,
                       (long long)heads, (long long)r->keys.head_dim);
    }
    QL_TRY(room_for(r, heads));
    ql_gguf_tensor *rows = ql_arena_alloc(&r->s->arena, (size_t)heads, sizeof *rows);
    if (!rows) return QL_NOMEM(r->s->path);
    uint64_t bytes = t->bytes / (uint64_t)heads;
    for (int64_t h = 0; h < heads; h++) {
        rows[h] = *t;
        rows[h].dims = 1;
        rows[h].rows = rows[h].shape[1] = 1;
        rows[h].bytes = bytes;
        rows[h].offset = t->offset + (uint64_t)h * bytes;
        rows[h].data = t->data + (uint64_t)h * bytes;
        const char *name = hf_name(r, n->hf, layer, h, suffix);
        if (!name) return QL_NOMEM(r->s->path);
        r->s->tensors[r->s->n++] = (ql_source_tensor){.name = name,
                                                      .rows = 1,
                                                      .cols = t->cols,
                                                      .dims = 1,
                                                      .shape = {t->cols},
                                                      .gguf = &rows[h]};
    }
    return QL_OK;
}

static ql_status add_tensor(reading *r, const ql_gguf_tensor *t) {
    int64_t layer = -1;
    const char *suffix = "";
    if (in_config(r->arch, t->name)) return QL_OK;
    const ql_gguf_name *n = ql_gguf_name_find(r->arch, &r->keys, t->name, &layer, &suffix);
    if (!n) {
        return QL_FAIL(QL_ERR_UNSUPPORTED,
                       "%s: the tensor '%.200s' has no place in a %s model of %lld layers",
                       r->s->path, t->name, r->arch->name, (long long)r->keys.layers);
    }
    if (n->change == QL_GGUF_STACKED_Q || n->change == QL_GGUF_STACKED_K) {
        return add_stacked(r, t, n, layer, suffix);
    }
    QL_TRY(room_for(r, 1));
    ql_source_tensor v = {.rows = t->rows, .cols = t->cols, .dims = t->dims, .gguf = t};
    for (int32_t i = 0; i < t->dims; i++) v.shape[i] = t->shape[t->dims - 1 - i];
    v.out_in = n->change == QL_GGUF_OUT_IN && t->dims == 2;
    if (n->change == QL_GGUF_PLUS_ONE) QL_TRY(subtract_one(r, t, &v));
    if (n->change == QL_GGUF_ROTATED_Q || n->change == QL_GGUF_ROTATED_K ||
        n->change == QL_GGUF_FUSED) {
        QL_TRY(order_rows(r, t, n->change, &v));
    }
    v.name = hf_name(r, n->hf, layer, 0, suffix);
    if (!v.name) return QL_NOMEM(r->s->path);
    r->s->tensors[r->s->n++] = v;
    return QL_OK;
}

ql_status ql_source_read_gguf(ql_source *s) {
    reading r = {.s = s};
    QL_TRY(ql_gguf_arch_find(s, &r.arch));
    QL_TRY(ql_gguf_keys_read(s, r.arch, &r.keys));
    QL_TRY(ql_gguf_config_make(s, r.arch, &r.keys));
    QL_TRY(room_for(&r, ql_gguf_count(s->gguf)));
    for (int64_t i = 0; i < ql_gguf_count(s->gguf); i++) {
        QL_TRY(add_tensor(&r, ql_gguf_at(s->gguf, i)));
    }
    return QL_OK;
}
