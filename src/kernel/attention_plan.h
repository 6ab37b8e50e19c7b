/* How a job of attention is divided among threads.
 *
 * A *share* is the work of one sequence, or of several neighbours of job->peers that see keys in common:
 * their query rows, flattened as (sequence, position, head of the KV head's group), are cut into tiles of at
 * most ATTENTION_MAX_ROWS; a tile and a KV head make an *item*. Usually an item is one *unit*, the piece that
 * a thread takes: it walks its splits in order. An item that would keep one thread busy while others wait
 * gets narrower tiles, and is then cut into one unit a split, each of which leaves its partial in scratch;
 * whoever finishes an item's last unit merges them in order. Both ways run the same operations on the same
 * numbers. */
#ifndef CABINET_KERNEL_ATTENTION_PLAN_H
#define CABINET_KERNEL_ATTENTION_PLAN_H

#include "base/mem.h"
#include "kernel/attention.h"
#include "kernel/attention_peers.h"

struct attention_share {
    const struct attention_peer *peers;
    size_t n_peers, n_rows; /* rows of all of them */
    /* Roughly, for the cost: keys that a row sees; keys that every tile of rows reads; keys that only one
     * sequence's rows read, of all sequences */
    size_t n_keys, n_common, n_private;
    size_t first_key, last_key; /* of the keys that some row sees */
    unsigned n_tiles, rows_per_tile;
    unsigned first_split;     /* the first that a row sees keys of */
    unsigned n_splits;        /* from there on, if its items are cut into splits; else 0 */
    size_t end_unit;          /* units before the next share */
    _Atomic unsigned *n_left; /* (n_tiles, n_kv_heads) units of the item that are not done yet */
    float *partials;          /* (n_tiles, n_kv_heads, n_splits, partial floats) */
};

struct attention_plan {
    const struct kernel_set *kernels;
    const struct attention_job *job;
    unsigned group; /* query heads that share a KV head */
    size_t n_shares, n_units;
    struct attention_share *shares; /* most expensive first */
    struct team_cursor cursor;
};

/* The rows of a unit that belong to one sequence. */
struct attention_strand {
    const struct attention_sequence *sequence;
    size_t first;                    /* of the sequence's rows (position, head of the group) */
    unsigned first_row, n_rows;      /* of the unit's rows */
    size_t begin_key, end_key;       /* of the keys that some row sees */
    size_t common_begin, common_end; /* tiles that the strand before sees too */
};

/* What a thread works on. */
struct attention_unit {
    const struct attention_share *share;
    unsigned tile, kv_head, split; /* split: only if the share is cut into splits */
    unsigned n_rows, n_strands;
    size_t begin_key, end_key; /* of all strands */
    struct attention_strand strands[ATTENTION_MAX_ROWS];
};

/* Where in a unit: the strands that see the tile at `key` together. */
struct attention_place {
    size_t key;
    unsigned first_strand, end_strand;
};

/* Floats of max, sum and out of n_rows rows. */
static inline size_t attention_partial_floats(size_t n_rows, unsigned head_dim) {
    return n_rows * (head_dim + 2u);
}

/* Bytes of plan and partials, a whole number of cache lines. */
size_t attention_plan_bytes(unsigned n_threads, size_t max_rows, size_t max_tokens, unsigned n_heads,
                            unsigned head_dim);
/* `scratch` has room for the job's plan (attention_plan_bytes). */
void attention_plan_make(struct attention_plan *plan, const struct kernel_set *kernels,
                         const struct attention_job *job, unsigned n_threads, void *scratch);
/* Takes the next unit; false if none is left. *search, plan->shares at first, is the caller's own. */
bool attention_plan_take(struct attention_plan *plan, struct attention_unit *unit,
                         const struct attention_share **search);

/* The first place of the unit in a split, or with end_strand > 0 the one after `place`, before end_key; false
 * if there is none. */
struct attention_place attention_unit_begin(const struct attention_unit *unit, size_t split);
bool attention_unit_next(const struct attention_unit *unit, size_t end_key, struct attention_place *place);

#endif
