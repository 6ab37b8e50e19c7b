#include "codec/kv_seen.h"

static uint64_t max_of(uint64_t a, uint64_t b) { return a > b ? a : b; }
static uint64_t min_of(uint64_t a, uint64_t b) { return a < b ? a : b; }

static uint64_t window_begin(const struct kv_group *group, uint64_t position) {
    return group->window == 0 || position < group->window ? 0 : position - group->window + 1;
}

/* Adds the slots [begin, end) of blocks that are full. */
static void add_full(struct kv_seen *seen, const struct kv_group *group, uint64_t begin, uint64_t end) {
    if (begin >= end) return;
    uint64_t n_sink = group->converts && begin < BLOCK_TOKENS ? min_of(end, BLOCK_TOKENS) - begin : 0;
    seen->n[KV_SINK] += n_sink;
    seen->n[KV_SEALED] += end - begin - n_sink;
}

struct kv_seen kv_seen_slots(const struct kv_group *group, uint64_t first_position, uint64_t n_rows) {
    struct kv_seen seen = {0};
    const uint64_t end = first_position + n_rows;
    if (n_rows == 0) return seen;
    if (!group->converts) {
        seen.n[KV_SEALED] = end - window_begin(group, first_position);
        return seen;
    }
    /* Block by block of the rows: a window may be shorter than a block, so that slots between are not seen as
     * full ones. */
    uint64_t counted = 0;
    for (uint64_t row = first_position; row < end;) {
        const uint64_t own = row / BLOCK_TOKENS * BLOCK_TOKENS, begin = window_begin(group, row);
        const uint64_t next = min_of(own + BLOCK_TOKENS, end);
        seen.n[KV_OPEN] += next - max_of(own, begin);
        add_full(&seen, group, max_of(begin, counted), own);
        counted = max_of(counted, own);
        row = next;
    }
    return seen;
}

struct kv_seen kv_seen_pairs(const struct kv_group *group, uint64_t first_position, uint64_t n_rows) {
    struct kv_seen seen = {0};
    for (uint64_t row = first_position; row < first_position + n_rows; row++) {
        const uint64_t begin = window_begin(group, row), own = row / BLOCK_TOKENS * BLOCK_TOKENS;
        if (!group->converts) {
            seen.n[KV_SEALED] += row + 1 - begin;
            continue;
        }
        seen.n[KV_OPEN] += row + 1 - max_of(begin, own);
        add_full(&seen, group, begin, own);
    }
    return seen;
}

struct kv_seen kv_seen_blocks(const struct kv_group *group, uint64_t begin, uint64_t n_slots) {
    struct kv_seen seen = {0};
    add_full(&seen, group, begin, begin + n_slots);
    return seen;
}

uint64_t kv_seen_bytes(const struct kv_layer *layer, const struct kv_seen *slots) {
    uint64_t bytes = 0;
    for (int class = 0; class < KV_CLASS_COUNT; class ++)
        bytes += slots->n[class] * kv_form_bytes(layer, (enum kv_class) class) / BLOCK_TOKENS;
    return bytes;
}

uint64_t kv_written_bytes(const struct kv_layout *layout, const struct kv_layer *layer,
                          uint64_t first_position, uint64_t n_rows) {
    uint64_t bytes = n_rows * kv_form_bytes(layer, KV_OPEN) / BLOCK_TOKENS;
    const uint64_t first = first_position / BLOCK_TOKENS, end = (first_position + n_rows) / BLOCK_TOKENS;
    if (!layout->groups[layer->group].converts || first >= end) return bytes;
    const uint64_t n_sinks = first == 0;
    return bytes + n_sinks * kv_form_bytes(layer, KV_SINK) +
           (end - first - n_sinks) * kv_form_bytes(layer, KV_SEALED);
}
