#include "codec/codec.h"

#include <string.h>

#include "base/err.h"

#define X(name) extern const struct codec codec_##name;
CODEC_LIST(X)
CODEC_CONTROL_LIST(X)
#undef X

static const struct codec *const codecs[CODEC_ALL_COUNT] = {
#define X(name) [CODEC_##name] = &codec_##name,
    CODEC_LIST(X) CODEC_CONTROL_LIST(X)
#undef X
};

const struct codec *codec_get(enum codec_id id) { return codecs[id]; }

/* One side of a codec: what it does to K, or to V. */
struct side {
    size_t bytes;
    void (*encode)(void *area, unsigned slot, const float *row, unsigned head_dim);
    void (*encode_block)(void *area, const float *rows, unsigned head_dim);
    void (*decode)(const void *area, unsigned slot, float *row, unsigned head_dim);
};

static void convert(const struct side *to, void *to_area, const struct side *from, const void *from_area,
                    unsigned head_dim) {
    float rows[BLOCK_TOKENS * CODEC_MAX_DIM];
    ASSERT(head_dim <= CODEC_MAX_DIM);
    for (unsigned i = 0; i < BLOCK_TOKENS; i++) from->decode(from_area, i, rows + i * head_dim, head_dim);
    if (to->encode_block != NULL) to->encode_block(to_area, rows, head_dim);
    for (unsigned i = 0; i < BLOCK_TOKENS && to->encode_block == NULL; i++)
        to->encode(to_area, i, rows + i * head_dim, head_dim);
}

static struct side k_of(const struct codec *codec, unsigned head_dim) {
    return (struct side){codec->k_bytes(head_dim), codec->encode_k, codec->encode_k_block, codec->decode_k};
}
static struct side v_of(const struct codec *codec, unsigned head_dim) {
    return (struct side){codec->v_bytes(head_dim), codec->encode_v, codec->encode_v_block, codec->decode_v};
}

void codec_convert_k(const struct codec *to, void *to_area, const struct codec *from, const void *from_area,
                     unsigned head_dim) {
    const struct side target = k_of(to, head_dim), source = k_of(from, head_dim);
    if (to == from)
        memcpy(to_area, from_area, target.bytes);
    else
        convert(&target, to_area, &source, from_area, head_dim);
}

void codec_convert_v(const struct codec *to, void *to_area, const struct codec *from, const void *from_area,
                     unsigned head_dim) {
    const struct side target = v_of(to, head_dim), source = v_of(from, head_dim);
    if (to == from)
        memcpy(to_area, from_area, target.bytes);
    else
        convert(&target, to_area, &source, from_area, head_dim);
}
