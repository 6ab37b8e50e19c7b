/* Slots and pairs by form, beside counting them one by one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "codec/kv_seen.h"

enum { MAX_POSITION = 700, N_CASES = 4000 };

static bool seen[KV_CLASS_COUNT][MAX_POSITION];

/* The form in which a row reads a slot. */
static enum kv_class form_of(const struct kv_group *group, uint64_t row, uint64_t slot) {
    if (!group->converts) return KV_SEALED;
    if (slot / BLOCK_TOKENS == row / BLOCK_TOKENS) return KV_OPEN;
    return slot < BLOCK_TOKENS ? KV_SINK : KV_SEALED;
}

static void compare(const struct kv_group *group, uint64_t first, uint64_t n_rows) {
    uint64_t pairs[KV_CLASS_COUNT] = {0}, slots[KV_CLASS_COUNT] = {0};
    memset(seen, 0, sizeof seen);
    for (uint64_t row = first; row < first + n_rows; row++)
        for (uint64_t slot = 0; slot <= row; slot++) {
            if (group->window > 0 && row - slot >= group->window) continue;
            pairs[form_of(group, row, slot)]++;
            seen[form_of(group, row, slot)][slot] = true;
        }
    for (int class = 0; class < KV_CLASS_COUNT; class ++)
        for (int slot = 0; slot < MAX_POSITION; slot++) slots[class] += seen[class][slot];
    struct kv_seen by_slots = kv_seen_slots(group, first, n_rows),
                   by_pairs = kv_seen_pairs(group, first, n_rows);
    for (int class = 0; class < KV_CLASS_COUNT; class ++)
        if (by_slots.n[class] != slots[class] || by_pairs.n[class] != pairs[class])
            fail_msg("window %u, converts %d, %d rows at %d, form %d: %d slots not %d, %d pairs not %d",
                     group->window, group->converts, (int)n_rows, (int)first, class, (int)by_slots.n[class],
                     (int)slots[class], (int)by_pairs.n[class], (int)pairs[class]);
}

static void counted_one_by_one(void **state) {
    (void)state;
    static const uint32_t windows[] = {0, 1, 5, 31, 32, 33, 64, 100, 512};
    for (uint64_t i = 0; i < N_CASES; i++) {
        const struct kv_group group = {.window = windows[rng_u64(1, i) % 9], .converts = i % 2 == 0};
        compare(&group, rng_u64(2, i) % 400, rng_u64(3, i) % 200);
    }
}

static void blocks_by_form(void **state) {
    (void)state;
    const struct kv_group converting = {.converts = true}, row = {0};
    struct kv_seen three = kv_seen_blocks(&converting, 0, 3 * BLOCK_TOKENS);
    assert_int_equal(three.n[KV_SINK], BLOCK_TOKENS);
    assert_int_equal(three.n[KV_SEALED], 2 * BLOCK_TOKENS);
    assert_int_equal(kv_seen_blocks(&converting, BLOCK_TOKENS, 64).n[KV_SEALED], 64);
    assert_int_equal(kv_seen_blocks(&row, 0, 64).n[KV_SEALED], 64);
    assert_int_equal(kv_seen_blocks(&row, 0, 0).n[KV_SEALED], 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(counted_one_by_one),
                                       cmocka_unit_test(blocks_by_form)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
