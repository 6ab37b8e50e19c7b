/* Opening a tokenizer and encoding with it while the n-th allocation fails, once or from then on, for n = 1,
 * 2, ... until a run sees no fault. Leaks are the address sanitizer's to find. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/fault.h"
#include "model/tokenizer.h"

#include "../unit/tiny_vocabulary.h"

static struct gguf_writer writer;
static struct gguf *file;

static void assert_no_memory(uint64_t n, int result) {
    if (result != ERR_NO_MEMORY) fail_msg("fault %u: %s: %s", (unsigned)n, err_name(result), err_message());
    assert_non_null(strstr(err_message(), "no memory"));
}

static void assert_works(const struct tokenizer *tokenizer) {
    struct token_list list = {0};
    assert_int_equal(tokenizer_encode(tokenizer, "<s>abcd 7", 9, true, &list), 0);
    const token_id expected[] = {TINY_BOS, 'a', TINY_BCD, ' ', '7'};
    assert_int_equal(list.n, 5);
    assert_memory_equal(list.ids, expected, sizeof expected);
    token_list_free(&list);
}

/* Returns how many faults made it fail. */
static unsigned fail_each_open(enum fault_mode mode) {
    unsigned n_failures = 0;
    for (uint64_t n = 1; n < 1000; n++) {
        struct tokenizer *tokenizer = (struct tokenizer *)(void *)&writer;
        fault_arm(mode, n);
        int result = tokenizer_open(&tokenizer, file);
        fault_disarm();
        if (result < 0) {
            assert_true(fault_delivered());
            assert_no_memory(n, result);
            assert_null(tokenizer);
            n_failures++;
            continue;
        }
        /* PCRE2 that finds no memory for machine code interprets: that fault is survived */
        assert_works(tokenizer);
        tokenizer_close(tokenizer);
        if (!fault_delivered()) return n_failures;
    }
    fail_msg("no clean run");
    return 0;
}

static void every_allocation_of_open_may_fail(void **state) {
    (void)state;
    /* nine of ours; PCRE2's own: a general context, and for each of two expressions a context and the code at
     * least */
    assert_true(fail_each_open(FAULT_ONCE) >= 9 + 1 + 2 * 2);
    assert_true(fail_each_open(FAULT_FROM_THEN_ON) >= 9 + 1 + 2 * 2);
}

static void encode_under_faults(const struct tokenizer *tokenizer, enum fault_mode mode, const char *text,
                                size_t length, size_t n_ids) {
    for (uint64_t n = 1; n < 1000; n++) {
        struct token_list list = {0};
        assert_int_equal(token_list_append(&list, 42), 0);
        fault_arm(mode, n);
        int result = tokenizer_encode(tokenizer, text, length, true, &list);
        fault_disarm();
        bool delivered = fault_delivered();
        if (delivered) assert_no_memory(n, result);
        assert_int_equal(list.n, delivered ? 1 : 1 + n_ids);
        assert_int_equal(list.ids[0], 42); /* what was there before stays */
        token_list_free(&list);
        if (delivered) continue;
        assert_int_equal(result, 0);
        assert_true(n > 5);
        return;
    }
    fail_msg("no clean run");
}

static void every_allocation_of_encode_may_fail(void **state) {
    (void)state;
    struct tokenizer *tokenizer;
    assert_int_equal(tokenizer_open(&tokenizer, file), 0);
    char text[2000]; /* long enough for the list and the merging to grow */
    memset(text, '?', sizeof text);
    memcpy(text, "a b<s>7", 7);
    size_t n_ids = 5 + sizeof text - 7;
    encode_under_faults(tokenizer, FAULT_ONCE, text, sizeof text, n_ids);
    encode_under_faults(tokenizer, FAULT_FROM_THEN_ON, text, sizeof text, n_ids);
    tokenizer_close(tokenizer);
}

int main(void) {
    put_tiny_vocabulary(&writer, &(struct tiny_vocabulary){.pre = "smollm"});
    if (gguf_open_bytes(&file, writer.bytes, writer.length, "tiny.gguf") < 0) return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_allocation_of_open_may_fail),
        cmocka_unit_test(every_allocation_of_encode_may_fail),
    };
    int n_failed = cmocka_run_group_tests(tests, NULL, NULL);
    gguf_close(file);
    return n_failed;
}
