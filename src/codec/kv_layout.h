/* Where each layer's K and V lie in a block's payload: data that the model hands to the cache.
 *
 * Layers of one kind form a *group* that shares block tables. The payload of a group's block holds, for each
 * of its layers in order, for each KV head, the K area and then the V area (codec.h):
 *
 *   payload: | layer 0: K head 0 | V head 0 | K head 1 | V head 1 ... | layer 1: ... |
 *
 * so a decode step reads, per layer and block, one run of n_kv_heads * (K + V) bytes. */
#ifndef CABINET_CODEC_KV_LAYOUT_H
#define CABINET_CODEC_KV_LAYOUT_H

#include <stddef.h>
#include <stdint.h>

#include "codec/codec.h"

enum { KV_MAX_LAYERS = 512, KV_MAX_GROUPS = 4 };

struct kv_layer {
    uint16_t group;      /* index into kv_layout.groups */
    uint16_t n_kv_heads; /* */
    uint16_t head_dim;   /* numbers in a K row and in a V row of one head */
    uint8_t codec;       /* enum codec_id */
    size_t offset;       /* bytes from the payload's start to this layer */
    size_t area_bytes;   /* of one head's K, or V, in one block */
};

struct kv_group {
    const char *kind; /* "full" or "window" */
    uint32_t window;  /* a token sees itself and the window - 1 before it; 0: all before it */
    uint32_t n_layers;
    size_t block_bytes; /* payload of one block: BLOCK_TOKENS slots of all layers of the group */
};

struct kv_layout {
    uint32_t n_layers, n_groups;
    struct kv_layer layers[KV_MAX_LAYERS];
    struct kv_group groups[KV_MAX_GROUPS];
};

/* The group of layers with that window (0: full), which is added if it is new. ERR_UNSUPPORTED past
 * KV_MAX_GROUPS. */
int kv_layout_group(struct kv_layout *layout, uint32_t window);
/* Appends a layer to group `group`; computes offsets. ERR_TOO_LARGE past
 * KV_MAX_LAYERS, ERR_INVALID for a head size that is zero or no multiple of 2. */
int kv_layout_add(struct kv_layout *layout, unsigned group, unsigned n_kv_heads, unsigned head_dim,
                  enum codec_id codec);

/* Exact payload bytes of one token, all groups: 2 * layers * kv_heads * head_dim * element for row codecs. */
size_t kv_layout_bytes_per_token(const struct kv_layout *layout);

static inline size_t kv_layer_bytes_per_token(const struct kv_layer *layer) {
    return 2 * (size_t)layer->n_kv_heads * layer->area_bytes / BLOCK_TOKENS;
}

/* The first position that a token at `position` sees: what lies before it is *passed*. */
static inline uint32_t kv_window_begin(uint32_t window, uint32_t position) {
    return window == 0 || position < window ? 0 : position - window + 1;
}
/* Most blocks that a sequence of n_tokens holds in the group while it grows by up to n_step tokens at once.
 */
uint64_t kv_group_blocks(const struct kv_group *group, uint64_t n_tokens, uint32_t n_step);

static inline size_t kv_layer_k_offset(const struct kv_layer *layer, unsigned head) {
    return layer->offset + 2 * (size_t)head * layer->area_bytes;
}
static inline size_t kv_layer_v_offset(const struct kv_layer *layer, unsigned head) {
    return kv_layer_k_offset(layer, head) + layer->area_bytes;
}

#endif
