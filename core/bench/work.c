/* work.c - whole training steps and whole answers (see work.h). */
#include "core/bench/work.h"

#include <stdio.h>

#include "core/base/rng.h"
#include "core/model/generate.h"
#include "core/train/trainer.h"

static ql_status check_decoder(const ql_model *m) {
    if (m->arch.task == QL_TASK_CAUSAL && !m->arch.encoder.layers) return QL_OK;
    return QL_FAIL(QL_ERR_UNSUPPORTED,
                   "a %s model with an encoder or a classifier is not measured; give a decoder "
                   "that predicts the next token",
                   m->arch.family);
}

static int32_t *random_ids(const ql_model *m, int32_t n, uint64_t seed) {
    ql_stream rng = ql_stream_make(seed, QL_STREAM_SAMPLE, 1);
    int32_t *ids = ql_host_calloc((size_t)n, sizeof *ids);
    for (int32_t i = 0; ids && i < n; i++)
        ids[i] = (int32_t)ql_stream_below(&rng, (uint64_t)m->arch.vocab);
    return ids;
}

/* ---------------------------------------------------------------------- train */

/* Per token, with N weights in linear layers, P adapter values, H weights of the head, and
 * attention over T tokens whose causal half costs A = layers 2 T Hq D forward: 4 N (forward, input
 * gradient; frozen weights have none) + 4 H + 3.5 A + 6 P and with checkpointing the blocks'
 * forward once more, 2 N + A + 2 P. */
double ql_bench_step_flop(ql_model *m, int32_t tokens, bool checkpointing) {
    const ql_stack *a = m->body.arch;
    double weights = 0, adapters = 0, head = 0;
    const ql_linear *l;
    for (int64_t i = 0; (l = ql_model_linear(m, i)); i++) {
        if (l->is_head)
            head += (double)l->n * (double)l->k;
        else
            weights += (double)l->n * (double)l->k;
        adapters += (double)l->r * (double)(l->n + l->k);
    }
    double attention = 2.0 * tokens * a->layers * (double)a->heads * a->head_dim;
    double step = 4 * weights + 4 * head + 3.5 * attention + 6 * adapters;
    return checkpointing ? step + 2 * weights + attention + 2 * adapters : step;
}

typedef struct training {
    ql_trainer *trainer;
    ql_batch batch;
} training;

static ql_status step_once(void *user) {
    training *t = user;
    const ql_batch *const list[1] = {&t->batch};
    ql_step_metrics r;
    return ql_trainer_step_on(t->trainer, list, 1, &r); /* reads the loss: nothing is left over */
}

static ql_status attach(ql_model *m, const ql_bench_work *w) {
    ql_lora_config c = ql_lora_config_default();
    c.r = w->rank;
    ql_status s = ql_model_attach_lora(m, &c);
    ql_lora_config_free(&c);
    return s;
}

/* w->batch sequences of random tokens, every one labelled. */
static ql_status fill_batch(const ql_model *m, const ql_bench_work *w, ql_batch *out) {
    const int32_t n = w->batch * w->tokens;
    int32_t *ids = random_ids(m, n, w->seed);
    int32_t *positions = ql_host_calloc((size_t)n, sizeof *positions);
    ql_status s = ids && positions ? QL_OK : QL_NOMEM("random tokens");
    for (int32_t i = 0; s == QL_OK && i < n; i++) positions[i] = i % w->tokens;
    if (s == QL_OK) s = ql_batch_create(n, w->batch, 0, out);
    if (s == QL_OK) s = ql_batch_fill_flat(out, ids, ids, positions, n);
    ql_host_free(ids);
    ql_host_free(positions);
    return s;
}

static ql_train_opts train_opts(const ql_bench_work *w) {
    ql_train_opts o = ql_train_opts_default();
    o.batch = w->batch;
    o.accumulate = 1;
    o.max_len = w->tokens;
    o.max_steps = INT32_MAX;
    o.checkpoint = w->checkpointing;
    o.compute = w->compute;
    o.seed = w->seed;
    return o;
}

