/*
 * embed.c - fine-tunes a model through libqlora's public interface, from any program.
 *
 *     embed MODEL ADAPTER [DATA PROMPT]
 *
 * MODEL: a Hugging Face folder or a .gguf. ADAPTER: the folder that is written. DATA: .jsonl, .json
 * or .txt with rows to learn, PROMPT: what is asked afterwards; without them four short rows of
 * counting token ids, which need no tokenizer. Prints the loss on these rows before and after, and
 * how the model continues.
 */
#include <inttypes.h>
#include <stdio.h>

#include <qlora/qlora.h>

enum { ROWS = 4, LENGTH = 24, PROMPT = 4 };

/* Everything that is open; what is NULL was not opened. */
typedef struct work {
    qlora_session *session;
    qlora_model *model;
    qlora_data *data;
    qlora_trainer *trainer;
} work;

static bool show_progress(void *user, const char *what, int64_t done, int64_t total) {
    (void)user;
    if (done == total) fprintf(stderr, "%s: %" PRId64 " of %" PRId64 "\n", what, done, total);
    return true; /* false would cancel */
}

/* Row i counts upwards from 10 i, modulo the vocabulary. */
static void count_up(int32_t ids[ROWS][LENGTH], int64_t vocab) {
    for (int i = 0; i < ROWS; i++)
        for (int k = 0; k < LENGTH; k++) ids[i][k] = (int32_t)((10 * i + k) % vocab);
}

static ql_status open_all(work *w, const char *model, const char *data) {
    qlora_session_opts so = qlora_session_defaults();
    so.progress = show_progress;
    QL_TRY(qlora_session_open(&so, &w->session));
    QL_TRY(qlora_model_open(w->session, model, NULL, &w->model));
    qlora_lora_opts lo = qlora_lora_defaults();
    lo.r = 8;
    QL_TRY(qlora_lora_attach(w->model, &lo));
    if (data) return qlora_data_load(w->model, data, NULL, &w->data);

    qlora_model_info info;
    int32_t ids[ROWS][LENGTH];
    qlora_row rows[ROWS];
    QL_TRY(qlora_model_describe(w->model, &info));
    count_up(ids, info.vocab);
    for (int i = 0; i < ROWS; i++) {
        rows[i].ids = ids[i];
        rows[i].labels = NULL; /* every token is learned */
        rows[i].n = LENGTH;
    }
    return qlora_data_from_rows(w->model, rows, ROWS, NULL, &w->data);
}

/* What the model says to the prompt, or after the beginning of the first row of ids. */
static ql_status show_continuation(work *w, const char *question) {
    qlora_generate_opts o = qlora_generate_defaults();
    o.max_new_tokens = 12;
    if (question) {
        char *answer;
        QL_TRY(qlora_generate_text(w->model, question, &o, &answer));
        printf("answer: %s\n", answer);
        qlora_free(answer);
        return QL_OK;
    }
    int32_t prompt[PROMPT] = {0, 1, 2, 3}, *ids;
    size_t n;
    QL_TRY(qlora_generate(w->model, prompt, PROMPT, &o, &ids, &n));
    printf("0 1 2 3 ->");
    for (size_t i = 0; i < n; i++) printf(" %" PRId32, ids[i]);
    printf("\n");
    qlora_free(ids);
    return QL_OK;
}

static ql_status show_loss(work *w, const char *when) {
    qlora_evaluation e;
    QL_TRY(qlora_trainer_evaluate(w->trainer, w->data, &e));
    printf("loss %s: %.4f over %" PRId64 " tokens\n", when, e.loss, e.targets);
    return QL_OK;
}

static ql_status train(work *w) {
    qlora_train_opts o = qlora_train_defaults();
    o.accumulate = 1;
    o.batch = ROWS;
    o.max_steps = 60;
    o.learning_rate = 1e-2;
    o.schedule = "cosine";

    ql_memory_report plan; /* exact, and known before anything is allocated */
    QL_TRY(qlora_plan(w->model, w->data, &o, &plan));
    printf("device memory: %" PRIu64 " bytes\n", plan.peak_bytes);

    QL_TRY(qlora_trainer_create(w->model, w->data, &o, &w->trainer));
    QL_TRY(show_loss(w, "before"));
    while (qlora_trainer_done(w->trainer) < qlora_trainer_total(w->trainer)) {
        qlora_step step;
        QL_TRY(qlora_trainer_step(w->trainer, &step));
        if (step.step % 20 == 0) printf("step %" PRId64 ": loss %.4f\n", step.step, step.loss);
    }
    return show_loss(w, "after");
}

/* argv[1 ..]: MODEL ADAPTER [DATA PROMPT], NULL where absent. */
static ql_status run(work *w, char **argv) {
    QL_TRY(open_all(w, argv[1], argv[3]));
    QL_TRY(train(w));
    QL_TRY(show_continuation(w, argv[3] ? argv[4] : NULL));
    QL_TRY(qlora_adapter_save(w->model, argv[2]));
    printf("adapter: %s\n", argv[2]);
    return QL_OK;
}

int main(int argc, char **argv) {
    if (argc != 3 && argc != 5) {
        fprintf(stderr, "usage: %s MODEL ADAPTER [DATA PROMPT]\n", argv[0]);
        return 2;
    }
    printf("qlora %s\n", qlora_version());
    work w = {0};
    ql_status s = run(&w, argv);
    if (s != QL_OK) fprintf(stderr, "embed: %s\n", ql_last_error());
    qlora_trainer_free(w.trainer);
    qlora_data_free(w.data);
    qlora_model_close(w.model);
    qlora_session_close(w.session);
    return s == QL_OK ? 0 : 1;
}
