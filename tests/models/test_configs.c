/*
 * test_configs.c - config.json of every family: what it cannot mean is refused by name, and no
 * value of any key, however wrong, does worse than a refusal.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "core/base/fs.h"
#include "core/base/hostmem.h"
#include "core/io/safetensors.h"
#include "core/model/build.h"
#include "tests/support/engine.h"
#include "tests/support/temp_folder.h"

#define MODELS QL_TEST_DATA "/models"

static json_t *config_of(const char *model) {
    char path[QL_PATH_MAX];
    json_t *c = NULL;
    snprintf(path, sizeof path, MODELS "/%s/config.json", model);
    OK(ql_json_read(path, &c));
    return c;
}

/* Opens a model of that shape without weights. */
static ql_status open_config(const json_t *c) {
    ql_source *s = NULL;
    ql_model *m = NULL;
    QL_TRY(ql_source_open_json("config.json", c, &s));
    ql_model_opts o = ql_model_opts_default();
    QL_TRY(ql_model_open(s, &o, &m));
    ql_model_close(m);
    return QL_OK;
}

/* ---------------------------------------------------------------- refusals by name */

static void what_a_family_cannot_mean_is_refused_by_name(void **state) {
    (void)state;
    static const struct {
        const char *model, *key, *value, *word;
    } cases[] = {
        {"tiny-llama", "model_type", "\"llamma\"", "llama"},
        {"tiny-qwen2", "model_type", "\"qwen2_5\"", "nearest that is: qwen2"},
        {"tiny-bert", "model_type", "\"distilbert\"", "is not supported"},
        {"tiny-llama", "model_type", "7", "model_type"},
        {"tiny-llama", "hidden_act", "\"quick_gelu\"", "quick_gelu"},
        {"tiny-llama", "rope_scaling", "{\"rope_type\": \"ntk\", \"factor\": 2}", "ntk"},
        {"tiny-phi3", "rope_scaling", "{\"rope_type\": \"longrope\"}", "short_factor"},
        {"tiny-phi3", "rope_scaling", "{\"type\": \"su\", \"short_factor\": [1]}", "short_factor"},
        {"tiny-gemma2", "layer_types", "[\"full_attention\"]", "layer_types"},
        {"tiny-gemma3", "layer_types", "[\"full_attention\", \"chunked\"]", "chunked"},
        {"tiny-gemma2", "use_bidirectional_attention", "true", "use_bidirectional_attention"},
        {"tiny-qwen3", "num_key_value_heads", "3", "multiple"},
        {"tiny-gpt2", "add_cross_attention", "true", "add_cross_attention"},
        {"tiny-gpt2", "scale_attn_by_inverse_layer_idx", "true", "scale_attn_by_inverse"},
        {"tiny-opt", "layer_norm_elementwise_affine", "false", "layer_norm_elementwise_affine"},
        {"tiny-falcon-new", "num_kv_heads", "3", "num_kv_heads"},
        {"tiny-bert", "position_embedding_type", "\"relative_key\"", "relative_key"},
        {"tiny-roberta", "max_position_embeddings", "2", "padding"},
        {"tiny-roberta", "num_labels", "0", "num_labels"},
        {"tiny-roberta", "problem_type", "\"multi_label_classification\"", "multi_label"},
        {"tiny-roberta", "problem_type", "\"regression\"", "one number"},
        {"tiny-deberta-v2", "conv_kernel_size", "3", "convolution"},
        {"tiny-deberta-v2", "norm_rel_ebd", "\"batch\"", "batch"},
        {"tiny-deberta-v2", "pos_att_type", "[\"p2p\"]", "p2p"},
        {"tiny-t5", "feed_forward_proj", "\"gated-mish\"", "gated-mish"},
        {"tiny-t5", "relative_attention_num_buckets", "1", "relative_attention_num_buckets"},
        {"tiny-bart", "encoder_ffn_dim", "null", "encoder_ffn_dim"},
        {"tiny-bart", "decoder_start_token_id", "100000", "decoder_start_token_id"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        json_t *c = config_of(cases[i].model);
        json_t *v = json_loads(cases[i].value, JSON_DECODE_ANY, NULL);
        assert_non_null(v);
        OK(open_config(c));
        assert_int_equal(json_object_set_new(c, cases[i].key, v), 0);
        ql_status s = open_config(c);
        if (s == QL_OK || !strstr(ql_last_error(), cases[i].word) ||
            !strstr(ql_last_error(), "config.json"))
            fail_msg("%s with %s = %s: '%s'", cases[i].model, cases[i].key, cases[i].value,
                     s == QL_OK ? "accepted" : ql_last_error());
        json_decref(c);
    }
}

/* ---------------------------------------------------------------- sizes as released */

static void released_shapes_have_the_released_counts(void **state) {
    (void)state;
    /* GPT-NeoX-20B: its paper; flan-t5-xl, bart-large (with final_logits_bias), deberta-v3-large
     * (with a pooler and two labels) and falcon-40b: the tensors of the released files. */
    static const struct {
        const char *config;
        uint64_t parameters;
    } c[] = {
        {"{\"model_type\":\"gpt_neox\",\"hidden_size\":6144,\"intermediate_size\":24576,"
         "\"num_attention_heads\":64,\"num_hidden_layers\":44,\"vocab_size\":50432}",
         20554567680},
        {"{\"model_type\":\"t5\",\"d_model\":2048,\"d_kv\":64,\"d_ff\":5120,\"num_layers\":24,"
         "\"num_decoder_layers\":24,\"num_heads\":32,\"vocab_size\":32128,"
         "\"feed_forward_proj\":\"gated-gelu\",\"tie_word_embeddings\":false}",
         2849757184},
        {"{\"model_type\":\"bart\",\"d_model\":1024,\"encoder_layers\":12,\"decoder_layers\":12,"
         "\"encoder_attention_heads\":16,\"decoder_attention_heads\":16,\"encoder_ffn_dim\":4096,"
         "\"decoder_ffn_dim\":4096,\"vocab_size\":50265,\"max_position_embeddings\":1024}",
         406341721},
        {"{\"model_type\":\"deberta-v2\",\"hidden_size\":1024,\"intermediate_size\":4096,"
         "\"num_attention_heads\":16,\"num_hidden_layers\":24,\"vocab_size\":128100,"
         "\"max_position_embeddings\":512,\"relative_attention\":true,\"position_buckets\":256,"
         "\"norm_rel_ebd\":\"layer_norm\",\"share_att_key\":true,\"pos_att_type\":\"p2c|c2p\","
         "\"position_biased_input\":false,\"type_vocab_size\":0}",
         435063810},
        {"{\"model_type\":\"falcon\",\"hidden_size\":8192,\"num_attention_heads\":128,"
         "\"num_hidden_layers\":60,\"num_kv_heads\":8,\"new_decoder_architecture\":true,"
         "\"vocab_size\":65024,\"bias\":false}",
         41303293952}};
    for (size_t i = 0; i < sizeof c / sizeof *c; i++) {
        json_t *j = json_loads(c[i].config, 0, NULL);
        ql_source *s = NULL;
        ql_model *m = NULL;
        assert_non_null(j);
        OK(ql_source_open_json("config.json", j, &s));
        const ql_model_opts o = ql_model_opts_default();
        OK(ql_model_open(s, &o, &m));
        if (m->parameters != c[i].parameters)
            fail_msg("%s: %llu parameters", m->arch.family, (unsigned long long)m->parameters);
        ql_model_close(m);
        json_decref(j);
    }
}

/* ---------------------------------------------------------------- any key, any value */

static int tried, refused;

static void try_value(json_t *c, const char *key, json_t *value, const char *model) {
    json_t *was = json_incref(json_object_get(c, key));
    if (value)
        json_object_set_new(c, key, value);
    else
        json_object_del(c, key);
    ql_status s = open_config(c);
    tried++;
    if (s != QL_OK) {
        refused++;
        if (!*ql_last_error()) fail_msg("%s: '%s' is refused without a word", model, key);
        if (s == QL_ERR_INTERNAL) fail_msg("%s: '%s': %s", model, key, ql_last_error());
    }
    json_object_set_new(c, key, was);
}

static void no_value_of_any_key_does_worse_than_a_refusal(void **state) {
    (void)state;
    static const char *const values[] = {
        "null",  "true",  "-1", "0",   "1",  "3",       "65537",     "9223372036854775807",
        "1e300", "\"x\"", "[]", "[1]", "{}", "[\"x\"]", "{\"a\": 1}"};
    char **names = NULL;
    size_t n = 0;
    OK(ql_dir_list(MODELS, &names, &n));
    for (size_t i = 0; i < n; i++) {
        if (strncmp(names[i], "tiny-", 5) != 0) continue;
        json_t *c = config_of(names[i]), *keys = json_copy(c), *v;
        const char *key;
        json_object_foreach(keys, key, v) {
            try_value(c, key, NULL, names[i]);
            for (size_t k = 0; k < sizeof values / sizeof *values; k++)
                try_value(c, key, json_loads(values[k], JSON_DECODE_ANY, NULL), names[i]);
        }
        OK(open_config(c)); /* as it was */
        json_decref(keys);
        json_decref(c);
    }
    ql_host_free(names);
    print_message("%d wrong or odd values, %d refused\n", tried, refused);
    assert_true(tried > 10000 && refused > tried / 4 && refused < tried);
}

/* ---------------------------------------------------------------- tensors */

/* A copy of the model without tensor `left_out`, with another one more. */
static ql_status open_changed(const char *model, const char *left_out, const char *more) {
    char path[QL_PATH_MAX];
    ql_st_file *f = NULL;
    ql_st_writer *w = NULL;
    snprintf(path, sizeof path, MODELS "/%s/model.safetensors", model);
    OK(ql_st_open(path, &f));
    (void)mkdir(temp_path("changed"), 0755);
    json_t *c = config_of(model);
    OK(ql_json_write(temp_path("changed/config.json"), c));
    json_decref(c);
    OK(ql_st_writer_create(temp_path("changed/model.safetensors"), &w));
    for (int pass = 0; pass < 2; pass++) {
        for (int64_t i = 0; i < ql_st_count(f); i++) {
            const ql_st_tensor *t = ql_st_at(f, i);
            if (left_out && !strcmp(t->name, left_out)) continue;
            if (pass)
                OK(ql_st_writer_data(w, t->data, t->bytes));
            else
                OK(ql_st_writer_declare(w, t->name, t->dtype, t->dims, t->shape));
        }
        if (!more) continue;
        const float one = 1;
        const int64_t shape[1] = {1};
        if (pass)
            OK(ql_st_writer_data(w, &one, sizeof one));
        else
            OK(ql_st_writer_declare(w, more, QL_ST_F32, 1, shape));
    }
    OK(ql_st_writer_commit(w));
    ql_st_close(f);
    ql_source *s = NULL;
    ql_model *m = NULL;
    OK(ql_source_open(temp_path("changed"), &s));
    ql_model_opts o = ql_model_opts_default();
    ql_status status = ql_model_open(s, &o, &m);
    ql_model_close(m);
    return status;
}

static void missing_and_surplus_tensors_are_refused_by_name(void **state) {
    (void)state;
    static const struct {
        const char *model, *missing;
    } cases[] = {
        {"tiny-qwen3", "model.layers.1.self_attn.k_norm.weight"},
        {"tiny-gemma2", "model.layers.0.post_feedforward_layernorm.weight"},
        {"tiny-gpt-neox", "gpt_neox.layers.1.attention.dense.bias"},
        {"tiny-gpt2", "transformer.h.0.attn.c_attn.weight"},
        {"tiny-opt-post", "model.decoder.project_in.weight"},
        {"tiny-roberta", "roberta.embeddings.token_type_embeddings.weight"},
        {"tiny-deberta-v2", "deberta.encoder.rel_embeddings.weight"},
        {"tiny-bart", "model.decoder.layers.0.encoder_attn.k_proj.bias"},
        {"tiny-t5", "decoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight"},
        {"tiny-stablelm-qknorm", "model.layers.0.self_attn.q_layernorm.norms.2.weight"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        FAILS(open_changed(cases[i].model, cases[i].missing, NULL), QL_ERR_FORMAT,
              cases[i].missing);
        FAILS(open_changed(cases[i].model, NULL, "somewhere.else.weight"), QL_ERR_FORMAT,
              "somewhere.else.weight");
    }
}

/* A base checkpoint has no classifier: it starts anew, is trained whole and belongs to the adapter.
 */
static void a_missing_classifier_is_a_new_one(void **state) {
    (void)state;
    OK(open_changed("tiny-bert", "classifier.weight", "cls.predictions.bias"));
    ql_source *s = NULL;
    ql_model *m = NULL;
    OK(ql_source_open(temp_path("changed"), &s));
    ql_model_opts o = ql_model_opts_default();
    o.optimizer = true;
    o.n_labels = 0;
    OK(ql_model_open(s, &o, &m));
    assert_true(m->head->fresh);
    ql_lora_config c = ql_lora_config_default();
    c.r = 2;
    OK(ql_model_attach_lora(m, &c));
    assert_true(m->head->dense_param >= 0 && m->head->adapter_a < 0);
    assert_true(m->head_dense->adapter_a >= 0);
    ql_model_close(m);
    OK(open_changed("tiny-deberta-v2", "pooler.dense.weight", NULL));
    OK(ql_source_open(temp_path("changed"), &s));
    OK(ql_model_open(s, &o, &m));
    OK(ql_model_attach_lora(m, &c));
    assert_true(m->head_dense->fresh && m->head_dense->dense_param >= 0);
    ql_lora_config_free(&c);
    ql_model_close(m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_a_family_cannot_mean_is_refused_by_name),
        cmocka_unit_test(released_shapes_have_the_released_counts),
        cmocka_unit_test(no_value_of_any_key_does_worse_than_a_refusal),
        cmocka_unit_test(missing_and_surplus_tensors_are_refused_by_name),
        cmocka_unit_test(a_missing_classifier_is_a_new_one)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
