#include "attention_case.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/rng.h"
#include "codec/coded.h"
#include "kernel/attention_peers.h"

enum { GUARD = 64, OUT_PADDING = 3 };

float case_random(uint64_t seed, uint64_t i) { return (float)(2 * rng_uniform(seed, i) - 1); }

static void *checked(void *pointer) {
    assert_non_null(pointer);
    return pointer;
}

static size_t n_blocks_of(size_t n_keys) { return (n_keys + BLOCK_TOKENS - 1) / BLOCK_TOKENS; }

static void place_blocks(struct attention_case *c) {
    size_t n_blocks = 0, block_bytes = c->layout.groups[0].block_bytes;
    for (size_t s = 0; s < c->shape.n_sequences; s++) n_blocks += n_blocks_of(c->shape.n_keys[s]);
    uint64_t *order = checked(mem_alloc(n_blocks + 1, sizeof *order));
    for (size_t i = 0; i < n_blocks; i++) order[i] = i;
    for (size_t i = n_blocks; i-- > 1;) {
        size_t j = rng_u64(1, i) % (i + 1);
        uint64_t swap = order[i];
        order[i] = order[j];
        order[j] = swap;
    }
    c->arena_bytes = n_blocks * block_bytes;
    c->arena = checked(mem_map(c->arena_bytes + 1));
    memset(c->arena, 0xff, c->arena_bytes); /* NaN in every codec */
    for (size_t s = 0, next = 0; s < c->shape.n_sequences; s++) {
        c->payloads[s] = checked(mem_alloc(n_blocks_of(c->shape.n_keys[s]) + 1, sizeof(uint64_t)));
        for (size_t b = 0; b < n_blocks_of(c->shape.n_keys[s]); b++) {
            bool may_be =
                b > 0 && (b + 1) * BLOCK_TOKENS <= c->shape.n_keys[s] && c->layout.groups[0].demotes;
            bool is_demoted = may_be && rng_u64(5, next) % 2 == 0;
            c->payloads[s][b] = kv_payload_name(order[next++] * block_bytes, is_demoted);
        }
    }
    mem_free(order);
}

/* Makes the scales of a coded area from slot `first` on NaN: what no row sees may be anything. */
static void spoil_scales(enum codec_id codec, uint8_t *scales, unsigned first) {
    const size_t each = coded_scale_bytes(codec) / BLOCK_TOKENS;
    memset(scales + first * each, 0xff, (BLOCK_TOKENS - first) * each);
}

/* A block of layer 0: n_rows rows from `first` on encoded, and kept as the codecs decode them. */
static void store_block(struct attention_case *c, unsigned head, size_t s, size_t first, float magnitude) {
    const uint64_t name = c->payloads[s][first / BLOCK_TOKENS];
    const struct kv_areas *areas =
        &c->layout.layers[0].areas[kv_payload_is_demoted(name) ? KV_DEMOTED : KV_SEALED];
    const struct codec *k_codec = codec_get(areas->codecs.k), *v_codec = codec_get(areas->codecs.v);
    const unsigned dim = c->shape.head_dim;
    const size_t n_left = c->shape.n_keys[s] - first;
    const unsigned n_rows = n_left < BLOCK_TOKENS ? (unsigned)n_left : BLOCK_TOKENS;
    uint8_t *payload = c->arena + kv_payload_offset(name);
    uint8_t *k_area = payload + kv_k_offset(areas, head), *v_area = payload + kv_v_offset(areas, head);
    const size_t at = ((size_t)head * c->total_keys + c->first_key[s] + first) * dim;
    float k[BLOCK_TOKENS * CODEC_MAX_DIM] = {0}, v[BLOCK_TOKENS * CODEC_MAX_DIM] = {0};
    for (size_t i = 0; i < (size_t)n_rows * dim; i++) {
        k[i] = magnitude * (case_random(2, at + i) + 0.5f * (float)(i % dim % 3)); /* channels have means */
        v[i] = magnitude * case_random(3, at + i);
    }
    if (!k_codec->is_row) k_codec->encode_k_block(k_area, k, dim);
    if (!v_codec->is_row) v_codec->encode_v_block(v_area, v, dim);
    for (unsigned slot = 0; slot < n_rows; slot++) {
        if (k_codec->is_row) k_codec->encode_k(k_area, slot, k + (size_t)slot * dim, dim);
        if (v_codec->is_row) v_codec->encode_v(v_area, slot, v + (size_t)slot * dim, dim);
        k_codec->decode_k(k_area, slot, c->k + at + (size_t)slot * dim, dim);
        v_codec->decode_v(v_area, slot, c->v + at + (size_t)slot * dim, dim);
    }
    if (codec_is_coded(areas->codecs.k))
        spoil_scales(areas->codecs.k, k_area + coded_k_scales(areas->codecs.k, dim), n_rows);
    if (codec_is_coded(areas->codecs.v))
        spoil_scales(areas->codecs.v, v_area + coded_v_scales(areas->codecs.v, dim), n_rows);
}

