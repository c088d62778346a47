/* req_model.c - see req_model.h. */
#include "tests/req/req_model.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "core/base/fs.h"
#include "core/base/half.h"
#include "core/base/rng.h"
#include "tests/support/temp_folder.h"

static json_t *config(const req_shape *s) {
    return json_pack("{s:s, s:[s], s:s, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:f, s:f, s:b, s:s}",
                     "model_type", "llama", "architectures", "LlamaForCausalLM", "hidden_act",
                     "silu", "hidden_size", s->hidden, "intermediate_size", s->ffn,
                     "num_hidden_layers", s->layers, "num_attention_heads", s->heads,
                     "num_key_value_heads", s->kv_heads, "vocab_size", s->vocab,
                     "max_position_embeddings", s->positions, "rms_norm_eps", 1e-5, "rope_theta",
                     1e4, "tie_word_embeddings", (int)s->tied, "torch_dtype", "bfloat16");
}

/* Tensors of a llama, in any order. */
typedef struct tensor_shape {
    char name[96];
    int64_t rows, cols; /* rows 0: a vector */
} tensor_shape;

static int tensors(const req_shape *s, tensor_shape *out) {
    int64_t kv = (int64_t)s->hidden / s->heads * s->kv_heads, C = s->hidden, F = s->ffn;
    const struct {
        const char *name;
        int64_t rows, cols;
    } per_layer[] = {{"self_attn.q_proj", C, C},        {"self_attn.k_proj", kv, C},
                     {"self_attn.v_proj", kv, C},       {"self_attn.o_proj", C, C},
                     {"mlp.gate_proj", F, C},           {"mlp.up_proj", F, C},
                     {"mlp.down_proj", C, F},           {"input_layernorm", 0, C},
                     {"post_attention_layernorm", 0, C}};
    int n = 0;
    out[n++] = (tensor_shape){"model.embed_tokens.weight", s->vocab, C};
    out[n++] = (tensor_shape){"model.norm.weight", 0, C};
    if (!s->tied) out[n++] = (tensor_shape){"lm_head.weight", s->vocab, C};
    for (int i = 0; i < s->layers; i++)
        for (size_t k = 0; k < sizeof per_layer / sizeof *per_layer; k++, n++) {
            out[n] = (tensor_shape){.rows = per_layer[k].rows, .cols = per_layer[k].cols};
            snprintf(out[n].name, sizeof out[n].name, "model.layers.%d.%s.weight", i,
                     per_layer[k].name);
        }
    return n;
}

static void write_tensor(ql_st_writer *w, const tensor_shape *t) {
    int64_t n = (t->rows ? t->rows : 1) * t->cols;
    uint16_t *bits = calloc((size_t)n, sizeof *bits);
    ql_stream s = ql_stream_make(1, QL_STREAM_SAMPLE, ql_hash_name(t->name) >> 16);
    for (int64_t i = 0; i < n; i++)
        bits[i] = ql_bf16_from_f32(t->rows ? 0.02f * ql_stream_normal(&s)
                                           : 1.0f + 0.1f * ql_stream_normal(&s));
    OK(ql_st_writer_data(w, bits, (uint64_t)n * sizeof *bits));
    free(bits);
}

const char *req_write_llama(const char *name, const req_shape *s) {
    const char *dir = temp_path(name);
    char path[QL_PATH_MAX];
    tensor_shape *t = calloc(3 + 9 * (size_t)s->layers, sizeof *t);
    int n = tensors(s, t);
    json_t *c = config(s);
    OK(ql_dir_create(dir));
    OK(ql_path_join(path, dir, "config.json"));
    OK(ql_json_write(path, c));
    json_decref(c);
    ql_st_writer *w = NULL;
    OK(ql_path_join(path, dir, "model.safetensors"));
    OK(ql_st_writer_create(path, &w));
    OK(ql_st_writer_metadata(w, "format", "pt"));
    for (int i = 0; i < n; i++) {
        int64_t shape[2] = {t[i].rows ? t[i].rows : t[i].cols, t[i].cols};
        OK(ql_st_writer_declare(w, t[i].name, QL_ST_BF16, t[i].rows ? 2 : 1, shape));
    }
    for (int i = 0; i < n; i++) write_tensor(w, &t[i]);
    OK(ql_st_writer_commit(w));
    free(t);
    return dir;
}

ql_model *req_plan_llama(const req_shape *s, const ql_model_opts *o) {
    json_t *c = config(s);
    ql_source *source = NULL;
    ql_model *m = NULL;
    OK(ql_source_open_json("shape", c, &source));
    OK(ql_model_open(source, o, &m));
    json_decref(c);
    return m;
}

ql_model *req_open(const char *dir, int bits, bool train) {
    ql_source *source = NULL;
    ql_model *m = NULL;
    ql_model_opts o = ql_model_opts_default();
    o.bits = bits;
    o.optimizer = train;
    OK(ql_source_open(dir, &source));
    OK(ql_model_open(source, &o, &m));
    return m;
}

float *req_logits(ql_model *m, ql_device *dev, ql_queue **queue, int n) {
    const ql_backend *b = dev->backend;
    if (!m->dev) {
        OK(b->queue_create(dev, queue));
        OK(ql_model_place(m, dev, *queue));
        if (m->has_lora) OK(ql_model_init_trained(m, 5));
    }
    ql_graph_opts o = {.kind = QL_GRAPH_LOGITS,
                       .compute = QL_F32,
                       .max_tokens = n,
                       .max_seqs = 1,
                       .max_len = n,
                       .max_labelled = n,
                       .logits_chunk = n};
    ql_graph *g = NULL;
    ql_buffer *arena = NULL;
    ql_batch batch = {0};
    int32_t ids[64], labels[64];
    assert_in_range(n, 1, 64);
    for (int i = 0; i < n; i++) labels[i] = ids[i] = (3 + 7 * i) % (int32_t)m->arch.vocab;
    OK(ql_batch_create(n, 1, 0, &batch));
    OK(ql_batch_fill_flat(&batch, ids, labels, NULL, n));
    OK(ql_graph_create(m, &o, dev, &g));
    OK(b->buffer_alloc(dev, QL_MEM_DEVICE, ql_program_arena_bytes(g->program), &arena));
    OK(ql_graph_bind(g, m, arena));
    OK(ql_graph_set_batch(g, *queue, &batch));
    OK(ql_program_run(g->program, *queue));
    uint64_t bytes = (uint64_t)batch.labelled * (uint64_t)m->arch.vocab * sizeof(float);
    float *out = calloc((size_t)n * (size_t)m->arch.vocab, sizeof *out);
    OK(ql_graph_get(g, *queue, g->io.logits, out, bytes));
    OK(b->queue_sync(*queue));
    ql_batch_free(&batch);
    ql_graph_free(g);
    b->buffer_free(arena);
    return out;
}
