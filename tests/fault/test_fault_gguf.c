/* Opening a GGUF file while the n-th allocation or system call fails, once or from then on, for n = 1, 2, ...
 * until a run sees no fault. Leaks are the address sanitizer's to find. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/fault.h"
#include "model/gguf.h"

#include "../unit/gguf_writer.h"

static struct gguf_writer writer;

static int open_from_memory(struct gguf **file, const char *path) {
    (void)path;
    return gguf_open_bytes(file, writer.bytes, writer.length, "memory.gguf");
}

/* Returns the number of the first run that saw no fault. */
static uint64_t fail_each(enum fault_mode mode, int (*open_file)(struct gguf **, const char *),
                          const char *path, bool may_be_io) {
    for (uint64_t n = 1; n < 1000; n++) {
        struct gguf *file = (struct gguf *)(void *)&writer;
        fault_arm(mode, n);
        int result = open_file(&file, path);
        fault_disarm();
        if (!fault_delivered()) {
            assert_int_equal(result, 0);
            assert_int_equal(gguf_n_tensors(file), 3);
            assert_non_null(gguf_find_tensor(file, "output.weight"));
            gguf_close(file);
            return n;
        }
        if (result != ERR_NO_MEMORY && !(may_be_io && result == ERR_IO))
            fail_msg("fault %u: %s: %s", (unsigned)n, err_name(result), err_message());
        assert_non_null(strstr(err_message(), "injected"));
        assert_null(file);
    }
    fail_msg("no clean run");
    return 0;
}

/* The handle, the keys, their one string array and index; the tensors, their offsets, places and index:
 * eight. */
static void every_allocation_may_fail(void **state) {
    (void)state;
    put_small_file(&writer, 3);
    assert_int_equal(fail_each(FAULT_ONCE, open_from_memory, NULL, false), 8 + 1);
    assert_int_equal(fail_each(FAULT_FROM_THEN_ON, open_from_memory, NULL, false), 8 + 1);
}

/* Also opening and mapping. */
static void every_call_on_a_file_may_fail(void **state) {
    (void)state;
    put_small_file(&writer, 3);
    char path[] = "/tmp/cabinet-fault-gguf-XXXXXX";
    int descriptor = mkstemp(path);
    assert_true(descriptor >= 0);
    assert_int_equal(write(descriptor, writer.bytes, writer.length), writer.length);
    assert_int_equal(close(descriptor), 0);
    int lowest_free = dup(0);
    assert_int_equal(close(lowest_free), 0);
    assert_int_equal(fail_each(FAULT_ONCE, gguf_open, path, true), 10 + 1);
    assert_int_equal(fail_each(FAULT_FROM_THEN_ON, gguf_open, path, true), 10 + 1);
    int still_free = dup(0);
    assert_int_equal(close(still_free), 0);
    assert_int_equal(still_free, lowest_free); /* no descriptor was left open */
    assert_int_equal(unlink(path), 0);
}

/* Part `no` of two of a model of three tensors, the first part of which has one. */
static void write_part(const char *path, uint16_t no) {
    put_header(&writer, 3, no == 0 ? 1 : 2, 3);
    put_key(&writer, "split.no", 2);
    put_u16(&writer, no);
    put_u32_value(&writer, "split.count", 2);
    put_u32_value(&writer, "split.tensors.count", 3);
    put_tensor(&writer, no == 0 ? "a" : "output.weight", 0, 8, 1, 0);
    if (no == 1) put_tensor(&writer, "b", 0, 8, 1, 32);
    put_padding(&writer, 32);
    put_data(&writer, 64);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(writer.bytes, 1, writer.length, file), writer.length);
    assert_int_equal(fclose(file), 0);
}

/* For each file the handle, opening, mapping, the keys and their index, the tensors, their offsets, places
 * and index; then the list of parts, a path, the list of all tensors and its index. */
static void every_call_on_a_split_model_may_fail(void **state) {
    (void)state;
    char folder[] = "/tmp/cabinet-fault-split-XXXXXX", first[64], second[64];
    assert_non_null(mkdtemp(folder));
    (void)snprintf(first, sizeof first, "%s/m-00001-of-00002.gguf", folder);
    (void)snprintf(second, sizeof second, "%s/m-00002-of-00002.gguf", folder);
    write_part(first, 0);
    write_part(second, 1);
    assert_int_equal(fail_each(FAULT_ONCE, gguf_open, first, true), 2 * 9 + 4 + 1);
    assert_int_equal(fail_each(FAULT_FROM_THEN_ON, gguf_open, first, true), 2 * 9 + 4 + 1);
    assert_int_equal(unlink(first), 0);
    assert_int_equal(unlink(second), 0);
    assert_int_equal(rmdir(folder), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_allocation_may_fail),
        cmocka_unit_test(every_call_on_a_file_may_fail),
        cmocka_unit_test(every_call_on_a_split_model_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
