/*
 * cmd_info.c - `qlora info`: what this build is, which devices there are, what was passed over and
 * why.
 */
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "qlora/version.h"
#include "tools/cli.h"

#define GIB       1073741824.0
#define ONE_PIECE ((json_int_t)1 << 45) /* limits above do not matter */

/* Instruction sets of the CPU device that a user may ask for (QLORA_ISA). */
static const char *const isa_names[] = {"portable", "avx2", "avx512", "avx512bf16", "amx", "neon"};
enum { N_ISAS = sizeof isa_names / sizeof *isa_names };

static const char *kind_name(ql_device_kind kind) {
    switch (kind) {
    case QL_DEV_CPU: return "cpu";
    case QL_DEV_GPU: return "gpu";
    case QL_DEV_IGPU: return "igpu";
    case QL_DEV_EMULATED: return "emulated";
    }
    return "unknown";
}

/* Backends of the design that have no device here: which module, driver or version is missing. */
static json_t *absent_backends(void) {
    static const char *const names[] = {"cuda", "opencl"};
    json_t *list = json_array();
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const char *why = ql_backend_absence(names[i]);
        if (*why)
            json_array_append_new(list, json_pack("{s:s, s:s}", "name", names[i], "why", why));
    }
    return list;
}

/* Tries every instruction set on the device: which kernels it can run, and why not the others. */
static json_t *isa_levels(const ql_backend *b, int index) {
    json_t *list = json_array();
    for (int i = 0; i < N_ISAS; i++) {
        const ql_device_opts opts = {.threads = 1, .isa = isa_names[i]};
        ql_device *dev = NULL;
        if (b->device_open(index, &opts, &dev) == QL_OK) {
            b->device_close(dev);
            json_array_append_new(list,
                                  json_pack("{s:s, s:b}", "name", isa_names[i], "available", 1));
        } else {
            json_array_append_new(list, json_pack("{s:s, s:b, s:s}", "name", isa_names[i],
                                                  "available", 0, "why", ql_last_error()));
        }
    }
    return list;
}

static json_t *caps_list(uint32_t caps) {
    static const struct {
        uint32_t cap;
        const char *name;
    } names[] = {{QL_CAP_ASYNC, "async"},
                 {QL_CAP_COPY_OVERLAP, "copy_overlap"},
                 {QL_CAP_F16, "f16"},
                 {QL_CAP_BF16, "bf16"},
                 {QL_CAP_MATRIX_UNITS, "matrix_units"},
                 {QL_CAP_UNIFIED, "unified_memory"},
                 {QL_CAP_WRAP_HOST, "wrap_host"},
                 {QL_CAP_MANAGED, "managed"},
                 {QL_CAP_TIMESTAMPS, "timestamps"}};
    json_t *list = json_array();
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (caps & names[i].cap) json_array_append_new(list, json_string(names[i].name));
    }
    return list;
}

static json_t *describe(const ql_backend *b, const ql_device_props *p, int index) {
    bool cpu = b == ql_cpu_backend();
    char id[48];
    snprintf(id, sizeof id, cpu ? "%s" : "%s:%d", b->name, index);
    json_t *d = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s#, s:s}", "id", id, "backend", b->name,
                          "kind", kind_name(p->kind), "name", p->name, "driver", p->driver, "isa",
                          p->isa, (int)strcspn(p->isa, ": "), "kernels", p->isa);
    if (!d) return NULL;
    json_object_set_new(d, "compute_units", json_integer(p->compute_units));
    json_object_set_new(d, "simd_width", json_integer(p->simd_width));
    json_object_set_new(d, "memory_bytes", json_integer((json_int_t)p->mem_total));
    json_object_set_new(d, "memory_free_bytes", json_integer((json_int_t)p->mem_free));
    json_object_set_new(d, "max_alloc_bytes", json_integer((json_int_t)p->max_alloc));
    json_object_set_new(d, "local_memory_bytes", json_integer(p->local_mem));
    json_object_set_new(d, "caps", caps_list(p->caps));
    if (cpu) json_object_set_new(d, "isa_levels", isa_levels(b, index));
    return d;
}

/* A device that its backend describes is not opened: that would start its driver. */
static ql_status add_device(const ql_backend *b, int index, const ql_device_opts *opts,
                            json_t *list) {
    ql_device_props props;
    if (b->describe) {
        QL_TRY(b->describe(index, &props));
    } else {
        ql_device *dev;
        QL_TRY(b->device_open(index, opts, &dev));
        props = dev->props;
        b->device_close(dev);
    }
    json_array_append_new(list, describe(b, &props, index));
    return QL_OK;
}

/* Every device of every backend, or the first failure. */
static ql_status all_devices(const ql_cli *cli, json_t *list) {
    const ql_device_opts opts = {.threads = (int)cli->threads};
    for (int i = 0; i < ql_backend_count(); i++) {
        const ql_backend *b = ql_backend_at(i);
        int n = 0;
        QL_TRY(b->probe(&n));
        for (int k = 0; k < n; k++) QL_TRY(add_device(b, k, &opts, list));
    }
    return QL_OK;
}

static ql_status one_device(const ql_cli *cli, json_t *list) {
    ql_device *dev;
    QL_TRY(ql_cli_open_device(cli, 0, &dev));
    const char *colon = strchr(cli->device, ':');
    int index = 0;
    for (const char *p = colon ? colon + 1 : ""; *p; p++) index = index * 10 + (*p - '0');
    json_array_append_new(list, describe(dev->backend, &dev->props, index));
    dev->backend->device_close(dev);
    return QL_OK;
}

