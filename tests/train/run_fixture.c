/* run_fixture.c - see run_fixture.h. */
#include "tests/train/run_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/fs.h"
#include "tests/support/temp_folder.h"

const char *const checkpoint_files[N_FILES] = {"adapter/adapter_config.json",
                                               "adapter/adapter_model.safetensors",
                                               "optimizer.safetensors", "state.json"};

setup usual(void) {
    setup s = {.model = "tiny-llama",
               .bits = 4,
               .rows = 10,
               .threads = 1,
               .quant = ql_quant_opts_default()};
    s.lora = ql_lora_config_default();
    s.lora.r = 4;
    s.lora.dropout = 0.1;
    s.o = ql_train_opts_default();
    s.o.batch = 2;
    s.o.accumulate = 2;
    s.o.max_len = 31;
    s.o.max_steps = STEPS;
    s.o.schedule = (ql_schedule){.kind = QL_SCHEDULE_COSINE, .lr = 1e-2, .warmup = 2};
    s.o.weight_decay = 0.01;
    s.o.seed = 3;
    s.o.data_seed = 0x8000000000000005u; /* all 64 bits count */
    return s;
}

job start(const setup *s) {
    job j = {.dev = engine_device(s->threads)};
    char path[QL_PATH_MAX];
    OK(ql_path_join(path, QL_TEST_DATA "/models", s->model));
    ql_source *source = NULL;
    OK(ql_source_open(path, &source));
    ql_model_opts o = ql_model_opts_default();
    o.bits = s->full ? 16 : s->bits;
    o.quant = s->quant;
    o.full = s->full;
    o.optimizer = true;
    OK(ql_model_open(source, &o, &j.m));
    if (!s->full) OK(ql_model_attach_lora(j.m, &s->lora));
    j.data = calloc(1, sizeof *j.data);
    *j.data = engine_data(s->rows, s->o.max_len, (int32_t)j.m->arch.vocab);
    if (s->flip) j.data->items[s->rows - 1].ids[s->flip - 1] ^= 1;
    OK(ql_trainer_create(j.m, &s->o, j.dev, j.data, &j.t));
    return j;
}

void stop(job *j) {
    ql_trainer_free(j->t);
    ql_model_close(j->m);
    ql_dataset_free(j->data);
    free(j->data);
    assert_int_equal(engine_counts(j->dev).device_bytes, 0);
    engine_close(j->dev);
}

void steps(job *j, int n, ql_step_metrics *out) {
    for (int i = 0; i < n; i++) OK(ql_trainer_step(j->t, &out[i]));
}

void assert_same_state(job *a, job *b) {
    size_t na = 0, nb = 0;
    unsigned char *x = engine_state(a->t, &na), *y = engine_state(b->t, &nb);
    assert_int_equal(na, nb);
    assert_memory_equal(x, y, na);
    free(x);
    free(y);
}

const char *checkpoint_dir(void) {
    return temp_path("checkpoint");
}

job saved(const setup *s) {
    job j = start(s);
    ql_step_metrics m;
    OK(ql_trainer_step(j.t, &m));
    OK(ql_trainer_save(j.t, checkpoint_dir()));
    OK(ql_trainer_step(j.t, &m));
    return j;
}
