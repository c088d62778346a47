/*
 * test_gguf_families.c - a GGUF of every family is the model that its folder is: the same
 * architecture, the same tensors bit for bit, the same logits; quantized blocks come in Hugging
 * Face's order; what a file gets wrong is refused by name.
 *
 * Folders are those of tests/data/models, some with a config changed to what a GGUF can say. The
 * GGUFs are written by gguf_convert.c.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/fs.h"
#include "core/base/hostmem.h"
#include "core/base/json.h"
#include "core/base/rng.h"
#include "core/data/batch.h"
#include "core/model/build.h"
#include "tests/models/gguf_convert.h"
#include "tests/models/logits.h"
#include "tests/support/engine.h"
#include "tests/support/temp_folder.h"

typedef struct family {
    const char *model;
    const char *patch; /* keys that replace those of config.json */
    const char *drop;  /* tensors whose names contain this are left out */
} family;

#define FACTORS(a, b) "[" a ",1.1,1.25,1.5," b ",3.0,5.5,9.015625]"
static const family families[] = {
    {"tiny-llama", "{}", NULL},
    {"tiny-mistral", "{}", NULL},
    {"tiny-qwen2", "{}", NULL},
    {"tiny-qwen2",
     "{\"rope_scaling\": {\"rope_type\": \"yarn\", \"factor\": 4.0, "
     "\"original_max_position_embeddings\": 16, \"beta_fast\": 24.0}}",
     NULL},
    {"tiny-qwen3", "{\"rope_scaling\": {\"rope_type\": \"linear\", \"factor\": 2.5}}", NULL},
    {"tiny-gemma2", "{\"model_type\": \"gemma\"}", "_feedforward_layernorm"},
    {"tiny-gemma2", "{\"query_pre_attn_scalar\": 16}", NULL},
    {"tiny-gemma3", "{\"query_pre_attn_scalar\": 24}", NULL},
    {"tiny-gemma3",
     "{\"query_pre_attn_scalar\": 24, \"final_logit_softcapping\": 4.5, "
     "\"layer_types\": [\"full_attention\", \"sliding_attention\"], "
     "\"rope_scaling\": {\"rope_type\": \"linear\", \"factor\": 8.0}}",
     NULL},
    {"tiny-phi3", "{}", NULL},
    {"tiny-phi3",
     "{\"sliding_window\": null, \"original_max_position_embeddings\": 32, \"rope_scaling\": "
     "{\"rope_type\": \"longrope\", \"original_max_position_embeddings\": 32, "
     "\"short_factor\": " FACTORS("1.0", "1.75") ", "
                                                 "\"long_factor\": " FACTORS(
                                                     "1.05", "2.0000001907348633") "}}",
     NULL},
    {"tiny-phi3", "{\"partial_rotary_factor\": 0.75}", NULL},
    {"tiny-stablelm", "{}", NULL},
    {"tiny-stablelm-parallel", "{}", NULL},
    {"tiny-stablelm-qknorm", "{}", NULL},
    {"tiny-gpt-neox", "{}", NULL},
    {"tiny-gpt-neox-seq", "{}", NULL},
    {"tiny-gpt2", "{}", NULL},
    {"tiny-falcon", "{\"max_position_embeddings\": 2048}", NULL},
    {"tiny-falcon-new", "{\"max_position_embeddings\": 2048}", NULL},
    {"tiny-bert", "{}", "bert.pooler."},
    {"tiny-t5", "{\"relative_attention_max_distance\": 128}", NULL},
    {"tiny-t5-v11", "{\"relative_attention_max_distance\": 128}", NULL}};
enum { N_FAMILIES = sizeof families / sizeof *families };

/* ------------------------------------------------------------- the two forms */

static json_t *config_of(const family *f) {
    char path[QL_PATH_MAX];
    json_t *config = NULL, *patch = NULL;
    snprintf(path, sizeof path, "%s/models/%s/config.json", QL_TEST_DATA, f->model);
    OK(ql_json_read(path, &config));
    OK(ql_json_parse(f->patch, strlen(f->patch), "patch", &patch));
    assert_int_equal(json_object_update(config, patch), 0);
    json_decref(patch);
    return config;
}

