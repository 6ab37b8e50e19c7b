#include "codec/codec_row.h"

#define SAME(value) (value)
CODEC_ROW_DEFINE(f32, float, SAME, SAME)
