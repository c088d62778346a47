/*
 * error.c - OpenCL's error numbers as sentences.
 *
 * A sentence holds the device, what was tried, the vendor's name of the error and, where the number
 * allows a guess, what to do about it.
 */
#include "backends/opencl/cl.h"

typedef struct cl_error {
    cl_int number;
    ql_status status;
    const char *name, *advice;
} cl_error;

#define ROW(name, status, advice)                                                                  \
    { CL_##name, QL_ERR_##status, "CL_" #name, advice }
static const cl_error errors[] = {
    ROW(DEVICE_NOT_FOUND, NOT_FOUND, ""),
    ROW(DEVICE_NOT_AVAILABLE, DEVICE_LOST, "; the device is gone or taken"),
    ROW(COMPILER_NOT_AVAILABLE, DRIVER, "; the driver has no compiler"),
    ROW(MEM_OBJECT_ALLOCATION_FAILURE, NOMEM_DEV, "; a smaller batch or --mem may fit"),
    ROW(OUT_OF_RESOURCES, DRIVER,
        "; the device ran out of memory, or a watchdog stopped a long kernel"),
    ROW(OUT_OF_HOST_MEMORY, NOMEM_HOST, ""),
    ROW(PROFILING_INFO_NOT_AVAILABLE, UNSUPPORTED, ""),
    ROW(BUILD_PROGRAM_FAILURE, DRIVER, ""),
    ROW(MAP_FAILURE, DRIVER, ""),
    ROW(EXEC_STATUS_ERROR_FOR_EVENTS_IN_WAIT_LIST, DRIVER, "; an earlier command failed"),
    ROW(INVALID_VALUE, DRIVER, ""),
    ROW(INVALID_DEVICE, DRIVER, ""),
    ROW(INVALID_CONTEXT, DRIVER, ""),
    ROW(INVALID_COMMAND_QUEUE, DEVICE_LOST, "; the driver dropped the queue"),
    ROW(INVALID_MEM_OBJECT, DRIVER, ""),
    ROW(INVALID_BINARY, DRIVER, ""),
    ROW(INVALID_BUILD_OPTIONS, DRIVER, ""),
    ROW(INVALID_PROGRAM_EXECUTABLE, DRIVER, ""),
    ROW(INVALID_KERNEL_NAME, DRIVER, ""),
    ROW(INVALID_ARG_INDEX, DRIVER, ""),
    ROW(INVALID_ARG_VALUE, DRIVER, ""),
    ROW(INVALID_ARG_SIZE, DRIVER, ""),
    ROW(INVALID_KERNEL_ARGS, DRIVER, ""),
    ROW(INVALID_WORK_GROUP_SIZE, DRIVER, ""),
    ROW(INVALID_WORK_ITEM_SIZE, DRIVER, ""),
    ROW(INVALID_EVENT_WAIT_LIST, DRIVER, ""),
    ROW(INVALID_OPERATION, DRIVER, ""),
    ROW(INVALID_BUFFER_SIZE, NOMEM_DEV, ""),
    {-1001, QL_ERR_NOT_FOUND, "CL_PLATFORM_NOT_FOUND_KHR",
     "; no OpenCL driver is registered in /etc/OpenCL/vendors"},
};
enum { N_ERRORS = sizeof errors / sizeof *errors };

static const cl_error *error_of(cl_int number) {
    static const cl_error unknown = {0, QL_ERR_DRIVER, "CL error", ""};
    for (int i = 0; i < N_ERRORS; i++)
        if (errors[i].number == number) return &errors[i];
    return &unknown;
}

const char *ql_cl_error_name(cl_int number) {
    return error_of(number)->name;
}

ql_status ql_cl_fail(ql_cl_device *d, cl_int number, const char *what) {
    const cl_error *e = error_of(number);
    if (d && e->status == QL_ERR_DEVICE_LOST) d->lost = true;
    return QL_FAIL(e->status, "opencl: %s on '%s' failed: %s (%d)%s", what,
                   d ? d->base.props.name : "the driver", e->name, (int)number, e->advice);
}

ql_status ql_cl_alive(const ql_cl_device *d) {
    if (!d->lost) return QL_OK;
    return QL_FAIL(QL_ERR_DEVICE_LOST,
                   "opencl: '%s' was lost by an earlier failure; start the program again",
                   d->base.props.name);
}
