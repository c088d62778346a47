/*
 * manifest.h - MANIFEST.json of a folder: size and XXH3 hash of every file, written last.
 */
#ifndef QLORA_CORE_TRAIN_MANIFEST_H
#define QLORA_CORE_TRAIN_MANIFEST_H

#include "qlora/status.h"

/* Hashes `files` (paths relative to dir) and writes dir/MANIFEST.json. */
QL_NODISCARD ql_status ql_manifest_write(const char *dir, const char *const *files, int n);
/* Every file of the manifest is there with its size and hash, and each of `required` (n names) is
 * listed: QL_ERR_FORMAT names the first that is not. A manifest that a later version wrote is
 * QL_ERR_UNSUPPORTED: it says nothing about damage. */
QL_NODISCARD ql_status ql_manifest_check(const char *dir, const char *const *required, int n);
/* The hash of MANIFEST.json itself, which names the content of the whole folder. */
QL_NODISCARD ql_status ql_manifest_hash(const char *dir, char hex[33]);

#endif
