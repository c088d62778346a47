/* driver.h - a driver that fails on demand: entry points of OpenCL that this program defines in
 * front of the ICD loader's own. */
#ifndef QLORA_TESTS_OPENCL_DRIVER_H
#define QLORA_TESTS_OPENCL_DRIVER_H

typedef enum driver_call {
    DRIVER_CREATE_BUFFER,
    DRIVER_ENQUEUE,
    DRIVER_BUILD,
    DRIVER_FINISH,
    DRIVER_WRITE,
    DRIVER_READ,
    DRIVER_CALL_COUNT
} driver_call;

/* The n-th call of that kind from now fails with the OpenCL error `error`, once; n 0 = none. */
void driver_fail(driver_call what, int n, int error);
/* The next read of 16 KiB and more has one bit wrong, at three quarters. */
void driver_corrupt_read(void);
/* The next enumeration of platforms kills its process with this signal; 0 = none. */
void driver_crash(int signal);

#endif
