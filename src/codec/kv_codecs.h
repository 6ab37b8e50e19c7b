/* What a layer's K and V are stored with, and where payloads lie. */
#ifndef CABINET_CODEC_KV_CODECS_H
#define CABINET_CODEC_KV_CODECS_H

#include <stdbool.h>
#include <stdint.h>

#include "codec/codec.h"

/* The codecs of a layer's K and V. A side that demotes may be stored again with KV_DEMOTED_CODEC, block by
 * block, when memory is short (kv_layout.h). */
struct kv_codecs {
    uint8_t k, v; /* enum codec_id */
    bool demotes_k, demotes_v;
};

#define KV_DEMOTED_CODEC CODEC_q4

static inline struct kv_codecs kv_codecs_both(enum codec_id codec) {
    return (struct kv_codecs){.k = (uint8_t)codec, .v = (uint8_t)codec};
}

/* A payload as tables and batches name it: its offset in the arena, which is even, and in the lowest bit
 * whether it is of the class DEMOTED. Who wants bytes takes the offset by kv_payload_offset. */
#define PAYLOAD_NONE UINT64_MAX

static inline uint64_t kv_payload_name(uint64_t offset, bool is_demoted) { return offset | is_demoted; }
static inline uint64_t kv_payload_offset(uint64_t payload) { return payload & ~UINT64_C(1); }
static inline bool kv_payload_is_demoted(uint64_t payload) { return (payload & 1) != 0; }

#endif
