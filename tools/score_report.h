/* score_report.h - scores of predictions as text and as JSON. */
#ifndef QLORA_TOOLS_SCORE_REPORT_H
#define QLORA_TOOLS_SCORE_REPORT_H

#include <jansson.h>

#include "core/train/predict.h"

typedef struct ql_score_text {
    char s[160];
} ql_score_text;
/* "accuracy 0.8500 · f1 0.8421 · matthews 0.7013" */
ql_score_text ql_scores_text(const ql_scores *x);
/* Adds "<prefix>accuracy" and the rest to doc; what is not defined is null. */
void ql_scores_json(const ql_scores *x, const char *prefix, json_t *doc);

#endif /* QLORA_TOOLS_SCORE_REPORT_H */
