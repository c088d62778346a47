/* config_text.h - the settings of a command as a file of settings that gives the same run. */
#ifndef QLORA_TOOLS_CONFIG_TEXT_H
#define QLORA_TOOLS_CONFIG_TEXT_H

#include "tools/cli.h"

/* Every flag with its value and which were given: YAML, "key: value" a line, or with `json` a JSON
 * object. Numbers read back to the same bits. NUL-terminated, freed by ql_host_free. */
QL_NODISCARD ql_status ql_config_text(const ql_cli *cli, const void *opts, bool json, char **out);

#endif /* QLORA_TOOLS_CONFIG_TEXT_H */
