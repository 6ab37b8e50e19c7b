/* The n-th allocation or system call fails while a file arrives in two runs, and while a listing is read: an
 * error, nothing leaked, and whatever is left on the disk lets the next run end well. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/fault.h"
#include "hub/choose.h"
#include "hub/part.h"

static char folder[] = "/tmp/cabinet-fault-hub-XXXXXX";
static char path[sizeof folder + 32];
static const volatile sig_atomic_t never = 0;
static const char content[] = "GGUF and what follows";
enum { LENGTH = sizeof content - 1, FIRST = 9 };
/* of `content`, by sha256sum */
static const char sha256[] = "a0cf78afc3d45a5d9710213d10eaa8915aaff143d37c1c33fae3477a081bacd8";
static const char origin[] = "sha256:a0cf78afc3d45a5d9710213d10eaa8915aaff143d37c1c33fae3477a081bacd8";

/* One run: goes on where the last one stopped, up to byte `end`. */
static int run_until(uint64_t end) {
    struct part part;
    char computed[65];
    TRY(part_open(&part, path, &never));
    int result = 0;
    if (strcmp(part.origin, origin) != 0 || part.bytes > end) result = part_restart(&part, origin);
    if (result == 0) result = part_check_room(&part, LENGTH - part.bytes);
    if (result == 0) result = part_append(&part, content + part.bytes, (size_t)(end - part.bytes));
    if (result == 0 && end == LENGTH) result = part_finish(&part, sha256, computed);
    part_close(&part);
    return result;
}

static int both_runs(void) {
    TRY(run_until(FIRST));
    return run_until(LENGTH);
}

static bool is_complete(void) {
    char bytes[LENGTH + 1];
    int descriptor = open(path, O_RDONLY);
    if (descriptor < 0) return false;
    ssize_t n = read(descriptor, bytes, sizeof bytes);
    assert_int_equal(close(descriptor), 0);
    assert_int_equal(n, LENGTH); /* under its name only when it is complete */
    assert_memory_equal(bytes, content, LENGTH);
    return true;
}

static void fail_each(enum fault_mode mode) {
    uint64_t n = 0;
    int lowest_free = dup(0);
    assert_int_equal(close(lowest_free), 0);
    for (bool is_clean = false; !is_clean;) {
        (void)unlink(path);
        fault_arm(mode, ++n);
        int result = both_runs();
        fault_disarm();
        is_clean = !fault_delivered();
        if (!is_clean && result != ERR_IO && result != ERR_NO_MEMORY)
            fail_msg("fault %u: %s: %s", (unsigned)n, err_name(result), err_message());
        assert_int_equal(is_complete(), result == 0);
        if (result < 0) assert_int_equal(run_until(LENGTH), 0);
        assert_true(is_complete());
        int still_free = dup(0);
        assert_int_equal(close(still_free), 0);
        assert_int_equal(still_free, lowest_free);
    }
    assert_in_range(n, 20, 200); /* or the faults did not reach the calls */
}

static void every_call_of_a_part_may_fail(void **state) {
    (void)state;
    fail_each(FAULT_ONCE);
    fail_each(FAULT_FROM_THEN_ON);
}

static void every_allocation_of_a_listing_may_fail(void **state) {
    (void)state;
    static const char json[] =
        "{\"siblings\": [{\"rfilename\": \"a-Q4_0.gguf\"}, {\"rfilename\": \"b-Q8_0.gguf\"}]}";
    for (uint64_t n = 1;; n++) {
        struct listing listing;
        struct choice choice;
        fault_arm(FAULT_ONCE, n);
        int result = listing_parse(&listing, json, sizeof json - 1);
        fault_disarm();
        if (!fault_delivered()) {
            assert_int_equal(n, 3 + 1); /* the array, two paths */
            assert_int_equal(choose(&choice, &listing, "", "o/r"), 0);
            assert_string_equal(choice.first->path, "a-Q4_0.gguf");
            listing_free(&listing);
            return;
        }
        assert_int_equal(result, ERR_NO_MEMORY);
        assert_int_equal(listing.n_files, 0);
    }
}

static int make_folder(void **state) {
    (void)state;
    if (mkdtemp(folder) == NULL) return -1;
    snprintf(path, sizeof path, "%s/o/model.gguf", folder);
    return 0;
}

static int remove_folder(void **state) {
    (void)state;
    char inner[sizeof path];
    snprintf(inner, sizeof inner, "%s/o", folder);
    return unlink(path) | rmdir(inner) | rmdir(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_call_of_a_part_may_fail),
        cmocka_unit_test(every_allocation_of_a_listing_may_fail),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