/* The folder with its changes, at temp/<i>. */
static const char *write_folder(int i, json_t *config) {
    const family *f = &families[i];
    char name[64], path[QL_PATH_MAX];
    snprintf(name, sizeof name, "%d", i);
    const char *dir = temp_path(name);
    OK(ql_dir_create(dir));
    snprintf(name, sizeof name, "%d/config.json", i);
    OK(ql_json_write(temp_path(name), config));
    snprintf(path, sizeof path, "%s/models/%s/model.safetensors", QL_TEST_DATA, f->model);
    ql_st_file *from = NULL;
    ql_st_writer *to = NULL;
    OK(ql_st_open(path, &from));
    snprintf(name, sizeof name, "%d/model.safetensors", i);
    OK(ql_st_writer_create(temp_path(name), &to));
    for (int pass = 0; pass < 2; pass++) {
        for (int64_t k = 0; k < ql_st_count(from); k++) {
            const ql_st_tensor *t = ql_st_at(from, k);
            if (f->drop && strstr(t->name, f->drop)) continue;
            if (pass)
                OK(ql_st_writer_data(to, t->data, t->bytes));
            else
                OK(ql_st_writer_declare(to, t->name, t->dtype, t->dims, t->shape));
        }
    }
    OK(ql_st_writer_commit(to));
    ql_st_close(from);
    return dir;
}

/* The folder's weights as GGUF; the caller adds keys and finishes. */
static gguf_build build_gguf(const char *dir, const json_t *config, int type) {
    gguf_build b = {0};
    char path[QL_PATH_MAX];
    ql_st_file *file = NULL;
    OK(ql_path_join(path, dir, "model.safetensors"));
    OK(ql_st_open(path, &file));
    gguf_convert_keys(&b, config);
    gguf_convert_tensors(&b, config, file, type);
    ql_st_close(file);
    return b;
}

static const char *put_gguf(gguf_build *b, const char *name) {
    size_t size = 0;
    uint8_t *bytes = gguf_finish(b, &size);
    const char *path = temp_put(name, bytes, size);
    free(bytes);
    return path;
}

typedef struct pair {
    const char *folder, *gguf; /* paths */
    json_t *config;
} pair;

static pair make_pair(int i, int type) {
    pair p = {.config = config_of(&families[i])};
    char name[64];
    p.folder = write_folder(i, p.config);
    gguf_build b = build_gguf(p.folder, p.config, type);
    snprintf(name, sizeof name, "%d.gguf", i);
    p.gguf = put_gguf(&b, name);
    return p;
}

/* -------------------------------------------------------------- architecture */

