#include "plan/self_memory.h"

#include "base/err.h"

void self_payloads_add(struct self_payloads *payloads, const struct kv_layout *layout, uint64_t n_sequences,
                       uint64_t n_tokens, uint64_t n_shared) {
    ASSERT(n_tokens < UINT32_MAX && n_shared <= n_tokens);
    for (uint32_t g = 0; g < layout->n_groups; g++) {
        const struct kv_group *group = &layout->groups[g];
        const uint32_t first = kv_window_begin(group->window, (uint32_t)n_tokens) / BLOCK_TOKENS,
                       end = (uint32_t)((n_tokens + BLOCK_TOKENS - 1) / BLOCK_TOKENS);
        for (uint32_t i = first; i < end; i++)
            payloads->n[g][kv_class_at(group, i, (uint32_t)n_tokens)] +=
                i < n_shared / BLOCK_TOKENS ? 1 : n_sequences;
    }
}

uint64_t self_payload_bytes(const struct self_payloads *payloads, const struct kv_layout *layout) {
    uint64_t bytes = 0;
    for (uint32_t g = 0; g < layout->n_groups; g++)
        for (int class = 0; class < KV_CLASS_COUNT; class ++)
            bytes += payloads->n[g][class] * layout->groups[g].class_bytes[class];
    return bytes;
}

uint64_t self_slab_bytes(const struct self_payloads *payloads, const struct kv_layout *layout,
                         uint64_t slab_bytes) {
    uint64_t n_slabs = 0;
    for (uint32_t g = 0; g < layout->n_groups; g++)
        for (int class = 0; class < KV_CLASS_COUNT; class ++) {
            const uint64_t per_slab = slab_bytes / layout->groups[g].class_bytes[class];
            n_slabs += (payloads->n[g][class] + per_slab - 1) / per_slab;
        }
    return n_slabs * slab_bytes;
}
