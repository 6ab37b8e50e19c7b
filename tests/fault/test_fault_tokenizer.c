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

#include "../unit/tiny_sentencepiece.h"
#include "../unit/tiny_vocabulary.h"

/* One vocabulary of each kind, and a text with a special token. */
static struct kind {
    struct gguf_writer writer;
    struct gguf *file;
    const char *text;
    size_t n_ids;
    token_id ids[5];
    unsigned n_open_faults; /* at least */
} kinds[] = {
    /* nine of ours; PCRE2's own: a general context, and for each of two expressions a context and the code */
    {.text = "<s>abcd 7",
     .n_ids = 5,
     .ids = {TINY_BOS, 'a', TINY_BCD, ' ', '7'},
     .n_open_faults = 9 + 1 + 2 * 2},
    {.text = "<s>abcd d",
     .n_ids = 5,
     .ids = {TINY_SP_BOS, TINY_SP_MARK_A, TINY_SP_BCD, TINY_SP_MARK, TINY_SP_D},
     .n_open_faults = 9},
    {.text = "<s>aab a",
     .n_ids = 4,
     .ids = {TINY_SP_BOS, TINY_SP_AA, TINY_SP_B, TINY_SP_MARK_A},
     .n_open_faults = 9},
};
enum { N_KINDS = sizeof kinds / sizeof *kinds };

static void assert_no_memory(uint64_t n, int result) {
    if (result != ERR_NO_MEMORY) fail_msg("fault %u: %s: %s", (unsigned)n, err_name(result), err_message());
    assert_non_null(strstr(err_message(), "no memory"));
}

static void assert_works(const struct tokenizer *tokenizer, const struct kind *kind) {
    struct token_list list = {0};
    assert_int_equal(tokenizer_encode(tokenizer, kind->text, strlen(kind->text), true, &list), 0);
    assert_int_equal(list.n, kind->n_ids);
    assert_memory_equal(list.ids, kind->ids, kind->n_ids * sizeof *kind->ids);
    token_list_free(&list);
}

/* Returns how many faults made it fail. */
static unsigned fail_each_open(struct kind *kind, enum fault_mode mode) {
    unsigned n_failures = 0;
    for (uint64_t n = 1; n < 1000; n++) {
        struct tokenizer *tokenizer = (struct tokenizer *)(void *)kind;
        fault_arm(mode, n);
        int result = tokenizer_open(&tokenizer, kind->file);
        fault_disarm();
        if (result < 0) {
            assert_true(fault_delivered());
            assert_no_memory(n, result);
            assert_null(tokenizer);
            n_failures++;
            continue;
        }
        /* PCRE2 that finds no memory for machine code interprets: that fault is survived */
        assert_works(tokenizer, kind);
        tokenizer_close(tokenizer);
        if (!fault_delivered()) return n_failures;
    }
    fail_msg("no clean run");
    return 0;
}

static void every_allocation_of_open_may_fail(void **state) {
    struct kind *kind = *state;
    assert_true(fail_each_open(kind, FAULT_ONCE) >= kind->n_open_faults);
    assert_true(fail_each_open(kind, FAULT_FROM_THEN_ON) >= kind->n_open_faults);
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
    const struct kind *kind = *state;
    struct tokenizer *tokenizer;
    assert_int_equal(tokenizer_open(&tokenizer, kind->file), 0);
    char text[2000]; /* long enough for the list and the merging to grow */
    memset(text, '?', sizeof text);
    memcpy(text, kind->text, strlen(kind->text));
    size_t n_ids = kind->n_ids + sizeof text - strlen(kind->text);
    encode_under_faults(tokenizer, FAULT_ONCE, text, sizeof text, n_ids);
    encode_under_faults(tokenizer, FAULT_FROM_THEN_ON, text, sizeof text, n_ids);
    tokenizer_close(tokenizer);
}

int main(void) {
    put_tiny_vocabulary(&kinds[0].writer, &(struct tiny_vocabulary){.pre = "smollm"});
    put_tiny_sentencepiece(&kinds[1].writer, &(struct tiny_sentencepiece){0});
    put_tiny_sentencepiece(&kinds[2].writer, &(struct tiny_sentencepiece){.model = "gemma4"});
    struct CMUnitTest tests[2 * N_KINDS];
    for (unsigned i = 0; i < N_KINDS; i++) {
        const struct gguf_writer *writer = &kinds[i].writer;
        if (gguf_open_bytes(&kinds[i].file, writer->bytes, writer->length, "tiny.gguf") < 0) return 1;
        tests[2 * i] =
            (struct CMUnitTest)cmocka_unit_test_prestate(every_allocation_of_open_may_fail, &kinds[i]);
        tests[2 * i + 1] =
            (struct CMUnitTest)cmocka_unit_test_prestate(every_allocation_of_encode_may_fail, &kinds[i]);
    }
    int n_failed = cmocka_run_group_tests(tests, NULL, NULL);
    for (unsigned i = 0; i < N_KINDS; i++) gguf_close(kinds[i].file);
    return n_failed;
}
