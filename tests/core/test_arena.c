/*
 * test_arena.c - the memory plan: no two values share bytes while both live, the arena is no
 * smaller than what lives at the peak, the report sums to it, and a plan is a function of the tape.
 *
 * Tapes are drawn at random (Philox, the seed of a failing tape is printed); overlap is searched by
 * brute force from the records, not from the live ranges that the planner computed.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/rng.h"
#include "core/memory/arena.h"
#include "tests/support/engine.h"

enum { TAPES = 300, ALIGN = 64 };

static const ql_pool pools[] = {QL_POOL_ACTIVATIONS, QL_POOL_LOGITS, QL_POOL_SCRATCH};

static int64_t below(ql_stream *s, int64_t n) {
    return (int64_t)ql_stream_below(s, (uint64_t)n);
}

/* Records over values of random sizes: some only written, some read long after, some through views,
 * some never used. */
static ql_tape *random_tape(uint64_t seed) {
    ql_stream s = ql_stream_make(seed, QL_STREAM_SAMPLE, 0);
    ql_tape *t = NULL;
    OK(ql_tape_create(&t));
    ql_vid values[64],
        given = ql_tape_external(t, QL_POOL_WEIGHTS, QL_F32, ql_fixed(1), ql_fixed(1), "given");
    bool written[64] = {false};
    int n = 2 + (int)below(&s, 60);
    for (int i = 0; i < n; i++) {
        static const ql_dtype dtypes[] = {QL_F32, QL_BF16, QL_U8};
        int64_t rows = 1 + below(&s, 40), cols = 1 + below(&s, below(&s, 4) ? 20 : 300);
        values[i] = ql_tape_value(t, pools[below(&s, 3)], dtypes[below(&s, 3)], ql_fixed(rows),
                                  ql_rows(QL_SYM_TOKENS, cols), "v%d", i);
    }
    int64_t records = 1 + below(&s, 120);
    for (int64_t i = 0; i < records; i++) {
        int64_t to = below(&s, n), from = below(&s, n);
        ql_vid y = values[to];
        if (below(&s, 4) == 0) /* a part of it */
            y = ql_tape_view(t, y, 0, ql_fixed(1), 0, ql_fixed(1));
        bool more = written[to] && below(&s, 2);
        QL_RECORD(t, AXPBY, axpby, .x = ql_ref(t, written[from] ? values[from] : given),
                  .y = ql_ref(t, y), .alpha = 1.0f, .beta = more ? 1.0f : 0.0f);
        written[to] = true;
    }
    OK(ql_tape_status(t));
    return t;
}

/* Records that touch v, from the records themselves; false when there is none. */
static bool span(const ql_tape *t, ql_vid v, int32_t *first, int32_t *last) {
    *first = -1;
    for (int32_t i = 0; i < ql_tape_count(t); i++)
        for (int k = 0; k < QL_MAX_OPERANDS; k++) {
            ql_vid o = ql_tape_record_at(t, i)->operand[k];
            if (!o || ql_tape_base(t, o) != v) continue;
            if (*first < 0) *first = i;
            *last = i;
        }
    return *first >= 0;
}

static uint64_t rounded(uint64_t n, uint64_t align) {
    return (n + align - 1) / align * align;
}

typedef struct life {
    ql_vid v;
    int32_t first, last;
    uint64_t begin, end, size;
} life;

/* The used planned values with their places. */
static int lives(const ql_tape *t, uint32_t align, uint64_t arena, life out[64]) {
    int n = 0;
    for (ql_vid v = 1; v <= ql_tape_values(t); v++) {
        const ql_value *x = ql_tape_at(t, v);
        life l = {.v = v};
        if (x->kind != QL_VALUE_PLANNED) continue;
        bool used = span(t, v, &l.first, &l.last);
        if (!used) {
            assert_true(x->first < 0 && x->last < 0);
            continue;
        }
        assert_int_equal(x->first, l.first);
        assert_int_equal(x->last, l.last);
        assert_int_equal(x->offset % align, 0);
        l.size = rounded(ql_value_bytes(x), align);
        l.begin = x->offset;
        l.end = x->offset + ql_value_bytes(x);
        assert_true(l.end <= arena);
        out[n++] = l;
    }
    return n;
}

