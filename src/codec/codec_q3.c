/* q3, experimental: 3 bits for a number of a rotated row. Levels as in q4 (Max's table: 0.2451, 0.7560,
 * 1.3439, 2.1520 standard deviations), times 59.015. */
#include "codec/code_layout.h"

const int8_t code_levels_q3[8] = {-127, -79, -45, -14, 14, 45, 79, 127};

#define CODEC_LEVELS code_levels_q3
enum { N_LEVELS = 8, K_CHUNK = CODE_Q3_CHUNK, V_CHUNK = 48 };
#define CODES_PER_SIGMA 59.015f

static void pack(uint8_t *chunk, unsigned element, unsigned index, unsigned n_elements) {
    unsigned quarter = n_elements / 4;
    chunk[element % quarter] |= (uint8_t)((index & 3) << (2 * (element / quarter)));
    chunk[quarter + element / 8] |= (uint8_t)((index >> 2) << (element % 8));
}

static unsigned unpack(const uint8_t *chunk, unsigned element, unsigned n_elements) {
    unsigned quarter = n_elements / 4;
    unsigned low = chunk[element % quarter] >> (2 * (element / quarter)) & 3;
    return low | (chunk[quarter + element / 8] >> (element % 8) & 1) << 2;
}

#include "codec/codec_levels.h"

CODEC_LEVELS_DEFINE(q3);
