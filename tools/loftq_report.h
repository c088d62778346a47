/* loftq_report.h - what a split of a model came to: as JSON, as lines, as a page with pictures. */
#ifndef QLORA_TOOLS_LOFTQ_REPORT_H
#define QLORA_TOOLS_LOFTQ_REPORT_H

#include "tools/loftq_args.h"

/* {"output_dir", "method", "tensors": [{"name", "module", "type", "bits", "rows", "cols", "r",
 * "scaling", "norm", "residual": [...], "drift": [...], "best", ...}], ...}. NULL = no memory. */
json_t *ql_loftq_json(const ql_loftq_made *m, const char *output_dir);
/* A line per layer and what it comes to together. */
void ql_loftq_print(ql_cli *cli, const ql_loftq_made *m, const char *output_dir);
/* OUT/loftq.html, from the JSON document. */
QL_NODISCARD ql_status ql_loftq_page(const json_t *doc, const char *path);

/* Norms over all layers: sqrt of the sums of squares. */
typedef struct ql_loftq_total {
    double norm, plain, left;
    double bound; /* the largest of the layers */
    int64_t weights;
} ql_loftq_total;
ql_loftq_total ql_loftq_total_of(const ql_loftq_made *m);

#endif /* QLORA_TOOLS_LOFTQ_REPORT_H */
