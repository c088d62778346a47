/*
 * best.h - the best evaluation of a run, and when to give up waiting for a better one.
 *
 * The rules are those of transformers: a value is the best when it beats the best so far at all;
 * the patience counts evaluations in a row that do not beat it by more than the threshold. The
 * state lives in the trainer's notes, so a resumed run decides as an unbroken one does.
 */
#ifndef QLORA_TOOLS_BEST_H
#define QLORA_TOOLS_BEST_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "qlora/status.h"

typedef struct ql_best_rule {
    const char *metric; /* "loss", or a score such as "accuracy": key eval_<metric> of a line */
    bool greater;       /* larger values are better                                           */
    int64_t patience;   /* evaluations; 0 = never stop early                                  */
    double threshold;
} ql_best_rule;

typedef struct ql_best {
    bool any; /* there has been a finite value */
    double value;
    int64_t step;   /* where it was                                               */
    int64_t waited; /* evaluations since one that was better by the threshold     */
} ql_best;

/* The rule for a metric's name: of a loss or an error the smaller is better. */
ql_best_rule ql_best_rule_for(const char *metric, int64_t patience, double threshold);
/* Takes an evaluation; true = the best so far. A value that is not finite is none. */
bool ql_best_take(ql_best *b, const ql_best_rule *r, double value, int64_t step);
bool ql_best_gives_up(const ql_best *b, const ql_best_rule *r);

/* To and from the key "best" of the notes. Of another metric, or malformed: nothing is known. */
QL_NODISCARD ql_status ql_best_store(const ql_best *b, const ql_best_rule *r, json_t *notes);
ql_best ql_best_load(const json_t *notes, const ql_best_rule *r);

#endif /* QLORA_TOOLS_BEST_H */
