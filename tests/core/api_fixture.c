/* api_fixture.c - see api_fixture.h. */
#include "tests/core/api_fixture.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "core/base/fs.h"

qlora_session *api_session_with(uint64_t limit, qlora_progress progress, void *user) {
    qlora_session_opts o = qlora_session_defaults();
    o.device = "cpu";
    o.threads = 1;
    o.memory_limit = limit;
    o.progress = progress;
    o.user = user;
    qlora_session *s = NULL;
    OK(qlora_session_open(&o, &s));
    return s;
}

qlora_session *api_session(void) {
    return api_session_with(0, NULL, NULL);
}

qlora_model *api_model(qlora_session *s, const char *path, int bits, int r) {
    qlora_model_opts o = qlora_model_defaults();
    o.bits = bits;
    o.tokenizer = BYTES;
    qlora_model *m = NULL;
    OK(qlora_model_open(s, path, &o, &m));
    if (!r) return m;
    qlora_lora_opts l = qlora_lora_defaults();
    l.r = r;
    OK(qlora_lora_attach(m, &l));
    return m;
}

/* The rows that engine_data makes. */
qlora_data *api_data(qlora_model *m, int rows) {
    ql_dataset d = engine_data(rows, LONGEST, VOCAB);
    qlora_row row[64];
    for (int i = 0; i < rows; i++)
        row[i] = (qlora_row){d.items[i].ids, d.items[i].labels, d.items[i].n};
    qlora_data *out = NULL;
    OK(qlora_data_from_rows(m, row, (size_t)rows, NULL, &out));
    ql_dataset_free(&d);
    return out;
}

qlora_train_opts api_train_opts(void) {
    qlora_train_opts o = qlora_train_defaults();
    o.accumulate = 4;
    o.max_len = LONGEST;
    o.max_steps = 6;
    o.learning_rate = 1e-2;
    o.seed = 11;
    o.data_seed = 5;
    return o;
}

qlora_trainer *api_trainer(qlora_model *m, qlora_data *d) {
    qlora_train_opts o = api_train_opts();
    qlora_trainer *t = NULL;
    OK(qlora_trainer_create(m, d, &o, &t));
    return t;
}

void api_steps(qlora_trainer *t, int n) {
    for (int i = 0; i < n; i++) {
        qlora_step s;
        OK(qlora_trainer_step(t, &s));
        assert_true(isfinite(s.loss) && s.grad_norm > 0 && !s.skipped);
        assert_int_equal(s.step, qlora_trainer_done(t));
    }
}

void api_same_file(const char *dir_a, const char *dir_b, const char *name) {
    char a[QL_PATH_MAX], b[QL_PATH_MAX];
    ql_map x, y;
    OK(ql_path_join(a, dir_a, name));
    OK(ql_path_join(b, dir_b, name));
    OK(ql_map_open(a, &x));
    OK(ql_map_open(b, &y));
    assert_int_equal(x.size, y.size);
    assert_memory_equal(x.data, y.data, x.size);
    ql_map_close(&x);
    ql_map_close(&y);
}

void api_same_adapter(const char *a, const char *b) {
    api_same_file(a, b, "adapter_model.safetensors");
}

void api_core_run(const char *dir, int n) {
    ql_device *dev = engine_device(1);
    ql_model *m = engine_model("tiny-llama", 4, 4, 0);
    ql_dataset d = engine_data(ROWS, LONGEST, VOCAB);
    ql_train_opts o = ql_train_opts_default();
    o.accumulate = 4;
    o.max_len = LONGEST;
    o.max_steps = 6;
    o.schedule.lr = 1e-2;
    o.seed = 11;
    o.data_seed = 5;
    ql_trainer *t = NULL;
    OK(ql_trainer_create(m, &o, dev, &d, &t));
    for (int i = 0; i < n; i++) {
        ql_step_metrics r;
        OK(ql_trainer_step(t, &r));
    }
    OK(ql_adapter_save(m, dir));
    ql_trainer_free(t);
    ql_model_close(m);
    ql_dataset_free(&d);
    engine_close(dev);
}
