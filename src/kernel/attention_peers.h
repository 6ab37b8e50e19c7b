/* Which sequences of a step see the same keys, so that these are read once for all of them.
 *
 * Sequences are put into an order in which those that begin with the same blocks lie side by side (payloads
 * compared as words of a dictionary). What each has in common with the one before it is then all there is to
 * know: a tile is common to a run of neighbours if each of them has it in common with its predecessor, and
 * runs nest as prefixes do.
 *
 *   peer 0  | t0 | t1 | t2 | a3 |          common with the one before: -
 *   peer 1  | t0 | t1 | t2 | b3 | b4 |                                  [0, 3)
 *   peer 2  | t0 | c1 | c2 |                                            [0, 1)  */
#ifndef CABINET_KERNEL_ATTENTION_PEERS_H
#define CABINET_KERNEL_ATTENTION_PEERS_H

#include "codec/kv_seen.h"
#include "kernel/attention.h"

struct attention_peer {
    uint32_t sequence;                 /* index into the step's sequences */
    uint32_t common_begin, common_end; /* tiles whose blocks are those of the peer before; equal: none */
};

/* Orders the n_sequences of a group of that window (0: full) into `peers`. Common tiles are whole ones that
 * lie before both sequences' first rows and within what these see. Compares O(n log n) times; once a step and
 * group will do, as all layers of a group share the payloads. */
void attention_find_peers(struct attention_peer *peers, const struct attention_sequence *sequences,
                          size_t n_sequences, uint32_t window);

/* Keys that the sequences' rows see, by the form that they are read in; each counted once for every sequence,
 * or once for all that have it in common. */
struct attention_keys {
    struct kv_seen alone, together;
};
struct attention_keys attention_count_keys(const struct attention_peer *peers,
                                           const struct attention_sequence *sequences, size_t n_sequences,
                                           const struct kv_group *group);

#endif
