#include <math.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/cursor.h"
#include "base/err.h"
#include "base/fault.h"
#include "base/float16.h"
#include "base/mem.h"
#include "base/rng.h"
#include "base/team.h"

static int fails_deep(void) { return ERR(CORRUPT, "block %u: checksum", 7u); }
static int forwards(void) {
    TRY(0);
    TRY(fails_deep());
    return 0;
}

static void error_keeps_message_and_place(void **state) {
    (void)state;
    assert_int_equal(forwards(), ERR_CORRUPT);
    assert_string_equal(err_message(), "block 7: checksum");
    assert_non_null(strstr(err_place(), "test_base.c:"));
    assert_string_equal(err_name(ERR_CORRUPT), "CORRUPT");
    assert_int_equal(ERR_INVALID, -1);
}

static void cursor_never_passes_its_end(void **state) {
    (void)state;
    const uint8_t bytes[] = {1, 2, 3, 4, 5};
    struct cursor cursor = cursor_over(bytes, sizeof bytes);
    assert_int_equal(cursor_u32(&cursor), 0x04030201);
    assert_false(cursor.failed);
    assert_int_equal(cursor_u16(&cursor), 0);
    assert_true(cursor.failed);
    assert_int_equal(cursor_u8(&cursor), 0); /* failed for good, though one byte is left */
    cursor = cursor_over(bytes, sizeof bytes);
    assert_null(cursor_take(&cursor, UINT64_MAX));
}

static void faults_fail_the_nth_allocation(void **state) {
    (void)state;
    fault_arm(FAULT_ONCE, 2);
    void *first = mem_alloc(1, 8), *second = mem_alloc(1, 8), *third = mem_alloc(1, 8);
    assert_non_null(first);
    assert_null(second);
    assert_non_null(third);
    fault_arm(FAULT_FROM_THEN_ON, 1);
    assert_null(mem_alloc(1, 8));
    assert_null(mem_alloc(1, 8));
    fault_disarm();
    assert_null(mem_alloc(SIZE_MAX / 2, 3));
    mem_free(first);
    mem_free(third);
}

/* The compiler's own _Float16 arithmetic is the independent implementation. */
static void what_is_held_is_counted_and_bounded(void **state) {
    (void)state;
    const uint64_t before = mem_held_bytes();
    mem_limit(before + 10000);
    assert_true(mem_peak_bytes() == before);
    void *first = mem_alloc(1000, 4), *mapped = mem_map(4096);
    assert_non_null(first);
    assert_non_null(mapped);
    uint64_t held = mem_held_bytes();
    assert_true(held >= before + 8096 && held <= before + 8096 + 64); /* and what the allocator adds */
    assert_true(mem_peak_bytes() >= held);
    assert_null(mem_alloc(2000, 1));
    assert_non_null(strstr(err_message(), "no memory for 2000 bytes"));
    assert_null(mem_map(4096));
    assert_null(mem_alloc_aligned(2000, 1));
    assert_null(mem_realloc(first, 2000, 4));
    assert_true(mem_held_bytes() == held); /* what failed holds nothing */
    mem_unmap(mapped, 4096);
    void *grown = mem_realloc(first, 5000, 1); /* both are held while it copies */
    assert_non_null(grown);
    assert_true(mem_peak_bytes() >= before + 9000 && mem_peak_bytes() <= before + 10000);
    mem_free(grown);
    mem_free(NULL);
    mem_unmap(NULL, 4096);
    assert_true(mem_held_bytes() == before);
    mem_limit(UINT64_MAX);
    assert_true(mem_peak_bytes() == before);
    void *large = mem_alloc_aligned(100000, 1);
    assert_non_null(large);
    mem_free(large);
    assert_true(mem_held_bytes() == before);
    assert_true(mem_peak_bytes() >= before + 100000);
}

static void half_floats_round_as_the_hardware_does(void **state) {
    (void)state;
    for (uint32_t half = 0; half < 0x10000; half++) {
        _Float16 reference;
        uint16_t bits = (uint16_t)half;
        memcpy(&reference, &bits, 2);
        float expected = (float)reference;
        if (isnan(expected)) {
            assert_true(isnan(f16_to_f32(bits)));
            continue;
        }
        assert_int_equal(bits_of_float(f16_to_f32(bits)), bits_of_float(expected));
        assert_int_equal(f16_from_f32(expected), bits);
    }
    for (uint64_t i = 0; i < 2000000; i++) {
        float value = float_of_bits((uint32_t)rng_u64(1, i));
        if (isnan(value)) continue;
        _Float16 reference = (_Float16)value;
        uint16_t bits;
        memcpy(&bits, &reference, 2);
        assert_int_equal(f16_from_f32(value), bits);
    }
}