void case_copy_layers(struct attention_case *c) {
    size_t block_bytes = c->layout.groups[0].block_bytes, layer_bytes = block_bytes / c->shape.n_layers;
    for (size_t at = 0; at < c->arena_bytes; at += block_bytes)
        for (unsigned layer = 1; layer < c->shape.n_layers; layer++)
            memcpy(c->arena + at + c->layout.layers[layer].areas[KV_OPEN].offset, c->arena + at, layer_bytes);
}

void case_open(struct attention_case *c, const struct attention_shape *shape, float magnitude) {
    memset(c, 0, sizeof *c);
    c->shape = *shape;
    c->layout.n_groups = 1;
    for (unsigned i = 0; i < shape->n_layers; i++)
        assert_int_equal(kv_layout_add(&c->layout, 0, shape->n_kv_heads, shape->head_dim, shape->codecs), 0);
    /* attention() is to see these codecs in every block: how blocks convert is not its business here */
    for (unsigned i = 0; i < shape->n_layers; i++)
        c->layout.layers[i].areas[KV_OPEN] = c->layout.layers[i].areas[KV_SEALED];
    place_blocks(c);
    for (size_t s = 0; s < shape->n_sequences; s++) {
        c->first_key[s] = c->total_keys;
        c->total_keys += shape->n_keys[s];
    }
    size_t n_numbers = c->total_keys * shape->n_kv_heads * shape->head_dim;
    c->k = checked(mem_alloc(n_numbers + 1, sizeof(float)));
    c->v = checked(mem_alloc(n_numbers + 1, sizeof(float)));
    for (unsigned head = 0; head < shape->n_kv_heads; head++)
        for (size_t s = 0; s < shape->n_sequences; s++)
            for (size_t key = 0; key < shape->n_keys[s]; key += BLOCK_TOKENS)
                store_block(c, head, s, key, magnitude);
    size_t n_q = c->total_keys * shape->n_heads * shape->head_dim;
    c->q = checked(mem_alloc(n_q + 1, sizeof(float)));
    for (size_t i = 0; i < n_q; i++) c->q[i] = 3 * case_random(4, i);
    c->scale = 1.0f / sqrtf((float)shape->head_dim);
}

void case_close(struct attention_case *c) {
    for (size_t s = 0; s < c->shape.n_sequences; s++) mem_free(c->payloads[s]);
    mem_free(c->k);
    mem_free(c->v);
    mem_free(c->q);
    mem_unmap(c->arena, c->arena_bytes + 1);
}

static void assert_untouched(const uint8_t *bytes, size_t n) {
    for (size_t i = 0; i < n; i++) assert_int_equal(bytes[i], 0xa5);
}

