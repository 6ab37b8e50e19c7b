/* Which slots the rows of a step see, by the form that they are read in.
 *
 * In a group that converts, a row sees its own block in the OPEN form and every block before as it is stored
 * for good, the first one as a SINK (kernel/attention.h). In other groups all forms are one: SEALED. */
#ifndef CABINET_CODEC_KV_SEEN_H
#define CABINET_CODEC_KV_SEEN_H

#include "codec/kv_layout.h"

/* Slots, or pairs of a row and a slot, by enum kv_class. */
struct kv_seen {
    uint64_t n[KV_CLASS_COUNT];
};

/* Slots that any of n_rows rows from first_position on sees in a layer of the group, each counted once in
 * every form that some row reads it in. */
struct kv_seen kv_seen_slots(const struct kv_group *group, uint64_t first_position, uint64_t n_rows);
/* Pairs of a row and a slot that it sees. */
struct kv_seen kv_seen_pairs(const struct kv_group *group, uint64_t first_position, uint64_t n_rows);
/* What whole blocks hold that begin at position `begin`, as the rows behind them read it. */
struct kv_seen kv_seen_blocks(const struct kv_group *group, uint64_t begin, uint64_t n_slots);

/* Bytes of so many slots of a layer. */
uint64_t kv_seen_bytes(const struct kv_layer *layer, const struct kv_seen *slots);
/* Bytes that n_rows new rows from first_position on write to a layer: each row in the OPEN form, and every
 * block that they fill once more in the form that it then has. */
uint64_t kv_written_bytes(const struct kv_layout *layout, const struct kv_layer *layer,
                          uint64_t first_position, uint64_t n_rows);

#endif
