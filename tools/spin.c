/* spin.c - restarts the program with a short OpenMP spin (see spin.h). */
#define _POSIX_C_SOURCE 200809L
#include "tools/spin.h"

#include <stdlib.h>
#include <unistd.h>

void ql_spin_briefly(char **argv) {
    if (getenv("GOMP_SPINCOUNT") || getenv("OMP_WAIT_POLICY") || getenv("KMP_BLOCKTIME")) return;
    if (setenv("GOMP_SPINCOUNT", "5000", 1) || setenv("KMP_BLOCKTIME", "0", 1)) return;
    execv("/proc/self/exe", argv); /* returns only where that cannot be done: go on as it is */
}
