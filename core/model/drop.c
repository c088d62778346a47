/*
 * drop.c - the dropout that belongs to the model (config.json), apart from the adapters' own.
 *
 * A site's stream is named by the stack's layer path and the site, so that a mask depends on
 * neither batch nor plan.
 */
#include <stdio.h>

#include "core/base/rng.h"
#include "core/model/build_impl.h"

ql_rng ql_build_rng(ql_builder *b, const char *site) {
    char name[128];
    snprintf(name, sizeof name, "drop.%s.%d.%s", b->arch->layer, b->layer, site);
    ql_stream s = ql_stream_make(b->o->seed, QL_STREAM_DROPOUT, ql_hash_name(name) >> 16);
    return (ql_rng){.seed = s.seed,
                    .stream = s.stream,
                    .key = ql_ref(b->t, b->key),
                    .step = ql_ref(b->t, b->io->step)};
}

void ql_build_drop(ql_builder *b, ql_vid x, float p, const char *site) {
    if (!b->train || !b->o->model_dropout || !(p > 0)) return;
    QL_RECORD(b->t, DROPOUT, dropout, .x = ql_ref(b->t, x), .y = ql_ref(b->t, x), .p = p,
              .rng = ql_build_rng(b, site));
}
