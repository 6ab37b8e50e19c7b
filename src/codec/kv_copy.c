#include "codec/kv_copy.h"

#include <string.h>

/* An item is a layer, those of other groups included: they are nothing to do. */
size_t kv_op_n_items(const struct kv_layout *layout, const struct kv_op *op) {
    return op->kind == KV_REENCODE ? layout->n_layers : 1;
}

static void reencode_layer(const struct kv_layer *layer, const uint8_t *source, uint8_t *target) {
    const struct kv_areas *from = &layer->areas[KV_OPEN], *to = &layer->areas[KV_DEMOTED];
    for (unsigned head = 0; head < layer->n_kv_heads; head++) {
        codec_convert_k(codec_get(to->codecs.k), target + kv_k_offset(to, head), codec_get(from->codecs.k),
                        source + kv_k_offset(from, head), layer->head_dim);
        codec_convert_v(codec_get(to->codecs.v), target + kv_v_offset(to, head), codec_get(from->codecs.v),
                        source + kv_v_offset(from, head), layer->head_dim);
    }
}

void kv_op_do(const struct kv_layout *layout, uint8_t *arena, const struct kv_op *op, size_t item) {
    const uint8_t *source = arena + op->source;
    uint8_t *target = arena + op->target;
    if (op->kind == KV_COPY)
        memcpy(target, source, layout->groups[op->group].class_bytes[KV_OPEN]);
    else if (layout->layers[item].group == op->group)
        reencode_layer(&layout->layers[item], source, target);
}

void kv_copy(const struct kv_layout *layout, uint8_t *arena, const struct kv_op *ops, uint32_t n_ops) {
    for (uint32_t i = 0; i < n_ops; i++)
        for (size_t item = 0; item < kv_op_n_items(layout, &ops[i]); item++)
            kv_op_do(layout, arena, &ops[i], item);
}
