/* The reader of golden logits: what a compact file says, put back into rows of logits, is no distance from
 * the file, and a row that says something else is. Arguments are triples: a file, its vocabulary's size, and
 * the most probable token after its last one. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/err.h"
#include "logits_file.h"

static char **arguments;
static int n_arguments;

static uint32_t id_at(const struct logits_file *file, size_t row, size_t i) {
    size_t index = row * file->n_top + i;
    return file->n_vocab > 65536 ? ((const uint32_t *)file->top_ids)[index]
                                 : ((const uint16_t *)file->top_ids)[index];
}

/* The rest's mass goes to all other tokens alike. */
static void put_back(float *logits, const struct logits_file *file, size_t row) {
    float other = file->log_rest[row] - logf((float)(file->n_vocab - file->n_top));
    for (size_t i = 0; i < file->n_vocab; i++) logits[i] = other;
    for (size_t i = 0; i < file->n_top; i++)
        logits[id_at(file, row, i)] = file->top_logprobs[row * file->n_top + i];
}

static void check_file(const char *path, uint32_t n_vocab, uint32_t last_best) {
    struct logits_file file;
    if (logits_file_read(&file, path) < 0) fail_msg("%s", err_message());
    assert_int_equal(file.n_vocab, n_vocab);
    size_t last = file.n_rows - 1;
    assert_int_equal(id_at(&file, last, 0), last_best);
    float *logits = malloc(n_vocab * sizeof *logits);
    assert_non_null(logits);

    struct logits_compare same = {0};
    for (size_t i = 0; i < file.n_rows; i++) {
        put_back(logits, &file, i);
        assert_int_equal(logits_compare_row(&same, &file, i, logits), 0);
    }
    assert_int_equal(same.top1_equal, file.n_rows);
    assert_true(fabs(same.kl_mean) < 1e-6);
    assert_true(same.max_abs_diff < 1e-4);

    put_back(logits, &file, last);
    double lead = (double)logits[last_best] - logits[id_at(&file, last, 1)];
    assert_true(lead > 0);
    logits[last_best] -= (float)lead + 0.5F;
    struct logits_compare moved = {0};
    assert_int_equal(logits_compare_row(&moved, &file, last, logits), 0);
    assert_int_equal(moved.top1_wrong_beyond_margin, 1);
    assert_true(fabs(moved.worst_lead - lead) < 1e-5);
    assert_true(moved.kl_mean > 1e-4);

    free(logits);
    logits_file_free(&file);
}

static void compact_files_say_what_was_written(void **state) {
    (void)state;
    assert_true(n_arguments > 1);
    for (int i = 1; i + 2 < n_arguments; i += 3)
        check_file(arguments[i], (uint32_t)strtoul(arguments[i + 1], NULL, 10),
                   (uint32_t)strtoul(arguments[i + 2], NULL, 10));
}

int main(int argc, char **argv) {
    arguments = argv;
    n_arguments = argc;
    const struct CMUnitTest tests[] = {cmocka_unit_test(compact_files_say_what_was_written)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
