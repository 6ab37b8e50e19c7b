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

int codec_find(const char *name) {
    for (int id = 0; id < CODEC_COUNT; id++)
        if (strcmp(codecs[id]->name, name) == 0) return id;
    return -1;
}

const char *codec_names(void) {
#define X(name) ", " #name
    static const char names[] = CODEC_LIST(X);
#undef X
    return names + 2;
}

void codec_convert_k(const struct codec *to, void *to_area, const struct codec *from, const void *from_area,
                     unsigned head_dim) {
    float rows[BLOCK_TOKENS * CODEC_MAX_DIM];
    ASSERT(head_dim <= CODEC_MAX_DIM);
    if (to == from) {
        memcpy(to_area, from_area, to->k_bytes(head_dim));
        return;
    }
    for (unsigned i = 0; i < BLOCK_TOKENS; i++) from->decode_k(from_area, i, rows + i * head_dim, head_dim);
    if (!to->is_row) to->encode_k_block(to_area, rows, head_dim);
    for (unsigned i = 0; i < BLOCK_TOKENS && to->is_row; i++)
        to->encode_k(to_area, i, rows + i * head_dim, head_dim);
}

void codec_convert_v(const struct codec *to, void *to_area, const struct codec *from, const void *from_area,
                     unsigned head_dim) {
    float rows[BLOCK_TOKENS * CODEC_MAX_DIM];
    ASSERT(head_dim <= CODEC_MAX_DIM);
    if (to == from) {
        memcpy(to_area, from_area, to->v_bytes(head_dim));
        return;
    }
    for (unsigned i = 0; i < BLOCK_TOKENS; i++) from->decode_v(from_area, i, rows + i * head_dim, head_dim);
    if (!to->is_row) to->encode_v_block(to_area, rows, head_dim);
    for (unsigned i = 0; i < BLOCK_TOKENS && to->is_row; i++)
        to->encode_v(to_area, i, rows + i * head_dim, head_dim);
}
