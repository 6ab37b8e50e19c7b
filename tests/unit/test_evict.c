/* What goes first, by each policy. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "kv/evict_list.h"

enum { N_ITEMS = 300 };

static const struct evict_policy *policy;
static void *state;

static void open_policy(const char *name) {
    policy = evict_find(name);
    assert_non_null(policy);
    assert_int_equal(policy->create(&state, N_ITEMS), 0);
    assert_int_equal(policy->victim(state), EVICT_NONE);
}

static void close_policy(void) { policy->destroy(state); }

static void insert(uint32_t item, struct evict_traits traits) { policy->insert(state, item, &traits); }

static void expect_evicted(uint32_t item) {
    assert_int_equal(policy->victim(state), item);
    assert_true(policy->holds(state, item));
    policy->remove(state, item);
    assert_false(policy->holds(state, item));
}

static void names_find_their_policies(void **unused) {
    (void)unused;
    assert_string_equal(evict_find("cost")->name, "cost");
    assert_null(evict_find("fifo"));
    assert_null(evict_find(""));
    assert_string_equal(evict_names(), "lru, lfu, cost");
}

static void priorities_and_passed_ones_come_before_all_else(void **unused) {
    (void)unused;
    for (const char *const *name = (const char *const[]){"lru", "lfu", "cost", NULL}; *name != NULL; name++) {
        open_policy(*name);
        insert(1, (struct evict_traits){.priority = 1, .is_passed = true, .used = 1});
        insert(2, (struct evict_traits){.used = 9, .n_hits = 9, .bytes = 1, .cost_ns = 9});
        insert(3,
               (struct evict_traits){.is_passed = true, .used = 10, .n_hits = 10, .bytes = 1, .cost_ns = 10});
        insert(4, (struct evict_traits){.priority = 1, .used = 0});
        insert(5, (struct evict_traits){.priority = 255});
        const uint32_t order[] = {3, 2, 1, 4, 5};
        for (int i = 0; i < 5; i++) expect_evicted(order[i]);
        close_policy();
    }
}

static void lru_goes_by_use_alone(void **unused) {
    (void)unused;
    open_policy("lru");
    insert(1, (struct evict_traits){.used = 3, .n_hits = 0});
    insert(2, (struct evict_traits){.used = 1, .n_hits = 50});
    insert(4, (struct evict_traits){.used = 2});
    insert(3, (struct evict_traits){.used = 2});
    const uint32_t order[] = {2, 3, 4, 1};
    for (int i = 0; i < 4; i++) expect_evicted(order[i]);
    close_policy();
}

static void lfu_goes_by_hits_and_then_by_use(void **unused) {
    (void)unused;
    open_policy("lfu");
    insert(1, (struct evict_traits){.used = 9, .n_hits = 1});
    insert(2, (struct evict_traits){.used = 1, .n_hits = 2});
    insert(3, (struct evict_traits){.used = 8, .n_hits = 1});
    const uint32_t order[] = {3, 1, 2};
    for (int i = 0; i < 3; i++) expect_evicted(order[i]);
    close_policy();
}

static void cost_goes_by_time_saved_for_each_byte(void **unused) {
    (void)unused;
    open_policy("cost");
    insert(1, (struct evict_traits){.bytes = 100, .cost_ns = 1000}); /* 10 */
    insert(2, (struct evict_traits){.bytes = 200, .cost_ns = 1000}); /* 5: as much for more memory */
    insert(3, (struct evict_traits){.bytes = 200, .cost_ns = 1000, .n_hits = 3}); /* 20: it was found */
    insert(4, (struct evict_traits){.bytes = 100, .cost_ns = 1500});              /* 15: deeper */
    const uint32_t order[] = {2, 1, 4, 3};
    for (int i = 0; i < 4; i++) expect_evicted(order[i]);
    close_policy();
}

/* What was found often long ago goes in the end, though what comes is worth less each time. */
static void what_was_valuable_ages(void **unused) {
    (void)unused;
    open_policy("cost");
    insert(0, (struct evict_traits){.bytes = 1, .cost_ns = 10, .n_hits = 4}); /* 50 */
    uint32_t n = 0;
    for (uint32_t item = 1; item < N_ITEMS; item++, n++) {
        insert(item, (struct evict_traits){.bytes = 1, .cost_ns = 10, .used = item});
        uint32_t victim = policy->victim(state);
        policy->remove(state, victim);
        if (victim == 0) break;
    }
    assert_int_equal(n, 4); /* the floor rose by 10 each time, to 40, where 0 is the older of two at 50 */
    close_policy();
}

/* Any order of insertions and removals leaves the set that it should, in the order that it should. */
static void each_is_a_set_in_order(void **unused) {
    (void)unused;
    for (const char *const *name = (const char *const[]){"lru", "lfu", "cost", NULL}; *name != NULL; name++) {
        open_policy(*name);
        bool is_in[N_ITEMS] = {0};
        uint32_t n = 0;
        for (uint64_t i = 0; i < 20000; i++) {
            uint32_t item = (uint32_t)(rng_u64(1, i) % N_ITEMS);
            if (is_in[item])
                policy->remove(state, item);
            else
                insert(item, (struct evict_traits){.priority = (uint8_t)(rng_u64(2, i) % 2),
                                                   .used = i,
                                                   .n_hits = rng_u64(3, i) % 4,
                                                   .bytes = 1 + rng_u64(4, i) % 9,
                                                   .cost_ns = 1 + rng_u64(5, i) % 99});
            n += is_in[item] ? UINT32_MAX : 1;
            is_in[item] = !is_in[item];
            if (i % 100 == 0) assert_true(policy->check(state, n));
            assert_true(policy->holds(state, item) == is_in[item]);
        }
        assert_false(policy->check(state, n + 1));
        for (; n > 0; n--) {
            uint32_t victim = policy->victim(state);
            assert_true(is_in[victim]);
            is_in[victim] = false;
            policy->remove(state, victim);
            assert_true(policy->check(state, n - 1));
        }
        close_policy();
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_find_their_policies),
        cmocka_unit_test(priorities_and_passed_ones_come_before_all_else),
        cmocka_unit_test(lru_goes_by_use_alone),
        cmocka_unit_test(lfu_goes_by_hits_and_then_by_use),
        cmocka_unit_test(cost_goes_by_time_saved_for_each_byte),
        cmocka_unit_test(what_was_valuable_ages),
        cmocka_unit_test(each_is_a_set_in_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
