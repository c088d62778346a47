/*
 * probe.c - what devices there are, asked in a child process.
 *
 * Drivers crash and hang, some while they are only enumerated. A child asks them and writes what it
 * found into a pipe; whatever happens to it, this process goes on and can say what happened. The
 * answer is kept: a process asks once, before any driver runs in it.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "backends/opencl/cl.h"

enum { MAX_DEVICES = 32, MAX_PLATFORMS = 16, PATIENCE_MS = 30000 };

static pthread_once_t once = PTHREAD_ONCE_INIT;
static struct {
    ql_cl_info list[MAX_DEVICES];
    int count;
    char failure[256];
} found;

/* ---------------------------------------------------------------- one device */

static void device_text(cl_device_id id, cl_device_info what, char *out, size_t size) {
    char text[512] = "";
    if (clGetDeviceInfo(id, what, sizeof text - 1, text, NULL) != CL_SUCCESS) text[0] = '\0';
    const char *from = text + strspn(text, " ");
    snprintf(out, size, "%s", from);
    for (size_t n = strlen(out); n > 0 && out[n - 1] == ' '; n--) out[n - 1] = '\0';
}

static uint64_t device_number(cl_device_id id, cl_device_info what) {
    cl_ulong v = 0; /* smaller answers fill its low bytes: hosts here are little-endian */
    return clGetDeviceInfo(id, what, sizeof v, &v, NULL) == CL_SUCCESS ? v : 0;
}

/* "OpenCL 3.0: groups of 4096, fp64, subgroups" */
static void write_features(cl_device_id id, const ql_cl_info *info, char out[64]) {
    static const struct {
        const char *extension, *name;
    } features[] = {{"cl_khr_fp16", "fp16"},
                    {"cl_khr_fp64", "fp64"},
                    {"cl_khr_subgroups", "subgroups"},
                    {"cl_khr_integer_dot_product", "int-dot"}};
    char all[8192] = "";
    if (clGetDeviceInfo(id, CL_DEVICE_EXTENSIONS, sizeof all - 1, all, NULL) != CL_SUCCESS)
        all[0] = '\0';
    size_t n = (size_t)snprintf(out, 64, "%.10s: groups of %u", info->version, info->max_group);
    for (size_t i = 0; i < sizeof features / sizeof *features && n < 63; i++)
        if (strstr(all, features[i].extension))
            n += (size_t)snprintf(out + n, 64 - n, ", %s", features[i].name);
}

static ql_device_kind kind_of(cl_device_id id, bool unified) {
    uint64_t type = device_number(id, CL_DEVICE_TYPE);
    if (type & CL_DEVICE_TYPE_CPU) return QL_DEV_CPU;
    if (type & CL_DEVICE_TYPE_ACCELERATOR) return QL_DEV_EMULATED;
    return unified ? QL_DEV_IGPU : QL_DEV_GPU;
}