static const char *text_of(const json_t *o, const char *key) {
    return json_string_value(json_object_get(o, key));
}

static double gib_of(const json_t *o, const char *key) {
    return (double)json_integer_value(json_object_get(o, key)) / GIB;
}

static void print_device(ql_out *out, const json_t *d) {
    size_t i;
    json_t *level;
    ql_print(out, "\n%s: %s\n", text_of(d, "id"), text_of(d, "name"));
    ql_print(out, "  kind        %s, %lld compute units\n", text_of(d, "kind"),
             (long long)json_integer_value(json_object_get(d, "compute_units")));
    ql_print(out, "  driver      %s\n", text_of(d, "driver"));
    ql_print(out, "  memory      %.2f GiB", gib_of(d, "memory_bytes"));
    if (gib_of(d, "memory_free_bytes") > 0)
        ql_print(out, ", %.2f GiB free", gib_of(d, "memory_free_bytes"));
    if (json_integer_value(json_object_get(d, "max_alloc_bytes")) < ONE_PIECE)
        ql_print(out, ", %.2f GiB at once", gib_of(d, "max_alloc_bytes"));
    ql_print(out, ", %lld KiB local\n",
             (long long)json_integer_value(json_object_get(d, "local_memory_bytes")) / 1024);
    ql_print(out, "  in use      %s\n", text_of(d, "kernels"));
    json_array_foreach(json_object_get(d, "isa_levels"), i, level) {
        bool there = json_is_true(json_object_get(level, "available"));
        ql_print(out, "  %-12s%s\n", text_of(level, "name"),
                 there ? "available" : text_of(level, "why"));
    }
}

static void print_info(ql_out *out, const json_t *doc) {
    size_t i;
    json_t *item;
    ql_print(out, "qlora %s (%s), %s, %s, OpenMP %s%s%s\n", QL_VERSION, QL_GIT_ID, QL_BUILD_TYPE,
             QL_COMPILER, QL_OPENMP, *QL_SANITIZE ? ", sanitizers " : "", QL_SANITIZE);
    json_array_foreach(json_object_get(doc, "devices"), i, item) {
        print_device(out, item);
    }
    ql_print(out, "\n");
    json_array_foreach(json_object_get(doc, "absent"), i, item) {
        ql_print(out, "%s: %s\n", text_of(item, "name"), text_of(item, "why"));
    }
}

/* The support matrix: what the tests of this version ran against recordings (families.inc). */
static const struct {
    const char *family, *task, *device, *bits, *models;
} tested[] = {
#define QL_FAMILY(family, task, device, bits, models) {family, task, device, bits, models},
#include "tools/families.inc"
#undef QL_FAMILY
};

static ql_exit run_families(ql_cli *cli) {
    json_t *list = json_array();
    ql_print(&cli->out, "%-12s %-9s %-7s %-5s %s\n", "family", "task", "device", "bits",
             "recordings of transformers that the tests hold it to");
    for (size_t i = 0; i < sizeof tested / sizeof *tested; i++) {
        ql_print(&cli->out, "%-12s %-9s %-7s %-5s %s\n", tested[i].family, tested[i].task,
                 tested[i].device, tested[i].bits, tested[i].models);
        json_array_append_new(list,
                              json_pack("{s:s, s:s, s:s, s:s, s:s}", "family", tested[i].family,
                                        "task", tested[i].task, "device", tested[i].device, "bits",
                                        tested[i].bits, "models", tested[i].models));
    }
    return ql_print_json(&cli->out, json_pack("{s:o}", "families", list));
}

typedef struct options {
    bool families;
} options;

static ql_exit run(ql_cli *cli, void *opts) {
    const options *o = opts;
    if (o->families) return run_families(cli);
    json_t *devices = json_array();
    bool all = strcmp(cli->device, "auto") == 0;
    ql_status s = all ? all_devices(cli, devices) : one_device(cli, devices);
    if (s != QL_OK) {
        json_decref(devices);
        return ql_fail(&cli->out, QL_STAGE_DEVICE, s);
    }
    json_t *doc =
        json_pack("{s:s, s:s, s:{s:s, s:s, s:s, s:b, s:s}, s:o, s:o}", "version", QL_VERSION, "git",
                  QL_GIT_ID, "build", "type", QL_BUILD_TYPE, "compiler", QL_COMPILER, "flags",
                  QL_BUILD_FLAGS, "openmp", strcmp(QL_OPENMP, "ON") == 0, "sanitizers", QL_SANITIZE,
                  "devices", devices, "absent", absent_backends());
    if (doc) print_info(&cli->out, doc);
    return ql_print_json(&cli->out, doc);
}

static const ql_arg args[] = {
    {.name = "families",
     .kind = QL_ARG_BOOL,
     .at = offsetof(options, families),
     .fallback = "false",
     .help = "show which model families were tested, by task, device and bits"},
};

const ql_command ql_cmd_info = {
    .name = "info",
    .summary = "Show this build, its devices, and what was passed over and why.",
    .usage = "[--families] [--device D] [--json]",
    .about =
        "The environment variable QLORA_ISA chooses the CPU's instruction set, QLORA_DEVICE the\n"
        "device of every command that does not say --device.\n",
    .examples = "  qlora info --json\n  qlora info --families\n  QLORA_ISA=portable qlora info\n",
    .args = args,
    .n_args = sizeof args / sizeof *args,
    .opts_bytes = sizeof(options),
    .run = run,
};
