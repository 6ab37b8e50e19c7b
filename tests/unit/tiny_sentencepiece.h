/* A vocabulary of SentencePiece's kind, written as a GGUF file; each part can be spoiled on purpose. "_"
 * stands for U+2581 in the pieces below. */
#ifndef CABINET_TESTS_TINY_SENTENCEPIECE_H
#define CABINET_TESTS_TINY_SENTENCEPIECE_H

#include <stdio.h>

#include "gguf_writer.h"

#define TINY_SP_PIECES(X)                                                                                    \
    X(MARK, "_", -20, 1)                                                                                     \
    X(A, "a", -21, 1)                                                                                        \
    X(B, "b", -22, 1)                                                                                        \
    X(C, "c", -23, 1)                                                                                        \
    X(D, "d", -24, 1)                                                                                        \
    X(BC, "bc", -1, 1)                                                                                       \
    X(AB, "ab", -2, 1)                                                                                       \
    X(BCD, "bcd", -3, 1)                                                                                     \
    X(AA, "aa", -4, 1)                                                                                       \
    X(AAAA, "aaaa", -5, 1)                                                                                   \
    X(MARK_A, "_a", -6, 1)                                                                                   \
    X(MARKS, "__", -7, 1)                                                                                    \
    X(LESS, "<", -9, 1)                                                                                      \
    X(LESS_S, "<s", -10, 1)                                                                                  \
    X(GREATER, ">", -11, 1)                                                                                  \
    X(S, "s", -12, 1)                                                                                        \
    X(USER, "<|user|>", 0, 3)                                                                                \
    X(TOOL, "[tool]", 0, 4)                                                                                  \
    X(TURN, "<end_of_turn>", 0, 4) /* as Gemma's early files have it */                                      \
    X(HOLE, "ad", 10, 5)

/* Ids 0, 1, 2, and 3 + b for byte b. */
enum tiny_sp_id {
    TINY_SP_UNK,
    TINY_SP_BOS,
    TINY_SP_EOS,
    TINY_SP_BYTE,
    TINY_SP_BYTES_END = TINY_SP_BYTE + 255,
#define X(name, piece, score, kind) TINY_SP_##name,
    TINY_SP_PIECES(X)
#undef X
        TINY_SP_N
};

/* What a test wants otherwise. NULL, or 0 where nothing else is said, is the usual. */
struct tiny_sentencepiece {
    const char *model, *no_key, *architecture;
    const char *piece_of_hole;                                    /* spelling of TINY_SP_HOLE */
    int kind_of_hole, kind_of_bytes, kind_of_41, kind_of_unknown; /* 41: byte 0x41 */
    const char *spelling_of_41;
    float score_of_hole;
    int n_scores_off;     /* added to the length of scores */
    uint32_t scores_type; /* another element type, with no elements */
    uint32_t unknown_plus_1;
    bool no_space_prefix, odd_space_prefix; /* odd: not a bool */
};

static inline void tiny_sp_key(struct gguf_writer *writer, const struct tiny_sentencepiece *tiny,
                               const char *key, uint32_t type) {
    bool missing = tiny->no_key != NULL && strcmp(tiny->no_key, key) == 0;
    put_key(writer, missing ? "other" : key, type);
}

static inline void tiny_sp_array(struct gguf_writer *writer, const struct tiny_sentencepiece *tiny,
                                 const char *key, uint32_t element_type, int n) {
    tiny_sp_key(writer, tiny, key, 9);
    put_u32(writer, element_type);
    put_u64(writer, (uint64_t)n);
}

/* With U+2581 for each "_", except in names of special tokens. */
static inline void put_piece(struct gguf_writer *writer, const char *piece) {
    char spelled[2048];
    size_t n = 0;
    for (const char *c = piece; *c != '\0'; c++) {
        bool is_mark = *c == '_' && piece[0] != '<';
        memcpy(spelled + n, is_mark ? "\xe2\x96\x81" : c, is_mark ? 3 : 1);
        n += is_mark ? 3 : 1;
    }
    spelled[n] = '\0';
    put_string(writer, spelled);
}

