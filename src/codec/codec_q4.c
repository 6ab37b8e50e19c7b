/* q4: 4-bit indices into 16 levels, f16 scales, written a block at a time.
 *
 *   K: | u4 [head_dim / 8][32 slots][4] x 2 | f16 [32 slots] scale | s8 [head_dim] mean | f32 mean scale |
 *   V: | u4 [4][head_dim][4 slots] x 2      | f16 [32 slots] scale |
 *
 * of head size 64: 1216 bytes (1024 + 64 + 64 + 4, filled up) and 1088. */
#include "codec/codec_block.h"

CODEC_BLOCK_DEFINE(q4, 2.7326f)
