/*
 * device.c - devices: what probing found, opened and closed.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backends/opencl/cl.h"
#include "backends/opencl/selftest.h"

/* No device is not an error here; the sentence is there for who asks (ql_last_error). */
ql_status ql_cl_device_probe(int *count) {
    *count = ql_cl_probe(NULL);
    if (*count == 0) (void)QL_FAIL(QL_ERR_NOT_FOUND, "%s", ql_cl_probe_failure());
    return QL_OK;
}

static ql_status info_of(int index, const ql_cl_info **out) {
    const ql_cl_info *list;
    int n = ql_cl_probe(&list);
    if (n == 0) return QL_FAIL(QL_ERR_NOT_FOUND, "opencl: %s", ql_cl_probe_failure());
    if (index < 0 || index >= n)
        return QL_FAIL(QL_ERR_NOT_FOUND, "opencl: there are %d devices, asked for number %d", n,
                       index);
    *out = &list[index];
    return QL_OK;
}

ql_status ql_cl_device_describe(int index, ql_device_props *out) {
    const ql_cl_info *info = NULL;
    QL_TRY(info_of(index, &info));
    *out = info->props;
    return QL_OK;
}

/* 256 work-items where the device has them, else 64, each with more sums of its own. */
static ql_cl_tile tile_for(const ql_cl_info *info) {
    const ql_cl_tile wide = {64, 64, 16, 4, 4}, narrow = {32, 32, 16, 4, 4};
    return info->max_group >= 256 ? wide : narrow;
}

static ql_status limit_pieces(ql_cl_device *d) {
    const char *text = ql_cl_setting("QLORA_OPENCL_MAX_ALLOC");
    if (!text) return QL_OK;
    char *end;
    unsigned long long bytes = strtoull(text, &end, 10);
    if (*end || bytes < QL_CL_ALIGN)
        return QL_FAIL(QL_ERR_INVALID,
                       "QLORA_OPENCL_MAX_ALLOC is '%.32s', expected bytes from %d on", text,
                       (int)QL_CL_ALIGN);
    if (bytes < d->info.chunk) d->info.chunk = bytes / QL_CL_ALIGN * QL_CL_ALIGN;
    return QL_OK;
}

static ql_status start(ql_cl_device *d) {
    cl_platform_id platform;
    cl_int e;
    QL_TRY(ql_cl_find(&d->info, &platform, &d->id));
    const cl_context_properties props[] = {CL_CONTEXT_PLATFORM, (cl_context_properties)platform, 0};
    d->context = clCreateContext(props, 1, &d->id, NULL, NULL, &e);
    if (e != CL_SUCCESS) return ql_cl_fail(d, e, "creating a context");
    d->none = clCreateBuffer(d->context, CL_MEM_READ_WRITE, QL_CL_ALIGN, NULL, &e);
    if (e != CL_SUCCESS) return ql_cl_fail(d, e, "allocating");
    return ql_cl_selftest(d);
}

ql_status ql_cl_device_open(int index, const ql_device_opts *opts, ql_device **out) {
    const ql_cl_info *info = NULL;
    QL_TRY(info_of(index, &info));
    ql_cl_device *d = calloc(1, sizeof *d);
    if (!d) return QL_FAIL(QL_ERR_NOMEM_HOST, "opencl: no host memory for a device object");
    pthread_mutex_init(&d->lock, NULL);
    d->info = *info;
    d->base.backend = ql_cl_backend();
    d->base.props = info->props;
    d->tile = tile_for(info);
    d->limit = opts ? opts->mem_limit : 0;
    ql_status s = limit_pieces(d);
    if (s == QL_OK) s = start(d);
    if (s != QL_OK) {
        ql_cl_device_close(&d->base);
        return s;
    }
    *out = &d->base;
    return QL_OK;
}

void ql_cl_device_close(ql_device *dev) {
    ql_cl_device *d = (ql_cl_device *)dev;
    if (!d) return;
    ql_cl_programs_free(d);
    if (d->none) clReleaseMemObject(d->none);
    if (d->context) clReleaseContext(d->context);
    pthread_mutex_destroy(&d->lock);
    free(d);
}

/* OpenCL does not tell what other programs use: free is what this one has not taken. */
ql_status ql_cl_device_memory(ql_device *dev, uint64_t *free_now, uint64_t *total) {
    ql_cl_device *d = (ql_cl_device *)dev;
    pthread_mutex_lock(&d->lock);
    uint64_t all = d->limit && d->limit < dev->props.mem_total ? d->limit : dev->props.mem_total;
    *free_now = all > d->used ? all - d->used : 0;
    *total = all;
    pthread_mutex_unlock(&d->lock);
    return QL_OK;
}
