/* Arbitrary bytes as a schema, a grammar or a regular expression (by the first byte: j, l, r), and if it is
 * taken, answers drawn from it: refused in one line, or every mask lets something come and what it lets come
 * is accepted.
 *
 * Fuzz it with ASAN_OPTIONS=detect_leaks=0 and -rss_limit_mb=0: what is beyond its bounds leaves a sleeping
 * thread behind. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/rng.h"
#include "model/constraint.h"

#include "../unit/tiny_vocabulary.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

enum { N_WORDS = (TINY_N + 31) / 32, N_STEPS = 40 };

/* Opened once, and kept until the process ends. */
static const struct constraint_vocabulary *open_tiny(void) {
    static struct gguf_writer written;
    static struct gguf *file;
    static struct tokenizer *tokenizer;
    static struct constraint_vocabulary *vocabulary;
    if (vocabulary != NULL) return vocabulary;
    put_tiny_vocabulary(&written, &(struct tiny_vocabulary){0});
    if (gguf_open_bytes(&file, written.bytes, written.length, "tiny.gguf") < 0 ||
        tokenizer_open(&tokenizer, file) < 0 || constraint_vocabulary_open(&vocabulary, tokenizer) < 0)
        abort();
    return vocabulary;
}

static void check_error(int code) {
    ASSERT(code == ERR_INVALID);
    ASSERT(strlen(err_message()) > 0 && strchr(err_message(), '\n') == NULL);
}

static token_id draw(const uint32_t *mask, uint64_t random) {
    token_id allowed[TINY_N];
    size_t n = 0;
    for (token_id id = 0; id < TINY_N; id++)
        if (mask[id / 32] >> (id % 32) & 1) allowed[n++] = id;
    ASSERT(n > 0);
    return allowed[random % n];
}

/* A grammar may turn out too complicated on the way. */
static void answer(struct constraint *constraint, uint64_t seed) {
    bool was_finished = false;
    for (uint64_t step = 0; step < N_STEPS; step++) {
        uint32_t mask[N_WORDS];
        int code = constraint_mask(constraint, mask);
        if (code == 0) {
            token_id id = draw(mask, rng_u64(seed, step));
            bool is_end = id == TINY_EOS || id == TINY_IM_END;
            ASSERT(is_end || !was_finished);
            code = constraint_accept(constraint, id);
            was_finished = constraint_is_finished(constraint);
            if (code == 0 && is_end) {
                ASSERT(was_finished);
                return;
            }
        }
        if (code < 0) {
            check_error(code);
            return;
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length) {
    const struct constraint_vocabulary *vocabulary = open_tiny();
    if (length == 0) return 0;
    enum constraint_kind kind = bytes[0] == 'l'   ? CONSTRAINT_LARK
                                : bytes[0] == 'r' ? CONSTRAINT_REGEX
                                                  : CONSTRAINT_JSON_SCHEMA;
    struct constraint *constraint;
    int code = constraint_open(&constraint, vocabulary, kind, (const char *)bytes + 1, length - 1);
    if (code < 0) {
        check_error(code);
        return 0;
    }
    for (uint64_t seed = 0; seed < 2; seed++) {
        struct constraint *fork;
        ASSERT(constraint_fork(&fork, constraint) == 0);
        answer(fork, seed);
        constraint_close(fork);
    }
    constraint_close(constraint);
    return 0;
}
