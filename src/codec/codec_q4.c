/* q4: 4 bits for a number of a rotated row. The levels are Lloyd's and Max's for normally distributed numbers
 * (J. Max, Quantizing for minimum distortion, 1960, table 1: 0.1284, 0.3881, 0.6568, 0.9424, 1.2562, 1.6181,
 * 2.0690, 2.7326 standard deviations), times 46.476, to the nearest integer. */
#include "codec/code_layout.h"

const int8_t code_levels_q4[16] = {-127, -96, -75, -58, -44, -31, -18, -6, 6, 18, 31, 44, 58, 75, 96, 127};

#define CODEC_LEVELS code_levels_q4
enum { N_LEVELS = 16, K_CHUNK = CODE_Q4_CHUNK, V_CHUNK = 64 };
#define CODES_PER_SIGMA 46.476f

static void pack(uint8_t *chunk, unsigned element, unsigned index, unsigned n_elements) {
    bool is_high = element >= n_elements / 2;
    chunk[is_high ? element - n_elements / 2 : element] |= (uint8_t)(index << (is_high ? 4 : 0));
}

static unsigned unpack(const uint8_t *chunk, unsigned element, unsigned n_elements) {
    bool is_high = element >= n_elements / 2;
    return chunk[is_high ? element - n_elements / 2 : element] >> (is_high ? 4 : 0) & 15;
}

#include "codec/codec_levels.h"

CODEC_LEVELS_DEFINE(q4);