static void tell_step(ql_model *m, const ql_bench_work *w, const ql_trainer *t,
                      const ql_bench_time *time, const ql_bench_peaks *peaks,
                      const ql_bench_sink *sink) {
    ql_bench_row row = {.name = "train_step", .time = *time};
    snprintf(row.shape, sizeof row.shape, "%dx%d", (int)w->batch, (int)w->tokens);
    row.tokens_per_s = (double)w->batch * w->tokens / time->median_s;
    row.gflops = 1e-9 * ql_bench_step_flop(m, w->tokens, w->checkpointing) * row.tokens_per_s;
    if (peaks) row.peak_share = row.gflops / peaks->gflops;
    row.peak_bytes = ql_trainer_report(t)->peak_bytes;
    sink->row(sink->user, &row);
}

ql_status ql_bench_train(ql_model *m, const ql_bench_work *w, ql_device *dev,
                         const ql_bench_peaks *peaks, const ql_bench_sink *sink) {
    const ql_train_opts o = train_opts(w);
    training t = {0};
    ql_bench_time time;
    QL_TRY(check_decoder(m));
    QL_TRY(attach(m, w));
    ql_status s = fill_batch(m, w, &t.batch);
    if (s == QL_OK) s = ql_trainer_create(m, &o, dev, NULL, &t.trainer);
    if (s == QL_OK) s = ql_bench_measure(&(ql_bench_job){step_once, NULL, &t}, w->seconds, &time);
    if (s == QL_OK) tell_step(m, w, t.trainer, &time, peaks, sink);
    ql_trainer_free(t.trainer);
    ql_batch_free(&t.batch);
    return s;
}

/* ------------------------------------------------------------------- generate */

typedef struct answering {
    ql_generator *gen;
    const ql_bench_work *w;
    int32_t *ids; /* the prompt, [w->tokens] */
    int64_t vocab;
    const float *logits; /* after the latest token */
} answering;

static ql_status read_prompt(void *user) {
    answering *a = user;
    ql_generator_reset(a->gen);
    return ql_generator_feed(a->gen, a->ids, a->w->tokens, &a->logits);
}

static ql_status write_answer(void *user) {
    answering *a = user;
    const ql_sampling greedy = {.temperature = 0, .top_p = 1};
    for (int32_t i = 0; i < a->w->new_tokens; i++) {
        int32_t id;
        QL_TRY(ql_sample(&greedy, a->logits, a->vocab, (uint64_t)i, &id));
        QL_TRY(ql_generator_feed(a->gen, &id, 1, &a->logits));
    }
    return QL_OK;
}

static ql_status measure_tokens(answering *a, const char *name, const ql_bench_job *job,
                                int32_t tokens, const ql_bench_sink *sink) {
    ql_bench_row row = {.name = name, .peak_bytes = ql_generator_report(a->gen)->peak_bytes};
    snprintf(row.shape, sizeof row.shape, "1x%d", (int)tokens);
    QL_TRY(ql_bench_measure(job, a->w->seconds, &row.time));
    row.tokens_per_s = tokens / row.time.median_s;
    sink->row(sink->user, &row);
    return QL_OK;
}

ql_status ql_bench_generate(ql_model *m, const ql_bench_work *w, ql_device *dev,
                            const ql_bench_sink *sink) {
    answering a = {.w = w, .vocab = m->arch.vocab};
    const ql_bench_job prompt = {.run = read_prompt, .user = &a};
    const ql_bench_job answer = {.run = write_answer, .prepare = read_prompt, .user = &a};
    QL_TRY(check_decoder(m));
    a.ids = random_ids(m, w->tokens, w->seed);
    if (!a.ids) return QL_NOMEM("random tokens");
    ql_status s = ql_generator_create(m, w->compute, w->tokens + w->new_tokens, dev, &a.gen);
    if (s == QL_OK) s = measure_tokens(&a, "prompt", &prompt, w->tokens, sink);
    if (s == QL_OK) s = measure_tokens(&a, "generate", &answer, w->new_tokens, sink);
    ql_generator_free(a.gen);
    ql_host_free(a.ids);
    return s;
}
