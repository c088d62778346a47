/*
 * test_gguf_base.c - a GGUF base trains as it is: with blocks of Q4_0 ... Q8_0 left in the file,
 * the losses are those of the same weights written out as F32; K-quants are decoded first.
 *
 * What is quantized in the file and must be dense on the device (the embedding; K-quants under
 * --bits 16) becomes bfloat16, so that is what the folder to compare with holds for them.
 *
 * Blocks are random bytes with small scales, decoded here from the format's definition:
 * 32 elements, float16 scale d (and minimum m), low nibbles first half, high nibbles second half.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/fs.h"
#include "core/base/half.h"
#include "core/base/hostmem.h"
#include "core/base/rng.h"
#include "core/io/safetensors.h"
#include "tests/support/engine.h"
#include "tests/support/gguf_build.h"
#include "tests/support/temp_folder.h"

/* GGML's numbers of the types. */
enum { F32 = 0, Q4_0 = 2, Q4_1 = 3, Q5_0 = 6, Q5_1 = 7, Q8_0 = 8, Q4_K = 12 };

typedef struct dims {
    int64_t hidden, ffn, heads, kv_heads, head_dim, vocab, layers;
} dims;
static const dims small = {64, 96, 4, 2, 16, 64, 2};
static const dims wide = {256, 256, 4, 2, 64, 32, 1}; /* rows of whole K-blocks */

typedef struct pair {
    const dims *d;
    uint32_t type;
    gguf_build gguf;
    ql_st_writer *folder; /* NULL: the GGUF only */
    bool declare;         /* the folder's first pass */
    ql_stream random;
} pair;

static void put_half(uint8_t *at, double x) {
    uint16_t h = ql_f16_from_f32((float)x);
    memcpy(at, &h, sizeof h);
}

static double get_half(const uint8_t *at) {
    uint16_t h;
    memcpy(&h, at, sizeof h);
    return (double)ql_f32_from_f16(h);
}

static size_t block_bytes(uint32_t type) {
    switch (type) {
    case Q4_0: return 18;
    case Q4_1: return 20;
    case Q5_0: return 22;
    case Q5_1: return 24;
    case Q8_0: return 34;
    default: return 144; /* Q4_K, 256 elements */
    }
}

/* Random codes; d and m make weights of about +-0.1. */
static void random_block(pair *p, uint8_t *b) {
    for (size_t i = 0; i < block_bytes(p->type); i++)
        b[i] = (uint8_t)ql_stream_below(&p->random, 256);
    double u = 0.5 + ql_stream_uniform(&p->random);
    const double levels = p->type == Q8_0 ? 128 : p->type == Q5_0 || p->type == Q5_1 ? 16 : 8;
    if (p->type == Q4_K) {
        put_half(b, 0.1 * u / 500);
        put_half(b + 2, 0.1 * u / 60);
        return;
    }
    put_half(b, 0.1 * u / levels);
    if (p->type == Q4_1 || p->type == Q5_1) put_half(b + 2, -0.1 * u);
}

static float to_bf16(float x) {
    return ql_f32_from_bf16(ql_bf16_from_f32(x));
}

/* Element i of a block of 32. */
static double element(uint32_t type, const uint8_t *b, int i) {
    double d = get_half(b);
    if (type == Q8_0) return d * (int8_t)b[2 + i];
    bool has_min = type == Q4_1 || type == Q5_1, five = type == Q5_0 || type == Q5_1;
    const uint8_t *high = b + (has_min ? 4 : 2), *low = high + (five ? 4 : 0);
    int q = i < 16 ? low[i] & 15 : low[i - 16] >> 4;
    if (five) q |= (high[i / 8] >> (i % 8) & 1) << 4;
    return has_min ? d * q + get_half(b + 2) : d * (q - (five ? 16 : 8));
}

/* One matrix: blocks into the GGUF, their values into the folder. Rows of q and k lie in the GGUF
 * with rotation pairs adjacent: row (2 i + half) of a head is the folder's row (half * D / 2 + i).
 */
