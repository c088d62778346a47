/*
 * qlora/qlora.h - fine-tune a language model from a program.
 *
 * The whole of it, errors left out:
 *
 *     qlora_session *s;  qlora_model *m;  qlora_data *d;  qlora_trainer *t;
 *     qlora_session_open(NULL, &s);                     a device, by default the best one
 *     qlora_model_open(s, "./model", NULL, &m);         folder or .gguf; quantized to NF4 on
 * loading qlora_lora_attach(m, NULL);                       adapters on every linear layer
 *     qlora_data_load(m, "data.jsonl", NULL, &d);
 *     qlora_trainer_create(m, d, NULL, &t);
 *     while (qlora_trainer_done(t) < qlora_trainer_total(t)) qlora_trainer_step(t, NULL);
 *     qlora_adapter_save(m, "adapter");                 PEFT's layout
 *
 * NULL options are the defaults. To change one:
 *
 *     qlora_train_opts o = qlora_train_defaults();
 *     o.learning_rate = 1e-4;
 *
 * Errors. A function that can fail returns ql_status; anything but QL_OK means that nothing was
 * written to its out-parameters and nothing leaked. ql_last_error() is one sentence about the
 * cause, per thread; it names settings as the program `qlora` spells its flags. The library never
 * prints, exits or aborts.
 *
 * Ownership. Handles are opaque. What a function opens, creates or loads is the caller's, to be
 * given back with the function named beside it; NULL is fine there. The order of giving back is
 * free: a model keeps its session alive, a trainer its model and its data. Text and paths that are
 * passed in are copied or used during the call only. Arrays and text that come out are freed with
 * qlora_free().
 *
 * Threads. A session and all that was opened from it belong to one thread at a time; different
 * sessions may work in different threads. qlora_cancel() may be called from any thread and from a
 * signal handler. Work inside a call is shared between cores through OpenMP (docs/library.md tells
 * which environment variable matters to programs that have other work for these cores).
 *
 * Growing. Every option struct begins with its size, set by its *_defaults() function, so a program
 * that was compiled against an older header keeps working: settings that it does not know keep
 * their defaults. Always begin from *_defaults().
 *
 * Numbers. Token ids are int32_t, from 0. Bytes are uint64_t. Rows of data count from 1 in
 * messages. Losses are mean cross-entropies in natural logarithms.
 */
#ifndef QLORA_QLORA_H
#define QLORA_QLORA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "qlora/export.h"
#include "qlora/memory.h"
#include "qlora/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct qlora_session qlora_session; /* a device and what is shared on it          */
typedef struct qlora_model qlora_model;     /* a model, its adapters, its tokenizer       */
typedef struct qlora_data qlora_data;       /* rows of token ids with labels              */
typedef struct qlora_trainer qlora_trainer; /* one training run of one model              */

/* Frees what the functions below hand out as arrays or text. NULL ok. */
QL_API void qlora_free(void *p);

/* ------------------------------------------------------------------ this library */

/* "0.1.0" of the library that runs, which may differ from the header that was compiled in. */
QL_API const char *qlora_version(void);
/* "0.1.0 (git id) compiler, build type, OpenMP ON": for logs. Borrowed, never NULL. */
QL_API const char *qlora_build(void);

typedef struct qlora_device_info {
    char id[32];           /* what qlora_session_opts.device takes: "cpu:0"          */
    char name[96];         /* "AMD EPYC 7763 64-Core Processor"                      */
    char isa[64];          /* which kernels run there: "avx2+fma"                    */
    uint64_t memory_bytes; /* 0 = unknown                                            */
    uint64_t reserved[4];
} qlora_device_info;

/* Devices of this machine that this library can use. Opens nothing. */
QL_API int32_t qlora_device_count(void);
/* 0 <= i < qlora_device_count(); beyond it QL_ERR_NOT_FOUND. Opens the device for a moment. */
QL_API QL_NODISCARD ql_status qlora_device_describe(int32_t i, qlora_device_info *out);

/* ------------------------------------------------------------------ session */

