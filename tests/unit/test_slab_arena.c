#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/mem.h"
#include "kv/slab_arena.h"

enum { MIB = 1 << 20 };

static void open_arena(struct slab_arena *arena, size_t bytes, const size_t *payload_bytes,
                       uint32_t n_classes) {
    assert_int_equal(slab_arena_open(arena, bytes, payload_bytes, n_classes, false), 0);
    assert_true(slab_arena_check(arena));
}

/* In an arena too small for huge pages a slab is the largest payload. */
static void payloads_of_two_classes_share_an_arena(void **state) {
    (void)state;
    struct slab_arena arena;
    open_arena(&arena, 3 * 1000 + 999, (const size_t[]){1000, 300}, 2);
    assert_int_equal(arena.slab_bytes, 1000);
    assert_int_equal(arena.n_slabs, 3);
    assert_int_equal(slab_arena_capacity(&arena, 0), 3);
    assert_int_equal(slab_arena_capacity(&arena, 1), 9);
    assert_int_equal(slab_arena_waste_bytes(&arena), 0);

    uint64_t large = slab_arena_take(&arena, 0), small = slab_arena_take(&arena, 1);
    assert_int_equal(large, 0);
    assert_int_equal(small, 1000);
    assert_int_equal(slab_arena_room(&arena, 0), 1);
    assert_int_equal(slab_arena_room(&arena, 1), 2 + 3);
    assert_int_equal(slab_arena_waste_bytes(&arena), 1000 - 300);
    assert_int_equal(slab_arena_take(&arena, 1), 1300);
    assert_int_equal(slab_arena_take(&arena, 1), 1600);
    assert_int_equal(slab_arena_waste_bytes(&arena), 100);
    assert_int_equal(slab_arena_take(&arena, 1), 2000); /* the third slab */
    assert_int_equal(slab_arena_take(&arena, 0), PAYLOAD_NONE);
    assert_int_equal(slab_arena_room(&arena, 0), 0);
    assert_true(slab_arena_check(&arena));
    slab_arena_close(&arena);
}

static void a_slab_that_empties_serves_another_class(void **state) {
    (void)state;
    struct slab_arena arena;
    open_arena(&arena, 2 * 1000, (const size_t[]){1000, 250}, 2);
    uint64_t small[8];
    for (int i = 0; i < 8; i++) {
        small[i] = slab_arena_take(&arena, 1);
        assert_int_equal(small[i], i * 250);
    }
    assert_int_equal(slab_arena_take(&arena, 1), PAYLOAD_NONE);
    assert_int_equal(slab_arena_take(&arena, 0), PAYLOAD_NONE);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(slab_arena_room(&arena, 0), 0);
        slab_arena_give(&arena, 1, small[(i * 3) % 4]); /* in another order */
        assert_true(slab_arena_check(&arena));
        assert_int_equal(slab_arena_room(&arena, 1), i + 1);
    }
    assert_int_equal(slab_arena_room(&arena, 0), 1); /* the first slab is nobody's now */
    assert_int_equal(slab_arena_waste_bytes(&arena), 0);
    assert_int_equal(slab_arena_take(&arena, 0), 0);
    assert_int_equal(slab_arena_room(&arena, 1), 0);
    slab_arena_give(&arena, 0, 0);
    slab_arena_give(&arena, 1, small[5]); /* a slab with room is used before a free one */
    assert_int_equal(slab_arena_take(&arena, 1), small[5]);
    assert_int_equal(slab_arena_take(&arena, 1), 0);
    assert_true(slab_arena_check(&arena));
    slab_arena_close(&arena);
}

static void large_arenas_use_whole_huge_pages_and_waste_little(void **state) {
    (void)state;
    const size_t payloads[][2] = {
        {737280, 737280}, {3u * MIB, 65536}, {1179648, 40960}, {2 * MIB, 2 * MIB}, {100, 7}};
    for (size_t i = 0; i < sizeof payloads / sizeof *payloads; i++) {
        struct slab_arena arena;
        open_arena(&arena, (size_t)1024 * MIB, payloads[i], 2);
        assert_int_equal(arena.slab_bytes % (2 * MIB), 0);
        assert_true(arena.slab_bytes <= 64 * MIB);
        for (int class = 0; class < 2; class ++)
            assert_true(arena.slab_bytes % payloads[i][class] <= arena.slab_bytes / 64);
        assert_int_equal(arena.n_slabs, (size_t)1024 * MIB / arena.slab_bytes);
        slab_arena_close(&arena);
    }
}

static void every_payload_is_whole_and_nobody_elses(void **state) {
    (void)state;
    struct slab_arena arena;
    const size_t payload_bytes = 200000, bytes = (size_t)40 * MIB;
    open_arena(&arena, bytes, &payload_bytes, 1);
    assert_int_equal(arena.slab_bytes, 2 * MIB);
    uint64_t n_allocations = mem_count(), capacity = slab_arena_capacity(&arena, 0), end = 0;
    assert_int_equal(capacity, 20 * 10);
    for (uint64_t i = 0; i < capacity;
         i++) { /* the lowest addresses first, so that they can be compared in turn */
        assert_int_equal(slab_arena_room(&arena, 0), capacity - i);
        uint64_t offset = slab_arena_take(&arena, 0);
        assert_true(offset >= end);
        assert_int_equal(offset / arena.slab_bytes, (offset + payload_bytes - 1) / arena.slab_bytes);
        end = offset + payload_bytes;
    }
    assert_true(end <= bytes);
    assert_int_equal(slab_arena_take(&arena, 0), PAYLOAD_NONE);
    assert_int_equal(slab_arena_waste_bytes(&arena), 20 * (2 * MIB - 10 * payload_bytes));
    assert_int_equal(mem_count(), n_allocations);
    slab_arena_close(&arena);
}

static void an_arena_without_room_for_each_class_is_refused(void **state) {
    (void)state;
    struct slab_arena arena;
    const size_t payload_bytes[] = {5000, 100};
    assert_int_equal(slab_arena_open(&arena, 2 * 8192 - 1, payload_bytes, 2, false),
                     ERR_FULL); /* slabs of whole pages */
    assert_non_null(strstr(err_message(), "16383"));
    assert_non_null(strstr(err_message(), "8192"));
    slab_arena_close(&arena);
    assert_int_equal(slab_arena_open(&arena, 0, payload_bytes, 1, false), ERR_FULL);
    slab_arena_close(&arena);
    open_arena(&arena, 2 * 8192, payload_bytes, 2);
    slab_arena_close(&arena);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(payloads_of_two_classes_share_an_arena),
        cmocka_unit_test(a_slab_that_empties_serves_another_class),
        cmocka_unit_test(large_arenas_use_whole_huge_pages_and_waste_little),
        cmocka_unit_test(every_payload_is_whole_and_nobody_elses),
        cmocka_unit_test(an_arena_without_room_for_each_class_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
