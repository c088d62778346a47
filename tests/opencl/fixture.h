/* fixture.h - an OpenCL device for the tests of this folder, or a skip that says why there is none.
 */
#ifndef QLORA_TESTS_OPENCL_FIXTURE_H
#define QLORA_TESTS_OPENCL_FIXTURE_H

#include "core/device/device.h"

/* opencl:0 behind a counting device; skips the running test where there is none. */
ql_device *cl_open(void);
/* The same with pieces of `piece` bytes (0 = the device's own) and a memory limit (0 = none). */
ql_device *cl_open_limited(unsigned long piece, uint64_t mem_limit);
void cl_close(ql_device *dev);
ql_queue *cl_queue(ql_device *dev);
ql_buffer *cl_alloc(ql_device *dev, ql_mem mem, uint64_t size);

/* The status must be `s` and its sentence must hold `text`. */
void cl_refused(ql_status got, ql_status s, const char *text);

#define OK(expr)                                                                                   \
    do {                                                                                           \
        if ((expr) != QL_OK) fail_msg("%s", ql_last_error());                                      \
    } while (0)

#endif
