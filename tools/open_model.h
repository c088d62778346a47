/* open_model.h - a model with an optional finished adapter, for the commands that use one. */
#ifndef QLORA_TOOLS_OPEN_MODEL_H
#define QLORA_TOOLS_OPEN_MODEL_H

#include "core/data/dataset.h"
#include "tools/model_args.h"

/* Opens the model, attaches the shapes of `adapter`'s adapter (NULL = none). Nothing is placed.
 * Belongs to QL_STAGE_MODEL. */
QL_NODISCARD ql_status ql_open_model(ql_cli *cli, const ql_model_args *a, const char *adapter,
                                     ql_model **out);
/* The same for a model that may classify: how many classes it has, by the flag --num_labels (0 =
 * not given), its adapter or its config.json, and their names, into *labels; other models leave it
 * empty. Free with ql_label_set_free. */
QL_NODISCARD ql_status ql_open_labelled(ql_cli *cli, const ql_model_args *a, const char *adapter,
                                        int64_t num_labels, ql_label_set *labels, ql_model **out);
/* After placing: the adapter's values. */
QL_NODISCARD ql_status ql_load_adapter(ql_model *m, const char *adapter);

#endif /* QLORA_TOOLS_OPEN_MODEL_H */
