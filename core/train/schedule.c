/* schedule.c - learning-rate schedules (see schedule.h). */
#include "core/train/schedule.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

static const char *const names[] = {"constant", "constant_with_warmup", "linear", "cosine"};

bool ql_schedule_find(const char *name, ql_schedule_kind *out) {
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strcmp(names[i], name) != 0) continue;
        *out = (ql_schedule_kind)i;
        return true;
    }
    return false;
}

const char *ql_schedule_names(void) {
    return "constant, constant_with_warmup, linear, cosine";
}

double ql_schedule_lr(const ql_schedule *s, int64_t step) {
    if (s->kind == QL_SCHEDULE_CONSTANT) return s->lr;
    if (step < s->warmup) return s->lr * (double)step / (double)s->warmup;
    if (s->kind == QL_SCHEDULE_CONSTANT_WITH_WARMUP) return s->lr;
    int64_t rest = s->total - s->warmup;
    double progress = rest > 0 ? (double)(step - s->warmup) / (double)rest : 1.0;
    if (progress > 1.0) progress = 1.0;
    if (s->kind == QL_SCHEDULE_LINEAR) return s->lr * (1.0 - progress);
    return s->lr * 0.5 * (1.0 + cos(3.14159265358979323846 * progress));
}
