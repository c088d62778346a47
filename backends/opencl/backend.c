/* backend.c - the backend table. */
#include "backends/opencl/cl.h"

const ql_backend *ql_cl_backend(void) {
    static const ql_backend backend = {
        .abi = QL_BACKEND_ABI,
        .size = sizeof(ql_backend),
        .name = "opencl",
        .probe = ql_cl_device_probe,
        .describe = ql_cl_device_describe,
        .device_open = ql_cl_device_open,
        .device_close = ql_cl_device_close,
        .device_memory = ql_cl_device_memory,
        .buffer_alloc = ql_cl_buffer_alloc,
        .buffer_wrap = ql_cl_buffer_wrap,
        .buffer_free = ql_cl_buffer_free,
        .advise = ql_cl_advise,
        .queue_create = ql_cl_queue_create,
        .queue_destroy = ql_cl_queue_destroy,
        .queue_flush = ql_cl_queue_flush,
        .queue_sync = ql_cl_queue_sync,
        .event_create = ql_cl_event_create,
        .event_destroy = ql_cl_event_destroy,
        .event_record = ql_cl_event_record,
        .event_wait = ql_cl_event_wait,
        .event_sync = ql_cl_event_sync,
        .event_elapsed = ql_cl_event_elapsed,
        .write = ql_cl_write,
        .read = ql_cl_read,
        .copy = ql_cl_copy,
        .supports = ql_cl_supports,
        .scratch_bytes = ql_cl_scratch_bytes,
        .ops =
            {
#define X(op) .op = ql_cl_op_##op,
                QL_CL_OPS(X)
#undef X
            },
    };
    return &backend;
}
