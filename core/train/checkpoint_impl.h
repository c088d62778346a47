/*
 * checkpoint_impl.h - the parts of a checkpoint: optimizer state (checkpoint_moments.c), position
 * and settings (checkpoint_state.c), put together by checkpoint.c.
 */
#ifndef QLORA_CORE_TRAIN_CHECKPOINT_IMPL_H
#define QLORA_CORE_TRAIN_CHECKPOINT_IMPL_H

#include "core/base/json.h"
#include "core/train/trainer_impl.h"

/* optimizer.safetensors: moments as optim.h lays them out, and with --full the trained values
 * themselves. */
QL_NODISCARD ql_status ql_moments_write(ql_trainer *t, const char *path);
typedef enum ql_moments_visit {
    QL_MOMENTS_CHECK,  /* names, types and sizes are this trainer's      */
    QL_MOMENTS_TAKE,   /* the values go to the device                    */
    QL_MOMENTS_COMPARE /* the values are those on the device, bit by bit */
} ql_moments_visit;
QL_NODISCARD ql_status ql_moments_visit_file(ql_trainer *t, const char *path, ql_moments_visit how);

/* Where a run stands, and what its caller keeps beside it. */
typedef struct ql_position {
    int64_t step;
    ql_cursor cursor;
    json_t *notes; /* owned, an object */
} ql_position;
QL_NODISCARD ql_status ql_state_write(const ql_trainer *t, const char *path);
/* Refuses another version, other settings and impossible positions by name. */
QL_NODISCARD ql_status ql_state_read(const ql_trainer *t, const char *path, ql_position *out);
/* The file must say what the trainer is now. */
QL_NODISCARD ql_status ql_state_compare(const ql_trainer *t, const char *path);

#endif
