/* score_report.c - see score_report.h. */
#include "tools/score_report.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define MOST 4 /* measures of one task */

typedef struct measure {
    const char *name, *key; /* for people, for programs */
    double value;
} measure;

static double share(int64_t part, int64_t whole) {
    return whole ? (double)part / (double)whole : 0;
}

/* The measures of x's task, into out[MOST]; returns how many. */
static int list(const ql_scores *x, measure *out) {
    const measure classes[] = {{"accuracy", "accuracy", x->classes.accuracy},
                               {"f1", "f1", x->classes.f1},
                               {"macro f1", "macro_f1", x->classes.macro_f1},
                               {"matthews", "matthews", x->classes.matthews}};
    const measure numbers[] = {{"pearson", "pearson", x->numbers.pearson},
                               {"spearman", "spearman", x->numbers.spearman},
                               {"mse", "mse", x->numbers.mse}};
    const ql_sequence_metrics *q = &x->sequences;
    const measure sequences[] = {{"token accuracy", "token_accuracy", share(q->right, q->tokens)},
                                 {"exact match", "exact_match", share(q->exact, q->sequences)}};
    if (x->task == QL_TASK_SEQ2SEQ) {
        memcpy(out, sequences, sizeof sequences);
        return 2;
    }
    if (x->n_labels == 1) {
        memcpy(out, numbers, sizeof numbers);
        return 3;
    }
    memcpy(out, classes, sizeof classes);
    return 4;
}

ql_score_text ql_scores_text(const ql_scores *x) {
    measure m[MOST];
    ql_score_text t = {""};
    int n = list(x, m);
    for (int i = 0; i < n; i++) {
        if (i == 1 && x->task == QL_TASK_CLASSIFY && x->n_labels > 2) continue; /* f1 = macro f1 */
        size_t used = strlen(t.s);
        (void)snprintf(t.s + used, sizeof t.s - used, "%s%s %.4f", i ? " · " : "", m[i].name,
                       m[i].value);
    }
    return t;
}

void ql_scores_json(const ql_scores *x, const char *prefix, json_t *doc) {
    measure m[MOST];
    int n = list(x, m);
    for (int i = 0; i < n; i++) {
        char key[64];
        (void)snprintf(key, sizeof key, "%s%s", prefix, m[i].key);
        json_object_set_new(doc, key, isfinite(m[i].value) ? json_real(m[i].value) : json_null());
    }
}
