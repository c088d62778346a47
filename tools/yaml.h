/*
 * yaml.h - a file of settings in YAML as a small tree, with the place of everything in it.
 *
 * Every scalar is text: what it means is decided by the flag that it is for, so that 2e-4, no and
 * 010 cannot change their meaning between YAML 1.1 and 1.2. Read as hostile: one document, a
 * mapping at its root, at most 1 MiB, 8 levels and 4096 values; no anchors, no aliases, no tags but
 * YAML's own scalars', no key twice. Sentences begin with file:line:column.
 */
#ifndef QLORA_TOOLS_YAML_H
#define QLORA_TOOLS_YAML_H

#include <stdbool.h>
#include <stddef.h>

#include "core/base/hostmem.h"

enum { QL_YAML_MAX_BYTES = 1 << 20, QL_YAML_MAX_DEPTH = 8, QL_YAML_MAX_NODES = 4096 };

typedef enum ql_yaml_kind { QL_YAML_SCALAR, QL_YAML_LIST, QL_YAML_MAP } ql_yaml_kind;

typedef struct ql_yaml {
    ql_yaml_kind kind;
    const char *text;     /* SCALAR; no NUL inside                       */
    bool plain;           /* SCALAR written without quotes               */
    const char *key;      /* in a MAP, otherwise NULL                    */
    int line, column;     /* of the key, or of the value where none; from 1 */
    struct ql_yaml *next; /* in the same LIST or MAP                     */
    struct ql_yaml *first;
    size_t n; /* values of a LIST or MAP */
} ql_yaml;

/* `what` is the name in sentences. The tree lives in the arena. Failures are QL_ERR_FORMAT. */
QL_NODISCARD ql_status ql_yaml_parse(const char *text, size_t len, const char *what, ql_arena *a,
                                     ql_yaml **out);
/* Nothing, or null in one of YAML's spellings, without quotes. */
bool ql_yaml_is_null(const ql_yaml *y);

#endif /* QLORA_TOOLS_YAML_H */
