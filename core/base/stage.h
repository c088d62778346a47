/*
 * stage.h - a folder that appears whole or not at all: built beside its place, then moved.
 */
#ifndef QLORA_CORE_BASE_STAGE_H
#define QLORA_CORE_BASE_STAGE_H

#include "core/base/fs.h"

/* An empty folder "<dir>.tmp" beside dir; its path goes to staged. */
QL_NODISCARD ql_status ql_stage_begin(const char *dir, char staged[QL_PATH_MAX]);
/* `made` is how building went: QL_OK moves staged to dir (ql_dir_replace); a failure removes staged
 * and is returned with its message; dir stays as it was. */
QL_NODISCARD ql_status ql_stage_end(ql_status made, const char *staged, const char *dir);

#endif
