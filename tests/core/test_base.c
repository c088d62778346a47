/* test_base.c - status text, log sink, counted memory, arena, random streams, 16-bit types. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/half.h"
#include "core/base/hostmem.h"
#include "core/base/log.h"
#include "core/base/rng.h"

/* ------------------------------------------------------------------- status */

static void status_names_are_the_identifiers(void **state) {
    (void)state;
    assert_string_equal(ql_status_name(QL_OK), "QL_OK");
    assert_string_equal(ql_status_name(QL_ERR_SHAPE), "QL_ERR_SHAPE");
    for (int i = 0; i <= QL_ERR_INTERNAL; i++) {
        assert_memory_equal(ql_status_name((ql_status)i), "QL_", 3);
    }
    assert_non_null(ql_status_name((ql_status)999));
}

static void fail_keeps_the_sentence_and_may_quote_the_last_one(void **state) {
    (void)state;
    assert_int_equal(QL_FAIL(QL_ERR_IO, "disk %d", 7), QL_ERR_IO);
    assert_string_equal(ql_last_error(), "disk 7");
    assert_int_equal(QL_FAIL(QL_ERR_FORMAT, "model: %s", ql_last_error()), QL_ERR_FORMAT);
    assert_string_equal(ql_last_error(), "model: disk 7");
}

static void *fail_elsewhere(void *arg) {
    (void)arg;
    return QL_FAIL(QL_ERR_IO, "of the other thread") == QL_ERR_IO ? NULL : arg;
}

static void last_error_belongs_to_its_thread(void **state) {
    (void)state;
    pthread_t t;
    assert_int_equal(QL_FAIL(QL_ERR_IO, "mine"), QL_ERR_IO);
    assert_int_equal(pthread_create(&t, NULL, fail_elsewhere, NULL), 0);
    assert_int_equal(pthread_join(t, NULL), 0);
    assert_string_equal(ql_last_error(), "mine");
}

static void long_messages_are_cut_not_overrun(void **state) {
    (void)state;
    char text[5000];
    memset(text, 'x', sizeof text);
    text[sizeof text - 1] = '\0';
    assert_int_equal(QL_FAIL(QL_ERR_IO, "%s", text), QL_ERR_IO);
    assert_true(strlen(ql_last_error()) < sizeof text - 1);
}

/* ---------------------------------------------------------------------- log */

static void keep_message(void *user, ql_log_level level, const char *message) {
    char *out = user;
    out[0] = (char)('0' + level);
    strcpy(out + 1, message);
}

static void log_goes_to_the_sink_and_nowhere_without_one(void **state) {
    (void)state;
    char got[64] = "";
    ql_log(QL_LOG_WARN, "lost");
    ql_log_set_sink(keep_message, got);
    ql_log(QL_LOG_INFO, "%d of %d", 3, 4);
    assert_string_equal(got, "13 of 4");
    ql_log_set_sink(NULL, NULL);
    ql_log(QL_LOG_WARN, "lost");
    assert_string_equal(got, "13 of 4");
}

/* ------------------------------------------------------------------- memory */

static void sizes_are_checked_for_overflow(void **state) {
    (void)state;
    uint64_t x = 5;
    assert_int_equal(ql_mul_size(1ull << 32, 1ull << 32, &x), QL_ERR_INVALID);
    assert_int_equal(ql_add_size(UINT64_MAX, 1, &x), QL_ERR_INVALID);
    assert_int_equal(x, 5);
    assert_int_equal(ql_mul_size(UINT64_MAX, 1, &x), QL_OK);
    assert_true(x == UINT64_MAX);
    assert_int_equal(ql_mul_size(7, 0, &x), QL_OK);
    assert_int_equal(x, 0);
    assert_null(ql_host_calloc(SIZE_MAX / 2, 3));
}

static void live_blocks_are_counted(void **state) {
    (void)state;
    size_t before = ql_hostmem_live();
    char *p = ql_host_calloc(3, 4), *s = ql_host_strdup("text"), *t = ql_host_strndup("text", 2);
    void *q = ql_host_realloc(NULL, 10);
    assert_int_equal(ql_hostmem_live(), before + 4);
    for (int i = 0; i < 12; i++) assert_int_equal(p[i], 0);
    assert_string_equal(s, "text");
    assert_string_equal(t, "te");
    q = ql_host_realloc(q, 100);
    assert_int_equal(ql_hostmem_live(), before + 4);
    ql_host_free(p);
    ql_host_free(s);
    ql_host_free(t);
    ql_host_free(q);
    ql_host_free(NULL);
    assert_int_equal(ql_hostmem_live(), before);
}

