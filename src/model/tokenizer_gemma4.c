/* Gemma 4's: pieces and byte tokens as SentencePiece writes them, but merged by a list of merges, line by
 * line. A run of line ends that is a piece is taken as it is.
 *
 * Source: llama.cpp, src/llama-vocab.cpp (LLAMA_VOCAB_PRE_TYPE_GEMMA4), which sets add_bos_token likewise. */
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "model/bpe.h"
#include "model/sentencepiece.h"
#include "model/tokenizer_model.h"

struct gemma4 {
    const struct vocabulary *vocabulary;
    struct sentencepiece_fallback fallback;
    struct bpe bpe;
};

static int gemma4_open(void **state, const struct vocabulary *vocabulary, const struct gguf *file,
                       struct tokenizer_traits *traits) {
    struct gemma4 *gemma4 = *state = mem_alloc(1, sizeof *gemma4);
    if (gemma4 == NULL) return ERR_NO_MEMORY;
    gemma4->vocabulary = vocabulary;
    *traits = (struct tokenizer_traits){.rule_name = "lines", .adds_bos = true};
    TRY(sentencepiece_fallback_read(&gemma4->fallback, vocabulary, file));
    return bpe_open(&gemma4->bpe, vocabulary, file);
}

static void gemma4_close(void *state) {
    struct gemma4 *gemma4 = state;
    if (gemma4 == NULL) return;
    bpe_close(&gemma4->bpe);
    mem_free(gemma4);
}

/* The end of the run that `text` begins with: of line ends, or of anything else. */
static size_t run_end(const char *text, size_t length) {
    size_t n = 1;
    while (n < length && (text[n] == '\n') == (text[0] == '\n')) n++;
    return n;
}

static int encode_run(const struct gemma4 *gemma4, const char *run, size_t length, struct merge_work *work,
                      struct token_list *list) {
    token_id id = run[0] == '\n' ? vocabulary_find(gemma4->vocabulary, run, length) : -1;
    if (id >= 0 && sentencepiece_is_ordinary(gemma4->vocabulary, id)) return token_list_append(list, id);
    TRY(sentencepiece_split(gemma4->vocabulary, run, length, list, work));
    merge_run(work, bpe_look_up, &gemma4->bpe);
    return sentencepiece_append(&gemma4->fallback, run, work, list);
}

static int gemma4_encode(const void *state, const char *text, size_t length, struct merge_work *work,
                         struct token_list *list) {
    const struct gemma4 *gemma4 = state;
    char *marked;
    size_t n_marked;
    TRY(sentencepiece_mark(text, length, false, &marked, &n_marked));
    int result = 0;
    for (size_t at = 0, n; result == 0 && at < n_marked; at += n) {
        n = run_end(marked + at, n_marked - at);
        result = encode_run(gemma4, marked + at, n, work, list);
    }
    mem_free(marked);
    return result;
}

const struct tokenizer_model tokenizer_gemma4 = {.name = "gemma4",
                                                 .spell = sentencepiece_spell,
                                                 .open = gemma4_open,
                                                 .close = gemma4_close,
                                                 .encode = gemma4_encode};