/* Progress of a long call. `what`: "load", "quantize", "evaluate", "generate", "merge"; done of
 * total pieces. Called from the thread of the call. false = qlora_cancel(). */
typedef bool (*qlora_progress)(void *user, const char *what, int64_t done, int64_t total);

typedef struct qlora_session_opts {
    size_t size;
    const char *device;      /* "auto" (default), "cpu", "cpu:0"                          */
    int64_t threads;         /* cores to work on; 0 (default) = all the process may use   */
    uint64_t memory_limit;   /* device bytes never to exceed; 0 (default) = what is free  */
    qlora_progress progress; /* NULL (default) = none                                     */
    void *user;              /* passed to progress                                        */
} qlora_session_opts;

QL_API void qlora_session_opts_init(qlora_session_opts *o, size_t size);
static inline qlora_session_opts qlora_session_defaults(void) {
    qlora_session_opts o;
    qlora_session_opts_init(&o, sizeof o);
    return o;
}

/* Opens a device. QL_ERR_NOT_FOUND names the devices that there are. */
QL_API QL_NODISCARD ql_status qlora_session_open(const qlora_session_opts *opts,
                                                 qlora_session **out);
QL_API void qlora_session_close(qlora_session *s);

/* Asks the session's running long call, or else its next one, to stop: it returns QL_ERR_CANCELLED,
 * which uses the request up. Generation, evaluation, quantizing and merging stop within a token, a
 * few rows or a tensor; a training step and the loading of a model are finished first. A cancelled
 * call leaves no half-written files, and the trainer as it was after its last whole step. */
QL_API void qlora_cancel(qlora_session *s);

/* Bytes allocated on the device now, and the most there were. Either may be NULL. */
QL_API QL_NODISCARD ql_status qlora_session_memory(const qlora_session *s, uint64_t *now,
                                                   uint64_t *peak);

/* ------------------------------------------------------------------ quantizing files */

typedef struct qlora_quantize_opts {
    size_t size;
    const char *quant_type; /* nf4 fp4 nf2 nf3, int2 int3 int4 (also with s: symmetric, or a:
                               affine), int8 dyn8 llm_int8; NULL (default) = by bits */
    int64_t bits;           /* 0 (default) = of quant_type; nf2, nf3, nf4; 8 = llm_int8       */
    int64_t block;          /* 64: weights that share a scale, 8 to 65536                     */
    int64_t block2;         /* 256: scales that share a second-level scale                    */
    int32_t double_quant;   /* -1 (default) = where the type has it usually; 0 no, 1 yes      */
    bool quantize_head;     /* false: the output head keeps its type                          */
    bool cuda_rule;         /* false: where bitsandbytes' two back ends differ, as on the CPU */
} qlora_quantize_opts;

QL_API void qlora_quantize_opts_init(qlora_quantize_opts *o, size_t size);
static inline qlora_quantize_opts qlora_quantize_defaults(void) {
    qlora_quantize_opts o;
    qlora_quantize_opts_init(&o, sizeof o);
    return o;
}

typedef struct qlora_quantized {
    int64_t tensors, quantized;   /* tensors written; linear weights quantized             */
    uint64_t bytes_in, bytes_out; /* weights before and after                              */
    double bits_per_weight;       /* of the quantized ones, scales included                */
    double rel_error;             /* ||W - decoded|| / ||W|| over all of them              */
    uint64_t reserved[4];
} qlora_quantized;

/* Writes the model `path` (folder or .gguf) quantized into the folder `dir`, in bitsandbytes'
 * format where it can hold the type. One tensor is in memory at a time; `dir` appears whole or not
 * at all. `out` may be NULL. */
QL_API QL_NODISCARD ql_status qlora_quantize(qlora_session *s, const char *path, const char *dir,
                                             const qlora_quantize_opts *opts, qlora_quantized *out);

/* ------------------------------------------------------------------ model */

