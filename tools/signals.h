/*
 * signals.h - stopping on request: the first SIGINT or SIGTERM is remembered, the second ends the
 * program at once.
 */
#ifndef QLORA_TOOLS_SIGNALS_H
#define QLORA_TOOLS_SIGNALS_H

#include "tools/out.h"

/* From now on the first signal only sets a flag. Once, at the start of a command that saves. */
void ql_signals_watch(void);
bool ql_signals_stop(void);
/* The exit code of the signal that came: 130 or 143. */
ql_exit ql_signals_exit(void);

#endif /* QLORA_TOOLS_SIGNALS_H */