static void describe(cl_platform_id platform, cl_device_id id, ql_cl_info *out) {
    ql_device_props *p = &out->props;
    char version[64];
    clGetPlatformInfo(platform, CL_PLATFORM_NAME, sizeof out->platform - 1, out->platform, NULL);
    clGetPlatformInfo(platform, CL_PLATFORM_VERSION, sizeof out->platform_version - 1,
                      out->platform_version, NULL);
    device_text(id, CL_DEVICE_NAME, p->name, sizeof p->name);
    device_text(id, CL_DRIVER_VERSION, version, sizeof version);
    device_text(id, CL_DEVICE_VERSION, out->version, sizeof out->version);
    snprintf(p->driver, sizeof p->driver, "%.40s %.20s", out->platform, version);
    out->unified = device_number(id, CL_DEVICE_HOST_UNIFIED_MEMORY) & 1;
    out->available = device_number(id, CL_DEVICE_AVAILABLE) &
                     device_number(id, CL_DEVICE_COMPILER_AVAILABLE) & 1;
    uint64_t fp = device_number(id, CL_DEVICE_SINGLE_FP_CONFIG);
    out->exact_divide = fp & CL_FP_CORRECTLY_ROUNDED_DIVIDE_SQRT;
    out->fma = fp & CL_FP_FMA;
    out->max_group = (uint32_t)device_number(id, CL_DEVICE_MAX_WORK_GROUP_SIZE);
    out->chunk = device_number(id, CL_DEVICE_MAX_MEM_ALLOC_SIZE) / QL_CL_ALIGN * QL_CL_ALIGN;
    p->kind = kind_of(id, out->unified);
    p->caps = QL_CAP_ASYNC | QL_CAP_COPY_OVERLAP | QL_CAP_TIMESTAMPS |
              (out->unified ? QL_CAP_UNIFIED : 0u);
    p->mem_total = device_number(id, CL_DEVICE_GLOBAL_MEM_SIZE);
    p->max_alloc = p->mem_total;
    p->align = QL_CL_ALIGN;
    p->simd_width = (uint32_t)device_number(id, CL_DEVICE_PREFERRED_VECTOR_WIDTH_FLOAT);
    p->local_mem = (uint32_t)device_number(id, CL_DEVICE_LOCAL_MEM_SIZE);
    p->compute_units = (uint32_t)device_number(id, CL_DEVICE_MAX_COMPUTE_UNITS);
    write_features(id, out, p->isa);
    if (strstr(p->isa, ", fp16")) p->caps |= QL_CAP_F16;
}

/* ----------------------------------------------------------------- enumeration */

/* Discrete GPUs first, then integrated ones, then CPUs, then the rest; stable within a kind. */
static int rank_of(const ql_cl_info *i) {
    static const int rank[] = {
        [QL_DEV_GPU] = 0, [QL_DEV_IGPU] = 1, [QL_DEV_CPU] = 2, [QL_DEV_EMULATED] = 3};
    return rank[i->props.kind];
}

static int by_rank(const void *a, const void *b) {
    const ql_cl_info *x = a, *y = b;
    if (rank_of(x) != rank_of(y)) return rank_of(x) - rank_of(y);
    if (x->platform_at != y->platform_at) return x->platform_at < y->platform_at ? -1 : 1;
    return x->device_at < y->device_at ? -1 : 1;
}

static int enumerate(ql_cl_info *list) {
    cl_platform_id platforms[MAX_PLATFORMS];
    cl_device_id ids[MAX_DEVICES];
    cl_uint n_platforms = 0, n_ids = 0;
    int n = 0;
    if (clGetPlatformIDs(MAX_PLATFORMS, platforms, &n_platforms) != CL_SUCCESS) return 0;
    if (n_platforms > MAX_PLATFORMS) n_platforms = MAX_PLATFORMS;
    for (cl_uint i = 0; i < n_platforms; i++) {
        if (clGetDeviceIDs(platforms[i], CL_DEVICE_TYPE_ALL, MAX_DEVICES, ids, &n_ids) !=
            CL_SUCCESS)
            continue;
        if (n_ids > MAX_DEVICES) n_ids = MAX_DEVICES;
        for (cl_uint k = 0; k < n_ids && n < MAX_DEVICES; k++) {
            ql_cl_info *info = &list[n];
            memset(info, 0, sizeof *info);
            describe(platforms[i], ids[k], info);
            info->platform_at = i;
            info->device_at = k;
            if (info->available && info->chunk && info->max_group >= QL_CL_WG) n++;
        }
    }
    qsort(list, (size_t)n, sizeof *list, by_rank);
    return n;
}

ql_status ql_cl_find(const ql_cl_info *info, cl_platform_id *platform, cl_device_id *id) {
    cl_platform_id platforms[MAX_PLATFORMS];
    cl_device_id ids[MAX_DEVICES];
    cl_uint n = 0;
    cl_int e = clGetPlatformIDs(MAX_PLATFORMS, platforms, &n);
    if (e != CL_SUCCESS || info->platform_at >= n) return ql_cl_fail(NULL, e, "listing platforms");
    e = clGetDeviceIDs(platforms[info->platform_at], CL_DEVICE_TYPE_ALL, MAX_DEVICES, ids, &n);
    if (e != CL_SUCCESS || info->device_at >= n) return ql_cl_fail(NULL, e, "listing devices");
    *platform = platforms[info->platform_at];
    *id = ids[info->device_at];
    return QL_OK;
}