static inline void tiny_sp_tokens(struct gguf_writer *writer, const struct tiny_sentencepiece *tiny) {
    static const char *const pieces[] = {
#define X(name, piece, score, kind) piece,
        TINY_SP_PIECES(X)
#undef X
    };
    tiny_sp_array(writer, tiny, "tokenizer.ggml.tokens", 8, TINY_SP_N);
    put_string(writer, "<unk>");
    put_string(writer, "<s>");
    put_string(writer, "</s>");
    for (int byte = 0; byte < 256; byte++) {
        char piece[16];
        (void)snprintf(piece, sizeof piece, "<0x%02X>", (unsigned)byte);
        put_string(writer, byte == 0x41 && tiny->spelling_of_41 != NULL ? tiny->spelling_of_41 : piece);
    }
    for (int id = TINY_SP_MARK; id < TINY_SP_N; id++)
        put_piece(writer, id == TINY_SP_HOLE && tiny->piece_of_hole != NULL ? tiny->piece_of_hole
                                                                            : pieces[id - TINY_SP_MARK]);
}

static inline void tiny_sp_scores(struct gguf_writer *writer, const struct tiny_sentencepiece *tiny) {
    static const float scores[] = {
#define X(name, piece, score, kind) score,
        TINY_SP_PIECES(X)
#undef X
    };
    if (tiny->scores_type != 0) {
        tiny_sp_array(writer, tiny, "tokenizer.ggml.scores", tiny->scores_type, 0);
        return;
    }
    int n = TINY_SP_N + tiny->n_scores_off;
    tiny_sp_array(writer, tiny, "tokenizer.ggml.scores", 6, n);
    for (int id = 0; id < n; id++) {
        float score = id < TINY_SP_MARK || id >= TINY_SP_N ? 0 : scores[id - TINY_SP_MARK];
        put_f32(writer, id == TINY_SP_HOLE && tiny->score_of_hole != 0 ? tiny->score_of_hole : score);
    }
}

static inline uint32_t tiny_sp_kind(const struct tiny_sentencepiece *tiny, int id) {
    static const int kinds[] = {
#define X(name, piece, score, kind) kind,
        TINY_SP_PIECES(X)
#undef X
    };
    if (id == TINY_SP_UNK) return tiny->kind_of_unknown != 0 ? (uint32_t)tiny->kind_of_unknown : 2;
    if (id < TINY_SP_BYTE) return 3;
    if (id == TINY_SP_BYTE + 0x41 && tiny->kind_of_41 != 0) return (uint32_t)tiny->kind_of_41;
    if (id < TINY_SP_MARK) return tiny->kind_of_bytes != 0 ? (uint32_t)tiny->kind_of_bytes : 6;
    bool is_hole = id == TINY_SP_HOLE && tiny->kind_of_hole != 0;
    return (uint32_t)(is_hole ? tiny->kind_of_hole : kinds[id - TINY_SP_MARK]);
}

/* For `gemma4`, whose ranks are another order than the scores. */
static inline void tiny_sp_merges(struct gguf_writer *writer, const struct tiny_sentencepiece *tiny) {
    static const char *const merges[] = {"a a", "aa aa", "_ a", "_ _", "a b", "b c", "bc d"};
    enum { N_MERGES = sizeof merges / sizeof *merges };
    tiny_sp_array(writer, tiny, "tokenizer.ggml.merges", 8, N_MERGES);
    for (int rank = 0; rank < N_MERGES; rank++) put_piece(writer, merges[rank]);
}

static inline void put_tiny_sentencepiece(struct gguf_writer *writer, const struct tiny_sentencepiece *tiny) {
    put_header(writer, 3, 0, 10);
    put_string_value(writer, "general.architecture",
                     tiny->architecture != NULL ? tiny->architecture : "llama");
    put_string_value(writer, "tokenizer.ggml.model", tiny->model != NULL ? tiny->model : "llama");
    tiny_sp_tokens(writer, tiny);
    tiny_sp_scores(writer, tiny);
    tiny_sp_merges(writer, tiny);
    tiny_sp_array(writer, tiny, "tokenizer.ggml.token_type", 5, TINY_SP_N);
    for (int id = 0; id < TINY_SP_N; id++) put_u32(writer, tiny_sp_kind(tiny, id));
    put_u32_value(writer, "tokenizer.ggml.bos_token_id", TINY_SP_BOS);
    put_u32_value(writer, "tokenizer.ggml.eos_token_id", TINY_SP_EOS);
    tiny_sp_key(writer, tiny, "tokenizer.ggml.unknown_token_id", 4);
    put_u32(writer, tiny->unknown_plus_1 != 0 ? tiny->unknown_plus_1 - 1 : TINY_SP_UNK);
    tiny_sp_key(writer, tiny, "tokenizer.ggml.add_space_prefix", tiny->odd_space_prefix ? 0 : 7);
    put_u8(writer, !tiny->no_space_prefix);
}

#endif
