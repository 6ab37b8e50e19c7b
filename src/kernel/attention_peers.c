#include "kernel/attention_peers.h"

#include <string.h>

#include "base/err.h"

struct order {
    const struct attention_sequence *sequences;
    uint32_t window;
};

/* The whole tiles that a sequence's first row sees and that end before it. */
struct extent {
    size_t begin, end;
};

static struct extent extent_of(const struct order *order, const struct attention_sequence *s) {
    size_t first = kv_window_begin(order->window, (uint32_t)s->first_position);
    return (struct extent){(first + ATTENTION_TILE - 1) / ATTENTION_TILE, s->first_position / ATTENTION_TILE};
}

static int compare_tiles(const struct attention_sequence *a, const struct attention_sequence *b,
                         size_t tile) {
    return memcmp(a->payloads + tile * ATTENTION_TILE_BLOCKS, b->payloads + tile * ATTENTION_TILE_BLOCKS,
                  ATTENTION_TILE_BLOCKS * sizeof *a->payloads);
}

/* One past the last of the tiles from `extent` on that are the same; sets *difference to how the next ones
 * differ, 0 if one sequence has no more. */
static size_t end_of_common(const struct attention_sequence *a, const struct attention_sequence *b,
                            struct extent extent, int *difference) {
    *difference = 0;
    size_t tile = extent.begin;
    while (tile < extent.end && (*difference = compare_tiles(a, b, tile)) == 0) tile++;
    return tile;
}

static bool is_before(const struct order *order, uint32_t left, uint32_t right) {
    const struct attention_sequence *a = &order->sequences[left], *b = &order->sequences[right];
    struct extent of_a = extent_of(order, a), of_b = extent_of(order, b);
    if (of_a.begin != of_b.begin) return of_a.begin < of_b.begin;
    int difference;
    struct extent both = {of_a.begin, of_a.end < of_b.end ? of_a.end : of_b.end};
    (void)end_of_common(a, b, both, &difference);
    if (difference != 0) return difference < 0;
    return of_a.end != of_b.end ? of_a.end < of_b.end : left < right;
}

/* Lets the peer at `root` sink until no child of the heap comes after it. */
static void sink(const struct order *order, struct attention_peer *peers, size_t root, size_t n) {
    uint32_t moved = peers[root].sequence;
    for (size_t child; (child = 2 * root + 1) < n; root = child) {
        if (child + 1 < n && is_before(order, peers[child].sequence, peers[child + 1].sequence)) child++;
        if (is_before(order, peers[child].sequence, moved)) break;
        peers[root].sequence = peers[child].sequence;
    }
    peers[root].sequence = moved;
}

/* A heap sort: qsort may allocate, which a step must not. */
static void sort(const struct order *order, struct attention_peer *peers, size_t n) {
    for (size_t i = n / 2; i-- > 0;) sink(order, peers, i, n);
    for (size_t end = n; end-- > 1;) {
        uint32_t last = peers[end].sequence;
        peers[end].sequence = peers[0].sequence;
        peers[0].sequence = last;
        sink(order, peers, 0, end);
    }
}

void attention_find_peers(struct attention_peer *peers, const struct attention_sequence *sequences,
                          size_t n_sequences, uint32_t window) {
    const struct order order = {sequences, window};
    for (uint32_t i = 0; i < n_sequences; i++) peers[i] = (struct attention_peer){.sequence = i};
    sort(&order, peers, n_sequences);
    for (size_t i = 1; i < n_sequences; i++) {
        const struct attention_sequence *a = &sequences[peers[i - 1].sequence],
                                        *b = &sequences[peers[i].sequence];
        struct extent of_a = extent_of(&order, a), of_b = extent_of(&order, b);
        if (of_a.begin != of_b.begin) continue;
        int difference;
        struct extent both = {of_a.begin, of_a.end < of_b.end ? of_a.end : of_b.end};
        size_t end = end_of_common(a, b, both, &difference);
        if (end == both.begin) continue;
        peers[i].common_begin = (uint32_t)both.begin;
        peers[i].common_end = (uint32_t)end;
    }
}

struct attention_keys attention_count_keys(const struct attention_peer *peers,
                                           const struct attention_sequence *sequences, size_t n_sequences,
                                           const struct kv_group *group) {
    struct attention_keys keys = {0};
    for (size_t i = 0; i < n_sequences; i++) {
        const struct attention_sequence *s = &sequences[peers[i].sequence];
        const struct kv_seen seen = kv_seen_slots(group, s->first_position, s->n_rows);
        const struct kv_seen common =
            kv_seen_blocks(group, (uint64_t)peers[i].common_begin * ATTENTION_TILE,
                           (uint64_t)(peers[i].common_end - peers[i].common_begin) * ATTENTION_TILE);
        for (int class = 0; class < KV_CLASS_COUNT; class ++) {
            keys.alone.n[class] += seen.n[class];
            keys.together.n[class] += seen.n[class] - common.n[class];
        }
    }
    return keys;
}
