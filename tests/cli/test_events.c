/* test_events.c - event files read back by a small reader of their own: framing, checks, fields. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "core/base/fs.h"
#include "core/base/hostmem.h"
#include "tests/support/temp_folder.h"
#include "tools/events.h"

/* RFC 3720, appendix B.4 gives these sums. */
static void the_sum_is_castagnolis(void **state) {
    (void)state;
    uint8_t b[32];
    memset(b, 0, 32);
    assert_int_equal(ql_crc32c(b, 32), 0x8a9136aau);
    memset(b, 0xff, 32);
    assert_int_equal(ql_crc32c(b, 32), 0x62a8ab43u);
    for (int i = 0; i < 32; i++) b[i] = (uint8_t)i;
    assert_int_equal(ql_crc32c(b, 32), 0x46dd794eu);
    for (int i = 0; i < 32; i++) b[i] = (uint8_t)(31 - i);
    assert_int_equal(ql_crc32c(b, 32), 0x113fdb5cu);
    assert_int_equal(ql_crc32c("123456789", 9), 0xe3069283u);
}

/* ---------------------------------------------------------------- a reader of its own */

/* The same sum in another way: dividing bit by bit, most significant first, by 0x1edc6f41. */
static uint32_t sum_of(const uint8_t *p, size_t n) {
    uint32_t r = ~0u, out = 0;
    for (size_t i = 0; i < n * 8; i++) {
        uint32_t bit = (p[i / 8] >> (i % 8)) & 1;
        r = (r << 1) ^ (((r >> 31) ^ bit) ? 0x1edc6f41u : 0);
    }
    for (int i = 0; i < 32; i++) out |= ((r >> i) & 1) << (31 - i);
    out = ~out;
    return ((out >> 15) | (out << 17)) + 0xa282ead8u;
}

static uint64_t little(const uint8_t *p, int n) {
    uint64_t v = 0;
    for (int i = 0; i < n; i++) v |= (uint64_t)p[i] << (8 * i);
    return v;
}

typedef struct slice {
    const uint8_t *p;
    size_t n;
} slice;

static uint64_t varint(slice *s) {
    uint64_t v = 0;
    for (int shift = 0; shift < 64; shift += 7) {
        assert_true(s->n > 0);
        uint8_t b = *s->p++;
        s->n--;
        v |= (uint64_t)(b & 0x7f) << shift;
        if (!(b & 0x80)) break;
    }
    return v;
}

/* Field `want` of a message: its number, or its bytes in *bytes. false = absent. */
static bool field(slice m, uint32_t want, uint64_t *number, slice *bytes) {
    while (m.n > 0) {
        uint64_t key = varint(&m), v = 0;
        slice b = {NULL, 0};
        size_t len = (key & 7) == 1 ? 8 : (key & 7) == 5 ? 4 : 0;
        if ((key & 7) == 0) v = varint(&m);
        if ((key & 7) == 2) len = (size_t)varint(&m);
        assert_true((key & 7) == 0 || len <= m.n);
        b = (slice){m.p, len};
        if (len == 8 || len == 4) v = little(m.p, (int)len);
        m.p += len;
        m.n -= len;
        if (key >> 3 != want) continue;
        if (number) *number = v;
        if (bytes) *bytes = b;
        return true;
    }
    return false;
}

static bool text_is(slice s, const char *want) {
    return s.n == strlen(want) && memcmp(s.p, want, s.n) == 0;
}

/* Reads all records, checking their sums; returns how many. */
static size_t records(const char *path, char **file, slice out[16]) {
    size_t len, n = 0;
    assert_int_equal(ql_file_read(path, 1u << 20, file, &len), QL_OK);
    const uint8_t *p = (const uint8_t *)*file;
    for (size_t at = 0; at < len;) {
        assert_true(len - at >= 16 && n < 16);
        uint64_t size = little(p + at, 8);
        assert_int_equal(little(p + at + 8, 4), sum_of(p + at, 8));
        assert_true(size <= len - at - 16);
        assert_int_equal(little(p + at + 12 + size, 4), sum_of(p + at + 12, size));
        out[n++] = (slice){p + at + 12, size};
        at += 16 + size;
    }
    return n;
}

static slice value_of(slice event, uint64_t step) {
    slice summary, value;
    uint64_t got = 0, wall = 0;
    double seconds;
    assert_true(field(event, 2, &got, NULL));
    assert_int_equal(got, step);
    assert_true(field(event, 1, &wall, NULL));
    memcpy(&seconds, &wall, 8);
    assert_true(seconds > 1.6e9);
    assert_true(field(event, 5, NULL, &summary));
    assert_true(field(summary, 1, NULL, &value));
    return value;
}

