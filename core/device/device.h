/*
 * device.h - everything core does with devices in general: finding one by name, checked operator
 * calls, and the counting device that the engine always works on.
 *
 * No policy and no kernels live here. Backends are reached through ql_backend tables only.
 */
#ifndef QLORA_CORE_DEVICE_DEVICE_H
#define QLORA_CORE_DEVICE_DEVICE_H

#include "qlora/backend.h"

/* ------------------------------------------------------------------ registry */

/* Opens the device that `spec` names: "auto" (or NULL): device 0 of the first backend that has
 * one, in the registry's order; "cpu": its device 0; "cpu:1": its device 1. An unknown name, or a
 * backend without that device: QL_ERR_NOT_FOUND, and the sentence lists what there is. A spec with
 * a slash ("./mine.so", "./mine.so:1") is a backend module (QL_BACKEND_ENTRY). `opts` NULL =
 * defaults. Close with (*out)->backend->device_close(*out). */
QL_NODISCARD ql_status ql_device_open_named(const char *spec, const ql_device_opts *opts,
                                            ql_device **out);

/* ------------------------------------------------------------- checked calls */

/* Checks one call without running it: operands present, shapes, dtypes, strides, alignment, place
 * inside the buffers, overlap; O(number of operands). `dev` NULL = operands may still be unbound
 * (buf NULL with rows > 0, as while planning): then only shapes and dtypes are checked. */
QL_NODISCARD ql_status ql_check_op(ql_device *dev, ql_op op, const ql_op_args *a);

/* ql_check_op, then the device's operator. ql_run_<op> of backend.h is the same, typed.
 * QL_ERR_UNSUPPORTED with the backend's reason where the table has no such operator. */
QL_NODISCARD ql_status ql_run_op(ql_queue *q, ql_op op, const ql_op_args *a);

/* Bytes of one element; 0 for an invalid dtype. */
uint64_t ql_dtype_size(ql_dtype t);
/* "f32", "f16", "bf16", "i32", "u8"; "?" for an invalid dtype. */
const char *ql_dtype_name(ql_dtype t);

/* ----------------------------------------------------------- counting device */

/* What went through a counting device since it was opened. "Device bytes" are buffers of
 * QL_MEM_DEVICE, QL_MEM_MANAGED and QL_MEM_WRAPPED; QL_MEM_HOST is the staging side. */
typedef struct ql_counts {
    uint64_t device_bytes, device_peak; /* now, and the high-water mark                      */
    uint64_t bytes[4], peak[4];         /* the same per ql_mem                               */
    uint64_t allocs, wraps, frees;      /* buffers made and released; live = allocs+wraps-frees */
    uint64_t writes, reads, copies;     /* transfers ...                                     */
    uint64_t write_bytes, read_bytes, copy_bytes; /* ... and their bytes                     */
    uint64_t calls[QL_OP_COUNT]; /* operator calls                                    */
} ql_counts;

/* What ql_counting_fail makes fail. */
typedef enum ql_fault {
    QL_FAULT_ALLOC, /* buffer_alloc, buffer_wrap, queue_create, event_create: QL_ERR_NOMEM_DEV */
    QL_FAULT_COPY,  /* write, read, copy: QL_ERR_DRIVER                                        */
    QL_FAULT_OP,    /* any operator: QL_ERR_DRIVER                                             */
    QL_FAULT_SYNC,  /* queue_sync, event_sync: QL_ERR_DRIVER                                   */
    QL_FAULT_COUNT
} ql_fault;

/* A device that forwards everything to `inner` and counts. *out owns inner: closing *out closes
 * both. On failure inner stays the caller's. Its name, props and supported operators are inner's.
 * Buffers are inner's own objects whose `dev` names the counting device (see counting.c). */
QL_NODISCARD ql_status ql_counting_open(ql_device *inner, ql_device **out);
bool ql_counting_is(const ql_device *dev);
/* `dev` must be a counting device. Exact while no other thread is in a call. */
void ql_counting_read(const ql_device *dev, ql_counts *out);
/* The n-th call of that kind from now fails, once; 0 = none. For tests. */
void ql_counting_fail(ql_device *dev, ql_fault what, uint64_t n);

#endif
