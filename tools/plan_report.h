/* plan_report.h - a job's memory plan as one line and as JSON, and what to change when it does not
 * fit. */
#ifndef QLORA_TOOLS_PLAN_REPORT_H
#define QLORA_TOOLS_PLAN_REPORT_H

#include "tools/job.h"

/* "plan  weights 3.60 GiB (nf4 4.127 bit) · adapter 0.15 ..." */
void ql_plan_print(ql_cli *cli, const ql_job *j);
/* {"device_bytes": {...}, ...}; free with json_decref. */
QL_NODISCARD ql_status ql_plan_json(const ql_job *j, json_t **out);
/* Full fine-tuning, LoRA and QLoRA of the same model: {"full": {"total_bytes"}, ...}. */
QL_NODISCARD ql_status ql_plan_compare(const ql_job *j, json_t **out);
/* The recorded training step as a listing; free with ql_host_free. */
QL_NODISCARD ql_status ql_plan_tape(const ql_job *j, char **text);
/* The plan exceeds the budget: says by how much and the smallest change that would fit. */
QL_NODISCARD ql_exit ql_plan_refuse(ql_cli *cli, const ql_job *j);

#endif /* QLORA_TOOLS_PLAN_REPORT_H */