static void put_matrix(pair *p, const char *gguf_name, const char *name, int64_t rows, int64_t cols,
                       int64_t paired_heads) {
    size_t per_row = (size_t)(cols / (p->type == Q4_K ? 256 : 32)),
           row_bytes = per_row * block_bytes(p->type);
    uint8_t *blocks = calloc((size_t)rows, row_bytes);
    float *values = calloc((size_t)(rows * cols), sizeof *values);
    for (size_t i = 0; i < (size_t)rows * per_row; i++)
        random_block(p, blocks + i * block_bytes(p->type));
    for (int64_t r = 0; r < rows && p->type != Q4_K; r++) {
        int64_t from = r;
        if (paired_heads) {
            int64_t d = rows / paired_heads, in = r % d;
            from = r - in + 2 * (in % (d / 2)) + in / (d / 2);
        }
        const uint8_t *row = blocks + (size_t)from * row_bytes;
        for (int64_t c = 0; c < cols; c++) {
            float x = (float)element(p->type, row + (size_t)(c / 32) * block_bytes(p->type),
                                     (int)(c % 32));
            values[r * cols + c] = !strcmp(gguf_name, "token_embd.weight") ? to_bf16(x) : x;
        }
    }
    const int64_t shape[2] = {rows, cols};
    const uint64_t ggml[2] = {(uint64_t)cols, (uint64_t)rows};
    if (p->declare)
        OK(ql_st_writer_declare(p->folder, name, QL_ST_F32, 2, shape));
    else if (p->folder)
        OK(ql_st_writer_data(p->folder, values, (uint64_t)(rows * cols) * sizeof *values));
    if (!p->declare)
        gguf_put_tensor(&p->gguf, gguf_name, p->type, 2, ggml, blocks, (size_t)rows * row_bytes);
    free(values);
    free(blocks);
}

static void put_norm(pair *p, const char *gguf_name, const char *name) {
    int64_t n = p->d->hidden;
    float *v = calloc((size_t)n, sizeof *v);
    for (int64_t i = 0; i < n; i++) v[i] = (float)(0.75 + 0.5 * ql_stream_uniform(&p->random));
    const uint64_t ggml[1] = {(uint64_t)n};
    if (p->declare)
        OK(ql_st_writer_declare(p->folder, name, QL_ST_F32, 1, &n));
    else if (p->folder)
        OK(ql_st_writer_data(p->folder, v, (uint64_t)n * sizeof *v));
    if (!p->declare) gguf_put_tensor(&p->gguf, gguf_name, F32, 1, ggml, v, (size_t)n * sizeof *v);
    free(v);
}

static void put_layer(pair *p, int64_t layer) {
    const dims *d = p->d;
    int64_t q = d->heads * d->head_dim, kv = d->kv_heads * d->head_dim;
    const struct {
        const char *gguf, *name;
        int64_t rows, cols, paired;
    } parts[] = {{"attn_norm", "input_layernorm", 0, 0, 0},
                 {"attn_q", "self_attn.q_proj", q, d->hidden, d->heads},
                 {"attn_k", "self_attn.k_proj", kv, d->hidden, d->kv_heads},
                 {"attn_v", "self_attn.v_proj", kv, d->hidden, 0},
                 {"attn_output", "self_attn.o_proj", d->hidden, q, 0},
                 {"ffn_norm", "post_attention_layernorm", 0, 0, 0},
                 {"ffn_gate", "mlp.gate_proj", d->ffn, d->hidden, 0},
                 {"ffn_up", "mlp.up_proj", d->ffn, d->hidden, 0},
                 {"ffn_down", "mlp.down_proj", d->hidden, d->ffn, 0}};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        char gguf[64], name[96];
        snprintf(gguf, sizeof gguf, "blk.%lld.%s.weight", (long long)layer, parts[i].gguf);
        snprintf(name, sizeof name, "model.layers.%lld.%s.weight", (long long)layer, parts[i].name);
        if (parts[i].rows)
            put_matrix(p, gguf, name, parts[i].rows, parts[i].cols, parts[i].paired);
        else
            put_norm(p, gguf, name);
    }
}

static void put_tensors(pair *p, bool declare) {
    p->declare = declare;
    p->random = ql_stream_make(p->type, QL_STREAM_SAMPLE, 0);
    put_matrix(p, "token_embd.weight", "model.embed_tokens.weight", p->d->vocab, p->d->hidden, 0);
    for (int64_t i = 0; i < p->d->layers; i++) put_layer(p, i);
    put_norm(p, "output_norm.weight", "model.norm.weight");
    put_matrix(p, "output.weight", "lm_head.weight", p->d->vocab, p->d->hidden, 0);
}

