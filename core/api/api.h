/*
 * api.h - what stands behind the handles of qlora/qlora.h, shared by the files of core/api.
 *
 * A handle counts those who use it: its owner and the handles opened from it. It goes when the last
 * one lets go, so that programs may close in any order. A session belongs to one thread at a time,
 * so plain counters do; only the request to cancel is atomic.
 *
 * A model is on the device ("placed") only while somebody needs it. `core->queue` is always this
 * model's own queue outside the creation of a trainer, whose queue dies with it.
 */
#ifndef QLORA_CORE_API_API_H
#define QLORA_CORE_API_API_H

#include <stdatomic.h>

#include "core/data/dataset.h"
#include "core/model/search.h"
#include "core/train/trainer.h"
#include "qlora/qlora.h"

struct qlora_session {
    ql_device *dev; /* a counting device */
    uint64_t limit; /* 0 = none          */
    qlora_progress progress;
    void *user;
    atomic_bool cancel;
    int32_t users;
};

struct qlora_model {
    qlora_session *session;
    char *path, *tokenizer_path;
    ql_model *core;
    ql_tokenizer *tok;       /* NULL until the first text                                       */
    const ql_template *chat; /* the model's own; NULL until asked for                            */
    ql_queue *queue;         /* NULL until the first placing                                    */
    ql_generator *gen;       /* kept between generations; NULL = none                           */
    bool has_values;         /* the trained values mean something: on the device, or one of ... */
    char *values_dir;        /* ... an adapter folder that is read when the model is placed     */
    float *values;           /* ... a host copy of the trained region, while it is off the device */
    qlora_trainer *trainer;  /* the one that lives, or NULL                                 */
    int32_t users;
};

struct qlora_data {
    ql_dataset rows;
    int32_t users;
};

struct qlora_trainer {
    qlora_model *model;
    qlora_data *data;
    ql_trainer *core;
};

/* Refuses a NULL argument by its name. */
#define NOT_NULL(arg)                                                                              \
    do {                                                                                           \
        if (!(arg)) return QL_FAIL(QL_ERR_INVALID, "%s: '%s' is NULL", __func__, #arg);            \
    } while (0)

/* ------------------------------------------------------------------ options (opts.c)
 * The given options over the defaults; NULL = the defaults. Sizes and settings that are not known
 * are QL_ERR_INVALID and QL_ERR_UNSUPPORTED. Values are checked by those who use them. */
QL_NODISCARD ql_status ql_api_session_opts(const qlora_session_opts *in, qlora_session_opts *out);
QL_NODISCARD ql_status ql_api_quantize_opts(const qlora_quantize_opts *in,
                                            qlora_quantize_opts *out);
QL_NODISCARD ql_status ql_api_model_opts(const qlora_model_opts *in, qlora_model_opts *out);
QL_NODISCARD ql_status ql_api_lora_opts(const qlora_lora_opts *in, qlora_lora_opts *out);
QL_NODISCARD ql_status ql_api_data_opts(const qlora_data_opts *in, qlora_data_opts *out);
QL_NODISCARD ql_status ql_api_train_opts(const qlora_train_opts *in, qlora_train_opts *out);
QL_NODISCARD ql_status ql_api_generate_opts(const qlora_generate_opts *in,
                                            qlora_generate_opts *out);
QL_NODISCARD ql_status ql_api_merge_opts(const qlora_merge_opts *in, qlora_merge_opts *out);

/* A number that core keeps in 32 bits; `name` as it stands in the option struct. */
QL_NODISCARD ql_status ql_api_int(const char *name, int64_t value, int64_t lo, int64_t hi,
                                  int32_t *out);
/* "auto", "fp32", "bf16" for a device. */
QL_NODISCARD ql_status ql_api_compute(const char *name, const ql_device *dev, ql_dtype *out);
/* Storage from the settings that models and quantizing share. */
QL_NODISCARD ql_status ql_api_quant(const qlora_quantize_opts *o, ql_quant_opts *out);

/* ------------------------------------------------------------------ sessions (session.c) */

void ql_api_session_drop(qlora_session *s); /* one user less */
/* Shows progress; false when the call has to stop. */
bool ql_api_progress(qlora_session *s, const char *what, int64_t done, int64_t total);
/* QL_ERR_CANCELLED when a request is pending, which is used up. */
QL_NODISCARD ql_status ql_api_cancelled(qlora_session *s, const char *what);
/* QL_ERR_NOMEM_DEV unless `bytes` more, of which `mapped` are file mappings, are there. */
QL_NODISCARD ql_status ql_api_fits(qlora_session *s, uint64_t bytes, uint64_t mapped);

/* ------------------------------------------------------------------ models (model.c, place.c) */

void ql_api_model_drop(qlora_model *m); /* one user less */
/* The tokenizer, opened when it is needed first. */
QL_NODISCARD ql_status ql_api_tokenizer(qlora_model *m, const ql_tokenizer **out);
/* The template `name`, or with NULL the one recognised in the tokenizer; *out NULL = "none", or the
 * model has none. */
QL_NODISCARD ql_status ql_api_template(qlora_model *m, const char *name, const ql_template **out);

/* Puts the model on the device for reading, unless it is there, and gives the trained values what
 * they were. */
QL_NODISCARD ql_status ql_api_place(qlora_model *m);
/* Takes the model off the device: everything there is freed, trained values move to the host. */
QL_NODISCARD ql_status ql_api_unplace(qlora_model *m);
/* A host copy of the trained values, for ql_api_restore_values. */
QL_NODISCARD ql_status ql_api_keep_values(qlora_model *m);
/* Writes the kept values (folder or host copy) to the device, where the model now is. */
QL_NODISCARD ql_status ql_api_restore_values(qlora_model *m);
void ql_api_drop_generator(qlora_model *m);
/* Frees device memory without looking at values. */
void ql_api_release(qlora_model *m);

#endif /* QLORA_CORE_API_API_H */
