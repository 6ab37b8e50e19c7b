/* Where each layer's K and V lie in a block's payload: data that the model hands to the cache.
 *
 * Layers of one kind form a *group* that shares block tables. A block's payload has a *class*, by where the
 * block is in its sequence and whether it is full:
 *
 *   OPEN    not full yet: rows as they come, in row codecs
 *   SINK    a sequence's first block, full: what every token attends to strongly stays at 8 bits or better
 *   SEALED  any other full block
 *   DEMOTED a full block that was stored again, smaller, when memory was short: never a first one
 *
 * Each class has its own codecs, but for groups of row codecs, where the first three are one: OPEN, and a
 * block keeps its payload until it is demoted, if its group demotes. A payload holds, for each of the group's
 * layers in order, for each KV head, the K area and then the V area (codec.h):
 *
 *   payload: | layer 0: K head 0 | V head 0 | K head 1 | V head 1 ... | layer 1: ... |
 *
 * so a decode step reads one run of bytes for a layer and block. */
#ifndef CABINET_CODEC_KV_LAYOUT_H
#define CABINET_CODEC_KV_LAYOUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "codec/kv_codecs.h"
#include "codec/kv_window.h"

enum { KV_MAX_LAYERS = 512, KV_MAX_GROUPS = 4 };
enum kv_class { KV_OPEN, KV_SINK, KV_SEALED, KV_DEMOTED, KV_CLASS_COUNT };

/* One layer in the payloads of a class. */
struct kv_areas {
    struct kv_codecs codecs;
    size_t offset;           /* bytes from the payload's start to this layer */
    size_t k_bytes, v_bytes; /* of one head's K, and V, in one block */
};

struct kv_layer {
    uint16_t group; /* index into kv_layout.groups */
    uint16_t n_kv_heads;
    uint16_t head_dim;         /* numbers in a K row and in a V row of one head */
    bool rotates_k, rotates_v; /* rows are rotated before they are stored (codec.h), in all classes */
    struct kv_areas areas[KV_CLASS_COUNT];
};

struct kv_group {
    const char *kind; /* "full" or "window" */
    uint32_t window;  /* a token sees itself and the window - 1 before it; 0: all before it */
    uint32_t n_layers;
    bool converts;      /* a block that is full goes over into another payload */
    bool demotes;       /* full blocks may be demoted; such a group does not convert */
    size_t block_bytes; /* of a SEALED payload: BLOCK_TOKENS slots of all layers of the group */
    size_t class_bytes[KV_CLASS_COUNT]; /* of a payload */
};

struct kv_layout {
    uint32_t n_layers, n_groups;
    struct kv_layer layers[KV_MAX_LAYERS];
    struct kv_group groups[KV_MAX_GROUPS];
};

/* The group of layers with that window (0: full), new or not. ERR_UNSUPPORTED past KV_MAX_GROUPS. */
int kv_layout_group(struct kv_layout *layout, uint32_t window);
/* Appends a layer to group `group`, whose full blocks but the first have these codecs; computes offsets.
 * ERR_TOO_LARGE past KV_MAX_LAYERS, ERR_INVALID for a head size that cannot be stored so, or a block codec in
 * a group that demotes. */
int kv_layout_add(struct kv_layout *layout, unsigned group, unsigned n_kv_heads, unsigned head_dim,
                  struct kv_codecs codecs);
/* Payload bytes of one token in a SEALED block, all groups, scales and summaries included. */
size_t kv_layout_bytes_per_token(const struct kv_layout *layout);
/* The same when all that can be is demoted. */
size_t kv_layout_least_bytes_per_token(const struct kv_layout *layout);
bool kv_layout_demotes(const struct kv_layout *layout);
/* No group converts: sequences can share tokens of blocks that are not full. */
bool kv_layout_is_row(const struct kv_layout *layout);

/* The class of a sequence's i-th block when the first n_tokens of the sequence have slots. */
static inline enum kv_class kv_class_at(const struct kv_group *group, uint32_t i, uint32_t n_tokens) {
    if (!group->converts || i >= n_tokens / BLOCK_TOKENS) return KV_OPEN;
    return i == 0 ? KV_SINK : KV_SEALED;
}

static inline size_t kv_form_bytes(const struct kv_layer *layer, enum kv_class class) {
    return layer->n_kv_heads * (layer->areas[class].k_bytes + layer->areas[class].v_bytes);
}
static inline size_t kv_layer_bytes_per_token(const struct kv_layer *layer) {
    return kv_form_bytes(layer, KV_SEALED) / BLOCK_TOKENS;
}
static inline size_t kv_k_offset(const struct kv_areas *areas, unsigned head) {
    return areas->offset + head * (areas->k_bytes + areas->v_bytes);
}
static inline size_t kv_v_offset(const struct kv_areas *areas, unsigned head) {
    return kv_k_offset(areas, head) + areas->k_bytes;
}

#endif
