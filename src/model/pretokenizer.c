#include "model/pretokenizer.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"

struct pretokenizer {
    pcre2_general_context *memory;
    pcre2_code *codes[PRETOKENIZER_PATTERNS_MAX];
    unsigned n_codes;
};

static void *allocate(size_t bytes, void *unused) {
    (void)unused;
    return mem_alloc(bytes, 1);
}

static void release(void *pointer, void *unused) {
    (void)unused;
    mem_free(pointer);
}

static int compile(struct pretokenizer *pretokenizer, const char *pattern) {
    int code = 0;
    size_t offset = 0;
    pcre2_compile_context *context = pcre2_compile_context_create(pretokenizer->memory);
    if (context == NULL) return ERR(NO_MEMORY, "no memory to compile a pre-tokenisation rule");
    pcre2_code *compiled = pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED, PCRE2_UTF | PCRE2_UCP,
                                         &code, &offset, context);
    pcre2_compile_context_free(context);
    if (compiled == NULL && code == PCRE2_ERROR_HEAP_FAILED)
        return ERR(NO_MEMORY, "no memory to compile a pre-tokenisation rule");
    if (compiled == NULL)
        return ERR(INTERNAL, "pre-tokenisation rule '%s': PCRE2 error %d at %zu", pattern, code, offset);
    pretokenizer->codes[pretokenizer->n_codes++] = compiled;
    /* Without machine code (a kernel that forbids it, an unusual CPU) PCRE2 interprets: slower, the same
     * words. */
    (void)pcre2_jit_compile(compiled, PCRE2_JIT_COMPLETE);
    return 0;
}

int pretokenizer_open(struct pretokenizer **pretokenizer, const struct pretokenizer_rule *rule) {
    *pretokenizer = NULL;
    struct pretokenizer *opened = mem_alloc(1, sizeof *opened);
    if (opened == NULL) return ERR_NO_MEMORY;
    int result = 0;
    opened->memory = pcre2_general_context_create(allocate, release, NULL);
    if (opened->memory == NULL) result = ERR(NO_MEMORY, "no memory to compile a pre-tokenisation rule");
    for (unsigned i = 0; result == 0 && i < PRETOKENIZER_PATTERNS_MAX && rule->patterns[i] != NULL; i++)
        result = compile(opened, rule->patterns[i]);
    if (result < 0) {
        pretokenizer_close(opened);
        return result;
    }
    *pretokenizer = opened;
    return 0;
}

void pretokenizer_close(struct pretokenizer *pretokenizer) {
    if (pretokenizer == NULL) return;
    for (unsigned i = 0; i < pretokenizer->n_codes; i++) pcre2_code_free(pretokenizer->codes[i]);
    pcre2_general_context_free(pretokenizer->memory);
    mem_free(pretokenizer);
}

/* One call of pretokenizer_cut: what its levels share. */
struct cut {
    const struct pretokenizer *pretokenizer;
    pcre2_match_context *limits;
    pcre2_match_data *matches[PRETOKENIZER_PATTERNS_MAX];
    pretokenizer_word receive;
    void *receiver;
};

static size_t character_length(const char *text, size_t length) {
    size_t n = 1;
    while (n < length && ((unsigned char)text[n] & 0xc0) == 0x80) n++;
    return n;
}

static int search_failed(int code) {
    if (code == PCRE2_ERROR_NOMEMORY) return ERR(NO_MEMORY, "no memory to cut text into words");
    if (code == PCRE2_ERROR_MATCHLIMIT || code == PCRE2_ERROR_DEPTHLIMIT || code == PCRE2_ERROR_HEAPLIMIT ||
        code == PCRE2_ERROR_JIT_STACKLIMIT)
        return ERR(TOO_LARGE,
                   "this text exceeds the search limit of its pre-tokenisation rule (PCRE2 error %d)", code);
    return ERR(INTERNAL, "PCRE2 error %d while cutting text into words", code);
}

/* Cuts `piece` by the expressions from `level` on. Recursion is as deep as a rule has expressions. */
static int cut_piece(const struct cut *cut, unsigned level, const char *piece, size_t length) {
    if (length == 0) return 0;
    if (level == cut->pretokenizer->n_codes) return cut->receive(cut->receiver, piece, length);
    const pcre2_code *code = cut->pretokenizer->codes[level];
    size_t done = 0, from = 0;
    while (from < length) {
        int found = pcre2_match(code, (PCRE2_SPTR)piece, length, from, PCRE2_NO_UTF_CHECK,
                                cut->matches[level], cut->limits);
        if (found == PCRE2_ERROR_NOMATCH) break;
        if (found < 0) return search_failed(found);
        const size_t *ends = pcre2_get_ovector_pointer(cut->matches[level]);
        size_t begin = ends[0], end = ends[1];
        TRY(cut_piece(cut, level + 1, piece + done, begin - done));
        TRY(cut_piece(cut, level + 1, piece + begin, end - begin));
        done = end;
        /* an empty match is a place to cut, and the search goes on behind the next character */
        from = end > begin ? end : end + character_length(piece + end, length - end);
    }
    return cut_piece(cut, level + 1, piece + done, length - done);
}

static int cut_prepare(struct cut *cut, size_t length) {
    enum { STEPS = 1000000, STEPS_A_BYTE = 8 };
    cut->limits = pcre2_match_context_create(cut->pretokenizer->memory);
    if (cut->limits == NULL) return ERR(NO_MEMORY, "no memory to cut text into words");
    /* A long run of white space is searched backwards once, which takes a few steps a byte. */
    size_t steps = length < UINT32_MAX / STEPS_A_BYTE - STEPS ? STEPS + length * STEPS_A_BYTE : UINT32_MAX;
    (void)pcre2_set_match_limit(cut->limits, (uint32_t)steps);
    for (unsigned i = 0; i < cut->pretokenizer->n_codes; i++) {
        cut->matches[i] = pcre2_match_data_create(1, cut->pretokenizer->memory);
        if (cut->matches[i] == NULL) return ERR(NO_MEMORY, "no memory to cut text into words");
    }
    return 0;
}

int pretokenizer_cut(const struct pretokenizer *pretokenizer, const char *text, size_t length,
                     pretokenizer_word receive, void *receiver) {
    if (length == 0) return 0;
    struct cut cut = {.pretokenizer = pretokenizer, .receive = receive, .receiver = receiver};
    int result = cut_prepare(&cut, length);
    if (result == 0) result = cut_piece(&cut, 0, text, length);
    for (unsigned i = 0; i < pretokenizer->n_codes; i++) pcre2_match_data_free(cut.matches[i]);
    pcre2_match_context_free(cut.limits);
    return result;
}