typedef struct qlora_model_opts {
    size_t size;
    const char *quant_type; /* as in qlora_quantize_opts: how 16- and 32-bit weights are      */
    int64_t bits;           /* quantized on loading. bits 16 = keep them as the files are.    */
    int64_t block, block2;  /* Weights that are quantized in the files stay as they are       */
    int32_t double_quant;
    bool quantize_head;
    bool full;             /* false; true: train all weights in 32 bits instead of adapters  */
    const char *tokenizer; /* folder or .gguf with the tokenizer; NULL (default) = the model */
} qlora_model_opts;

QL_API void qlora_model_opts_init(qlora_model_opts *o, size_t size);
static inline qlora_model_opts qlora_model_defaults(void) {
    qlora_model_opts o;
    qlora_model_opts_init(&o, sizeof o);
    return o;
}

/* Opens a Hugging Face folder or a .gguf file. Reads headers only: weights go to the device when
 * they are needed first (training, generation, merging), the tokenizer is opened with the first
 * text. Architectures that this version lacks are QL_ERR_UNSUPPORTED by name. The files must not
 * change until the model is closed. */
QL_API QL_NODISCARD ql_status qlora_model_open(qlora_session *s, const char *path,
                                               const qlora_model_opts *opts, qlora_model **out);
QL_API void qlora_model_close(qlora_model *m);

typedef struct qlora_model_info {
    char family[32]; /* "llama"                                             */
    int64_t layers, hidden, vocab;
    int64_t max_positions; /* tokens that a sequence may have                     */
    int64_t parameters;    /* all weights of the model                            */
    int64_t trainable;     /* values of the attached adapters; all weights (full) */
    int64_t reserved[4];
} qlora_model_info;

QL_API QL_NODISCARD ql_status qlora_model_describe(const qlora_model *m, qlora_model_info *out);

/* Text to ids and back. special: put what the tokenizer adds (BOS ...) around the text, and let
 * special tokens written in the text become their ids. *ids[*n] and *text (NUL-terminated) are
 * freed with qlora_free. Decoding keeps special tokens only when asked. */
QL_API QL_NODISCARD ql_status qlora_encode(qlora_model *m, const char *text, bool special,
                                           int32_t **ids, size_t *n);
QL_API QL_NODISCARD ql_status qlora_decode(qlora_model *m, const int32_t *ids, size_t n,
                                           bool keep_special, char **text);

/* ------------------------------------------------------------------ adapters */

typedef struct qlora_lora_opts {
    size_t size;
    int64_t r;           /* 64: rank                                                            */
    double alpha;        /* 16: B A is scaled by alpha / r                                      */
    double dropout;      /* 0: on the adapter's input, while training                           */
    const char *targets; /* NULL (default) or "all-linear": every linear layer but the head;
                            "q_proj,v_proj"; or a regular expression for whole module paths     */
    bool rslora;         /* false; true: alpha / sqrt(r)                                        */
    bool gaussian;       /* false: PEFT's uniform A; true: normal A with deviation 1 / r        */
    /* The rest as PEFT's LoraConfig has it; NULL (default) = none. */
    bool dora;                       /* false; true: a trained magnitude per row                */
    const char *rank_pattern;        /* "q_proj=16,down_proj=4": other ranks                    */
    const char *alpha_pattern;       /* likewise                                                */
    const char *modules_to_save;     /* "classifier,lm_head": trained whole                     */
    const char *exclude_modules;     /* like targets                                            */
    const char *layers_to_transform; /* "0,1,5-7"                                               */
    const char *trainable_tokens;    /* "5,9-12": rows of the embedding                         */
} qlora_lora_opts;

QL_API void qlora_lora_opts_init(qlora_lora_opts *o, size_t size);
static inline qlora_lora_opts qlora_lora_defaults(void) {
    qlora_lora_opts o;
    qlora_lora_opts_init(&o, sizeof o);
    return o;
}

/* Attaches new adapters; once per model. They have no values, and the model behaves as without
 * them, until a trainer is created. */
QL_API QL_NODISCARD ql_status qlora_lora_attach(qlora_model *m, const qlora_lora_opts *opts);
/* Attaches the adapter of a PEFT folder, with its settings, and takes its values. Where adapters
 * are attached already only the values are taken: names and shapes must agree exactly. Values are
 * read here when the model is on the device already, else when it goes there. */
