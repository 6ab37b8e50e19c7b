/* The KV cache: where every sequence's keys and values lie, as bookkeeping on integers.
 *
 * It finds what is cached of a new sequence's tokens (kv_match), hands out slots before a step computes them
 * (kv_reserve), learns which were computed and of what tokens (kv_commit), and takes them back (kv_truncate,
 * kv_release). Full blocks are shared by all sequences that begin with the same tokens and have the same
 * salt, and stay when nobody has them any more, as IDLE ones, until their memory is wanted. It never touches
 * the bytes: a payload is an offset that the engine adds to the address of its own mapping. One thread owns a
 * cache. Nothing is allocated between kv_open and kv_close. */
#ifndef CABINET_KV_KV_CACHE_H
#define CABINET_KV_KV_CACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "codec/kv_layout.h"
#include "codec/kv_op.h"

struct kv_cache;
struct evict_policy;

struct kv_opts {
    size_t memory_bytes;    /* of the arena */
    uint32_t max_sequences; /* that hold slots at once */
    uint32_t max_tokens;    /* of one sequence */
    uint32_t step_tokens; /* usual bound of kv_reserve's n_new, for the figures of kv_usage; 0 counts as 1 */
    const struct evict_policy *retain; /* what stays when memory is wanted (evict_list.h); NULL: evict_lru */
};

/* A sequence as the cache sees it. Zero-initialised it is fresh: it holds nothing. */
struct kv_seq {
    uint32_t table;            /* 1 + index of its block tables; 0 while it holds none */
    uint32_t n_computed;       /* tokens whose K and V are stored */
    uint32_t n_reserved;       /* tokens that have a slot; >= n_computed */
    uint32_t node;             /* of the prefix tree, for its last full block; 0 before that */
    uint64_t salt;             /* only sequences of the same salt share; kv_match sets it */
    uint32_t n_asked, n_found; /* tokens looked up and found, until a commit counts them */
};

/* INVALID for a bound of zero; FULL with the number needed if not one block fits; NO_MEMORY. */
int kv_open(struct kv_cache **kv, const struct kv_layout *layout, const struct kv_opts *opts);
void kv_close(struct kv_cache *kv);

/* Gives a fresh sequence the longest cached beginning of `tokens`, (n), at most n - 1 tokens, so that one is
 * left to compute; returns its length. Whole blocks are shared; behind them the rows of a block that begins
 * alike (with row codecs any, else one that is not full yet) are copied into an own one, if there is room
 * for it: kv_ops has the copies. 0 if nothing is cached or all tables are taken: the sequence stays fresh.
 * Rows of a block that was demoted are not there to copy. Its blocks will be shared under `salt`, found or
 * not; without a call that is 0. */
uint32_t kv_match(struct kv_cache *kv, struct kv_seq *seq, const int32_t *tokens, uint32_t n, uint64_t salt);
/* The same for a sequence that has computed some of `tokens` already: goes on with what has become resident
 * behind them since. Forgets reservations. Returns the tokens gained. */
uint32_t kv_extend(struct kv_cache *kv, struct kv_seq *seq, const int32_t *tokens, uint32_t n);
/* Gives fresh `dst` the first n_tokens that `src` has computed: full blocks are shared, of the last one's
 * rows `dst` gets a copy. Returns how many it has: n_tokens, or less where a window has passed on, a block
 * codec has sealed the last block, or there is no room. */
uint32_t kv_fork(struct kv_cache *kv, struct kv_seq *dst, const struct kv_seq *src, uint32_t n_tokens);
/* The copies that matches and forks, and the demotions that all that wants room, since the last commit want
 * done, in this order, before the next forward pass, and before anybody looks at rows; *ops is borrowed until
 * the next kv_commit, which counts them as done. Returns how many. */
uint32_t kv_ops(struct kv_cache *kv, const struct kv_op **ops);
/* Gives slots to the n_new tokens after the computed ones, at the cost of IDLE blocks if need be, and, first
 * and where the layout demotes, of other blocks' precision. FULL, with a message that gives the bytes needed
 * and left, if that is not enough or all tables are taken; TOO_LARGE past max_tokens. On failure the sequence
 * is as it was, and unless the layout demotes nothing was evicted. */
int kv_reserve(struct kv_cache *kv, struct kv_seq *seq, uint32_t n_new);
/* The first n_done reserved tokens are computed; all of them, if the layout has block codecs. `tokens` are
 * the sequence's from position 0 on, at least those computed. Blocks that are full now are sealed for all to
 * share; where one of the same prefix is there already, the sequence takes that one and its payload. In
 * window groups those that no later token sees are given back. */
void kv_commit(struct kv_cache *kv, struct kv_seq *seq, const int32_t *tokens, uint32_t n_done);
/* Forgets the tokens from n_tokens on, and reservations. Returns the tokens kept, at most n_computed:
 * n_tokens if the cut is at a block's border, in the OPEN block, or in the last full one (a row codec's, not
 * demoted) if that is nobody else's and nothing follows it: it is OPEN again. Else the border below; and
 * lower still where a block is gone that the next token would see in a window. */
uint32_t kv_truncate(struct kv_cache *kv, struct kv_seq *seq, uint32_t n_tokens);
/* Gives everything back, last block first; the sequence is fresh again, without a salt. */
void kv_release(struct kv_cache *kv, struct kv_seq *seq);
/* Frees IDLE blocks by policy until that is `bytes` of payloads or none is left; returns what it was. */
uint64_t kv_evict(struct kv_cache *kv, uint64_t bytes);
/* Payloads (kv_codecs.h) of a sequence's blocks in one group, in order of position; *n of them, PAYLOAD_NONE
 * for the passed ones. Borrowed until the next call on this sequence. */
const uint64_t *kv_payloads(const struct kv_cache *kv, const struct kv_seq *seq, unsigned group, uint32_t *n);
/* Of the block that the next row goes into, if the reservation fills it and the group converts: the payload
 * that has its rows so far, to be encoded with the new ones. Else PAYLOAD_NONE. */
uint64_t kv_staged_payload(const struct kv_cache *kv, const struct kv_seq *seq, unsigned group);

/* Every invariant of block.h that can be seen from inside. For tests and /debug: walks everything. */
bool kv_check(const struct kv_cache *kv);

#endif