static void bfloat_rounds_to_nearest_even(void **state) {
    (void)state;
    assert_int_equal(bf16_from_f32(1.0f), 0x3f80);
    assert_int_equal(bf16_from_f32(float_of_bits(0x3f808000)), 0x3f80);
    assert_int_equal(bf16_from_f32(float_of_bits(0x3f818000)), 0x3f82);
    assert_int_equal(bf16_from_f32(float_of_bits(0x3f808001)), 0x3f81);
    assert_true(isnan(bf16_to_f32(bf16_from_f32(NAN))));
    assert_true(isinf(bf16_to_f32(bf16_from_f32(float_of_bits(0x7f7fffff)))));
}

struct sum_job {
    struct team_cursor cursor;
    _Atomic uint64_t sum;
};

static void add_numbers(void *argument, unsigned rank, unsigned n_ranks) {
    (void)rank;
    (void)n_ranks;
    struct sum_job *job = argument;
    size_t begin, end;
    while (team_cursor_take(&job->cursor, &begin, &end))
        for (size_t i = begin; i < end; i++) atomic_fetch_add(&job->sum, i);
}

static void add_number(void *argument, unsigned rank, size_t i) {
    assert_true(rank < 5);
    atomic_fetch_add((_Atomic uint64_t *)argument, i);
}

static void team_does_each_piece_once(void **state) {
    (void)state;
    for (unsigned n_threads = 1; n_threads <= 5; n_threads++) {
        struct team *team;
        assert_int_equal(team_open(&team, n_threads), 0);
        for (int round = 0; round < 300; round++) {
            struct sum_job job = {.sum = 0};
            team_cursor_init(&job.cursor, 1000, 7);
            team_run(team, add_numbers, &job);
            assert_int_equal(job.sum, 999 * 1000 / 2);
            _Atomic uint64_t sum = 0;
            team_for(team, 1000, 7, add_number, &sum);
            assert_int_equal(sum, 999 * 1000 / 2);
        }
        team_close(team);
    }
}

enum { MOST_THREADS = 4, MOST_ITEMS = 50 };

struct parts_job {
    unsigned n_threads;
    _Atomic unsigned n_begun;
    _Atomic int n_calls[MOST_ITEMS];
    size_t first_item[MOST_THREADS];
    bool has_begun[MOST_THREADS];
};

/* No thread goes on before all have begun, so nobody helps another before that. */
static void begin_together(void *argument, unsigned rank, size_t item) {
    struct parts_job *job = argument;
    atomic_fetch_add(&job->n_calls[item], 1);
    if (job->has_begun[rank]) return;
    job->has_begun[rank] = true;
    job->first_item[rank] = item;
    atomic_fetch_add(&job->n_begun, 1);
    while (atomic_load(&job->n_begun) < job->n_threads) sched_yield();
}

static void threads_begin_in_parts_of_their_own(void **state) {
    (void)state;
    for (unsigned n_threads = 1; n_threads <= MOST_THREADS; n_threads++) {
        struct team *team;
        assert_int_equal(team_open(&team, n_threads), 0);
        for (size_t n = 0; n <= MOST_ITEMS; n++)
            for (size_t chunk = 1; chunk <= 9; chunk += 4) {
                const size_t n_chunks = (n + chunk - 1) / chunk;
                struct parts_job job = {.n_threads = n_chunks < n_threads ? 1 : n_threads};
                team_for(team, n, chunk, begin_together, &job);
                for (size_t item = 0; item < MOST_ITEMS; item++)
                    assert_int_equal(job.n_calls[item], item < n);
                for (unsigned rank = 0; rank < n_threads && n_chunks >= n_threads; rank++)
                    assert_int_equal(job.first_item[rank], n_chunks * rank / n_threads * chunk);
            }
        team_close(team);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(error_keeps_message_and_place),
        cmocka_unit_test(cursor_never_passes_its_end),
        cmocka_unit_test(faults_fail_the_nth_allocation),
        cmocka_unit_test(what_is_held_is_counted_and_bounded),
        cmocka_unit_test(half_floats_round_as_the_hardware_does),
        cmocka_unit_test(bfloat_rounds_to_nearest_even),
        cmocka_unit_test(team_does_each_piece_once),
        cmocka_unit_test(threads_begin_in_parts_of_their_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
