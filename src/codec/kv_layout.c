#include "codec/kv_layout.h"

#include "base/err.h"

int kv_layout_add(struct kv_layout *layout, unsigned group, unsigned n_kv_heads, unsigned head_dim,
                  enum codec_id codec) {
    ASSERT(group < layout->n_groups);
    if (layout->n_layers == KV_MAX_LAYERS)
        return ERR(TOO_LARGE, "the model has more than %d attention layers", KV_MAX_LAYERS);
    if (head_dim == 0 || head_dim % 2 != 0 || n_kv_heads == 0)
        return ERR(INVALID, "layer %u: %u KV heads of %u numbers cannot be stored", layout->n_layers,
                   n_kv_heads, head_dim);
    struct kv_layer *layer = &layout->layers[layout->n_layers++];
    size_t area_bytes = codec_area_bytes(codec_get(codec), head_dim);
    *layer = (struct kv_layer){
        .group = (uint16_t)group,
        .n_kv_heads = (uint16_t)n_kv_heads,
        .head_dim = (uint16_t)head_dim,
        .codec = (uint8_t)codec,
        .offset = layout->groups[group].block_bytes,
        .area_bytes = area_bytes,
    };
    layout->groups[group].n_layers++;
    layout->groups[group].block_bytes += 2 * n_kv_heads * area_bytes;
    return 0;
}

size_t kv_layout_bytes_per_token(const struct kv_layout *layout) {
    size_t bytes = 0;
    for (unsigned i = 0; i < layout->n_groups; i++) bytes += layout->groups[i].block_bytes;
    return bytes / BLOCK_TOKENS;
}
