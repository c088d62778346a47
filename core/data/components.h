/*
 * components.h - reading the parts of tokenizer.json that are null, one component, or a Sequence.
 */
#ifndef QLORA_CORE_DATA_COMPONENTS_H
#define QLORA_CORE_DATA_COMPONENTS_H

#include <jansson.h>

#include "core/data/tokenizer_impl.h"

/* Borrowed from the document. */
typedef struct ql_string {
    const char *s;
    size_t n;
} ql_string;

QL_NODISCARD ql_status ql_component_string(const json_t *o, const char *what, const char *key,
                                           ql_string *out);
/* 'pattern': {"String": text} or {"Regex": expression}. */
QL_NODISCARD ql_status ql_component_pattern(const json_t *o, const char *what, ql_string *text,
                                            bool *literal);
/* "part 'type' is not supported". */
QL_NODISCARD ql_status ql_component_unknown(const char *part, const char *type, const char *what);
/* The mark of Metaspace that stands for a space, and whether and where one is put in front:
 * "first", "always" or "never". */
QL_NODISCARD ql_status ql_component_metaspace(const json_t *o, const char *what, ql_string *mark,
                                              const char **scheme);

typedef ql_status (*ql_component_fn)(ql_tokenizer *t, const json_t *o, const char *type,
                                     const char *what);
typedef struct ql_part {
    const char *name, *list_key; /* of the part, and of the array inside its Sequences */
    ql_component_fn visit;
} ql_part;
/* Calls visit for every component of root[part->name], in order; Sequences may nest a little. */
QL_NODISCARD ql_status ql_components_each(ql_tokenizer *t, const json_t *root, const ql_part *part,
                                          const char *what);

#endif
