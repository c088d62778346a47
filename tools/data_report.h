/* data_report.h - what a job's rows are, as one line and as JSON. */
#ifndef QLORA_TOOLS_DATA_REPORT_H
#define QLORA_TOOLS_DATA_REPORT_H

#include "tools/job.h"

/* "data  9,846 rows · 5.1M tokens · 3.9M supervised (76 %) ..." */
void ql_data_report_print(ql_cli *cli, const ql_job *j);
/* Free with json_decref. */
QL_NODISCARD ql_status ql_data_report_json(const ql_job *j, json_t **out);

#endif /* QLORA_TOOLS_DATA_REPORT_H */
