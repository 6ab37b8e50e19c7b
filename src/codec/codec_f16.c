#include "base/float16.h"
#include "codec/codec_row.h"

CODEC_ROW_DEFINE(f16, f16_bits, f16_from_f32, f16_to_f32)
