/*
 * budget.h - what a run gives up for a memory budget, decided before step 0.
 *
 * A ladder, mildest first; no rung changes a result, only time:
 *   1  pages of the optimizer's state leave the device, as many as needed
 *   2  every block is recomputed in the backward pass, then pages as needed
 */
#ifndef QLORA_CORE_TRAIN_BUDGET_H
#define QLORA_CORE_TRAIN_BUDGET_H

#include "core/train/trainer.h"

typedef enum ql_rung { QL_RUNG_AS_ASKED, QL_RUNG_PAGE, QL_RUNG_RECOMPUTE, QL_RUNG_COUNT } ql_rung;
const char *ql_rung_text(ql_rung r); /* "pages of the optimizer's state leave the device" */

/* The lowest rung whose plan is within `budget`: *o as that rung has it, its plan and its number.
 * On entry *plan is the plan of *o (ql_trainer_plan), which is not made again. When none is, *o and
 * *plan are those of the request and *rung is QL_RUNG_COUNT. */
QL_NODISCARD ql_status ql_budget_climb(ql_model *m, ql_device *dev, uint64_t budget,
                                       ql_train_opts *o, ql_memory_report *plan, ql_rung *rung);
/* The request with the fewest device bytes for the optimizer's state. */
QL_NODISCARD ql_status ql_budget_least_state(const ql_model *m, const ql_device *dev,
                                             ql_train_opts *o);

#endif