QL_API QL_NODISCARD ql_status qlora_adapter_load(qlora_model *m, const char *dir);
/* Writes the adapters in PEFT's layout (adapter_config.json, adapter_model.safetensors). The folder
 * is replaced whole, after what was written has been read back and compared. */
QL_API QL_NODISCARD ql_status qlora_adapter_save(qlora_model *m, const char *dir);

/* ------------------------------------------------------------------ data */

typedef struct qlora_data_opts {
    size_t size;
    const char *format;        /* auto (default: by name and first row) text completion
                                  input-output alpaca messages sharegpt tokens                   */
    const char *chat_template; /* NULL (default) = the model's own Jinja text;
                                  chatml llama2 llama3 mistral zephyr vicuna alpaca ...; "none"  */
    const char *truncation;    /* rows longer than max_len: error (default), left, right         */
    int64_t max_len;           /* tokens of a row; 0 (default) = no limit (.txt: 1024)           */
    int64_t max_rows;          /* 0 (default) = all                                              */
    bool train_on_source;      /* false: loss on answers only                                    */
} qlora_data_opts;

QL_API void qlora_data_opts_init(qlora_data_opts *o, size_t size);
static inline qlora_data_opts qlora_data_defaults(void) {
    qlora_data_opts o;
    qlora_data_opts_init(&o, sizeof o);
    return o;
}

/* One row of ids. labels[i] is what position i is trained to say, not shifted: ids[i], or -100
 * where nothing is learned; NULL = every token is learned. */
typedef struct qlora_row {
    const int32_t *ids, *labels;
    int64_t n;
} qlora_row;

/* Rows of a .jsonl, .json or .txt file (formats: docs/training.md), tokenized for model m. A row
 * that cannot be read, is too long or teaches nothing is refused with its number. */
QL_API QL_NODISCARD ql_status qlora_data_load(qlora_model *m, const char *path,
                                              const qlora_data_opts *opts, qlora_data **out);
/* The same from the bytes text[0..len) of such a file, JSON lines or a JSON array; with the format
 * "text", plain text. */
QL_API QL_NODISCARD ql_status qlora_data_parse(qlora_model *m, const char *text, size_t len,
                                               const qlora_data_opts *opts, qlora_data **out);
/* The same from arrays of ids, copied. No tokenizer is needed; format, chat_template and
 * train_on_source do not apply. */
QL_API QL_NODISCARD ql_status qlora_data_from_rows(qlora_model *m, const qlora_row *rows, size_t n,
                                                   const qlora_data_opts *opts, qlora_data **out);
QL_API void qlora_data_free(qlora_data *d);

typedef struct qlora_data_info {
    int64_t rows, tokens;
    int64_t supervised; /* tokens that are learned                     */
    int64_t longest;    /* tokens of the longest row                   */
    int64_t reserved[4];
} qlora_data_info;

QL_API QL_NODISCARD ql_status qlora_data_describe(const qlora_data *d, qlora_data_info *out);

/* ------------------------------------------------------------------ training */

