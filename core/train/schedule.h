/* schedule.h - learning rate as a function of the step (from 0), as transformers defines it. */
#ifndef QLORA_CORE_TRAIN_SCHEDULE_H
#define QLORA_CORE_TRAIN_SCHEDULE_H

#include <stdbool.h>
#include <stdint.h>

typedef enum ql_schedule_kind {
    QL_SCHEDULE_CONSTANT,             /* no warm-up, whatever warmup says (qlora.py's setting)  */
    QL_SCHEDULE_CONSTANT_WITH_WARMUP, /* lr s / warmup, then lr                                 */
    QL_SCHEDULE_LINEAR,               /* warm-up, then lr (N - s) / (N - warmup)                */
    QL_SCHEDULE_COSINE                /* warm-up, then lr (1 + cos(pi progress)) / 2            */
} ql_schedule_kind;

typedef struct ql_schedule {
    ql_schedule_kind kind;
    double lr;
    int64_t warmup, total; /* steps */
} ql_schedule;

bool ql_schedule_find(const char *name, ql_schedule_kind *out);
const char *ql_schedule_names(void);
double ql_schedule_lr(const ql_schedule *s, int64_t step);

#endif
