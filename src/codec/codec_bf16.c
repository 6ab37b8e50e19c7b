#include "base/float16.h"
#include "codec/codec_row.h"

CODEC_ROW_DEFINE(bf16, bf16_bits, bf16_from_f32, bf16_to_f32)
