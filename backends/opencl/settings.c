/*
 * settings.c - environment variables of this backend, read here and nowhere else.
 *
 *   QLORA_CACHE               folder of compiled kernels; "" = none  [~/.cache/qlora]
 *   QLORA_OPENCL_SELFTEST     0 = use a device whose self-test failed or was not run
 *   QLORA_OPENCL_MAX_ALLOC    bytes; smaller pieces of buffers than the device's own limit
 *   QLORA_OPENCL_OPTIONS      more options for the kernel compiler
 */
#include <stdlib.h>

#include "backends/opencl/cl.h"

const char *ql_cl_setting(const char *name) {
    return getenv(name);
}
