/* Who has and who reads how much of the cache: what bills are made of.
 *
 * A block that several sequences have divides equally among them, in whole bytes; what does not divide evenly
 * is nobody's. Reading only: an account changes nothing of its cache. It walks tables, so it costs
 * O(their entries), which is little beside a step that reads what they name. */
#ifndef CABINET_KV_KV_ACCOUNT_H
#define CABINET_KV_KV_ACCOUNT_H

#include "kv/kv_cache.h"

struct kv_account;

/* Of a cache that stays open as long. A step reads a run of tile_blocks blocks, at a position that is a
 * multiple of it, once for all sequences that have it whole before their first row of the step and begin to
 * read at the same such position. NO_MEMORY. */
int kv_account_open(struct kv_account **account, const struct kv_cache *kv, uint32_t tile_blocks);
void kv_account_close(struct kv_account *account);

/* Payload bytes that are in use, held and idle. Does not walk. */
uint64_t kv_account_pool_bytes(const struct kv_account *account);

/* What the cache holds, in more detail than kv_usage. */
struct kv_figures {
    uint64_t n_slots, n_unused_slots; /* of blocks that sequences have; of them those without a token */
    /* Payloads in use by what they hold; groups that do not convert have OPEN and SEALED ones,
     * and DEMOTED ones. */
    uint64_t n_payloads[KV_MAX_GROUPS][KV_CLASS_COUNT];
    uint64_t codec_bytes[CODEC_ALL_COUNT]; /* payload bytes in use, held and idle */
};
/* O(sequences + layers). */
struct kv_figures kv_account_figures(const struct kv_account *account);

/* What a sequence has. */
struct kv_share {
    uint64_t held_bytes;  /* payloads of its blocks */
    uint64_t share_bytes; /* its part of them */
    uint64_t f16_bytes;   /* what held_bytes would be if all were stored as f16 */
};
/* Looks at all sequences; then tells the share of each until the next look. */
void kv_account_look(struct kv_account *account);
struct kv_share kv_account_share(const struct kv_account *account, const struct kv_seq *seq);

/* A sequence's part of a step: n_rows reserved tokens from n_computed on. */
struct kv_traffic {
    const struct kv_seq *seq;
    uint32_t n_rows;
    uint64_t read_bytes, written_bytes; /* the result: its part of what is read, and what it writes */
};
struct kv_step_bytes {
    uint64_t read, written; /* by the step, what is common read once */
};
/* Fills the results of n sequences, between the step's reservations and its commit. Reads are whole slots of
 * the tokens that a row sees, each once a step; rows are written in the form of the block that they go into,
 * and a block that is full is written once in its final form. */
struct kv_step_bytes kv_account_step(struct kv_account *account, struct kv_traffic *traffic, uint32_t n);

#endif