static void the_nth_allocation_fails_and_only_that(void **state) {
    (void)state;
    size_t before = ql_hostmem_live();
    ql_hostmem_fail_after(2);
    void *a = ql_host_calloc(1, 1), *b = ql_host_calloc(1, 1), *c = ql_host_calloc(1, 1);
    ql_hostmem_fail_after(0);
    assert_non_null(a);
    assert_null(b);
    assert_non_null(c);
    ql_hostmem_fail_after(1);
    assert_null(ql_host_realloc(c, 50));
    assert_int_equal(ql_hostmem_live(), before + 2);
    ql_host_free(a);
    ql_host_free(c);
}

static void grow_keeps_items_and_clears_new_ones(void **state) {
    (void)state;
    void *items = NULL;
    size_t cap = 0;
    for (size_t n = 1; n <= 1000; n++) {
        assert_int_equal(ql_host_grow(&items, &cap, n, sizeof(uint32_t)), QL_OK);
        assert_true(cap >= n);
        assert_int_equal(((uint32_t *)items)[n - 1], 0);
        ((uint32_t *)items)[n - 1] = (uint32_t)n;
    }
    for (size_t n = 1; n <= 1000; n++) assert_int_equal(((uint32_t *)items)[n - 1], n);
    assert_int_equal(ql_host_grow(&items, &cap, SIZE_MAX / 2, 8), QL_ERR_NOMEM_HOST);
    ql_hostmem_fail_after(1);
    assert_int_equal(ql_host_grow(&items, &cap, cap + 1, 4), QL_ERR_NOMEM_HOST);
    assert_int_equal(((uint32_t *)items)[0], 1);
    ql_host_free(items);
}

static void arena_blocks_are_aligned_zeroed_and_freed_together(void **state) {
    (void)state;
    size_t before = ql_hostmem_live();
    ql_arena a = {0};
    for (size_t n = 0; n < 3000; n += 7) {
        unsigned char *p = ql_arena_alloc(&a, n, 1);
        assert_non_null(p);
        assert_int_equal((uintptr_t)p % 16, 0);
        for (size_t i = 0; i < n; i++) assert_int_equal(p[i], 0);
        memset(p, 0xAA, n);
    }
    assert_non_null(ql_arena_alloc(&a, 5, 1 << 20));
    assert_string_equal(ql_arena_strndup(&a, "name.weight", 4), "name");
    assert_null(ql_arena_alloc(&a, SIZE_MAX / 2, 4));
    ql_arena_free(&a);
    assert_int_equal(ql_hostmem_live(), before);
    ql_arena_free(&a);
    ql_hostmem_fail_after(1);
    assert_null(ql_arena_alloc(&a, 1, 1));
    ql_hostmem_fail_after(0);
}

static void *allocate_much(void *arg) {
    for (int i = 0; i < 20000; i++) ql_host_free(ql_host_calloc(1, 16));
    return arg;
}

static void counters_hold_under_threads(void **state) {
    (void)state;
    size_t before = ql_hostmem_live();
    pthread_t t[4];
    for (int i = 0; i < 4; i++) {
        assert_int_equal(pthread_create(&t[i], NULL, allocate_much, NULL), 0);
    }
    for (int i = 0; i < 4; i++) assert_int_equal(pthread_join(t[i], NULL), 0);
    assert_int_equal(ql_hostmem_live(), before);
}

/* ------------------------------------------------------------------- random */

/* Known answer of the authors (Random123, kat_vectors): counter 0, key 0. The draws of a stream
 * whose counter and key are 0 are its words. */
static void first_draws_are_philox_known_answer(void **state) {
    (void)state;
    static const uint32_t want[4] = {0x6627e8d5u, 0xe169c58du, 0xbc57ac4cu, 0x9b00dbd8u};
    ql_stream s = {0, 0, 0};
    for (int i = 0; i < 4; i++) assert_int_equal(ql_stream_u32(&s), want[i]);
}

static void a_draw_depends_on_seed_stream_and_index_only(void **state) {
    (void)state;
    ql_stream a = ql_stream_make(7, QL_STREAM_SHUFFLE, 3), b = a;
    ql_stream other = ql_stream_make(7, QL_STREAM_SAMPLE, 3);
    uint32_t first[20], same = 0;
    for (int i = 0; i < 20; i++) first[i] = ql_stream_u32(&a);
    for (int i = 19; i >= 0; i--) {
        b.index = (uint64_t)i;
        assert_int_equal(ql_stream_u32(&b), first[i]);
        same += ql_stream_u32(&other) == first[i];
    }
    assert_int_equal(same, 0);
    assert_true(ql_stream_make(7, QL_STREAM_SHUFFLE, 4).stream != a.stream);
}

