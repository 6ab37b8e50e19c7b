/* A vocabulary of a few hundred tokens, written as a GGUF file; each part can be spoiled on purpose.
 *
 * Id b < 256 is byte b. Then come the pieces below, with their kinds. */
#ifndef CABINET_TESTS_TINY_VOCABULARY_H
#define CABINET_TESTS_TINY_VOCABULARY_H

#include "gguf_writer.h"
#include "model/byte_alphabet.h"

#define TINY_PIECES(X)                                                                                       \
    X(BC, "bc", 1)                                                                                           \
    X(AB, "ab", 1)                                                                                           \
    X(BCD, "bcd", 1)                                                                                         \
    X(AA, "aa", 1)                                                                                           \
    X(AAAA, "aaaa", 1)                                                                                       \
    X(SPACE_A,                                                                                               \
      "\xc4\xa0"                                                                                             \
      "a",                                                                                                   \
      1)                                                                                                     \
    X(XYZ, "xyz", 1)             /* no merge leads here */                                                   \
    X(PLAIN, "\xe2\x82\xac!", 1) /* a euro sign: not in the byte alphabet */                                 \
    X(UNK, "<unk>", 2)                                                                                       \
    X(BOS, "<s>", 3)                                                                                         \
    X(EOS, "</s>", 3)                                                                                        \
    X(IM_END, "<|im_end|>", 3)                                                                               \
    X(IM, "<|im", 3)                                                                                         \
    X(TOOL, "[tool]", 4)                                                                                     \
    X(TOOL_X, "[tool]x", 4)                                                                                  \
    X(SPACES, "  \n", 4)                                                                                     \
    X(HOLE, "", 5)                                                                                           \
    X(HOLE_2, "", 5)

enum tiny_id {
    TINY_BYTES = 255,
#define X(name, piece, kind) TINY_##name,
    TINY_PIECES(X)
#undef X
        TINY_N
};

/* What a test wants otherwise. NULL, or 0 where nothing else is said, is the usual. */
struct tiny_vocabulary {
    const char *model, *pre, *no_key; /* no_key: this key is missing */
    const char *first_merge;
    const char *piece_of_hole; /* spelling of TINY_HOLE */
    int kind_of_hole;
    int n_types_off; /* added to the length of token_type */
    int no_byte;     /* this byte has no token */
    uint32_t bos_plus_1, eos_plus_1;
    uint32_t tokens_type, merges_type, types_type; /* another element type, with no elements */
};

static inline void tiny_key(struct gguf_writer *writer, const struct tiny_vocabulary *tiny, const char *key,
                            uint32_t type) {
    bool missing = tiny->no_key != NULL && strcmp(tiny->no_key, key) == 0;
    put_key(writer, missing ? "other" : key, type);
}

static inline void tiny_array(struct gguf_writer *writer, const struct tiny_vocabulary *tiny, const char *key,
                              uint32_t element_type, uint64_t length) {
    tiny_key(writer, tiny, key, 9);
    put_u32(writer, element_type);
    put_u64(writer, length);
}

static inline void tiny_tokens(struct gguf_writer *writer, const struct tiny_vocabulary *tiny) {
    static const char *const pieces[] = {
#define X(name, piece, kind) piece,
        TINY_PIECES(X)
#undef X
    };
    tiny_array(writer, tiny, "tokenizer.ggml.tokens", 8, TINY_N);
    for (int id = 0; id < TINY_N; id++) {
        char spelled[8] = {0};
        const char *piece = spelled;
        if (id > TINY_BYTES)
            piece = pieces[id - TINY_BYTES - 1];
        else
            (void)byte_alphabet_spell(&(uint8_t){(uint8_t)id}, 1, spelled);
        if (id == TINY_HOLE && tiny->piece_of_hole != NULL) piece = tiny->piece_of_hole;
        if (tiny->no_byte != 0 && id == tiny->no_byte) piece = "(none)";
        put_string(writer, piece);
    }
}

static inline void tiny_kinds(struct gguf_writer *writer, const struct tiny_vocabulary *tiny) {
    static const uint32_t kinds[] = {
#define X(name, piece, kind) kind,
        TINY_PIECES(X)
#undef X
    };
    int n = TINY_N + tiny->n_types_off;
    tiny_array(writer, tiny, "tokenizer.ggml.token_type", 5, (uint64_t)n);
    for (int id = 0; id < n; id++) {
        uint32_t kind = id > TINY_BYTES && id < TINY_N ? kinds[id - TINY_BYTES - 1] : 1;
        put_u32(writer, id == TINY_HOLE && tiny->kind_of_hole != 0 ? (uint32_t)tiny->kind_of_hole : kind);
    }
}

static inline void put_tiny_vocabulary(struct gguf_writer *writer, const struct tiny_vocabulary *tiny) {
    static const char *const merges[] = {"a b", "bc d", "a a", "aa aa", "\xc4\xa0 a"};
    put_header(writer, 3, 0, 7);
    tiny_key(writer, tiny, "tokenizer.ggml.model", 8);
    put_string(writer, tiny->model != NULL ? tiny->model : "gpt2");
    tiny_key(writer, tiny, "tokenizer.ggml.pre", 8);
    put_string(writer, tiny->pre != NULL ? tiny->pre : "gpt-2");
    if (tiny->tokens_type != 0)
        tiny_array(writer, tiny, "tokenizer.ggml.tokens", tiny->tokens_type, 0);
    else
        tiny_tokens(writer, tiny);
    if (tiny->types_type != 0)
        tiny_array(writer, tiny, "tokenizer.ggml.token_type", tiny->types_type, 0);
    else
        tiny_kinds(writer, tiny);
    if (tiny->merges_type != 0) {
        tiny_array(writer, tiny, "tokenizer.ggml.merges", tiny->merges_type, 0);
    } else {
        tiny_array(writer, tiny, "tokenizer.ggml.merges", 8, 1 + sizeof merges / sizeof merges[0]);
        put_string(writer, tiny->first_merge != NULL ? tiny->first_merge : "b c");
        for (size_t i = 0; i < sizeof merges / sizeof merges[0]; i++) put_string(writer, merges[i]);
    }
    put_u32_value(writer, "tokenizer.ggml.bos_token_id",
                  tiny->bos_plus_1 != 0 ? tiny->bos_plus_1 - 1 : TINY_BOS);
    put_u32_value(writer, "tokenizer.ggml.eos_token_id",
                  tiny->eos_plus_1 != 0 ? tiny->eos_plus_1 - 1 : TINY_EOS);
}

#endif
