/* module.h - backends that users bring as shared objects (QL_BACKEND_ENTRY in qlora/backend.h). */
#ifndef QLORA_CORE_DEVICE_MODULE_H
#define QLORA_CORE_DEVICE_MODULE_H

#include "qlora/backend.h"

/* The table of the module in file `path`; a bare name is looked up along the program's run path. */
QL_NODISCARD ql_status ql_module_load(const char *path, const ql_backend **out);

/* `spec`: path with a slash, optionally ":index" behind it. The object stays loaded. */
QL_NODISCARD ql_status ql_device_open_module(const char *spec, const ql_device_opts *opts,
                                             ql_device **out);

#endif
