/* SentencePiece's BPE: neighbours merge if their joined text is a piece, the piece of highest score first and
 * the leftmost of equal ones. There is no list of merges.
 *
 * Source: google/sentencepiece, bpe_model.cc (Sennrich et al. 2016 with scores for ranks). As in llama.cpp
 * and unlike there, a space is put in front of the text behind every special token, and no white space is
 * removed. A piece that is marked unused is no piece here. */
#include <math.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "model/sentencepiece.h"
#include "model/tokenizer_model.h"

struct llama {
    const struct vocabulary *vocabulary;
    struct sentencepiece_fallback fallback;
    uint32_t *ranks; /* of each token, from its score; MERGE_NEVER if ordinary text cannot become it */
    bool adds_space; /* before text behind a special token or the beginning */
    bool joins[256]; /* some piece has this byte before a space, and is no run of spaces so far */
};

/* Falling scores are rising ranks, and no two finite scores that differ share one: an IEEE number's bits,
 * with the sign turned, are in the order of the numbers. */
static uint32_t rank_of(float score) {
    float value = score + 0.0f; /* -0 becomes 0 */
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits >> 31 != 0 ? bits : ~(bits | UINT32_C(1) << 31);
}

static int read_scores(struct llama *llama, const struct gguf *file) {
    const struct vocabulary *vocabulary = llama->vocabulary;
    const struct gguf_value *scores = gguf_find(file, "tokenizer.ggml.scores");
    if (scores == NULL) return ERR(CORRUPT, "the file has no scores of its tokens (tokenizer.ggml.scores)");
    if (scores->type != GGUF_ARRAY || scores->element_type != GGUF_F32)
        return ERR(CORRUPT, "tokenizer.ggml.scores is not an array of 32-bit floats");
    if (scores->length != vocabulary->n)
        return ERR(CORRUPT, "tokenizer.ggml.scores has %llu entries for %u tokens",
                   (unsigned long long)scores->length, vocabulary->n);
    llama->ranks = mem_alloc(vocabulary->n, sizeof *llama->ranks);
    if (llama->ranks == NULL) return ERR_NO_MEMORY;
    for (uint32_t id = 0; id < vocabulary->n; id++) {
        double score = gguf_array_float(scores, id);
        if (!isfinite(score)) return ERR(CORRUPT, "tokenizer.ggml.scores[%u] is not a finite number", id);
        bool is_ordinary = sentencepiece_is_ordinary(vocabulary, (token_id)id);
        llama->ranks[id] = is_ordinary ? rank_of((float)score) : MERGE_NEVER;
    }
    return 0;
}

/* The next place at or behind `at` > 0 where a mark follows something else, or `length`. */
static size_t next_border(const char *text, size_t length, size_t at) {
    static const char mark[] = "\xe2\x96\x81";
    const size_t n = sizeof mark - 1;
    for (; at + n <= length; at++)
        if (memcmp(text + at, mark, n) == 0 && (at < n || memcmp(text + at - n, mark, n) != 0)) return at;
    return length;
}

/* Few pieces go on behind a space that follows something else (Gemma's ">▁</" does). */
static void find_joints(struct llama *llama) {
    for (uint32_t id = 0; id < llama->vocabulary->n; id++) {
        struct gguf_string piece = llama->vocabulary->pieces[id];
        if (llama->ranks[id] == MERGE_NEVER) continue;
        for (size_t at = 1; (at = next_border(piece.bytes, piece.length, at)) < piece.length; at++)
            llama->joins[(uint8_t)piece.bytes[at - 1]] = true;
    }
}

/* Where the first word of `text` ends: no piece, so no merge, goes across. Merging word by word is the same
 * as merging all at once, and stays in the processor's cache. */
static size_t word_end(const struct llama *llama, const char *text, size_t length) {
    size_t at = next_border(text, length, 1);
    while (at < length && llama->joins[(uint8_t)text[at - 1]]) at = next_border(text, length, at + 1);
    return at;
}

/* Phi-3's special tokens take the white space behind them. Its files do not say so; llama.cpp goes by
 * general.name, which converters write in many ways. */
static int is_phi3(const struct gguf *file, bool *is) {
    struct gguf_string name;
    int found = gguf_get_string(file, "general.architecture", &name);
    *is = found > 0 && name.length == 4 && memcmp(name.bytes, "phi3", 4) == 0;
    return found < 0 ? found : 0;
}

static int llama_open(void **state, const struct vocabulary *vocabulary, const struct gguf *file,
                      struct tokenizer_traits *traits) {
    struct llama *llama = *state = mem_alloc(1, sizeof *llama);
    if (llama == NULL) return ERR_NO_MEMORY;
    llama->vocabulary = vocabulary;
    *traits = (struct tokenizer_traits){.rule_name = "none", .adds_bos = true};
    TRY(is_phi3(file, &traits->strips_after_special));
    llama->adds_space = true;
    int found = gguf_get_bool(file, "tokenizer.ggml.add_space_prefix", &llama->adds_space);
    if (found < 0) return found;
    TRY(read_scores(llama, file));
    find_joints(llama);
    return sentencepiece_fallback_read(&llama->fallback, vocabulary, file);
}

static void llama_close(void *state) {
    struct llama *llama = state;
    if (llama == NULL) return;
    mem_free(llama->ranks);
    mem_free(llama);
}

struct word {
    const struct llama *llama;
    const char *bytes;
};

static struct merge_pair look_up(const void *rules, const struct merge_symbol *left,
                                 const struct merge_symbol *right) {
    const struct word *word = rules;
    const struct vocabulary *vocabulary = word->llama->vocabulary;
    size_t length = right->end - left->begin;
    token_id id = length > vocabulary->longest_piece
                      ? -1
                      : vocabulary_find(vocabulary, word->bytes + left->begin, length);
    return (struct merge_pair){.rank = id < 0 ? MERGE_NEVER : word->llama->ranks[id], .result = id};
}

static int encode_word(const struct word *word, size_t length, struct merge_work *work,
                       struct token_list *list) {
    TRY(sentencepiece_split(word->llama->vocabulary, word->bytes, length, list, work));
    merge_run(work, look_up, word);
    return sentencepiece_append(&word->llama->fallback, word->bytes, work, list);
}

static int llama_encode(const void *state, const char *text, size_t length, struct merge_work *work,
                        struct token_list *list) {
    const struct llama *llama = state;
    char *marked;
    size_t n_marked;
    TRY(sentencepiece_mark(text, length, llama->adds_space, &marked, &n_marked));
    int result = 0;
    for (size_t at = 0, n; result == 0 && at < n_marked; at += n) {
        struct word word = {llama, marked + at};
        n = word_end(llama, word.bytes, n_marked - at);
        result = encode_word(&word, n, work, list);
    }
    mem_free(marked);
    return result;
}

const struct tokenizer_model tokenizer_llama = {.name = "llama",
                                                .spell = sentencepiece_spell,
                                                .open = llama_open,
                                                .close = llama_close,
                                                .encode = llama_encode};
