/* budget.c - see budget.h. */
#include "core/train/budget.h"

const char *ql_rung_text(ql_rung r) {
    static const char *const texts[] = {
        "everything resident", "pages of the optimizer's state leave the device",
        "every block recomputed, pages of the optimizer's state leave the device"};
    return r < QL_RUNG_COUNT ? texts[r] : "does not fit";
}

ql_status ql_budget_least_state(const ql_model *m, const ql_device *dev, ql_train_opts *o) {
    ql_opt_layout l;
    if (!o->optim->paged) return QL_OK;
    QL_TRY(ql_opt_layout_plan(m, o->optim, o->momentum, dev->props.align, 0, &l));
    uint64_t least = ql_opt_layout_least(&l);
    if (least < ql_opt_layout_full(&l)) o->opt_budget = least;
    ql_opt_layout_free(&l);
    return QL_OK;
}

/* Plans o with as few pages outside the device as the budget allows; *plan is o's before. */
static ql_status plan_paged(ql_model *m, ql_device *dev, uint64_t budget, ql_train_opts *o,
                            ql_memory_report *plan) {
    ql_train_opts least = *o;
    if (plan->peak_bytes <= budget || o->opt_budget) return QL_OK;
    uint64_t over = plan->peak_bytes - budget;
    uint64_t full = plan->device[QL_POOL_OPTIMIZER] - QL_OPT_SUM_BYTES;
    QL_TRY(ql_budget_least_state(m, dev, &least));
    if (!least.opt_budget) return QL_OK;
    o->opt_budget = over < full - least.opt_budget ? full - over : least.opt_budget;
    return ql_trainer_plan(m, o, dev, plan);
}

ql_status ql_budget_climb(ql_model *m, ql_device *dev, uint64_t budget, ql_train_opts *o,
                          ql_memory_report *plan, ql_rung *rung) {
    *rung = QL_RUNG_AS_ASKED;
    for (int r = QL_RUNG_PAGE; plan->peak_bytes > budget && r < QL_RUNG_COUNT; r++) {
        ql_train_opts tried = *o;
        ql_memory_report now = *plan;
        *rung = QL_RUNG_COUNT;
        if (r == QL_RUNG_RECOMPUTE) {
            tried.checkpoint = 1;
            QL_TRY(ql_trainer_plan(m, &tried, dev, &now));
        }
        QL_TRY(plan_paged(m, dev, budget, &tried, &now));
        if (now.peak_bytes > budget) continue;
        *o = tried;
        *plan = now;
        *rung = (ql_rung)r;
    }
    return QL_OK;
}
