/* Attention over block tables, over a team: one routine for prefill, decode, and any mix of both.
 *
 * Keys are visited in splits of ATTENTION_SPLIT and tiles of ATTENTION_TILE at absolute positions; each split
 * gives a partial (max, sum, out), and partials are merged in order of position. A row's arithmetic is
 * therefore the same whether its splits ran on one thread or on many, alone or beside others. Tiles that
 * several sequences have in common are read once for all of them (attention_peers.h). */
#ifndef CABINET_KERNEL_ATTENTION_H
#define CABINET_KERNEL_ATTENTION_H

#include "base/team.h"
#include "codec/kv_layout.h"
#include "kernel/kernel_set.h"

enum { ATTENTION_SPLIT = 512 };

struct attention_peer;

/* One sequence's share of a step. */
struct attention_sequence {
    size_t first_row;         /* of its rows in q and out */
    size_t n_rows;            /* consecutive positions */
    size_t first_position;    /* of first_row; row i sees keys up to first_position + i */
    const uint64_t *payloads; /* names of its blocks' payloads (kv_codecs.h) in `arena`, in order of position;
                                 those that a window has passed are not looked at */
    /* In a group that converts, the blocks that this step fills, from that of first_position on, in their
     * OPEN form: each kv_form_bytes(layer, KV_OPEN) long, one after the other */
    const uint8_t *filled;
};

/* In a group that demotes each block is of the class that its payload's name says, which is no business of
 * the rows: a row's own block is of the class OPEN.
 * In a group that converts a row sees the keys of its own block in their OPEN form, and those of every block
 * before as they are stored for good: whether that block was filled long ago or in this very step. */
struct attention_job {
    const struct kv_layer *layer;
    bool converts, demotes; /* the layer's group */
    const uint8_t *arena;
    unsigned n_heads; /* query heads; a multiple of layer->n_kv_heads */
    float scale;      /* of scores, usually 1 / sqrt(head_dim) */
    float softcap;    /* scores become softcap * tanh(score / softcap); 0: they stay as they are */
    uint32_t window;  /* keys that a row sees, its own included; 0: all up to its own */
    const float *q;   /* (rows, q_stride): head h of a row begins at h * head_dim */
    size_t q_stride;
    float *out; /* (rows, out_stride) */
    size_t out_stride;
    const struct attention_sequence *sequences;
    const struct attention_peer *peers; /* (n_sequences) of attention_find_peers */
    size_t n_sequences;
    void *scratch; /* attention_scratch_bytes, aligned to a cache line */
};

/* Scratch for jobs of at most max_rows rows and keys up to max_tokens a sequence, for a team of n_threads. */
size_t attention_scratch_bytes(unsigned n_threads, size_t max_rows, size_t max_tokens, unsigned n_heads,
                               unsigned head_dim);

void attention(const struct kernel_set *kernels, struct team *team, const struct attention_job *job);

#endif