static void assert_no_overlap(const life *l, int n, uint64_t seed) {
    for (int i = 0; i < n; i++)
        for (int k = 0; k < i; k++)
            if (l[i].first <= l[k].last && l[k].first <= l[i].last && l[i].begin < l[k].end &&
                l[k].begin < l[i].end)
                fail_msg("seed %llu: values %u and %u share bytes while both live",
                         (unsigned long long)seed, l[i].v, l[k].v);
}

static void assert_report(const ql_tape *t, const life *l, int n, uint32_t align, uint64_t arena) {
    ql_memory_report r = {0};
    OK(ql_arena_report(t, align, arena, &r));
    uint64_t most = 0, at_peak = 0, sum = 0;
    for (int32_t i = 0; i < ql_tape_count(t); i++) {
        uint64_t live = 0;
        for (int k = 0; k < n; k++) live += l[k].first <= i && i <= l[k].last ? l[k].size : 0;
        if (live > most) most = live;
        if (i == r.peak_record) at_peak = live;
    }
    for (int i = 0; i < QL_POOL_COUNT; i++) sum += r.device[i];
    assert_int_equal(r.arena_lower_bound, most);
    assert_int_equal(at_peak, most);
    assert_true(arena >= most);
    assert_int_equal(r.arena_bytes, arena);
    assert_int_equal(sum, arena);
    for (size_t p = 1; p < sizeof pools / sizeof *pools;
         p++) { /* but for what is lost, exactly what lives */
        uint64_t want = 0;
        for (int k = 0; k < n; k++)
            if (l[k].first <= r.peak_record && r.peak_record <= l[k].last &&
                ql_tape_at(t, l[k].v)->pool == pools[p])
                want += l[k].size;
        assert_int_equal(r.device[pools[p]], want);
    }
}

static void random_tapes_never_share_live_bytes(void **state) {
    (void)state;
    uint64_t lower = 0, total = 0;
    for (uint64_t seed = 1; seed <= TAPES; seed++) {
        ql_tape *t = random_tape(seed);
        uint32_t align = seed % 3 == 0 ? 256 : ALIGN;
        uint64_t arena = 0;
        OK(ql_live_ranges(t));
        OK(ql_arena_assign(t, align, &arena));
        life l[64];
        int n = lives(t, align, arena, l);
        assert_no_overlap(l, n, seed);
        assert_report(t, l, n, align, arena);
        ql_memory_report r = {0};
        OK(ql_arena_report(t, align, arena, &r));
        lower += r.arena_lower_bound;
        total += arena;
        ql_tape_free(t);
    }
    print_message("%d tapes (seeds 1 .. %d): arenas are %.3f of the lower bound\n", TAPES, TAPES,
                  (double)total / (double)lower);
    assert_true((double)total < 1.1 * (double)lower);
}

static void the_same_tape_gets_the_same_places(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 30; seed++) {
        ql_tape *a = random_tape(seed), *b = random_tape(seed);
        uint64_t bytes_a = 0, bytes_b = 0;
        OK(ql_live_ranges(a));
        OK(ql_live_ranges(b));
        OK(ql_arena_assign(a, ALIGN, &bytes_a));
        OK(ql_arena_assign(b, ALIGN, &bytes_b));
        OK(ql_live_ranges(a)); /* planning again changes nothing */
        OK(ql_arena_assign(a, ALIGN, &bytes_a));
        assert_int_equal(bytes_a, bytes_b);
        assert_int_equal(ql_tape_values(a), ql_tape_values(b));
        for (ql_vid v = 1; v <= ql_tape_values(a); v++)
            assert_int_equal(ql_tape_at(a, v)->offset, ql_tape_at(b, v)->offset);
        ql_tape_free(a);
        ql_tape_free(b);
    }
}

