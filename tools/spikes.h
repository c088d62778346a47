/*
 * spikes.h - does the loss of a step stand out from those before it?
 *
 * A running mean and variance of the loss (exponential, over about 40 steps) say what is usual. A
 * loss stands out that is more than six standard deviations and a quarter of the mean above it.
 * What stands out counts only up to that limit, so that one jump does not hide the next, and a
 * lasting change becomes usual.
 */
#ifndef QLORA_TOOLS_SPIKES_H
#define QLORA_TOOLS_SPIKES_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "qlora/status.h"

typedef struct ql_spikes {
    double mean, variance;
    int64_t n; /* finite losses so far; the first 20 never stand out */
} ql_spikes;

/* Takes the loss of a step; true: it stands out from `s->mean` before. Not finite: passed over. */
bool ql_spikes_take(ql_spikes *s, double loss);

/* To and from the key "spikes" of a trainer's notes. */
QL_NODISCARD ql_status ql_spikes_store(const ql_spikes *s, json_t *notes);
ql_spikes ql_spikes_load(const json_t *notes);

#endif /* QLORA_TOOLS_SPIKES_H */
