#include "model/constraint.h"

#include <cabinet_shim.h>

#include "base/err.h"
#include "base/mem.h"

struct constraint_vocabulary {
    struct cabinet_vocabulary *compiled;
    uint32_t n_tokens;
};

struct constraint {
    struct cabinet_constraint *compiled;
    uint32_t n_words;
};

static int failure(int code, const char *error) {
    if (code == CABINET_SHIM_PANIC) return ERR(INTERNAL, "constrained answer: %s", error);
    return ERR(INVALID, "constrained answer: %s", error);
}

static bool is_text(enum token_kind kind) {
    return kind == TOKEN_NORMAL || kind == TOKEN_USER_DEFINED || kind == TOKEN_BYTE;
}

/* Every token's bytes, and which ones end an answer. Returns their number. */
static uint32_t describe(const struct tokenizer *tokenizer, uint32_t n_tokens, struct cabinet_piece *pieces,
                         uint32_t *ends) {
    uint32_t n_ends = 0;
    for (uint32_t i = 0; i < n_tokens; i++) {
        token_id id = (token_id)i;
        bool is_plain = is_text(tokenizer_kind(tokenizer, id)) && !tokenizer_is_end(tokenizer, id);
        struct gguf_string bytes = is_plain ? tokenizer_bytes(tokenizer, id) : tokenizer_piece(tokenizer, id);
        pieces[i] = (struct cabinet_piece){(const uint8_t *)bytes.bytes, bytes.length, !is_plain};
        if (tokenizer_is_end(tokenizer, id)) ends[n_ends++] = i;
    }
    return n_ends;
}

int constraint_vocabulary_open(struct constraint_vocabulary **out, const struct tokenizer *tokenizer) {
    char error[300];
    uint32_t n_tokens = tokenizer_n_tokens(tokenizer);
    struct constraint_vocabulary *vocabulary = mem_alloc(1, sizeof *vocabulary);
    struct cabinet_piece *pieces = mem_alloc(n_tokens, sizeof *pieces);
    uint32_t *ends = mem_alloc(n_tokens, sizeof *ends);
    int result = vocabulary == NULL || pieces == NULL || ends == NULL ? ERR_NO_MEMORY : 0;
    if (result == 0) {
        uint32_t n_ends = describe(tokenizer, n_tokens, pieces, ends);
        vocabulary->n_tokens = n_tokens;
        int code = cabinet_vocabulary_open(&vocabulary->compiled, pieces, n_tokens, ends, n_ends, error,
                                           sizeof error);
        if (code < 0) result = failure(code, error);
    }
    mem_free(pieces);
    mem_free(ends);
    if (result == 0)
        *out = vocabulary;
    else
        mem_free(vocabulary);
    return result;
}

void constraint_vocabulary_close(struct constraint_vocabulary *vocabulary) {
    if (vocabulary == NULL) return;
    cabinet_vocabulary_close(vocabulary->compiled);
    mem_free(vocabulary);
}

uint32_t constraint_mask_words(const struct constraint_vocabulary *vocabulary) {
    return (vocabulary->n_tokens + 31) / 32;
}

int constraint_open(struct constraint **out, const struct constraint_vocabulary *vocabulary,
                    enum constraint_kind kind, const char *source, size_t length) {
    char error[300];
    struct constraint *constraint = mem_alloc(1, sizeof *constraint);
    if (constraint == NULL) return ERR_NO_MEMORY;
    constraint->n_words = constraint_mask_words(vocabulary);
    int code = cabinet_constraint_open(&constraint->compiled, vocabulary->compiled, (int)kind, source, length,
                                       error, sizeof error);
    if (code < 0) {
        mem_free(constraint);
        return failure(code, error);
    }
    *out = constraint;
    return 0;
}

void constraint_close(struct constraint *constraint) {
    if (constraint == NULL) return;
    cabinet_constraint_close(constraint->compiled);
    mem_free(constraint);
}

int constraint_fork(struct constraint **out, const struct constraint *constraint) {
    char error[300];
    struct constraint *fork = mem_alloc(1, sizeof *fork);
    if (fork == NULL) return ERR_NO_MEMORY;
    fork->n_words = constraint->n_words;
    int code = cabinet_constraint_fork(&fork->compiled, constraint->compiled, error, sizeof error);
    if (code < 0) {
        mem_free(fork);
        return failure(code, error);
    }
    *out = fork;
    return 0;
}

int constraint_mask(struct constraint *constraint, uint32_t *mask) {
    char error[300];
    int code = cabinet_constraint_mask(constraint->compiled, mask, constraint->n_words, error, sizeof error);
    return code < 0 ? failure(code, error) : 0;
}

int constraint_accept(struct constraint *constraint, int32_t token) {
    char error[300];
    int code = cabinet_constraint_accept(constraint->compiled, (uint32_t)token, error, sizeof error);
    return code < 0 ? failure(code, error) : 0;
}

bool constraint_is_finished(const struct constraint *constraint) {
    return cabinet_constraint_is_finished(constraint->compiled);
}