/* A chain needs two neighbours at a time, whatever its length. */
static void a_chain_reuses_its_memory(void **state) {
    (void)state;
    ql_tape *t = NULL;
    OK(ql_tape_create(&t));
    ql_vid x = ql_tape_external(t, QL_POOL_WEIGHTS, QL_F32, ql_fixed(8), ql_fixed(64), "x");
    for (int i = 0; i < 50; i++) {
        ql_vid y = ql_tape_value(t, QL_POOL_ACTIVATIONS, QL_F32, ql_fixed(8), ql_fixed(64), "y");
        QL_RECORD(t, AXPBY, axpby, .x = ql_ref(t, x), .y = ql_ref(t, y), .alpha = 1.0f);
        x = y;
    }
    uint64_t arena = 0;
    OK(ql_live_ranges(t));
    OK(ql_arena_assign(t, ALIGN, &arena));
    assert_int_equal(arena, 2 * 8 * 64 * sizeof(float));
    ql_tape_free(t);
}

static void reading_what_nobody_wrote_is_an_internal_error(void **state) {
    (void)state;
    for (int through_view = 0; through_view < 3; through_view++) {
        ql_tape *t = NULL;
        OK(ql_tape_create(&t));
        ql_vid x = ql_tape_value(t, QL_POOL_ACTIVATIONS, QL_F32, ql_fixed(2), ql_fixed(4),
                                 "never.written");
        ql_vid y = ql_tape_value(t, QL_POOL_ACTIVATIONS, QL_F32, ql_fixed(2), ql_fixed(4), "y");
        if (through_view == 1) x = ql_tape_view(t, x, 0, ql_fixed(2), 0, ql_fixed(4));
        if (through_view == 2) /* accumulating into it reads it too */
            QL_RECORD(t, AXPBY, axpby, .alpha = 1.0f, .beta = 1.0f, .y = ql_ref(t, x),
                      .x = ql_ref(t, ql_tape_external(t, QL_POOL_WEIGHTS, QL_F32, ql_fixed(2),
                                                      ql_fixed(4), "g")));
        else
            QL_RECORD(t, AXPBY, axpby, .x = ql_ref(t, x), .y = ql_ref(t, y), .alpha = 1.0f);
        FAILS(ql_live_ranges(t), QL_ERR_INTERNAL, "'never.written' before it is written");
        ql_device *dev = engine_device(1);
        ql_program *p = NULL;
        FAILS(ql_program_create(t, dev, &p), QL_ERR_INTERNAL, "never.written");
        engine_close(dev);
    }
}

static ql_tape *wide_copy(void) {
    ql_tape *t = NULL;
    OK(ql_tape_create(&t));
    ql_vid x = ql_tape_external(t, QL_POOL_WEIGHTS, QL_F32, ql_fixed(100), ql_fixed(100), "x");
    ql_vid y = ql_tape_value(t, QL_POOL_ACTIVATIONS, QL_F32, ql_fixed(100), ql_fixed(100), "y");
    QL_RECORD(t, AXPBY, axpby, .x = ql_ref(t, x), .y = ql_ref(t, y), .alpha = 1.0f);
    return t;
}

static void an_arena_beyond_the_largest_buffer_is_refused_with_both_sizes(void **state) {
    (void)state;
    ql_device *dev = engine_device(1);
    ql_program *p = NULL;
    dev->props.max_alloc = 39999; /* the arena is rounded to 40000 + 0 .. 63 */
    FAILS(ql_program_create(wide_copy(), dev, &p), QL_ERR_NOMEM_DEV, "39999");
    FAILS(ql_program_create(wide_copy(), dev, &p), QL_ERR_NOMEM_DEV, "arena of 40000 bytes");
    dev->props.max_alloc = 40000;
    OK(ql_program_create(wide_copy(), dev, &p));
    assert_int_equal(engine_counts(dev).allocs, 0);
    ql_program_free(p);
    engine_close(dev);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_tapes_never_share_live_bytes),
        cmocka_unit_test(the_same_tape_gets_the_same_places),
        cmocka_unit_test(a_chain_reuses_its_memory),
        cmocka_unit_test(reading_what_nobody_wrote_is_an_internal_error),
        cmocka_unit_test(an_arena_beyond_the_largest_buffer_is_refused_with_both_sizes),
    };
    return cmocka_run_group_tests_name("arena", tests, NULL, NULL);
}
