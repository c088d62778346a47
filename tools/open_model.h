/* open_model.h - a model with an optional finished adapter, for the commands that use one. */
#ifndef QLORA_TOOLS_OPEN_MODEL_H
#define QLORA_TOOLS_OPEN_MODEL_H

#include "tools/model_args.h"

/* Opens the model, attaches the shapes of `adapter`'s adapter (NULL = none). Nothing is placed.
 * Belongs to QL_STAGE_MODEL. */
QL_NODISCARD ql_status ql_open_model(ql_cli *cli, const ql_model_args *a, const char *adapter,
                                     ql_model **out);
/* After placing: the adapter's values. */
QL_NODISCARD ql_status ql_load_adapter(ql_model *m, const char *adapter);

#endif /* QLORA_TOOLS_OPEN_MODEL_H */
