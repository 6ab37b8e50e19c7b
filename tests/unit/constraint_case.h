/* A constraint over the tiny vocabulary, and its mask token by token. Comes after cmocka.h. */
#ifndef CABINET_TESTS_CONSTRAINT_CASE_H
#define CABINET_TESTS_CONSTRAINT_CASE_H

#include "model/constraint.h"

#include "tiny_tokenizer.h"
#include "tiny_vocabulary.h"

enum { N_WORDS = (TINY_N + 31) / 32 };

static struct constraint_vocabulary *vocabulary;

static inline void open_vocabulary(const struct tiny_vocabulary *tiny) {
    put_tiny_vocabulary(&written, tiny);
    open_written();
    if (constraint_vocabulary_open(&vocabulary, tokenizer) < 0) fail_msg("%s", err_message());
    assert_int_equal(constraint_mask_words(vocabulary), N_WORDS);
}

static inline void close_vocabulary(void) {
    constraint_vocabulary_close(vocabulary);
    close_tiny();
}

static inline struct constraint *open_source(enum constraint_kind kind, const char *source) {
    struct constraint *constraint;
    char *exact = (char *)exact_copy(source, strlen(source)); /* no NUL behind it */
    int code = constraint_open(&constraint, vocabulary, kind, exact, strlen(source));
    free(exact);
    if (code < 0) fail_msg("%.300s: %s", source, err_message());
    return constraint;
}

static inline bool mask_has(const uint32_t *mask, token_id id) {
    return (mask[id / 32] >> (id % 32) & 1) != 0;
}

/* The mask, after looking at what holds for all of them: ends come together, other control tokens and tokens
 * that do not exist never. */
static inline void take_mask(struct constraint *constraint, uint32_t *mask) {
    memset(mask, 0xa5, N_WORDS * sizeof *mask);
    if (constraint_mask(constraint, mask) < 0) fail_msg("%s", err_message());
    for (token_id id = TINY_N; id < 32 * N_WORDS; id++) assert_false(mask_has(mask, id));
    assert_int_equal(mask_has(mask, TINY_EOS), mask_has(mask, TINY_IM_END));
    static const token_id never[] = {TINY_UNK, TINY_BOS, TINY_IM, TINY_HOLE, TINY_HOLE_2};
    for (size_t i = 0; i < sizeof never / sizeof never[0]; i++) assert_false(mask_has(mask, never[i]));
}

/* Feeds a text byte by byte; each must be in the mask. */
static inline void accept_text(struct constraint *constraint, const char *text) {
    for (; *text != '\0'; text++) {
        uint32_t mask[N_WORDS];
        take_mask(constraint, mask);
        token_id id = (uint8_t)*text;
        if (!mask_has(mask, id)) fail_msg("'%c' may not come next, before '%s'", *text, text);
        if (constraint_accept(constraint, id) < 0) fail_msg("%s", err_message());
    }
}

#endif
