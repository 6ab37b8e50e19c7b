/* A movement of a block's content within the arena, which kv/ decides on and the engine does before the
 * step's forward pass: kv/ knows offsets, never bytes. */
#ifndef CABINET_CODEC_KV_OP_H
#define CABINET_CODEC_KV_OP_H

#include <stdint.h>

enum kv_op_kind {
    KV_COPY,     /* slots 0 .. n_slots - 1, bit for bit (kv_copy.h) */
    KV_REENCODE, /* all slots, from a payload of the class OPEN into one of the class DEMOTED */
};

struct kv_op {
    uint8_t kind;  /* enum kv_op_kind */
    uint8_t group; /* whose layers the payloads hold */
    uint32_t n_slots;
    uint64_t source, target; /* offsets of payloads in the arena */
};

#endif
