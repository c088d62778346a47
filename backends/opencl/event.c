/* event.c - events as markers: recorded on one queue, waited for on another or on the host. */
#include <stdlib.h>

#include "backends/opencl/cl.h"

typedef struct cl_object_event {
    ql_event base;
    cl_event marker; /* of the latest recording; NULL = never recorded */
} cl_object_event;

static ql_cl_device *device_of(const ql_event *e) {
    return (ql_cl_device *)e->dev;
}

ql_status ql_cl_event_create(ql_device *dev, ql_event **out) {
    cl_object_event *e = calloc(1, sizeof *e);
    if (!e) return QL_FAIL(QL_ERR_NOMEM_HOST, "opencl: no host memory for an event");
    e->base.dev = dev;
    *out = &e->base;
    return QL_OK;
}

void ql_cl_event_destroy(ql_event *base) {
    cl_object_event *e = (cl_object_event *)base;
    if (!e) return;
    if (e->marker) clReleaseEvent(e->marker);
    free(e);
}

/* The queue is flushed: a wait on another queue would otherwise never end. */
ql_status ql_cl_event_record(ql_event *base, ql_queue *q) {
    cl_object_event *e = (cl_object_event *)base;
    ql_cl_device *d = device_of(base);
    cl_event marker;
    QL_TRY(ql_cl_alive(d));
    cl_command_queue cl = ((ql_cl_queue *)q)->cl;
    QL_CL_TRY(d, "recording an event", clEnqueueMarkerWithWaitList(cl, 0, NULL, &marker));
    if (e->marker) clReleaseEvent(e->marker);
    e->marker = marker;
    QL_CL_TRY(d, "starting a queue", clFlush(cl));
    return QL_OK;
}

ql_status ql_cl_event_wait(ql_queue *q, ql_event *base) {
    cl_object_event *e = (cl_object_event *)base;
    if (!e->marker) return QL_OK;
    QL_TRY(ql_cl_alive(device_of(base)));
    QL_CL_TRY(device_of(base), "waiting for an event",
              clEnqueueBarrierWithWaitList(((ql_cl_queue *)q)->cl, 1, &e->marker, NULL));
    return QL_OK;
}

ql_status ql_cl_event_sync(ql_event *base) {
    cl_object_event *e = (cl_object_event *)base;
    if (!e->marker) return QL_OK;
    QL_CL_TRY(device_of(base), "waiting for an event", clWaitForEvents(1, &e->marker));
    return QL_OK;
}

static ql_status time_of(ql_event *base, cl_ulong *ns) {
    cl_object_event *e = (cl_object_event *)base;
    if (!e->marker)
        return QL_FAIL(QL_ERR_INVALID,
                       "opencl: elapsed time between events that were not recorded");
    QL_TRY(ql_cl_event_sync(base));
    QL_CL_TRY(device_of(base), "reading a time",
              clGetEventProfilingInfo(e->marker, CL_PROFILING_COMMAND_END, sizeof *ns, ns, NULL));
    return QL_OK;
}

ql_status ql_cl_event_elapsed(ql_event *from, ql_event *to, double *seconds) {
    cl_ulong a, b;
    QL_TRY(time_of(from, &a));
    QL_TRY(time_of(to, &b));
    *seconds = 1e-9 * ((double)b - (double)a);
    return QL_OK;
}
