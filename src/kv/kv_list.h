/* Which prefixes are resident, to look at: one entry for each place where a run of blocks ends, that is a
 * prefix that nothing goes on from, one that several go on from, or a pinned one. */
#ifndef CABINET_KV_KV_LIST_H
#define CABINET_KV_KV_LIST_H

#include "kv/kv_cache.h"

struct kv_prefix {
    uint64_t salt;
    uint32_t n_tokens;                 /* from position 0, in whole blocks */
    uint64_t run_bytes, path_bytes;    /* resident since the entry above it, and in all */
    uint32_t n_users;                  /* sequences that have its last block */
    uint64_t n_hits;                   /* matches that its last block was part of */
    uint64_t created_us, last_used_us; /* as kv_poll said the time at that moment */
    bool is_pinned;
    uint64_t pinned_until_us; /* KV_FOR_EVER, or when the last lease on it ends; 0 if it is not pinned */
    uint8_t priority;
};

/* The next entry after *cursor, which begins at 0, of that salt, or of all for NULL. False behind the last.
 * Entries that come and go between calls may be missed; none comes twice. */
bool kv_list_next(const struct kv_cache *kv, const uint64_t *salt, uint32_t *cursor,
                  struct kv_prefix *prefix);

/* Tokens of the first n that a new sequence of that salt would take over in whole blocks. */
uint32_t kv_list_cached(const struct kv_cache *kv, const int32_t *tokens, uint32_t n, uint64_t salt);

#endif
