#include "codec/kv_layout.h"

#include "base/err.h"

int kv_layout_group(struct kv_layout *layout, uint32_t window) {
    for (unsigned g = 0; g < layout->n_groups; g++)
        if (layout->groups[g].window == window) return (int)g;
    if (layout->n_groups == KV_MAX_GROUPS)
        return ERR(UNSUPPORTED, "the model has layers of more than %d kinds", KV_MAX_GROUPS);
    layout->groups[layout->n_groups] =
        (struct kv_group){.kind = window == 0 ? "full" : "window", .window = window};
    return (int)layout->n_groups++;
}

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

uint64_t kv_group_blocks(const struct kv_group *group, uint64_t n_tokens, uint32_t n_step) {
    uint64_t n_blocks = (n_tokens + BLOCK_TOKENS - 1) / BLOCK_TOKENS;
    if (group->window == 0) return n_blocks;
    /* The step's first token sees window - 1 tokens before it; a run of tokens touches most blocks when it
     * begins at a block's last slot. */
    uint64_t n_run = (uint64_t)group->window - 1 + (n_step > 0 ? n_step : 1);
    uint64_t most = (n_run + BLOCK_TOKENS - 2) / BLOCK_TOKENS + 1;
    return n_blocks < most ? n_blocks : most;
}