/* A chunk's payloads, those that its window has passed outside of any memory. */
static uint64_t *seen_payloads(const struct attention_case *c, const struct attention_chunk *chunk) {
    const size_t n_blocks = n_blocks_of(c->shape.n_keys[chunk->sequence]);
    uint64_t *payloads = checked(mem_alloc(n_blocks + 1, sizeof *payloads));
    for (size_t b = 0; b < n_blocks; b++) {
        bool is_passed = c->shape.window > 0 && (b + 1) * BLOCK_TOKENS - 1 + c->shape.window <= chunk->begin;
        payloads[b] = is_passed ? UINT64_MAX / 2 : c->payloads[chunk->sequence][b];
    }
    return payloads;
}

float *case_run(const struct attention_case *c, const struct kernel_set *kernels, unsigned n_threads,
                const struct attention_chunk *chunks, size_t n_chunks) {
    const size_t row = (size_t)c->shape.n_heads * c->shape.head_dim, stride = row + OUT_PADDING;
    struct attention_sequence sequences[CASE_MAX_SEQUENCES];
    struct attention_peer peers[CASE_MAX_SEQUENCES];
    uint64_t *payloads[CASE_MAX_SEQUENCES];
    size_t n_rows = 0, max_tokens = 0;
    assert_true(n_chunks <= CASE_MAX_SEQUENCES);
    for (size_t i = 0; i < n_chunks; i++) {
        payloads[i] = seen_payloads(c, &chunks[i]);
        sequences[i] = (struct attention_sequence){.first_row = n_rows,
                                                   .n_rows = chunks[i].end - chunks[i].begin,
                                                   .first_position = chunks[i].begin,
                                                   .payloads = payloads[i]};
        n_rows += sequences[i].n_rows;
        if (chunks[i].end > max_tokens) max_tokens = chunks[i].end;
    }
    float *q = checked(malloc(n_rows * row * sizeof(float))), *at = q;
    for (size_t i = 0; i < n_chunks; at += sequences[i].n_rows * row, i++)
        memcpy(at, c->q + (c->first_key[chunks[i].sequence] + chunks[i].begin) * row,
               sequences[i].n_rows * row * sizeof(float));
    attention_find_peers(peers, sequences, n_chunks, c->shape.window);
    size_t out_bytes = n_rows * stride * sizeof(float);
    size_t scratch_bytes =
        attention_scratch_bytes(n_threads, n_rows, max_tokens, c->shape.n_heads, c->shape.head_dim);
    uint8_t *out = checked(malloc(out_bytes + GUARD));
    uint8_t *scratch = checked(mem_alloc_aligned(scratch_bytes + GUARD, 1));
    memset(out, 0xa5, out_bytes + GUARD);
    memset(scratch, 0xa5, scratch_bytes + GUARD);
    struct attention_job job = {.layer = &c->layout.layers[0],
                                .demotes = c->layout.groups[0].demotes,
                                .arena = c->arena,
                                .n_heads = c->shape.n_heads,
                                .scale = c->scale,
                                .softcap = c->shape.softcap,
                                .window = c->shape.window,
                                .q = q,
                                .q_stride = row,
                                .out = (float *)out,
                                .out_stride = stride,
                                .sequences = sequences,
                                .peers = peers,
                                .n_sequences = n_chunks,
                                .scratch = scratch};
    struct team *team;
    assert_int_equal(team_open(&team, n_threads), 0);
    attention(kernels, team, &job);
    team_close(team);
    assert_untouched(scratch + scratch_bytes, GUARD);
    float *result = checked(malloc(n_rows * row * sizeof(float)));
    for (size_t r = 0; r < n_rows; r++) {
        memcpy(result + r * row, (float *)out + r * stride, row * sizeof(float));
        assert_untouched(out + (r * stride + row) * sizeof(float), OUT_PADDING * sizeof(float));
    }
    assert_untouched(out + out_bytes, GUARD);
    for (size_t i = 0; i < n_chunks; i++) mem_free(payloads[i]);
    mem_free(scratch);
    free(out);
    free(q);
    return result;
}
