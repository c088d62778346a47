/*
 * run_fixture.h - small training runs that are stopped, saved and resumed.
 */
#ifndef QLORA_TESTS_TRAIN_RUN_FIXTURE_H
#define QLORA_TESTS_TRAIN_RUN_FIXTURE_H

#include "tests/support/engine.h"

enum { STEPS = 6 };

/* What a checkpoint of adapters holds besides its manifest. */
enum { N_FILES = 4 };
extern const char *const checkpoint_files[N_FILES];

/* What a run is made of. */
typedef struct setup {
    const char *model;
    int bits, rows, threads;
    bool full;
    ql_lora_config lora;
    ql_quant_opts quant;
    ql_train_opts o;
    int flip; /* this id of the last row's ids and labels is another, from 1; 0 = none */
} setup;

typedef struct job {
    ql_device *dev;
    ql_model *m;
    ql_dataset *data; /* where the trainer looks for it */
    ql_trainer *t;
} job;

/* 10 rows in micro-batches of 2, 2 of them a step: 3 steps an epoch. */
setup usual(void);
job start(const setup *s);
void stop(job *j);
/* n steps; out has room for their metrics. */
void steps(job *j, int n, ql_step_metrics *out);
void assert_same_state(job *a, job *b);

/* The folder of the next two, in the test's temporary folder. */
const char *checkpoint_dir(void);
/* A checkpoint after one step, and the job that made it, one step further. */
job saved(const setup *s);

#endif