#define SAME(field)                                                                                \
    do {                                                                                           \
        if (a->field != b->field) fail_msg("%s: " #field " differs", what);                        \
    } while (0)
#define SAME_BYTES(field)                                                                          \
    do {                                                                                           \
        if (memcmp(a->field, b->field, sizeof a->field) != 0)                                      \
            fail_msg("%s: " #field " differs", what);                                              \
    } while (0)

static void same_rope(const ql_rope *a, const ql_rope *b, const char *what) {
    SAME(kind);
    SAME(theta);
    SAME(rot);
    SAME(factor);
    SAME(low_freq);
    SAME(high_freq);
    SAME(original_positions);
    SAME(max_positions);
    SAME(beta_fast);
    SAME(beta_slow);
    if (fabs(a->attention_factor - b->attention_factor) > 1e-12) fail_msg("%s: factor", what);
    SAME_BYTES(short_factor);
    SAME_BYTES(long_factor);
}

/* Names are constants of the family's file: equal pointers. */
static void same_stack(const ql_stack *a, const ql_stack *b, const char *what) {
    SAME(layers);
    SAME(heads);
    SAME(kv_heads);
    SAME(head_dim);
    SAME(ffn);
    SAME(layer);
    for (int i = 0; i < QL_LIN_COUNT; i++) {
        SAME(lin[i].name);
        SAME(lin[i].bias);
        SAME(lin[i].keep);
    }
    for (int i = 0; i < QL_NORM_COUNT; i++) SAME(norm[i]);
    SAME(own_head_norms);
    SAME(norm_bias);
    SAME(post_norm);
    SAME(parallel);
    SAME(causal);
    SAME(transposed);
    SAME(fuse);
    SAME(act);
    SAME(attn_scale);
    SAME(softcap);
    SAME(window);
    SAME_BYTES(local);
    same_rope(&a->rope, &b->rope, what);
    same_rope(&a->rope_local, &b->rope_local, what);
    SAME(two_ropes);
    SAME(front.tokens);
    SAME(front.positions);
    SAME(front.types);
    SAME(front.norm);
    SAME(front.width);
    SAME(front.scale);
    SAME(front.rule);
    SAME(front.position_offset);
    SAME(front.position_rows);
    SAME(front.type_rows);
    SAME(final_norm);
    SAME(relative);
    SAME(rel_table);
    SAME(buckets);
    SAME(max_distance);
}

static void same_arch(const ql_arch *a, const ql_arch *b, const char *what) {
    assert_string_equal(a->family, b->family);
    SAME(task);
    SAME(n_labels);
    SAME(hidden);
    SAME(vocab);
    SAME(max_positions);
    SAME(norm);
    SAME(norm_eps);
    SAME(norm_offset);
    same_stack(&a->body, &b->body, what);
    same_stack(&a->encoder, &b->encoder, what);
    SAME(head.dense);
    SAME(head.linear);
    SAME(head.bias);
    SAME(head.scale);
    SAME(head.softcap);
    SAME(tied_head);
    SAME(bos);
    SAME(pad);
    SAME(n_eos);
    SAME_BYTES(eos);
    SAME(decoder_start);
}

/* ------------------------------------------------------------------- tensors */

/* Element (i, j) of both; a norm stored as 1 + w cannot hold more than w + 1 does. */
static void same_tensor(const ql_source_tensor *hf, const ql_source_tensor *g, bool plus_one) {
    bool turned = g->out_in;
    if (hf->dims != g->dims || hf->rows != (turned ? g->cols : g->rows) ||
        hf->cols != (turned ? g->rows : g->cols))
        fail_msg("%s: another shape", hf->name);
    for (int32_t d = 0; d < hf->dims && !turned; d++) assert_int_equal(hf->shape[d], g->shape[d]);
    float *row = malloc((size_t)hf->cols * sizeof *row);
    float *all = malloc((size_t)(g->rows * g->cols) * sizeof *all);
    for (int64_t i = 0; i < g->rows; i++) OK(ql_source_read_row(g, i, all + i * g->cols));
    for (int64_t i = 0; i < hf->rows; i++) {
        OK(ql_source_read_row(hf, i, row));
        for (int64_t j = 0; j < hf->cols; j++) {
            float x = turned ? all[j * g->cols + i] : all[i * g->cols + j];
            float want = plus_one ? (row[j] + 1.0f) - 1.0f : row[j];
            if (x != want)
                fail_msg("%s [%lld, %lld]: %.9g, want %.9g", hf->name, (long long)i, (long long)j,
                         (double)x, (double)want);
        }
    }
    free(row);
    free(all);
}

static void every_family_reads_as_its_folder(void **state) {
    (void)state;
    for (int i = 0; i < N_FAMILIES; i++) {
        pair p = make_pair(i, -1);
        ql_source *hf = NULL, *g = NULL;
        OK(ql_source_open(p.folder, &hf));
        OK(ql_source_open(p.gguf, &g));
        ql_arch a, b;
        OK(ql_arch_from_config(ql_source_config(hf), p.folder, &a));
        OK(ql_arch_from_config(ql_source_config(g), p.gguf, &b));
        same_arch(&a, &b, families[i].model);
        assert_int_equal(ql_source_count(hf), ql_source_count(g));
        bool gemma = !strncmp(a.family, "gemma", 5);
        for (int64_t k = 0; k < ql_source_count(hf); k++) {
            const ql_source_tensor *t = ql_source_at(hf, k), *x = ql_source_find(g, t->name);
            if (!x) fail_msg("%s: no %s", families[i].model, t->name);
            same_tensor(t, x, gemma && strstr(t->name, "norm."));
        }
        ql_source_close(hf);
        ql_source_close(g);
        json_decref(p.config);
    }
}

/* -------------------------------------------------------------------- logits */

/* Three examples of what the model's task wants; everything counts. */
static ql_dataset examples(const ql_arch *a) {
    enum { N = 3 };
    ql_dataset d = {.n = N, .task = a->task};
    d.items = ql_host_calloc(N, sizeof(ql_example));
    ql_stream s = ql_stream_make(11, QL_STREAM_SAMPLE, 0);
    for (int i = 0; i < N; i++) {
        ql_example *e = &d.items[i];
        e->n = 9 + 11 * i;
        e->row = i + 1;
        e->n_source = a->task == QL_TASK_SEQ2SEQ ? 6 + 5 * i : 0;
        e->ids = ql_host_calloc(3 * (size_t)e->n + (size_t)e->n_source, sizeof(int32_t));
        e->labels = a->task == QL_TASK_CLASSIFY ? NULL : e->ids + e->n;
        e->types = a->task == QL_TASK_CLASSIFY ? e->ids + 2 * e->n : NULL;
        e->source = e->n_source ? e->ids + 3 * e->n : NULL;
        for (int k = 0; k < e->n; k++) {
            e->ids[k] = (int32_t)ql_stream_below(&s, (uint64_t)a->vocab);
            if (e->labels) e->labels[k] = e->ids[k];
            if (e->types) e->types[k] = k > 4;
        }
        for (int k = 0; k < e->n_source; k++)
            e->source[k] = (int32_t)ql_stream_below(&s, (uint64_t)a->vocab);
        e->target = i % (a->n_labels ? a->n_labels : 1);
        e->supervised = a->task == QL_TASK_CAUSAL ? e->n - 1 : e->n;
        d.tokens += e->n;
        if (e->n > d.longest) d.longest = e->n;
    }
    return d;
}

/* Logits of all labelled rows; *n of them. The model is closed. */
static float *logits_of(const char *path, int bits, int64_t *n) {
    ql_source *source = NULL;
    ql_model *m = NULL;
    ql_queue *q = NULL;
    ql_graph *g = NULL;
    ql_buffer *arena = NULL;
    ql_batch b = {0};
    OK(ql_source_open(path, &source));
    ql_model_opts o = ql_model_opts_default();
    o.bits = bits;
    OK(ql_model_open(source, &o, &m));
    ql_device *dev = engine_device(2);
    OK(logits_place(m, dev, &q));
    ql_dataset d = examples(&m->arch);
    const int64_t index[] = {0, 1, 2};
    OK(ql_batch_create(128, 4, m->arch.encoder.layers ? 64 : 0, &b));
    OK(ql_batch_fill(&b, &d, index, 3));
    ql_graph_opts go = {.kind = QL_GRAPH_LOGITS,
                        .compute = QL_F32,
                        .max_tokens = 128,
                        .max_seqs = 4,
                        .max_len = 64,
                        .max_labelled = 128,
                        .max_source_tokens = m->arch.encoder.layers ? 64 : 0,
                        .max_source_len = m->arch.encoder.layers ? 32 : 0,
                        .logits_chunk = 64};
    OK(ql_graph_create(m, &go, dev, &g));
    OK(dev->backend->buffer_alloc(dev, QL_MEM_DEVICE, ql_program_arena_bytes(g->program), &arena));
    OK(ql_graph_bind(g, m, arena));
    OK(ql_graph_set_batch(g, q, &b));
    OK(ql_program_run(g->program, q));
    *n = b.labelled * ql_arch_outputs(&m->arch);
    float *out = malloc((size_t)*n * sizeof *out);
    OK(ql_graph_get(g, q, g->io.logits, out, (uint64_t)*n * sizeof *out));
    ql_graph_free(g);
    dev->backend->buffer_free(arena);
    ql_batch_free(&b);
    ql_dataset_free(&d);
    logits_release(m, q);
    ql_model_close(m);
    engine_close(dev);
    return out;
}

static void every_family_computes_as_its_folder(void **state) {
    (void)state;
    for (int i = 0; i < N_FAMILIES; i++) {
        pair p = make_pair(i, -1);
        for (int bits = 16; bits >= 4; bits -= 12) {
            int64_t n = 0, n2 = 0;
            float *hf = logits_of(p.folder, bits, &n), *g = logits_of(p.gguf, bits, &n2);
            double worst = 0, largest = 0;
            assert_true(n > 0 && n == n2);
            for (int64_t k = 0; k < n; k++) {
                double off = fabs((double)hf[k] - (double)g[k]);
                if (!(off <= worst)) worst = off;
                if (fabs((double)hf[k]) > largest) largest = fabs((double)hf[k]);
            }
            if (worst != 0)
                fail_msg("%s (%d), %d bits: logits differ by %.3g of %.3g", families[i].model, i,
                         bits, worst, largest);
            if (!(largest > 1e-3))
                fail_msg("%s (%d), %d bits: logits up to %.3g", families[i].model, i, bits,
                         largest);
            free(hf);
            free(g);
        }
        json_decref(p.config);
    }
}

/* -------------------------------------------------------------------- blocks */

/* Rows of Q8_0 lie within half a step of Hugging Face's rows, and stored blocks are those rows. */
static void blocks_come_in_hugging_faces_order(void **state) {
    (void)state;
    for (int i = 0; i < N_FAMILIES; i++) {
        pair p = make_pair(i, GGML_Q8_0);
        ql_source *hf = NULL, *g = NULL;
        OK(ql_source_open(p.folder, &hf));
        OK(ql_source_open(p.gguf, &g));
        int blocks = 0;
        for (int64_t k = 0; k < ql_source_count(hf); k++) {
            const ql_source_tensor *t = ql_source_at(hf, k), *x = ql_source_find(g, t->name);
            assert_non_null(x);
            if (!ql_stored_is_quantized(g, t->name) || x->out_in) continue;
            ql_qtensor q;
            float row[256], file[256], stored[256];
            OK(ql_stored_open(g, t->name, &q));
            assert_true(t->cols <= 256);
            for (int64_t r = 0; r < t->rows; r++) {
                OK(ql_source_read_row(t, r, row));
                OK(ql_source_read_row(x, r, file));
                OK(ql_dequantize_rows(&q, r, 1, stored));
                for (int64_t c = 0; c < t->cols; c++) {
                    float most = 0;
                    for (int64_t e = c / 32 * 32; e < c / 32 * 32 + 32; e++)
                        most = fabsf(row[e]) > most ? fabsf(row[e]) : most;
                    if (!(fabsf(row[c] - file[c]) <= most * 0.0041f))
                        fail_msg("%s: row %lld is another", t->name, (long long)r);
                    assert_true(file[c] == stored[c]);
                }
            }
            ql_qtensor_free(&q);
            blocks++;
        }
        assert_true(blocks > 0 || !strcmp(families[i].model, "tiny-gpt2"));
        ql_source_close(hf);
        ql_source_close(g);
        json_decref(p.config);
    }
}

/* ------------------------------------------------------------------- refusals */

/* Opens a GGUF of family `name` with one more key or tensor from `add`. */
static ql_status open_with(const char *name, void (*add)(gguf_build *), const char *patch) {
    family f = {name, patch ? patch : "{}", NULL};
    char dir[QL_PATH_MAX];
    json_t *config = config_of(&f);
    snprintf(dir, sizeof dir, "%s/models/%s", QL_TEST_DATA, name);
    gguf_build b = build_gguf(dir, config, -1);
    if (add) add(&b);
    ql_source *s = NULL;
    ql_status st = ql_source_open(put_gguf(&b, "wrong.gguf"), &s);
    ql_source_close(s);
    json_decref(config);
    return st;
}

static void add_window(gguf_build *b) {
    gguf_put_u32(b, "qwen2.attention.sliding_window", 8);
}
static void add_wide_window(gguf_build *b) {
    gguf_put_u32(b, "qwen2.attention.sliding_window", 64);
}
static void add_values(gguf_build *b) {
    gguf_put_u32(b, "gptneox.attention.value_length", 8);
}
static void add_experts(gguf_build *b) {
    gguf_put_u32(b, "phi3.expert_count", 16);
}
static void add_layout(gguf_build *b) {
    gguf_put_u32(b, "falcon.attention.sliding_window", 0);
    gguf_put_str(b, "falcon.rope.scaling.type", "dynamic");
}
static void add_pattern(gguf_build *b) {
    gguf_put_u32(b, "gemma2.attention.sliding_window_pattern", 0);
}
static void add_scale(gguf_build *b) {
    gguf_put_f32(b, "gemma2.attention.scale", -1.0f);
}
static void add_cap(gguf_build *b) {
    gguf_put_f32(b, "gemma3.final_logit_softcapping", NAN);
}
static void add_classifier(gguf_build *b) {
    gguf_put_tensor(b, "cls.weight", GGML_F32, 1, (uint64_t[]){64}, (float[64]){0}, 256);
}
static void add_relative(gguf_build *b) {
    gguf_put_tensor(b, "enc.blk.1.attn_rel_b.weight", GGML_F32, 1, (uint64_t[]){4}, (float[4]){0},
                    16);
}
static void add_longrope(gguf_build *b) {
    gguf_put_str(b, "phi3.rope.scaling.type", "longrope");
}
static void add_short(gguf_build *b) {
    gguf_put_tensor(b, "rope_factors_short.weight", GGML_F32, 1, (uint64_t[]){8}, (float[8]){1},
                    32);
}
static void add_tokens(gguf_build *b) {
    static const char *tokens[97];
    for (int i = 0; i < 97; i++) tokens[i] = "x";
    gguf_put_strs(b, "tokenizer.ggml.tokens", tokens, 97);
}
static void add_norm(gguf_build *b) {
    float v[48] = {0};
    gguf_put_tensor(b, "blk.0.attn_q_norm.weight", GGML_F32, 2, (uint64_t[]){16, 3}, v, sizeof v);
}

static void what_a_family_cannot_be_is_refused_by_name(void **state) {
    (void)state;
    OK(open_with("tiny-qwen2", add_wide_window, NULL)); /* as wide as the context: none */
    FAILS(open_with("tiny-qwen2", add_window, NULL), QL_ERR_UNSUPPORTED, "sliding window of 8");
    FAILS(open_with("tiny-gpt-neox", add_values, NULL), QL_ERR_UNSUPPORTED, "values of 8");
    FAILS(open_with("tiny-phi3", add_experts, NULL), QL_ERR_UNSUPPORTED, "16 experts");
    FAILS(open_with("tiny-falcon", add_layout, NULL), QL_ERR_UNSUPPORTED, "dynamic");
    FAILS(open_with("tiny-gemma2", add_pattern, NULL), QL_ERR_FORMAT, "sliding_window_pattern");
    FAILS(open_with("tiny-gemma2", add_scale, NULL), QL_ERR_FORMAT, "gemma2.attention.scale");
    FAILS(open_with("tiny-gemma3", add_cap, NULL), QL_ERR_FORMAT, "final_logit_softcapping");
    FAILS(open_with("tiny-gemma3", NULL, "{\"layer_types\": [\"full_attention\"]}"), QL_ERR_FORMAT,
          "1 entries for 2 layers");
    FAILS(open_with("tiny-t5", add_relative, NULL), QL_ERR_UNSUPPORTED, "enc.blk.1.attn_rel_b");
    FAILS(open_with("tiny-phi3", add_longrope, NULL), QL_ERR_FORMAT, "rope_factors_short");
    FAILS(open_with("tiny-phi3", add_short, NULL), QL_ERR_FORMAT, "rope_factors_short");
    FAILS(open_with("tiny-stablelm", add_tokens, NULL), QL_ERR_FORMAT, "97 tokens");
    FAILS(open_with("tiny-stablelm", add_norm, NULL), QL_ERR_FORMAT, "3 x 16");
    FAILS(open_with("tiny-stablelm", NULL, "{\"partial_rotary_factor\": 0.32}"), QL_ERR_UNSUPPORTED,
          "rope.dimension_count is 5");
    FAILS(open_with("tiny-falcon-new", NULL, "{\"num_kv_heads\": 1}"), QL_ERR_FORMAT, "attn_qkv");
    FAILS(open_with("tiny-bert", add_classifier, NULL), QL_ERR_UNSUPPORTED, "two layers");
    gguf_build b = {0};
    gguf_put_str(&b, "general.architecture", "mamba");
    ql_source *s = NULL;
    FAILS(
        ql_source_open(put_gguf(&b, "wrong.gguf"), &s), QL_ERR_UNSUPPORTED,
        "llama, qwen2, qwen3, gemma, gemma2, gemma3, phi3, stablelm, gptneox, gpt2, falcon, bert, "
        "t5");
}

/* ------------------------------------------------------------------- damage */

/* Reads a row of everything; the small files are made as well. */
static ql_status try_model(const char *path) {
    ql_source *s = NULL;
    ql_status st = ql_source_open(path, &s);
    if (st != QL_OK) return st;
    for (int64_t i = 0; i < ql_source_count(s); i++) {
        const ql_source_tensor *t = ql_source_at(s, i);
        float *row = malloc((size_t)t->cols * sizeof *row);
        OK(ql_source_read_row(t, t->rows - 1, row));
        free(row);
    }
    ql_arch a;
    st = ql_arch_from_config(ql_source_config(s), path, &a);
    ql_source_close(s);
    return st;
}

/* One byte of the keys and the tensor table changed at a time, every 5th, other ones per family. */
static void no_changed_byte_does_harm(void **state) {
    (void)state;
    size_t live = ql_hostmem_live();
    for (int i = 0; i < N_FAMILIES; i++) {
        json_t *config = config_of(&families[i]);
        gguf_build b = build_gguf(write_folder(i, config), config, -1);
        size_t size = 0, header = 24 + b.keys.size + b.table.size;
        uint8_t *file = gguf_finish(&b, &size);
        for (size_t at = 8 + (size_t)i % 5; at < header; at += 5) {
            static const uint8_t masks[] = {0x01, 0x80, 0xFF};
            uint8_t keep = file[at];
            file[at] = (uint8_t)(keep ^ masks[at % 3]);
            ql_status st = try_model(temp_put("hostile.gguf", file, size));
            assert_true(st == QL_OK || st == QL_ERR_FORMAT || st == QL_ERR_UNSUPPORTED);
            file[at] = keep;
        }
        free(file);
        json_decref(config);
    }
    assert_int_equal(ql_hostmem_live(), live);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_family_reads_as_its_folder),
        cmocka_unit_test(every_family_computes_as_its_folder),
        cmocka_unit_test(blocks_come_in_hugging_faces_order),
        cmocka_unit_test(what_a_family_cannot_be_is_refused_by_name),
        cmocka_unit_test(no_changed_byte_does_harm),
    };
    return cmocka_run_group_tests_name("models_gguf_families", tests, NULL, NULL);
}
