/* q3, an experiment: 3-bit indices into 8 levels, f16 scales, written a block at a time.
 *
 *   K: | u2 [head_dim / 16][32 slots][4] x 4 | u1 [head_dim / 32][32 slots][4] x 8 | f16 [32 slots] scale |
 *      | s8 [head_dim] mean | f32 mean scale |
 *   V: | u2 [2][head_dim][4 slots] x 4 | u1 [head_dim][4 slots] x 8 | f16 [32 slots] scale |
 *
 * of head size 64: 960 bytes (768 + 64 + 64 + 4, filled up) and 832. */
#include "codec/codec_block.h"

CODEC_BLOCK_DEFINE(q3, 2.1520f)
