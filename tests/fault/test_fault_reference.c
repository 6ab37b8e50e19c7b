/* Writing and reading a reference file while the n-th allocation or call on the file fails, once or from then
 * on, for n = 1, 2, ... until a run sees no fault: an error, nothing left behind, no descriptor left open. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/fault.h"
#include "model/reference_file.h"

static const struct reference_shape shape = {.n_vocab = 5, .n_context = 8, .n_chunks = 1, .tokens_hash = 1};
enum { N_ROWS = 3 };

static char folder[] = "/tmp/cabinet-fault-reference-XXXXXX";
static char path[64];

static int write_rows(struct reference_file *file) {
    static const float logits[] = {1, 2, 5, 4, 3};
    for (int row = 0; row < N_ROWS; row++) TRY(reference_append(file, logits, 0.5, 2));
    return reference_finish(file);
}

static int write_file(void) {
    struct reference_file *file;
    TRY(reference_create(&file, path, &shape));
    int result = write_rows(file);
    reference_close(file);
    return result;
}

static int read_file(void) {
    struct reference_file *file;
    float logits[5];
    double nll;
    uint32_t top;
    TRY(reference_open(&file, path, &shape));
    int result = 0;
    for (int row = 0; row < N_ROWS && result == 0; row++) result = reference_next(file, logits, &nll, &top);
    reference_close(file);
    return result;
}

/* Returns the number of the first run that saw no fault. */
static uint64_t fail_each(enum fault_mode mode, int (*run)(void)) {
    for (uint64_t n = 1; n < 1000; n++) {
        fault_arm(mode, n);
        int result = run();
        fault_disarm();
        if (!fault_delivered()) {
            assert_int_equal(result, 0);
            return n;
        }
        if (result != ERR_NO_MEMORY && result != ERR_IO)
            fail_msg("fault %u: %s: %s", (unsigned)n, err_name(result), err_message());
        if (run != write_file) continue;
        assert_int_equal(rmdir(folder), 0); /* nothing was left in it */
        assert_int_equal(mkdir(folder, 0700), 0);
    }
    fail_msg("no clean run");
    return 0;
}

static void every_call_may_fail(void **state) {
    (void)state;
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/a.ref", folder);
    int lowest_free = dup(0);
    assert_int_equal(close(lowest_free), 0);
    for (int mode = FAULT_ONCE; mode <= FAULT_FROM_THEN_ON; mode++) {
        /* four allocations, opening, the head, three rows, finishing, renaming */
        assert_int_equal(fail_each((enum fault_mode)mode, write_file), 11 + 1);
        /* three allocations, opening, the head, three rows */
        assert_int_equal(fail_each((enum fault_mode)mode, read_file), 8 + 1);
        assert_int_equal(unlink(path), 0);
    }
    int still_free = dup(0);
    assert_int_equal(close(still_free), 0);
    assert_int_equal(still_free, lowest_free);
    assert_int_equal(rmdir(folder), 0); /* empty */
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_call_may_fail)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
