/* shapes.h - configurations of well-known models, for planning without their files. */
#ifndef QLORA_TOOLS_SHAPES_H
#define QLORA_TOOLS_SHAPES_H

#include <jansson.h>

/* The config.json of `name` ("llama-7b"; upper case and '_' for '-' are the same); NULL = unknown.
 * Free with json_decref. */
json_t *ql_shape_find(const char *name);
/* Names separated by spaces. */
const char *ql_shape_names(void);

#endif /* QLORA_TOOLS_SHAPES_H */
