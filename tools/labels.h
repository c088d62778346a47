/*
 * labels.h - how many classes a classifier has and what they are called.
 *
 * A model's config.json may say it (id2label), the adapter of an earlier run says it (labels.json
 * beside its weights), the rows to train on show it, and --num_labels decides.
 */
#ifndef QLORA_TOOLS_LABELS_H
#define QLORA_TOOLS_LABELS_H

#include "tools/data_args.h"

/* `num_labels`: the flag, 0 = not given; `config`: the model's config.json; `adapter`: a folder or
 * NULL; `rows`: a file to learn from, whose labels may be names that nobody has numbered yet, or
 * NULL. out->n = 0: nothing says it. Free with ql_label_set_free. */
QL_NODISCARD ql_status ql_labels_choose(int64_t num_labels, const json_t *config,
                                        const char *adapter, const char *rows, ql_label_set *out);
/* Writes labels.json into an adapter's folder. */
QL_NODISCARD ql_status ql_labels_save(const ql_label_set *s, const char *dir);

#endif /* QLORA_TOOLS_LABELS_H */