typedef struct qlora_train_opts {
    size_t size;
    int64_t batch;        /* 1: rows of a micro-batch                                      */
    int64_t accumulate;   /* 16: micro-batches of an optimizer step                        */
    int64_t max_len;      /* 0 (default) = the longest row of the data: set it when rows to
                             evaluate on are longer                                        */
    int64_t max_steps;    /* optimizer steps; 0 (default) = from epochs                    */
    double epochs;        /* 3                                                             */
    double learning_rate; /* 2e-4                                                          */
    const char *schedule; /* constant (default) constant_with_warmup linear cosine         */
    int64_t warmup_steps; /* 0; not used by constant                                       */
    double weight_decay;  /* 0: decoupled                                                  */
    double max_grad_norm; /* 0.3: the gradient is scaled down to this norm; 0 = never      */
    double beta1, beta2, epsilon; /* 0.9, 0.999, 1e-8 */
    double label_smoothing;   /* 0                                                             */
    int64_t checkpoint_every; /* 1: blocks per gradient-checkpointing segment; 0 = keep all
                                 activations                                                   */
    const char *compute;      /* auto (default: fp32 on a CPU, bf16 on a GPU that has it), fp32,
                                 bf16: type of the activations                                 */
    uint64_t seed;            /* 0: of new adapters and dropout                                */
    uint64_t data_seed;       /* 0: of the order of the rows                                   */
    bool shuffle;             /* true: a new order each epoch                                  */
    bool packing;             /* false; true: fill micro-batches with as many rows as fit      */
    bool no_model_dropout;    /* false: activations drop as config.json says                   */
    bool evaluate;            /* true: reserve what qlora_trainer_evaluate needs               */
    const char *optim;        /* adamw (default) adamw_8bit lion lion_8bit sgd sgd_8bit        */
    double momentum;          /* 0.9: of sgd; 0 = none                                         */
    uint64_t
        opt_page_budget; /* device bytes for the state of a paged optimizer ("paged_adamw_32bit",
                            ...); what is over moves to host memory between its uses with the
                            same results; 0 (default) = all on the device                 */
} qlora_train_opts;

QL_API void qlora_train_opts_init(qlora_train_opts *o, size_t size);
static inline qlora_train_opts qlora_train_defaults(void) {
    qlora_train_opts o;
    qlora_train_opts_init(&o, sizeof o);
    return o;
}

/* Exact device bytes of training m on d with these options, computed from shapes: nothing is
 * allocated. out->peak_bytes is the number that the allocator reaches. */
QL_API QL_NODISCARD ql_status qlora_plan(qlora_model *m, const qlora_data *d,
                                         const qlora_train_opts *opts, ql_memory_report *out);

/* Loads the model onto the device and allocates everything that training needs; nothing is
 * allocated there afterwards. More than the device or memory_limit has is QL_ERR_NOMEM_DEV before
 * anything is allocated. Adapters that have values (loaded, or trained before) go on from them, new
 * ones begin from opts->seed. One trainer per model at a time. The same seed, data and options give
 * the same bytes on the same device, for any number of threads. */
QL_API QL_NODISCARD ql_status qlora_trainer_create(qlora_model *m, const qlora_data *d,
                                                   const qlora_train_opts *opts,
                                                   qlora_trainer **out);
/* The model stays usable, with the values that were reached. */
QL_API void qlora_trainer_free(qlora_trainer *t);

/* Optimizer steps of the whole run, and done so far (0 for NULL). */
QL_API int64_t qlora_trainer_total(const qlora_trainer *t);
QL_API int64_t qlora_trainer_done(const qlora_trainer *t);
/* What is allocated; borrowed from t. NULL for NULL. */
QL_API const ql_memory_report *qlora_trainer_memory(const qlora_trainer *t);

typedef struct qlora_step {
    int64_t step;     /* of this update, from 1                                  */
    double epoch;     /* passes over the data done                               */
    double loss;      /* mean over the step's learned tokens, before the update  */
    double grad_norm; /* before it was scaled down                               */
    double learning_rate;
    int64_t tokens, supervised; /* of this step                                            */
    bool skipped;               /* a gradient was not finite: nothing was changed          */
    uint64_t reserved[4];
} qlora_step;

/* One optimizer step on the next rows. `out` may be NULL. After the last step of the run:
 * QL_ERR_INVALID. */
QL_API QL_NODISCARD ql_status qlora_trainer_step(qlora_trainer *t, qlora_step *out);

typedef struct qlora_evaluation {
    double loss;     /* mean over the learned tokens; exp(loss) is the perplexity */
    int64_t targets; /* how many these are                                        */
    uint64_t reserved[4];
} qlora_evaluation;

/* Loss on rows d with the values as they are now, without dropout. Changes nothing. */
QL_API QL_NODISCARD ql_status qlora_trainer_evaluate(qlora_trainer *t, const qlora_data *d,
                                                     qlora_evaluation *out);

/* A folder from which the run can go on: adapters, optimizer state, counters, position in the data,
 * hashes. It is replaced whole. */
