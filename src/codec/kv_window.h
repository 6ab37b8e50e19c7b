/* What a window hides. */
#ifndef CABINET_CODEC_KV_WINDOW_H
#define CABINET_CODEC_KV_WINDOW_H

#include <stdint.h>

struct kv_group;

/* The first position that a token at `position` sees: what lies before it is *passed*. Window 0 hides
 * nothing.
 */
static inline uint32_t kv_window_begin(uint32_t window, uint32_t position) {
    return window == 0 || position < window ? 0 : position - window + 1;
}
/* Most blocks that a sequence of n_tokens holds in the group while it grows by up to n_step tokens at once.
 */
uint64_t kv_group_blocks(const struct kv_group *group, uint64_t n_tokens, uint32_t n_step);

#endif
