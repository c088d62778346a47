/* selftest.h - a device proves itself before it is used. */
#ifndef QLORA_BACKENDS_OPENCL_SELFTEST_H
#define QLORA_BACKENDS_OPENCL_SELFTEST_H

#include "backends/opencl/cl.h"

/* Quantizes, decodes and multiplies a small matrix and compares with plain C; bytes must be equal.
 * QL_ERR_DRIVER with what differs; QLORA_OPENCL_SELFTEST=0 leaves it out. */
QL_NODISCARD ql_status ql_cl_selftest(ql_cl_device *d);

#endif