static void put_keys(gguf_build *b, const dims *d) {
    gguf_put_str(b, "general.architecture", "llama");
    gguf_put_u32(b, "llama.block_count", (uint32_t)d->layers);
    gguf_put_u32(b, "llama.context_length", 64);
    gguf_put_u32(b, "llama.embedding_length", (uint32_t)d->hidden);
    gguf_put_u32(b, "llama.feed_forward_length", (uint32_t)d->ffn);
    gguf_put_u32(b, "llama.attention.head_count", (uint32_t)d->heads);
    gguf_put_u32(b, "llama.attention.head_count_kv", (uint32_t)d->kv_heads);
    gguf_put_f32(b, "llama.attention.layer_norm_rms_epsilon", 1e-5f);
    gguf_put_f32(b, "llama.rope.freq_base", 10000.0f);
    gguf_put_u32(b, "llama.rope.dimension_count", (uint32_t)d->head_dim);
    gguf_put_u32(b, "llama.vocab_size", (uint32_t)d->vocab);
}

static void put_config(const char *path, const dims *d) {
    char text[1024];
    int n = snprintf(
        text, sizeof text,
        "{\"model_type\": \"llama\", \"architectures\": [\"LlamaForCausalLM\"], \"hidden_size\": "
        "%lld,"
        "\"intermediate_size\": %lld, \"num_hidden_layers\": %lld, \"num_attention_heads\": %lld,"
        "\"num_key_value_heads\": %lld, \"vocab_size\": %lld, \"max_position_embeddings\": 64,"
        "\"rms_norm_eps\": 1e-5, \"rope_theta\": 10000.0, \"hidden_act\": \"silu\","
        "\"tie_word_embeddings\": false}",
        (long long)d->hidden, (long long)d->ffn, (long long)d->layers, (long long)d->heads,
        (long long)d->kv_heads, (long long)d->vocab);
    OK(ql_file_replace(path, text, (size_t)n));
}

/* temp/base.gguf and, for the types decoded here, temp/base with the same weights as F32. */
static void write_bases(uint32_t type, const dims *d) {
    pair p = {.d = d, .type = type};
    if (type != Q4_K) {
        OK(ql_dir_create(temp_path("base")));
        put_config(temp_path("base/config.json"), d);
        OK(ql_st_writer_create(temp_path("base/model.safetensors"), &p.folder));
        put_tensors(&p, true);
    }
    put_keys(&p.gguf, d);
    put_tensors(&p, false);
    size_t size = 0;
    uint8_t *file = gguf_finish(&p.gguf, &size);
    temp_put("base.gguf", file, size);
    free(file);
    if (p.folder) OK(ql_st_writer_commit(p.folder));
}

static ql_model *open_base(const char *path, int bits) {
    ql_source *source = NULL;
    ql_model *m = NULL;
    OK(ql_source_open(path, &source));
    ql_model_opts o = ql_model_opts_default();
    o.bits = bits;
    o.optimizer = true;
    OK(ql_model_open(source, &o, &m));
    ql_lora_config c = ql_lora_config_default();
    c.r = 4;
    OK(ql_model_attach_lora(m, &c));
    return m;
}

typedef struct outcome {
    ql_step_metrics step[3];
} outcome;

/* Three optimizer steps; the model is closed. */
static outcome train(ql_model *m, int threads) {
    ql_device *dev = engine_device(threads);
    ql_dataset data = engine_data(8, 25, (int32_t)m->arch.vocab);
    ql_train_opts o = ql_train_opts_default();
    o.max_len = 25;
    o.max_steps = 3;
    o.accumulate = 4;
    o.shuffle = false;
    o.compute = QL_F32;
    o.schedule.lr = 1e-2;
    ql_trainer *t = NULL;
    OK(ql_trainer_create(m, &o, dev, &data, &t));
    outcome r;
    for (int i = 0; i < 3; i++) OK(ql_trainer_step(t, &r.step[i]));
    ql_trainer_free(t);
    ql_model_close(m);
    ql_dataset_free(&data);
    engine_close(dev);
    return r;
}