QL_API QL_NODISCARD ql_status qlora_trainer_save(qlora_trainer *t, const char *dir);
/* Goes on from such a folder: every later step is bit-equal to those of a run that did not stop.
 * The model, data and options must be the same; what differs is refused by name, damaged files too.
 */
QL_API QL_NODISCARD ql_status qlora_trainer_resume(qlora_trainer *t, const char *dir);

/* ------------------------------------------------------------------ generation */

typedef struct qlora_generate_opts {
    size_t size;
    int64_t max_new_tokens;    /* 256                                                            */
    int64_t context;           /* positions to reserve; 0 (default) = as the call needs          */
    double temperature;        /* 0 (default) = always the most likely token                     */
    int64_t top_k;             /* 0 (default) = off                                              */
    double top_p;              /* 1 (default) = off                                              */
    uint64_t seed;             /* 0: the same seed draws the same tokens                         */
    const char *compute;       /* auto (default), fp32, bf16                                     */
    const int32_t *stop;       /* ids that end the text, besides the model's own                 */
    int64_t n_stop;            /* 0                                                              */
    const char *chat_template; /* qlora_generate_text only: as in qlora_data_opts                */
    const char *system;        /* qlora_generate_text only: NULL (default) = no system message   */
    bool (*on_token)(void *user, int32_t id); /* each new id as it comes; false ends the text     */
    void *user;                 /* passed to on_token                                             */
    bool ignore_eos;            /* false; true: only `stop` and max_new_tokens end the text       */
    int64_t num_beams;          /* 1 (default); more: beam search, with a temperature of 0     */
    double length_penalty;      /* 1: a beam's score is its log probability / length^this      */
    const char *early_stopping; /* of beams: "false" (default), "true", "never"                */
    int64_t no_repeat_ngram_size; /* 0 (default) = off: no run of so many ids comes twice        */
    int64_t min_length;           /* 0: no end before so many ids, those given counted           */
    int64_t decoder_start;        /* of an encoder-decoder; -1 (default) = as its files say      */
} qlora_generate_opts;

QL_API void qlora_generate_opts_init(qlora_generate_opts *o, size_t size);
static inline qlora_generate_opts qlora_generate_defaults(void) {
    qlora_generate_opts o;
    qlora_generate_opts_init(&o, sizeof o);
    return o;
}

/* Continues prompt[0..n), n >= 1: *ids[*n_ids] are the new ids only, the one that ended the text
 * included. An encoder-decoder reads the prompt as its source text. on_token hears of what beams
 * found when they are done. Also while a trainer of the model exists, with the values reached so
 * far. Freed with qlora_free. */
QL_API QL_NODISCARD ql_status qlora_generate(qlora_model *m, const int32_t *prompt, size_t n,
                                             const qlora_generate_opts *opts, int32_t **ids,
                                             size_t *n_ids);
/* Answers a question: the prompt as a user's message through the chat template, or as it is when
 * the model has none or has an encoder. *text has no special tokens; freed with qlora_free. */
QL_API QL_NODISCARD ql_status qlora_generate_text(qlora_model *m, const char *prompt,
                                                  const qlora_generate_opts *opts, char **text);

/* ------------------------------------------------------------------ merging */

typedef struct qlora_merge_opts {
    size_t size;
    const char *dtype; /* bf16 (default), f16, f32: type of every tensor that is written */
} qlora_merge_opts;

QL_API void qlora_merge_opts_init(qlora_merge_opts *o, size_t size);
static inline qlora_merge_opts qlora_merge_defaults(void) {
    qlora_merge_opts o;
    qlora_merge_opts_init(&o, sizeof o);
    return o;
}

/* Writes the whole model as a Hugging Face folder: W + s B A, where W is the weight as the files
 * hold it (a quantized one is decoded), or with opts.full the trained weights. The folder appears
 * whole or not at all. */
QL_API QL_NODISCARD ql_status qlora_merge(qlora_model *m, const char *dir,
                                          const qlora_merge_opts *opts);

#ifdef __cplusplus
}
#endif
#endif /* QLORA_QLORA_H */
