/* Who shares a cache: which of key and cache_salt decide, and that nothing outside the process decides too.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/fault.h"
#include "server/cache_salt.h"

static uint64_t salt(const struct cache_salts *salts, uint32_t key, const char *cache_salt) {
    uint64_t found = 1;
    assert_int_equal(cache_salt_of(salts, key, cache_salt, &found), 0);
    return found;
}

static struct cache_salts opened(enum salt_by by, size_t n_keys) {
    struct cache_salts salts;
    assert_int_equal(cache_salts_open(&salts, by, n_keys), 0);
    return salts;
}

static void what_decides(void **state) {
    (void)state;
    struct cache_salts by_key = opened(SALT_BY_key, 2), by_request = opened(SALT_BY_request, 2),
                       by_none = opened(SALT_BY_none, 2);
    assert_true(salt(&by_key, 1, NULL) == salt(&by_key, 1, NULL));
    assert_true(salt(&by_key, 1, NULL) != salt(&by_key, 2, NULL));
    assert_true(salt(&by_key, 1, "a") == salt(&by_key, 1, "a"));
    assert_true(salt(&by_key, 1, "a") != salt(&by_key, 2, "a"));
    assert_true(salt(&by_key, 1, "a") != salt(&by_key, 1, "b"));
    assert_true(salt(&by_request, 1, NULL) == salt(&by_request, 2, NULL));
    assert_true(salt(&by_request, 1, "a") == salt(&by_request, 2, "a"));
    assert_true(salt(&by_request, 1, "a") != salt(&by_request, 1, "b"));
    assert_true(salt(&by_request, 1, "a") != salt(&by_request, 1, NULL));
    assert_true(salt(&by_none, 1, "a") == salt(&by_none, 2, NULL));
}

static void the_default(void **state) {
    (void)state;
    assert_int_equal(opened(SALT_BY_default, 0).by, SALT_BY_request);
    assert_int_equal(opened(SALT_BY_default, 1).by, SALT_BY_request);
    assert_int_equal(opened(SALT_BY_default, 2).by, SALT_BY_key);
    assert_int_equal(opened(SALT_BY_none, 2).by, SALT_BY_none);
}

/* No field can be made to look like another, whatever it holds. */
static void all_differ(void **state) {
    (void)state;
    static const char *const fields[] = {NULL,      "",  "without", "and ", " ", "1",
                                         "2 and 1", "a", "A",       "a ",   "\n"};
    enum { N_FIELDS = sizeof fields / sizeof *fields, N_KEYS = 30 };
    struct cache_salts salts = opened(SALT_BY_key, N_KEYS);
    uint64_t seen[N_FIELDS * N_KEYS];
    size_t n = 0;
    for (uint32_t key = 0; key < N_KEYS; key++)
        for (size_t i = 0; i < N_FIELDS; i++) seen[n++] = salt(&salts, key, fields[i]);
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < i; j++) assert_true(seen[i] != seen[j]);
}

static void processes_differ(void **state) {
    (void)state;
    struct cache_salts one = opened(SALT_BY_key, 2), other = opened(SALT_BY_key, 2);
    assert_true(salt(&one, 1, "a") != salt(&other, 1, "a"));
}

static void labels(void **state) {
    (void)state;
    struct cache_salts salts = opened(SALT_BY_key, 2);
    char one[CACHE_SALT_LABEL], again[CACHE_SALT_LABEL], other[CACHE_SALT_LABEL];
    uint64_t of_one = salt(&salts, 1, NULL);
    assert_int_equal(cache_salt_label(&salts, of_one, one), 0);
    assert_int_equal(cache_salt_label(&salts, of_one, again), 0);
    assert_int_equal(cache_salt_label(&salts, of_one + 1, other), 0);
    assert_string_equal(one, again);
    assert_string_not_equal(one, other);
    assert_int_equal(strspn(one, "0123456789abcdef"), CACHE_SALT_LABEL - 1);
    assert_true(strtoull(one, NULL, 16) != of_one); /* it is not the salt */
}

static void names(void **state) {
    (void)state;
    assert_int_equal(salt_by_named("key"), SALT_BY_key);
    assert_int_equal(salt_by_named("request"), SALT_BY_request);
    assert_int_equal(salt_by_named("none"), SALT_BY_none);
    assert_int_equal(salt_by_named("default"), -1);
    assert_int_equal(salt_by_named(""), -1);
}

/* Without memory a request is refused: it must not end up in a cache that is another's. */
static void memory_fails(void **state) {
    (void)state;
    struct cache_salts salts = opened(SALT_BY_key, 2);
    uint64_t found;
    fault_arm(FAULT_ONCE, 1);
    assert_true(cache_salt_of(&salts, 1, "a", &found) < 0);
    fault_disarm();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_decides),     cmocka_unit_test(the_default), cmocka_unit_test(all_differ),
        cmocka_unit_test(processes_differ), cmocka_unit_test(labels),      cmocka_unit_test(names),
        cmocka_unit_test(memory_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
