#include "model/bpe.h"

#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/rng.h"
#include "model/quote.h"

struct bpe_merge {
    token_id left, right, result;
    uint32_t rank; /* MERGE_NEVER marks a free place of the table */
};

static int table_open(struct bpe *bpe, size_t n_merges) {
    size_t capacity = 8;
    while (capacity < n_merges + n_merges / 2) capacity *= 2;
    bpe->table = mem_alloc(capacity, sizeof *bpe->table);
    if (bpe->table == NULL) return ERR_NO_MEMORY;
    bpe->mask = capacity - 1;
    memset(bpe->table, 0xff, capacity * sizeof *bpe->table);
    return 0;
}

void bpe_close(struct bpe *bpe) { mem_free(bpe->table); }

/* The place of a pair: its own, or the free one where it would go. */
static struct bpe_merge *place(const struct bpe *bpe, token_id left, token_id right) {
    size_t at = (size_t)rng_mix((uint64_t)(uint32_t)left << 32 | (uint32_t)right) & bpe->mask;
    struct bpe_merge *merge = &bpe->table[at];
    while (merge->rank != MERGE_NEVER && (merge->left != left || merge->right != right)) {
        at = (at + 1) & bpe->mask;
        merge = &bpe->table[at];
    }
    return merge;
}

/* A merge is "left right"; neither half has a space in it, but the left one may start with one. */
static int read_merge(struct bpe *bpe, const struct vocabulary *vocabulary, uint32_t rank,
                      struct gguf_string text) {
    const char *space = text.length < 3 ? NULL : memchr(text.bytes + 1, ' ', text.length - 2);
    if (space == NULL)
        return ERR(CORRUPT, "tokenizer.ggml.merges[%u] '%s' is not two pieces", rank, QUOTE(text));
    size_t n_left = (size_t)(space - text.bytes), n_right = text.length - n_left - 1;
    char joined[2 * TOKENIZER_STEP_MAX];
    token_id result = -1;
    if (n_left + n_right <= sizeof joined) {
        memcpy(joined, text.bytes, n_left);
        memcpy(joined + n_left, space + 1, n_right);
        result = vocabulary_find(vocabulary, joined, n_left + n_right);
    }
    struct bpe_merge merge = {.left = vocabulary_find(vocabulary, text.bytes, n_left),
                              .right = vocabulary_find(vocabulary, space + 1, n_right),
                              .result = result,
                              .rank = rank};
    if (merge.left < 0 || merge.right < 0 || merge.result < 0)
        return ERR(CORRUPT, "tokenizer.ggml.merges[%u] '%s': %s not in the vocabulary", rank, QUOTE(text),
                   merge.left < 0    ? "its left half is"
                   : merge.right < 0 ? "its right half is"
                                     : "what it makes is");
    /* No ordinary text becomes a control token, whatever the file's merges say. */
    if (vocabulary->kinds[merge.result] == TOKEN_CONTROL) return 0;
    struct bpe_merge *own = place(bpe, merge.left, merge.right);
    if (own->rank == MERGE_NEVER) *own = merge;
    return 0;
}

int bpe_open(struct bpe *bpe, const struct vocabulary *vocabulary, const struct gguf *file) {
    const struct gguf_value *merges = gguf_find(file, "tokenizer.ggml.merges");
    if (merges == NULL) return ERR(CORRUPT, "the file has no merges (tokenizer.ggml.merges)");
    if (merges->type != GGUF_ARRAY || merges->element_type != GGUF_STRING)
        return ERR(CORRUPT, "tokenizer.ggml.merges is not an array of strings");
    if (merges->length >= MERGE_NEVER)
        return ERR(TOO_LARGE, "tokenizer.ggml.merges has %llu entries", (unsigned long long)merges->length);
    TRY(table_open(bpe, (size_t)merges->length));
    for (uint32_t rank = 0; rank < merges->length; rank++)
        TRY(read_merge(bpe, vocabulary, rank, merges->strings[rank]));
    return 0;
}

struct merge_pair bpe_look_up(const void *bpe, const struct merge_symbol *left,
                              const struct merge_symbol *right) {
    const struct bpe_merge *merge = place(bpe, left->id, right->id);
    return (struct merge_pair){.rank = merge->rank, .result = merge->result};
}
