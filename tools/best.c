/* best.c - see best.h. */
#include "tools/best.h"

#include <math.h>
#include <string.h>

#include "core/base/hostmem.h"

ql_best_rule ql_best_rule_for(const char *metric, int64_t patience, double threshold) {
    bool error = strcmp(metric, "loss") == 0 || strcmp(metric, "mse") == 0;
    return (ql_best_rule){metric, !error, patience, threshold};
}

/* By how much a value is better than the best, negative = worse. */
static double gain(const ql_best *b, const ql_best_rule *r, double value) {
    return r->greater ? value - b->value : b->value - value;
}

bool ql_best_take(ql_best *b, const ql_best_rule *r, double value, int64_t step) {
    bool finite = isfinite(value);
    bool best = finite && (!b->any || gain(b, r, value) > 0);
    bool enough = best && (!b->any || gain(b, r, value) > r->threshold);
    b->waited = enough ? 0 : b->waited + 1;
    if (!best) return false;
    b->any = true;
    b->value = value;
    b->step = step;
    return true;
}

bool ql_best_gives_up(const ql_best *b, const ql_best_rule *r) {
    return r->patience > 0 && b->waited >= r->patience;
}

ql_status ql_best_store(const ql_best *b, const ql_best_rule *r, json_t *notes) {
    json_t *doc = json_pack("{s:s, s:I}", "metric", r->metric, "waited", (json_int_t)b->waited);
    if (doc && b->any) {
        json_object_set_new(doc, "value", json_real(b->value));
        json_object_set_new(doc, "step", json_integer(b->step));
    }
    return doc && json_object_set_new(notes, "best", doc) == 0 ? QL_OK
                                                               : QL_NOMEM("the best evaluation");
}

ql_best ql_best_load(const json_t *notes, const ql_best_rule *r) {
    const json_t *doc = json_object_get(notes, "best");
    const char *metric = json_string_value(json_object_get(doc, "metric"));
    const json_t *value = json_object_get(doc, "value"), *step = json_object_get(doc, "step");
    ql_best b = {.any = false};
    if (!metric || strcmp(metric, r->metric) != 0) return b;
    b.waited = json_integer_value(json_object_get(doc, "waited"));
    if (!json_is_number(value) || !json_is_integer(step)) return b;
    b.any = true;
    b.value = json_number_value(value);
    b.step = json_integer_value(step);
    return b;
}
