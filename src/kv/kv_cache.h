/* The KV cache: where every sequence's keys and values lie, as bookkeeping on integers.
 *
 * It hands out slots before a step computes them (kv_reserve), learns which were computed (kv_commit), and
 * takes them back (kv_truncate, kv_release). It never touches the bytes: a payload is an offset that the
 * engine adds to the address of its own mapping. One thread owns a cache. Nothing is allocated between
 * kv_open and kv_close. */
#ifndef CABINET_KV_KV_CACHE_H
#define CABINET_KV_KV_CACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "codec/kv_layout.h"

struct kv_cache;

struct kv_opts {
    size_t memory_bytes;    /* of the arena */
    uint32_t max_sequences; /* that hold slots at once */
    uint32_t max_tokens;    /* of one sequence */
    uint32_t step_tokens; /* usual bound of kv_reserve's n_new, for the figures of kv_usage; 0 counts as 1 */
};

/* A sequence as the cache sees it. Zero-initialised it is fresh: it holds nothing. */
struct kv_seq {
    uint32_t table;      /* 1 + index of its block tables; 0 while it holds none */
    uint32_t n_computed; /* tokens whose K and V are stored */
    uint32_t n_reserved; /* tokens that have a slot; >= n_computed */
};

struct kv_usage {
    uint64_t arena_bytes; /* what the cache may use */
    uint64_t held_bytes;  /* payloads of blocks that are not FREE */
    uint64_t waste_bytes; /* what the slabs in use leave unused (fragmentation) */
    /* Longest sequence that what is free, or the whole arena, could hold beside the others, in whole blocks;
     * UINT32_MAX if windows end its growth before memory does. */
    uint64_t free_tokens, capacity_tokens;
    uint32_t n_open, n_sealed;
};

/* INVALID for a bound of zero; FULL with the number needed if not one block fits; NO_MEMORY. */
int kv_open(struct kv_cache **kv, const struct kv_layout *layout, const struct kv_opts *opts);
void kv_close(struct kv_cache *kv);

/* Gives slots to the n_new tokens after the computed ones. FULL, with a message that gives the bytes needed
 * and left, if the pool has too few blocks or all tables are taken; TOO_LARGE past max_tokens. On failure
 * nothing has changed. */
int kv_reserve(struct kv_cache *kv, struct kv_seq *seq, uint32_t n_new);
/* The first n_done reserved tokens are computed; blocks that are full now are sealed, and in window groups
 * those that no later token sees are given back. */
void kv_commit(struct kv_cache *kv, struct kv_seq *seq, uint32_t n_done);
/* Forgets the tokens from n_tokens on, and reservations. Returns the tokens kept: n_tokens (at most
 * n_computed), a row codec's block that is cut becoming OPEN again; or 0 where a window group has passed
 * tokens that the next one would see. */
uint32_t kv_truncate(struct kv_cache *kv, struct kv_seq *seq, uint32_t n_tokens);
/* Gives everything back, last block first; the sequence is fresh again. */
void kv_release(struct kv_cache *kv, struct kv_seq *seq);

/* Payload offsets of a sequence's blocks in one group, in order of position; *n of them, PAYLOAD_NONE for the
 * passed ones. Borrowed until the next call on this sequence. */
const uint64_t *kv_payloads(const struct kv_cache *kv, const struct kv_seq *seq, unsigned group, uint32_t *n);

/* Bytes of the payloads that a sequence holds. */
uint64_t kv_held_bytes(const struct kv_cache *kv, const struct kv_seq *seq);
uint64_t kv_group_held_bytes(const struct kv_cache *kv, const struct kv_seq *seq, unsigned group);
/* Most bytes that one sequence of n_tokens takes, all groups, while it grows by up to n_step at once. */
uint64_t kv_bytes_for(const struct kv_layout *layout, uint32_t n_tokens, uint32_t n_step);
struct kv_usage kv_usage(const struct kv_cache *kv);

/* Every invariant of block.h that can be seen from inside. For tests and /debug: walks everything. */
bool kv_check(const struct kv_cache *kv);

#endif