/* -------------------------------------------------------------------- the child */

static void write_all(int fd, const void *data, size_t size) {
    for (const char *p = data; size > 0;) {
        ssize_t n = write(fd, p, size);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return;
        p += n;
        size -= (size_t)n;
    }
}

static void child(int fd) {
    static ql_cl_info list[MAX_DEVICES];
    int n = enumerate(list);
    write_all(fd, &n, sizeof n);
    write_all(fd, list, (size_t)n * sizeof *list);
    _exit(0); /* no exit handlers: they are the parent's, and drivers crash in theirs */
}

static int64_t now_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* Reads until the end or until patience is over; answers the bytes read. */
static size_t read_all(int fd, void *data, size_t size) {
    int64_t deadline = now_ms() + PATIENCE_MS;
    size_t have = 0;
    while (have < size) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        int64_t left = deadline - now_ms();
        int ready = left > 0 ? poll(&p, 1, (int)left) : 0;
        if (ready < 0 && errno == EINTR) continue;
        if (ready <= 0) break;
        ssize_t n = read(fd, (char *)data + have, size - have);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) break;
        have += (size_t)n;
    }
    return have;
}

/* What is wrong with the child's answer; "" when it is whole. */
static void judge(size_t have, int status) {
    size_t want = sizeof found.count;
    if (have >= want && found.count >= 0 && found.count <= MAX_DEVICES)
        want += (size_t)found.count * sizeof *found.list;
    if (have == want && found.count > 0) return;
    if (have == want)
        snprintf(found.failure, sizeof found.failure,
                 "no OpenCL device: no driver is registered in /etc/OpenCL/vendors, or none has a "
                 "device; docs/opencl.md says which packages bring one");
    else if (WIFSIGNALED(status) && WTERMSIG(status) != SIGKILL)
        snprintf(found.failure, sizeof found.failure,
                 "an OpenCL driver crashed while it was asked for its devices (signal %d, %s); "
                 "remove its file from /etc/OpenCL/vendors",
                 WTERMSIG(status), strsignal(WTERMSIG(status)));
    else
        snprintf(found.failure, sizeof found.failure,
                 "the OpenCL drivers did not answer within %d s; `clinfo` shows which one hangs",
                 PATIENCE_MS / 1000);
    found.count = 0;
}

static void probe_once(void) {
    struct {
        int count;
        ql_cl_info list[MAX_DEVICES];
    } *answer = calloc(1, sizeof *answer);
    int fd[2], status = 0;
    if (!answer || pipe(fd) != 0) {
        free(answer);
        snprintf(found.failure, sizeof found.failure, "no pipe for probing OpenCL drivers: %s",
                 strerror(errno));
        return;
    }
    pid_t pid = fork();
    if (pid == 0) {
        close(fd[0]);
        child(fd[1]);
    }
    close(fd[1]);
    size_t have = 0;
    if (pid > 0) {
        have = read_all(fd[0], &answer->count, sizeof answer->count);
        if (have == sizeof answer->count && answer->count > 0 && answer->count <= MAX_DEVICES)
            have += read_all(fd[0], answer->list, (size_t)answer->count * sizeof *answer->list);
        kill(pid, SIGKILL); /* it is done, or hangs */
        while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {}
    }
    close(fd[0]);
    found.count = answer->count;
    memcpy(found.list, answer->list, sizeof found.list);
    free(answer);
    judge(have, status);
}

int ql_cl_probe(const ql_cl_info **out) {
    pthread_once(&once, probe_once);
    if (out) *out = found.list;
    return found.count;
}

const char *ql_cl_probe_failure(void) {
    return found.failure;
}