static void assert_near(const outcome *a, const outcome *b, double *loss, double *norm) {
    for (int i = 0; i < 3; i++) {
        assert_true(isfinite(a->step[i].loss) && a->step[i].grad_norm > 0);
        double dl = fabs(a->step[i].loss - b->step[i].loss);
        double dn = fabs(a->step[i].grad_norm - b->step[i].grad_norm) / b->step[i].grad_norm;
        if (dl > *loss) *loss = dl;
        if (dn > *norm) *norm = dn;
    }
    assert_true(*loss <= 1e-5);
    assert_true(*norm <= 1e-4);
}

static void blocks_train_as_they_are(void **state) {
    (void)state;
    static const uint32_t types[] = {Q4_0, Q4_1, Q5_0, Q5_1, Q8_0};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        write_bases(types[i], &small);
        for (int bits = 4; bits <= 16;
             bits += 12) { /* what the file holds stays, whatever --bits */
            ql_model *m = open_base(temp_path("base.gguf"), bits);
            ql_linear *l;
            for (int64_t k = 0; (l = ql_model_linear(m, k)); k++) {
                assert_true(l->quantized && l->stored);
                assert_int_equal(l->quant.type, QL_QT_GGML);
            }
            const ql_linear *down = m->body.layers[1].lin[QL_LIN_DOWN];
            assert_int_equal(down->codes.region, QL_REGION_MAPPED); /* never copied */
            outcome as_is = train(m, 1 + (int)i % 2);
            outcome dense = train(open_base(temp_path("base"), 16), 1);
            double loss = 0, norm = 0;
            assert_near(&as_is, &dense, &loss, &norm);
            if (bits == 4)
                print_message(
                    "GGML type %u: loss differs by %.2g, gradient norm by %.2g relative\n",
                    types[i], loss, norm);
        }
    }
}

/* Every weight decoded to an F32 folder under the same names, in bfloat16 where the engine keeps it
 * dense. */
static void decode_to_folder(const char *gguf, int bits) {
    ql_source *s = NULL;
    OK(ql_source_open(gguf, &s));
    OK(ql_dir_create(temp_path("base")));
    put_config(temp_path("base/config.json"), &wide);
    ql_st_writer *w = NULL;
    OK(ql_st_writer_create(temp_path("base/model.safetensors"), &w));
    for (int pass = 0; pass < 2; pass++) {
        for (int64_t i = 0; i < ql_source_count(s); i++) {
            const ql_source_tensor *t = ql_source_at(s, i);
            if (!pass) {
                OK(ql_st_writer_declare(w, t->name, QL_ST_F32, t->dims, t->shape));
                continue;
            }
            float *row = calloc((size_t)t->cols, sizeof *row);
            bool dense = bits == 16 || !strstr(t->name, "_proj");
            for (int64_t r = 0; r < t->rows; r++) {
                OK(ql_source_read_row(t, r, row));
                for (int64_t c = 0; c < t->cols && dense && t->dims == 2; c++)
                    row[c] = to_bf16(row[c]);
                OK(ql_st_writer_data(w, row, (uint64_t)t->cols * sizeof *row));
            }
            free(row);
        }
    }
    OK(ql_st_writer_commit(w));
    ql_source_close(s);
}

static void k_quants_are_decoded_and_stored_anew(void **state) {
    (void)state;
    write_bases(Q4_K, &wide);
    for (int bits = 4; bits <= 16; bits += 12) {
        decode_to_folder(temp_path("base.gguf"), bits);
        ql_model *m = open_base(temp_path("base.gguf"), bits);
        const ql_linear *q = m->body.layers[0].lin[QL_LIN_Q];
        assert_false(q->stored);
        assert_int_equal(q->quantized, bits == 4);
        if (bits == 4) assert_int_equal(q->quant.type, QL_QT_NF4);
        outcome as_is = train(m, 2), folder = train(open_base(temp_path("base"), bits), 1);
        double loss = 0, norm = 0;
        assert_near(&as_is, &folder, &loss, &norm);
        assert_true(as_is.step[0].loss > 1 && as_is.step[0].loss < 20);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_train_as_they_are),
        cmocka_unit_test(k_quants_are_decoded_and_stored_anew),
    };
    return cmocka_run_group_tests_name("models_gguf_base", tests, NULL, NULL);
}
