/*
 * fingerprint.h - one number for the files of a model that costs no reading of them whole: names,
 * sizes, and the first and last MiB of every file. It tells models apart; it is no proof against
 * damage in the middle of a file.
 */
#ifndef QLORA_TOOLS_FINGERPRINT_H
#define QLORA_TOOLS_FINGERPRINT_H

#include "qlora/status.h"

/* Of a file, or of the files of a folder (not of its folders), as 32 hexadecimal digits. */
QL_NODISCARD ql_status ql_fingerprint(const char *path, char out[33]);
/* XXH3-128 of a whole file. */
QL_NODISCARD ql_status ql_fingerprint_whole(const char *path, char out[33]);

#endif /* QLORA_TOOLS_FINGERPRINT_H */
