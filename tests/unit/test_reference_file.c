/* Reference files: what is read is what was written, but for the stated rounding; and a file that is not as
 * it should be, in any byte, is refused in one line. */
#include <dirent.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/rng.h"
#include "model/divergence.h"
#include "model/reference_file.h"

enum { N_VOCAB = 37, N_ROWS = 2 * 3, HEAD = 40, ROW = 20 + 2 * N_VOCAB, MAX_FILE = HEAD + N_ROWS * ROW + 1 };

static const struct reference_shape shape = {
    .n_vocab = N_VOCAB, .n_context = 8, .n_chunks = 2, .tokens_hash = 0x1234567890abcdef};

static char folder[] = "/tmp/cabinet-reference-XXXXXX";
static char path[64];

static uint8_t good[MAX_FILE], bytes[MAX_FILE];
static size_t n_good;

static void make_row(uint32_t row, float *logits) {
    for (uint32_t i = 0; i < N_VOCAB; i++)
        logits[i] = (float)((rng_uniform(row, i) - 0.5) * 50 + 1000 * (row % 2));
    logits[row] = -INFINITY;
    logits[row + 1] = logits[row + 2] - 60; /* far below every other */
}

static double nll_of(uint32_t row) { return 0.1 + row * 0.3; }

static void write_file(void) {
    struct reference_file *file;
    float logits[N_VOCAB];
    assert_int_equal(reference_create(&file, path, &shape), 0);
    for (uint32_t row = 0; row < N_ROWS; row++) {
        make_row(row, logits);
        assert_int_equal(reference_append(file, logits, nll_of(row), divergence_top(logits, N_VOCAB)), 0);
        assert_int_not_equal(access(path, F_OK), 0); /* not there before it is complete */
    }
    assert_int_equal(reference_finish(file), 0);
    reference_close(file);
}

static void put_file(size_t length) {
    FILE *stream = fopen(path, "wb");
    assert_non_null(stream);
    assert_int_equal(fwrite(bytes, 1, length, stream), length);
    assert_int_equal(fclose(stream), 0);
}

static unsigned n_files(void) {
    DIR *directory = opendir(folder);
    assert_non_null(directory);
    unsigned n = 0;
    for (const struct dirent *entry; (entry = readdir(directory)) != NULL;) n += entry->d_name[0] != '.';
    closedir(directory);
    return n;
}

static int set_up(void **state) {
    (void)state;
    if (mkdtemp(folder) == NULL) return -1;
    snprintf(path, sizeof path, "%s/a.ref", folder);
    write_file();
    FILE *stream = fopen(path, "rb");
    n_good = stream == NULL ? 0 : fread(good, 1, sizeof good, stream);
    if (stream != NULL) fclose(stream);
    return n_good == reference_bytes(&shape) && n_good == MAX_FILE - 1 && n_files() == 1 ? 0 : -1;
}

static int tear_down(void **state) {
    (void)state;
    unlink(path);
    return rmdir(folder); /* fails if something else is left there */
}

/* Opens the file and reads it all: the first failure. */
static int read_all(const struct reference_shape *as) {
    struct reference_file *file = NULL;
    int result = reference_open(&file, path, as);
    float logits[N_VOCAB];
    double nll;
    uint32_t top;
    for (uint32_t row = 0; result == 0 && row < N_ROWS; row++) {
        result = reference_next(file, logits, &nll, &top);
        if (result == 0) assert_false(isnan(divergence_log_sum(logits, N_VOCAB)));
    }
    reference_close(file);
    return result;
}

static void assert_refused(int result, int code, const char *says) {
    if (result != code) fail_msg("%s instead of %s: %s", err_name(result), err_name(code), err_message());
    if (strstr(err_message(), says) == NULL || strstr(err_message(), "a.ref: ") == NULL)
        fail_msg("no '%s' in: %s", says, err_message());
    assert_null(strchr(err_message(), '\n'));
}

static void rows_come_back_within_the_rounding(void **state) {
    (void)state;
    memcpy(bytes, good, n_good);
    put_file(n_good);
    struct reference_file *file;
    assert_int_equal(reference_open(&file, path, &shape), 0);
    for (uint32_t row = 0; row < N_ROWS; row++) {
        float written[N_VOCAB], read[N_VOCAB];
        double nll;
        uint32_t top;
        make_row(row, written);
        assert_int_equal(reference_next(file, read, &nll, &top), 0);
        assert_true(nll == nll_of(row));
        assert_int_equal(top, divergence_top(written, N_VOCAB));
        assert_true(read[top] == 0);
        for (uint32_t i = 0; i < N_VOCAB; i++) {
            double below = (double)written[top] - (double)written[i];
            if (below < 31.9)
                assert_true(fabs(below + (double)read[i]) <= 0.5 / 2048 + 1e-4 * (row % 2)); /* f32 at 1000 */
            else if (below > 32.1)
                assert_true(read[i] == -INFINITY);
        }
        double kl = divergence_kl(read, divergence_log_sum(read, N_VOCAB), written,
                                  divergence_log_sum(written, N_VOCAB), N_VOCAB);
        assert_true(kl < 3e-8);
    }
    reference_close(file);
}

