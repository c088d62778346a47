/*
 * test_families.c - every recorded model of every family holds on 1 and 2 threads, with and without
 * recomputation; tools/families.inc (the table of `qlora info --families`) says what ran here.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/fs.h"
#include "core/base/hostmem.h"
#include "core/io/source.h"
#include "core/model/arch.h"
#include "core/verify/verify.h"
#include "tests/support/engine.h"

#define MODELS QL_TEST_DATA "/models"
#define TABLE  QL_TEST_DATA "/../../tools/families.inc"

static ql_verify_report verify(const char *dir, int threads, int32_t checkpoint) {
    ql_device *dev = engine_device(threads);
    const ql_verify_opts o = {.cases = QL_VERIFY_ALL, .compute = QL_F32, .checkpoint = checkpoint};
    ql_verify_report r;
    OK(ql_verify(dir, &o, dev, &r));
    assert_int_equal(engine_counts(dev).device_bytes, 0);
    engine_close(dev);
    return r;
}

static bool has_group(const ql_verify_report *r, const char *start) {
    for (int i = 0; i < r->n_rows; i++)
        if (!strncmp(r->rows[i].group, start, strlen(start))) return true;
    return false;
}

/* What ran for one family. */
typedef struct family {
    char models[1024];
    bool dense, nf4;
    ql_task task;
} family;

static void take(family *f, const char *model, const ql_verify_report *r, const ql_arch *a) {
    size_t at = strlen(f->models);
    snprintf(f->models + at, sizeof f->models - at, "%s%s", at ? " " : "", model);
    f->dense |= has_group(r, "plain.logits");
    f->nf4 |= has_group(r, "qlora.after3") && has_group(r, "qlora.grad");
    f->task = a->task;
}

static int family_index(const char *name) {
    for (int i = 0; ql_arch_family_at(i); i++)
        if (!strcmp(ql_arch_family_at(i), name)) return i;
    return -1;
}

static ql_arch arch_of(const char *dir) {
    ql_source *s = NULL;
    ql_arch a;
    OK(ql_source_open_config(dir, &s));
    OK(ql_arch_from_config(ql_source_config(s), dir, &a));
    ql_source_close(s);
    return a;
}

/* Runs one recorded model in every way; false when something is too far. */
static bool model_holds(const char *dir, const char *name, family *f) {
    static const struct {
        int threads;
        int32_t checkpoint;
    } ways[] = {{2, 1}, {1, 0}};
    bool ok = true;
    ql_arch a = arch_of(dir);
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        ql_verify_report r = verify(dir, ways[i].threads, ways[i].checkpoint);
        assert_true(has_group(&r, "plain.logits") && has_group(&r, "plain.loss"));
        assert_int_equal(r.not_run[0], 0);
        for (int k = 0; k < r.n_rows; k++) {
            if (r.rows[k].ok) continue;
            print_error("%s, %d threads: %s max_abs %.3g max_rel %.3g is too far\n", name,
                        ways[i].threads, r.rows[k].group, r.rows[k].max_abs, r.rows[k].max_rel);
            ok = false;
        }
        if (i == 0) take(f, name, &r, &a);
    }
    return ok;
}

static char *table_text(const family *f) {
    static const char *const task[] = {"causal", "classify", "seq2seq"};
    size_t size = 65536, at = 0;
    char *text = malloc(size);
    assert_non_null(text);
    at +=
        (size_t)snprintf(text, size,
                         "/* Written by tests/models/test_families.c (QL_UPDATE=1): what its runs "
                         "held. */\n/* clang-format off */\n");
    for (int i = 0; ql_arch_family_at(i); i++)
        at += (size_t)snprintf(text + at, size - at,
                               "QL_FAMILY(\"%s\", \"%s\", \"cpu\", \"%s%s\",\n          \"%s\")\n",
                               ql_arch_family_at(i), task[f[i].task], f[i].dense ? "16" : "",
                               f[i].nf4 ? " 4" : "", f[i].models);
    assert_true(at < size);
    return text;
}

static void every_family_holds_and_the_table_says_so(void **state) {
    (void)state;
    family families[64] = {0};
    char **names = NULL, dir[QL_PATH_MAX], oracle[QL_PATH_MAX];
    size_t n = 0;
    int bad = 0, models = 0;
    OK(ql_dir_list(MODELS, &names, &n));
    for (size_t i = 0; i < n; i++) {
        OK(ql_path_join(dir, MODELS, names[i]));
        OK(ql_path_join(oracle, dir, "oracle.safetensors"));
        if (!ql_file_exists(oracle)) continue;
        int f = family_index(arch_of(dir).family);
        assert_true(f >= 0);
        bad += !model_holds(dir, names[i], &families[f]);
        models++;
    }
    ql_host_free(names);
    print_message("%d recorded models\n", models);
    assert_int_equal(bad, 0);
    assert_true(models >= 30);
    char *text = table_text(families);
    if (getenv("QL_UPDATE")) OK(ql_file_replace(TABLE, text, strlen(text)));
    ql_map map = {0};
    OK(ql_map_open(TABLE, &map));
    bool same = map.size == strlen(text) && !memcmp(map.data, text, map.size);
    if (!same) print_error("tools/families.inc differs from what ran:\n%s", text);
    ql_map_close(&map);
    free(text);
    assert_true(same);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_family_holds_and_the_table_says_so)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
