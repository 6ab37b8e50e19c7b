/* A job for attention() with everything around it: blocks scattered over an arena of NaNs, random q, K and V,
 * guard bytes behind what may be written. */
#ifndef CABINET_TESTS_ATTENTION_CASE_H
#define CABINET_TESTS_ATTENTION_CASE_H

#include "kernel/attention.h"

enum { CASE_MAX_SEQUENCES = 64 };

struct attention_shape {
    struct kv_codecs
        codecs; /* of every block; with demotes_*, about half of the full ones but the first are so */
    unsigned n_heads, n_kv_heads, head_dim, n_layers;
    size_t n_sequences, n_keys[CASE_MAX_SEQUENCES]; /* keys stored of each sequence */
    uint32_t window;                                /* as attention_job has them */
    float softcap;
};

struct attention_case {
    struct attention_shape shape;
    struct kv_layout layout;
    uint8_t *arena;
    size_t arena_bytes;
    uint64_t *payloads[CASE_MAX_SEQUENCES];
    /* (n_kv_heads, keys of all sequences, head_dim) of layer 0 as the codec gives them back */
    float *k, *v;
    size_t first_key[CASE_MAX_SEQUENCES];
    size_t total_keys;
    float *q; /* (total_keys, n_heads * head_dim) a query for every key's position */
    float scale;
};

/* Fills the K and V of layer 0 with numbers of at most `magnitude`. */
void case_open(struct attention_case *c, const struct attention_shape *shape, float magnitude);
/* Gives every layer the K and V of layer 0. */
void case_copy_layers(struct attention_case *c);
void case_close(struct attention_case *c);
/* Uniform in [-1, 1). */
float case_random(uint64_t seed, uint64_t i);

/* Part of a sequence: rows for the positions begin .. end. */
struct attention_chunk {
    size_t sequence, begin, end;
};

/* Runs one attention() of the chunks on a fresh scratch, checks what lies around out and scratch, and returns
 * out, (rows of all chunks, n_heads * head_dim) without padding; free it. */
float *case_run(const struct attention_case *c, const struct kernel_set *kernels, unsigned n_threads,
                const struct attention_chunk *chunks, size_t n_chunks);

#endif
