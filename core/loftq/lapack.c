/* lapack.c - see lapack.h. */
#include "core/loftq/lapack.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static ql_lapack functions;
static char problem[256]; /* "" = loaded */
static pthread_once_t once = PTHREAD_ONCE_INIT;

/* POSIX: a symbol's address is the function's. */
static bool find(void *library, const char *name, void *function) {
    void *symbol = dlsym(library, name);
    memcpy(function, &symbol, sizeof symbol);
    return symbol != NULL;
}

/* These setters belong to single libraries and to no standard. */
static void keep_to_one_thread(void *library) {
    static const char *const setters[] = {"openblas_set_num_threads", "bli_thread_set_num_threads",
                                          "MKL_Set_Num_Threads"};
    for (size_t i = 0; i < sizeof setters / sizeof *setters; i++) {
        void (*set)(int) = NULL;
        if (find(library, setters[i], &set)) set(1);
    }
}

static void load(void) {
    void *library = dlopen("liblapacke.so.3", RTLD_NOW | RTLD_LOCAL);
    if (!library) {
        snprintf(problem, sizeof problem, "%s", dlerror());
        return;
    }
#define QL_X(name)                                                                                 \
    if (!find(library, #name, &functions.name))                                                    \
        snprintf(problem, sizeof problem, "liblapacke.so.3 comes without %s", #name);
    QL_LAPACK_FUNCTIONS(QL_X)
#undef QL_X
    keep_to_one_thread(library);
}

ql_status ql_lapack_load(void) {
    pthread_once(&once, load);
    if (!problem[0]) return QL_OK;
    return QL_FAIL(QL_ERR_NOT_FOUND,
                   "singular values need LAPACK, which cannot be loaded: %s; install liblapacke "
                   "(Debian, Ubuntu: apt-get install liblapacke)",
                   problem);
}

const ql_lapack *ql_lapack_get(void) {
    return &functions;
}
