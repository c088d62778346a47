/*
 * metric.h - how good predictions are: classes, numbers, token sequences, texts.
 *
 * Pure functions of arrays. Where a measure is not defined (a constant series has no correlation)
 * the result is NaN, as in scipy; where a denominator of a share is 0 it is 0, as in scikit-learn.
 */
#ifndef QLORA_CORE_TRAIN_METRIC_H
#define QLORA_CORE_TRAIN_METRIC_H

#include <stddef.h>
#include <stdint.h>

#include "qlora/status.h"

typedef struct ql_class_metrics {
    double accuracy;
    double f1;       /* of class 1 when there are two classes, otherwise macro_f1          */
    double macro_f1; /* mean over the classes that occur as truth or as prediction         */
    double matthews; /* correlation; -1 .. 1                                               */
} ql_class_metrics;
/* Both arrays hold classes 0 .. classes - 1. */
QL_NODISCARD ql_status ql_metric_classes(const int32_t *predicted, const int32_t *truth, int64_t n,
                                         int32_t classes, ql_class_metrics *out);

typedef struct ql_number_metrics {
    double pearson, spearman;
    double mse; /* mean squared error */
} ql_number_metrics;
QL_NODISCARD ql_status ql_metric_numbers(const float *predicted, const float *truth, int64_t n,
                                         ql_number_metrics *out);

/* Sums over sequences, one call of ql_metric_add_sequence for each; zeroed = none yet. */
typedef struct ql_sequence_metrics {
    int64_t tokens, right;    /* labelled tokens; those that were predicted                     */
    int64_t sequences, exact; /* those without a wrong token                                    */
} ql_sequence_metrics;
void ql_metric_add_sequence(ql_sequence_metrics *m, const int32_t *predicted, const int32_t *truth,
                            int32_t n);

/* Precision, recall and F of overlapping parts. */
typedef struct ql_overlap {
    double precision, recall, f;
} ql_overlap;
typedef struct ql_rouge {
    ql_overlap one, two, l; /* ROUGE-1, ROUGE-2, ROUGE-L */
} ql_rouge;
/* As the package rouge_score without stemming: words are runs of [a-z0-9] of the lower-cased
 * ASCII text. */
QL_NODISCARD ql_status ql_metric_rouge(const char *predicted, size_t predicted_len,
                                       const char *truth, size_t truth_len, ql_rouge *out);

#endif