static void scalars_and_texts_are_read_back(void **state) {
    (void)state;
    ql_events *e;
    assert_int_equal(ql_events_open(temp_folder(), 1, &e), QL_OK);
    assert_int_equal(ql_events_scalar(e, "train/loss", 1, 2.5), QL_OK);
    assert_int_equal(ql_events_scalar(e, "train/loss", INT64_C(1) << 40, (double)NAN), QL_OK);
    char text[300];
    memset(text, 'x', sizeof text); /* longer than one byte of a length */
    assert_int_equal(ql_events_text(e, "samples/1", 7, text, sizeof text), QL_OK);
    char path[QL_PATH_MAX], *file;
    strcpy(path, ql_events_path(e));
    ql_events_close(e);
    slice r[16], v, tag, version, tensor, got;
    assert_int_equal(records(path, &file, r), 4);
    assert_true(field(r[0], 3, NULL, &version) && text_is(version, "brain.Event:2"));

    uint64_t bits = 0;
    float f;
    v = value_of(r[1], 1);
    assert_true(field(v, 1, NULL, &tag) && text_is(tag, "train/loss"));
    assert_true(field(v, 2, &bits, NULL));
    f = 2.5f;
    assert_int_equal(bits, 0x40200000u);
    v = value_of(r[2], UINT64_C(1) << 40);
    assert_true(field(v, 2, &bits, NULL));
    uint32_t low = (uint32_t)bits;
    memcpy(&f, &low, 4);
    assert_true(isnan(f));

    v = value_of(r[3], 7);
    assert_true(field(v, 8, NULL, &tensor));
    assert_true(field(tensor, 1, &bits, NULL) && bits == 7);
    assert_true(field(tensor, 8, NULL, &got) && got.n == 300 && got.p[299] == 'x');
    slice metadata = {NULL, 0}, plugin = {NULL, 0}, name = {NULL, 0};
    assert_true(field(v, 9, NULL, &metadata));
    assert_true(field(metadata, 1, NULL, &plugin));
    assert_true(field(plugin, 1, NULL, &name));
    assert_true(text_is(name, "text"));
    ql_host_free(file);
    assert_int_equal(remove(path), 0);
}

/* A reader drops what earlier files have from the first step of a session on. */
static void a_resumed_run_says_where_it_takes_over(void **state) {
    (void)state;
    ql_events *e;
    assert_int_equal(ql_events_open(temp_folder(), 41, &e), QL_OK);
    char path[QL_PATH_MAX], *file;
    strcpy(path, ql_events_path(e));
    ql_events_close(e);
    slice r[16], log;
    uint64_t step = 0, status = 0;
    assert_int_equal(records(path, &file, r), 2);
    assert_true(field(r[1], 2, &step, NULL) && step == 41);
    assert_true(field(r[1], 7, NULL, &log) && field(log, 1, &status, NULL) && status == 1);
    ql_host_free(file);
    assert_int_equal(remove(path), 0);
}

static void a_folder_that_is_not_there_is_named(void **state) {
    (void)state;
    ql_events *e = NULL;
    assert_int_equal(ql_events_open(temp_path("absent"), 1, &e), QL_ERR_NOT_FOUND);
    assert_non_null(strstr(ql_last_error(), "absent/events.out.tfevents."));
    assert_null(e);
}

static void no_allocation_failure_leaks_or_writes_a_broken_record(void **state) {
    (void)state;
    ql_events *e;
    assert_int_equal(ql_events_open(temp_folder(), 1, &e), QL_OK);
    char path[QL_PATH_MAX], *file;
    strcpy(path, ql_events_path(e));
    size_t live = ql_hostmem_live();
    for (long n = 1; n < 40; n++) {
        ql_hostmem_fail_after(n);
        ql_status s = ql_events_text(e, "t", 1, "text", 4);
        ql_hostmem_fail_after(0);
        assert_true(s == QL_OK || s == QL_ERR_NOMEM_HOST);
        assert_int_equal(ql_hostmem_live(), live);
        if (s == QL_OK) break;
    }
    ql_events_close(e);
    slice r[16];
    assert_int_equal(records(path, &file, r), 2);
    ql_host_free(file);
    assert_int_equal(remove(path), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_sum_is_castagnolis),
        cmocka_unit_test(scalars_and_texts_are_read_back),
        cmocka_unit_test(a_resumed_run_says_where_it_takes_over),
        cmocka_unit_test(a_folder_that_is_not_there_is_named),
        cmocka_unit_test(no_allocation_failure_leaks_or_writes_a_broken_record),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