static void below_is_in_range_and_even(void **state) {
    (void)state;
    ql_stream s = ql_stream_make(1, QL_STREAM_SHUFFLE, 0);
    int count[6] = {0};
    for (int i = 0; i < 60000; i++) {
        uint64_t x = ql_stream_below(&s, 6);
        assert_true(x < 6);
        count[x]++;
    }
    /* sd of a count is 91; six of them within 5 sd */
    for (int i = 0; i < 6; i++) assert_true(abs(count[i] - 10000) < 460);
    assert_int_equal(ql_stream_below(&s, 1), 0);
    for (int i = 0; i < 100; i++) assert_true(ql_stream_below(&s, UINT64_MAX) < UINT64_MAX);
}

static void normal_and_uniform_have_their_moments(void **state) {
    (void)state;
    ql_stream s = ql_stream_make(2, QL_STREAM_ADAPTER_INIT, 0);
    double u1 = 0, n1 = 0, n2 = 0;
    enum { N = 100000 };
    for (int i = 0; i < N; i++) {
        float u = ql_stream_uniform(&s), n = ql_stream_normal(&s);
        assert_true(u >= 0.0f && u < 1.0f && isfinite(n));
        u1 += u;
        n1 += n;
        n2 += (double)n * n;
    }
    assert_true(fabs(u1 / N - 0.5) < 5 * 0.2887 / sqrt(N));
    assert_true(fabs(n1 / N) < 5 / sqrt(N));
    assert_true(fabs(n2 / N - 1.0) < 5 * sqrt(2.0 / N));
}

static void names_hash_as_xxhash64(void **state) {
    (void)state;
    assert_true(ql_hash_name("") == 0xEF46DB3751D8E999ull); /* xxHash's own test value */
    assert_true(ql_hash_name("a") != ql_hash_name("b"));
}

/* -------------------------------------------------------------- 16-bit types */

static void bits16_survive_the_way_through_float(void **state) {
    (void)state;
    for (uint32_t h = 0; h < 65536; h++) {
        float f = ql_f32_from_f16((uint16_t)h), b = ql_f32_from_bf16((uint16_t)h);
        bool f_nan = (h & 0x7C00u) == 0x7C00u && (h & 0x3FFu), b_nan = isnan(b);
        assert_int_equal(isnan(f) != 0, f_nan);
        assert_int_equal(b_nan, (h & 0x7F80u) == 0x7F80u && (h & 0x7Fu));
        if (!f_nan) assert_int_equal(ql_f16_from_f32(f), h);
        if (!b_nan) assert_int_equal(ql_bf16_from_f32(b), h);
        if (f_nan) assert_true(isnan(ql_f32_from_f16(ql_f16_from_f32(f))));
        if (b_nan) assert_true(isnan(ql_f32_from_bf16(ql_bf16_from_f32(b))));
        /* value by definition, in double */
        double e = (h >> 10) & 31u, m = h & 1023u, sign = h & 0x8000u ? -1 : 1;
        if (e < 31) {
            double want = e > 0 ? ldexp(1024 + m, (int)e - 25) : ldexp(m, -24);
            assert_true((double)f == sign * want);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(status_names_are_the_identifiers),
        cmocka_unit_test(fail_keeps_the_sentence_and_may_quote_the_last_one),
        cmocka_unit_test(last_error_belongs_to_its_thread),
        cmocka_unit_test(long_messages_are_cut_not_overrun),
        cmocka_unit_test(log_goes_to_the_sink_and_nowhere_without_one),
        cmocka_unit_test(sizes_are_checked_for_overflow),
        cmocka_unit_test(live_blocks_are_counted),
        cmocka_unit_test(the_nth_allocation_fails_and_only_that),
        cmocka_unit_test(grow_keeps_items_and_clears_new_ones),
        cmocka_unit_test(arena_blocks_are_aligned_zeroed_and_freed_together),
        cmocka_unit_test(counters_hold_under_threads),
        cmocka_unit_test(first_draws_are_philox_known_answer),
        cmocka_unit_test(a_draw_depends_on_seed_stream_and_index_only),
        cmocka_unit_test(below_is_in_range_and_even),
        cmocka_unit_test(normal_and_uniform_have_their_moments),
        cmocka_unit_test(names_hash_as_xxhash64),
        cmocka_unit_test(bits16_survive_the_way_through_float),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
