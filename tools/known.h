/*
 * known.h - names that the command line is designed to have and this version lacks.
 *
 * They are refused as "known, not available in this version" instead of as a spelling mistake. A
 * name leaves these lists when a command or a flag table brings it.
 */
#ifndef QLORA_TOOLS_KNOWN_H
#define QLORA_TOOLS_KNOWN_H

#include <stdbool.h>

/* Names separated by spaces. */
const char *ql_known_commands(void);
bool ql_known_flag(const char *name); /* with underscores, without dashes */

#endif /* QLORA_TOOLS_KNOWN_H */
