#include "model/kv_write.h"

#include <string.h>

#include "base/err.h"

/* One past the last block that the step fills of a sequence, and the block that its first row goes into. */
static uint32_t end_filled(const struct batch_sequence *s) {
    return (s->first_position + s->n_rows) / BLOCK_TOKENS;
}
static uint32_t first_block(const struct batch_sequence *s) { return s->first_position / BLOCK_TOKENS; }

/* Cuts every sequence's rows at the borders of blocks. */
static void list_runs(struct kv_write *write) {
    write->n_runs = 0;
    for (uint32_t i = 0; i < write->batch->n_sequences; i++) {
        const struct batch_sequence *s = &write->batch->sequences[i];
        for (uint32_t done = 0, n; done < s->n_rows; done += n) {
            n = BLOCK_TOKENS - (s->first_position + done) % BLOCK_TOKENS;
            if (n > s->n_rows - done) n = s->n_rows - done;
            write->w->runs[write->n_runs++] = (struct kv_run){i, s->first_row + done, n};
        }
    }
}

void kv_write_begin(struct kv_write *write, const struct kv_layout *layout) {
    list_runs(write);
    write->n_filled = 0;
    if (kv_layout_is_row(layout)) return;
    for (uint32_t i = 0; i < write->batch->n_sequences; i++) {
        struct batch_sequence *s = &write->batch->sequences[i];
        s->first_filled = write->n_filled;
        for (uint32_t block = first_block(s); block < end_filled(s); block++)
            write->w->filled[write->n_filled++] = (struct filled_block){i, block};
    }
}

/* The OPEN form of the layer under way, of the i-th filled block. */
static uint8_t *rows_of(const struct kv_write *write, uint32_t i) {
    return write->w->filled_rows + i * kv_form_bytes(write->layer, KV_OPEN);
}

const uint8_t *kv_write_filled(const struct kv_write *write, uint32_t sequence) {
    return rows_of(write, write->batch->sequences[sequence].first_filled);
}

void kv_write_layer(struct kv_write *write, const struct kv_layout *layout, uint32_t layer) {
    write->layer = &layout->layers[layer];
    write->converts = layout->groups[write->layer->group].converts;
    if (!write->converts) return;
    for (uint32_t i = 0; i < write->n_filled; i++) {
        const struct batch_sequence *s = &write->batch->sequences[write->w->filled[i].sequence];
        uint64_t staged = s->staged[write->layer->group];
        if (write->w->filled[i].block != first_block(s) || staged == PAYLOAD_NONE) continue;
        memcpy(rows_of(write, i), write->arena + staged + write->layer->areas[KV_OPEN].offset,
               kv_form_bytes(write->layer, KV_OPEN));
    }
}

/* Where a run goes: the heads' areas of its block, in OPEN form. */
static uint8_t *areas_of(const struct kv_write *write, const struct kv_run *run) {
    const struct kv_layer *layer = write->layer;
    const struct batch_sequence *s = &write->batch->sequences[run->sequence];
    const uint32_t block = write->batch->positions[run->first_row] / BLOCK_TOKENS;
    if (write->converts && block < end_filled(s))
        return rows_of(write, s->first_filled + block - first_block(s));
    return write->arena + kv_payload_offset(s->payloads[layer->group][block]) + layer->areas[KV_OPEN].offset;
}

void kv_write_expect(const struct kv_write *write, const struct kv_run *run) {
    enum { FEW_ROWS = 4, LINE = 64 };
    if (run->n_rows > FEW_ROWS) return;
    const struct kv_areas *areas = &write->layer->areas[KV_OPEN];
    const uint8_t *of_heads = areas_of(write, run);
    for (unsigned head = 0; head < write->layer->n_kv_heads; head++)
        for (size_t i = 0; i < areas->k_bytes; i += LINE)
            __builtin_prefetch(of_heads + kv_k_offset(areas, head) - areas->offset + i, 1);
}

void kv_write_run(const struct kv_write *write, const struct kv_run *run, const float *k, const float *v) {
    const struct kv_layer *layer = write->layer;
    const struct kv_areas *areas = &layer->areas[KV_OPEN];
    uint8_t *of_heads = areas_of(write, run);
    const unsigned slot = write->batch->positions[run->first_row] % BLOCK_TOKENS, dim = layer->head_dim;
    const size_t stride = (size_t)layer->n_kv_heads * dim;
    for (unsigned head = 0; head < layer->n_kv_heads; head++) {
        uint8_t *k_area = of_heads + kv_k_offset(areas, head) - areas->offset;
        write->kernels->store_k[areas->codecs.k](k_area, slot, run->n_rows, k + head * dim, stride, dim);
        write->kernels->store_v[areas->codecs.v](k_area + areas->k_bytes, slot, run->n_rows, v + head * dim,
                                                 stride, dim);
    }
}

size_t kv_write_n_items(const struct kv_write *write) {
    return write->converts ? (size_t)write->n_filled * write->layer->n_kv_heads : 0;
}

void kv_write_encode(const struct kv_write *write, size_t item) {
    const struct kv_layer *layer = write->layer;
    uint32_t i = (uint32_t)(item / layer->n_kv_heads), head = (uint32_t)(item % layer->n_kv_heads);
    const struct filled_block *filled = &write->w->filled[i];
    const struct batch_sequence *s = &write->batch->sequences[filled->sequence];
    const struct kv_areas *open = &layer->areas[KV_OPEN],
                          *areas = &layer->areas[filled->block == 0 ? KV_SINK : KV_SEALED];
    const uint8_t *k = rows_of(write, i) + kv_k_offset(open, head) - open->offset;
    uint8_t *payload = write->arena + kv_payload_offset(s->payloads[layer->group][filled->block]);
    write->kernels->convert_k(codec_get(areas->codecs.k), payload + kv_k_offset(areas, head),
                              codec_get(open->codecs.k), k, layer->head_dim);
    write->kernels->convert_v(codec_get(areas->codecs.v), payload + kv_v_offset(areas, head),
                              codec_get(open->codecs.v), k + open->k_bytes, layer->head_dim);
}
