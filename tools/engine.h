/*
 * engine.h - what the commands that run a model share: a counting device, the memory budget, and
 * numbers for people.
 */
#ifndef QLORA_TOOLS_ENGINE_H
#define QLORA_TOOLS_ENGINE_H

#include "qlora/memory.h"
#include "tools/cli.h"

/* The device of --device behind a counting one; `mem` as in --mem, 0 = none. Belongs to
 * QL_STAGE_DEVICE. */
QL_NODISCARD ql_status ql_engine_open(const ql_cli *cli, uint64_t mem, ql_device **out);
void ql_engine_close(ql_device *dev); /* NULL ok */
/* High-water mark of the allocator. */
uint64_t ql_engine_peak(const ql_device *dev);

/* The device bytes that may be used: --mem, or what is free now. File mappings take memory only
 * while it is free, so they are not charged against free memory; --mem counts everything. */
QL_NODISCARD ql_status ql_engine_budget(ql_device *dev, uint64_t mem, const ql_memory_report *plan,
                                        uint64_t *out);
/* QL_ERR_NOMEM_DEV (belongs to QL_STAGE_PLAN) when the plan exceeds the budget. */
QL_NODISCARD ql_status ql_engine_fits(ql_device *dev, uint64_t mem, const ql_memory_report *plan);

typedef struct ql_text {
    char s[32];
} ql_text;
ql_text ql_text_bytes(uint64_t bytes); /* "5.18 GiB"          */
ql_text ql_text_count(int64_t n);      /* "9,846"             */
ql_text ql_text_short(double n);       /* "5.1M", "812", "3k" */
ql_text ql_text_seconds(double s);     /* "1h52m", "4m10s"    */

#endif /* QLORA_TOOLS_ENGINE_H */
