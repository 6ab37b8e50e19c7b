#include "codec/kv_copy.h"

#include <string.h>

void kv_copy(const struct kv_layout *layout, uint8_t *arena, const struct kv_op *ops, uint32_t n_ops) {
    for (uint32_t i = 0; i < n_ops; i++)
        memcpy(arena + ops[i].target, arena + ops[i].source,
               layout->groups[ops[i].group].class_bytes[KV_OPEN]);
}
