/* spikes.c - see spikes.h. */
#include "tools/spikes.h"

#include <math.h>

#include "core/base/hostmem.h"

#define WARM_UP    20
#define KEEP       0.95 /* of the old mean per step */
#define DEVIATIONS 6.0
#define PART       0.25 /* of the mean */

bool ql_spikes_take(ql_spikes *s, double loss) {
    if (!isfinite(loss)) return false;
    double keep = s->n < WARM_UP ? (double)s->n / (double)(s->n + 1) : KEEP; /* at first a mean */
    double limit = s->mean + fmax(DEVIATIONS * sqrt(s->variance), PART * fabs(s->mean));
    bool out = s->n >= WARM_UP && loss > limit;
    double x = out ? limit : loss, d = x - s->mean;
    s->mean += (1 - keep) * d;
    s->variance = keep * (s->variance + (1 - keep) * d * d);
    s->n++;
    return out;
}

ql_status ql_spikes_store(const ql_spikes *s, json_t *notes) {
    json_t *doc = json_pack("{s:f, s:f, s:I}", "mean", s->mean, "variance", s->variance, "n",
                            (json_int_t)s->n);
    return doc && json_object_set_new(notes, "spikes", doc) == 0 ? QL_OK
                                                                 : QL_NOMEM("the usual loss");
}

ql_spikes ql_spikes_load(const json_t *notes) {
    const json_t *doc = json_object_get(notes, "spikes");
    const json_t *mean = json_object_get(doc, "mean"), *variance = json_object_get(doc, "variance");
    const json_t *n = json_object_get(doc, "n");
    if (!json_is_number(mean) || !json_is_number(variance) || !json_is_integer(n))
        return (ql_spikes){.n = 0};
    return (ql_spikes){json_number_value(mean), json_number_value(variance), json_integer_value(n)};
}