static void other_runs_are_told_what_differs(void **state) {
    (void)state;
    memcpy(bytes, good, n_good);
    put_file(n_good);
    assert_int_equal(read_all(&shape), 0);
    struct reference_shape other = shape;
    other.n_vocab++;
    assert_refused(read_all(&other), ERR_INVALID, "vocabulary of 37");
    other = shape;
    other.n_context = 9;
    assert_refused(read_all(&other), ERR_INVALID, "--ctx of 8");
    other = shape;
    other.n_chunks = 1;
    assert_refused(read_all(&other), ERR_INVALID, "2 chunks");
    other = shape;
    other.tokens_hash ^= 1;
    assert_refused(read_all(&other), ERR_INVALID, "another text");
}

static void every_wrong_byte_and_length_is_seen(void **state) {
    (void)state;
    for (size_t at = 0; at < n_good; at++) {
        memcpy(bytes, good, n_good);
        bytes[at] ^= (uint8_t)(1 + rng_u64(5, at) % 255);
        put_file(n_good);
        if (read_all(&shape) == 0) fail_msg("byte %zu may be anything", at);
        assert_refused(read_all(&shape), at >= 8 && at < 12 ? ERR_UNSUPPORTED : ERR_CORRUPT, "");
    }
    memcpy(bytes, good, n_good);
    for (size_t length = 0; length <= n_good + 1; length++) {
        if (length == n_good) continue;
        put_file(length);
        assert_refused(read_all(&shape), ERR_CORRUPT, "");
    }
}

/* What a stranger can write with hashes that fit. */
static void rows_that_make_no_sense_are_refused(void **state) {
    (void)state;
    const double bad_nll[] = {NAN, INFINITY, -1};
    for (int i = 0; i < 6; i++) {
        memcpy(bytes, good, n_good);
        uint8_t *row = bytes + HEAD + 2 * ROW;
        uint32_t top = i == 3 ? N_VOCAB : i == 4 ? UINT32_MAX : 0;
        uint16_t code = 1;
        if (i < 3) memcpy(row + 8, &bad_nll[i], 8);
        if (i == 3 || i == 4) memcpy(row + 16, &top, 4);
        if (i == 5) memcpy(&top, row + 16, 4);
        if (i == 5) memcpy(row + 20 + 2 * top, &code, 2); /* its most likely token is not */
        uint64_t hash = XXH3_64bits(row + 8, ROW - 8);
        memcpy(row, &hash, 8);
        put_file(n_good);
        assert_refused(read_all(&shape), ERR_CORRUPT, "row 2 of 6");
    }
}

static void what_is_not_finished_leaves_the_old_file(void **state) {
    (void)state;
    memcpy(bytes, good, n_good);
    put_file(n_good);
    struct reference_file *file;
    float logits[N_VOCAB];
    make_row(0, logits);
    assert_int_equal(reference_create(&file, path, &shape), 0);
    assert_int_equal(reference_append(file, logits, 1, divergence_top(logits, N_VOCAB)), 0);
    assert_int_equal(n_files(), 2);
    reference_close(file);
    assert_int_equal(n_files(), 1);
    assert_int_equal(read_all(&shape), 0);
}

static void places_that_hold_no_file(void **state) {
    (void)state;
    struct reference_file *file = NULL;
    char other[96];
    snprintf(other, sizeof other, "%s/none/a.ref", folder);
    assert_refused(reference_create(&file, other, &shape), ERR_IO, "No such file");
    assert_null(file);
    assert_refused(reference_open(&file, other, &shape), ERR_NOT_FOUND, "no such file");
    assert_null(file);
    assert_int_equal(reference_create(&file, folder, &shape), ERR_IO);
    assert_int_equal(reference_open(&file, folder, &shape), ERR_CORRUPT);
    reference_close(NULL);
}

static void shapes(void **state) {
    (void)state;
    assert_int_equal(reference_n_scored(8), 3);
    assert_int_equal(reference_n_scored(9), 4);
    assert_int_equal(reference_n_scored(2048), 1023);
    const int32_t tokens[] = {1, 2, 3}, others[] = {1, 2, 4};
    assert_true(reference_hash(tokens, 3) != reference_hash(others, 3));
    assert_true(reference_hash(tokens, 2) == reference_hash(others, 2));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_come_back_within_the_rounding),
        cmocka_unit_test(other_runs_are_told_what_differs),
        cmocka_unit_test(every_wrong_byte_and_length_is_seen),
        cmocka_unit_test(rows_that_make_no_sense_are_refused),
        cmocka_unit_test(what_is_not_finished_leaves_the_old_file),
        cmocka_unit_test(places_that_hold_no_file),
        cmocka_unit_test(shapes),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
