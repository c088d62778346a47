/* stage.c - folders that appear whole or not at all (see stage.h). */
#include "core/base/stage.h"

#include <stdio.h>

ql_status ql_stage_begin(const char *dir, char staged[QL_PATH_MAX]) {
    int n = snprintf(staged, QL_PATH_MAX, "%s.tmp", dir);
    if (n < 0 || n >= QL_PATH_MAX)
        return QL_FAIL(QL_ERR_INVALID, "path '%.64s...' is too long", dir);
    QL_TRY(ql_dir_remove(staged));
    return ql_dir_create(staged);
}

ql_status ql_stage_end(ql_status made, const char *staged, const char *dir) {
    if (made == QL_OK) return ql_dir_replace(staged, dir);
    char reason[1024]; /* cleaning up may fail as well: the first reason counts */
    snprintf(reason, sizeof reason, "%s", ql_last_error());
    (void)!ql_dir_remove(staged);
    return QL_FAIL(made, "%s", reason);
}
