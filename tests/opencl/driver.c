/*
 * driver.c - see driver.h. The test program exports these functions, so the backend's module binds
 * to them before the loader's; each forwards to the loader unless it is to fail.
 */
#define _GNU_SOURCE
#define CL_TARGET_OPENCL_VERSION 120
#include <CL/cl.h>
#include <dlfcn.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "qlora/export.h"
#include "tests/opencl/driver.h"

static struct { int left[DRIVER_CALL_COUNT], error[DRIVER_CALL_COUNT], crash, corrupt; } plan;

void driver_fail(driver_call what, int n, int error) {
    plan.left[what] = n;
    plan.error[what] = error;
}

void driver_corrupt_read(void) {
    plan.corrupt = 1;
}

void driver_crash(int signal) {
    plan.crash = signal;
}

/* The loader's function into *fn (ISO C has no cast from object to function pointers). */
static void real(const char *name, void *fn) {
    static void *loader;
    if (!loader) loader = dlopen("libOpenCL.so.1", RTLD_NOW | RTLD_LOCAL);
    void *symbol = loader ? dlsym(loader, name) : NULL;
    if (!symbol) abort();
    memcpy(fn, &symbol, sizeof symbol);
}

static cl_int fails(driver_call what) {
    return plan.left[what] > 0 && --plan.left[what] == 0 ? plan.error[what] : CL_SUCCESS;
}

QL_API cl_int clGetPlatformIDs(cl_uint n, cl_platform_id *ids, cl_uint *count) {
    cl_int (*fn)(cl_uint, cl_platform_id *, cl_uint *);
    if (plan.crash) {
        signal(plan.crash, SIG_DFL);
        raise(plan.crash);
    }
    real("clGetPlatformIDs", &fn);
    return fn(n, ids, count);
}

QL_API cl_mem clCreateBuffer(cl_context context, cl_mem_flags flags, size_t size, void *host,
                             cl_int *error) {
    cl_mem (*fn)(cl_context, cl_mem_flags, size_t, void *, cl_int *);
    cl_int e = fails(DRIVER_CREATE_BUFFER);
    if (e != CL_SUCCESS) {
        *error = e;
        return NULL;
    }
    real("clCreateBuffer", &fn);
    return fn(context, flags, size, host, error);
}

QL_API cl_int clEnqueueNDRangeKernel(cl_command_queue q, cl_kernel k, cl_uint dims,
                                     const size_t *offset, const size_t *global,
                                     const size_t *local, cl_uint n, const cl_event *wait,
                                     cl_event *event) {
    cl_int (*fn)(cl_command_queue, cl_kernel, cl_uint, const size_t *, const size_t *,
                 const size_t *, cl_uint, const cl_event *, cl_event *);
    cl_int e = fails(DRIVER_ENQUEUE);
    if (e != CL_SUCCESS) return e;
    real("clEnqueueNDRangeKernel", &fn);
    return fn(q, k, dims, offset, global, local, n, wait, event);
}

QL_API cl_int clBuildProgram(cl_program p, cl_uint n, const cl_device_id *devices,
                             const char *options, void(CL_CALLBACK *notify)(cl_program, void *),
                             void *user) {
    cl_int (*fn)(cl_program, cl_uint, const cl_device_id *, const char *,
                 void(CL_CALLBACK *)(cl_program, void *), void *);
    cl_int e = fails(DRIVER_BUILD);
    if (e != CL_SUCCESS) return e;
    real("clBuildProgram", &fn);
    return fn(p, n, devices, options, notify, user);
}

QL_API cl_int clFinish(cl_command_queue q) {
    cl_int (*fn)(cl_command_queue);
    cl_int e = fails(DRIVER_FINISH);
    if (e != CL_SUCCESS) return e;
    real("clFinish", &fn);
    return fn(q);
}

QL_API cl_int clEnqueueWriteBuffer(cl_command_queue q, cl_mem m, cl_bool blocking, size_t off,
                                   size_t size, const void *p, cl_uint n, const cl_event *wait,
                                   cl_event *event) {
    cl_int (*fn)(cl_command_queue, cl_mem, cl_bool, size_t, size_t, const void *, cl_uint,
                 const cl_event *, cl_event *);
    cl_int e = fails(DRIVER_WRITE);
    if (e != CL_SUCCESS) return e;
    real("clEnqueueWriteBuffer", &fn);
    return fn(q, m, blocking, off, size, p, n, wait, event);
}

QL_API cl_int clEnqueueReadBuffer(cl_command_queue q, cl_mem m, cl_bool blocking, size_t off,
                                  size_t size, void *p, cl_uint n, const cl_event *wait,
                                  cl_event *event) {
    cl_int (*fn)(cl_command_queue, cl_mem, cl_bool, size_t, size_t, void *, cl_uint,
                 const cl_event *, cl_event *);
    cl_int e = fails(DRIVER_READ);
    if (e != CL_SUCCESS) return e;
    real("clEnqueueReadBuffer", &fn);
    e = fn(q, m, blocking, off, size, p, n, wait, event);
    if (plan.corrupt && size >= 16384) {
        plan.corrupt = 0;
        ((unsigned char *)p)[size / 4 * 3] ^= 0x10;
    }
    return e;
}
