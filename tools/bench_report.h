/* bench_report.h - rows of `qlora bench` as a JSON document and as an aligned table. */
#ifndef QLORA_TOOLS_BENCH_REPORT_H
#define QLORA_TOOLS_BENCH_REPORT_H

#include "core/bench/row.h"
#include "tools/cli.h"

typedef struct ql_bench_report {
    ql_out *out;
    const char *device;          /* of every row                                     */
    const ql_device_props *cpu;  /* of the machine's processors                      */
    const ql_bench_peaks *peaks; /* NULL = none were measured                        */
    json_t *rows;                /* an array, owned                                  */
    bool heading;                /* the table has its heading; the first row brings it */
} ql_bench_report;

/* Writes rows of the table as they come (nothing under --json) and keeps them for the document. */
ql_bench_sink ql_bench_report_sink(ql_bench_report *r);
/* {"machine", "peaks", "rows"} when --json asks for it. Releases the rows. */
QL_NODISCARD ql_exit ql_bench_report_end(ql_bench_report *r);

#endif /* QLORA_TOOLS_BENCH_REPORT_H */
