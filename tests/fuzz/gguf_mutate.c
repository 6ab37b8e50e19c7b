#include "gguf_mutate.h"

#include <float.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/rng.h"

struct mutation {
    const struct gguf *file; /* as it was */
    const uint8_t *original;
    uint8_t *bytes; /* the copy */
    size_t length, head_bytes;
    uint64_t seed, n_drawn;
};

static uint64_t draw(struct mutation *m) { return rng_u64(m->seed, m->n_drawn++); }
static size_t draw_below(struct mutation *m, size_t n) { return n == 0 ? 0 : (size_t)(draw(m) % n); }

/* Where something that the original holds lies in the copy. */
static uint8_t *place_of(const struct mutation *m, const void *in_original) {
    return m->bytes + ((const uint8_t *)in_original - m->original);
}

static const struct gguf_value *draw_value(struct mutation *m) {
    return gguf_value_at(m->file, draw_below(m, gguf_n_values(m->file)));
}

static const struct gguf_tensor *draw_tensor(struct mutation *m) {
    return gguf_tensor_at(m->file, draw_below(m, gguf_n_tensors(m->file)));
}

/* Behind a name: a value's type, a tensor's number of dimensions. */
static uint8_t *behind(const struct mutation *m, struct gguf_string name) {
    return place_of(m, name.bytes) + name.length;
}

/* ---- numbers ---- */

/* An integer of n bytes becomes one that is at home at some border, or one near what it was. */
static void make_wild_integer(struct mutation *m, uint8_t *at, size_t n) {
    static const uint64_t wild[] = {0,          1,
                                    2,          3,
                                    5,          7,
                                    8,          31,
                                    32,         33,
                                    63,         64,
                                    127,        128,
                                    255,        256,
                                    512,        1000,
                                    4095,       4096,
                                    32767,      32768,
                                    65535,      65536,
                                    1u << 20,   1u << 27,
                                    INT32_MAX,  1u << 31,
                                    UINT32_MAX, 1ull << 32,
                                    1ull << 40, INT64_MAX,
                                    1ull << 63, UINT64_MAX - 31,
                                    UINT64_MAX};
    uint64_t value = 0;
    memcpy(&value, at, n);
    switch (draw_below(m, 6)) {
    case 0: value++; break;
    case 1: value--; break;
    case 2: value *= 2; break;
    case 3: value /= 2; break;
    default: value = wild[draw_below(m, sizeof wild / sizeof *wild)];
    }
    memcpy(at, &value, n);
}

static double draw_wild_float(struct mutation *m) {
    static const double wild[] = {0,    -0.0,  1,     -1,   0.5,      1e-30, 1e-10,    1e10,      1e30,
                                  1e-5, 10000, 1e-44, 1e38, -FLT_MAX, NAN,   INFINITY, -INFINITY, FLT_MAX};
    return wild[draw_below(m, sizeof wild / sizeof *wild)];
}

static void make_wild_number(struct mutation *m, uint8_t *at, enum gguf_type type) {
    static const uint8_t widths[GGUF_TYPE_COUNT] = {1, 1, 2, 2, 4, 4, 4, 1, 8, 4, 8, 8, 8};
    double wild = draw_wild_float(m);
    float narrow = (float)wild;
    if (type == GGUF_F32)
        memcpy(at, &narrow, sizeof narrow);
    else if (type == GGUF_F64)
        memcpy(at, &wild, sizeof wild);
    else
        make_wild_integer(m, at, widths[type]);
}

/* ---- the kinds of damage ---- */

static void flip_bits(struct mutation *m, size_t n_bytes) {
    for (size_t n = 1 + draw_below(m, 4); n > 0; n--)
        m->bytes[draw_below(m, n_bytes)] ^= (uint8_t)(1u << draw_below(m, 8));
}

static void flip_in_head(struct mutation *m) { flip_bits(m, m->head_bytes); }
static void flip_anywhere(struct mutation *m) { flip_bits(m, m->length); }

static void cut(struct mutation *m) { m->length = draw_below(m, draw(m) % 2 ? m->head_bytes : m->length); }

static void change_count(struct mutation *m) { make_wild_integer(m, m->bytes + (draw(m) % 2 ? 8 : 16), 8); }

static bool is_number(const struct gguf_value *value) {
    return value->type != GGUF_STRING && value->type != GGUF_ARRAY;
}

static void change_number(struct mutation *m) {
    const struct gguf_value *value = draw_value(m);
    for (int i = 0; i < 20 && !is_number(value); i++) value = draw_value(m);
    if (is_number(value)) make_wild_number(m, behind(m, value->key) + 4, value->type);
}

/* Of a text or an array, or of a name. */
static void change_length(struct mutation *m) {
    const struct gguf_value *value = draw_value(m);
    if (is_number(value))
        make_wild_integer(m, place_of(m, value->key.bytes) - 8, 8);
    else
        make_wild_integer(m, behind(m, value->key) + (value->type == GGUF_ARRAY ? 8 : 4), 8);
}

static void change_type(struct mutation *m) {
    static const uint8_t of_4_bytes[] = {GGUF_U32, GGUF_I32, GGUF_F32};
    const struct gguf_value *value = draw_value(m);
    enum gguf_type of_numbers = value->type == GGUF_ARRAY ? value->element_type : value->type;
    size_t at = value->type == GGUF_ARRAY && draw(m) % 2 ? 4 : 0; /* of the elements, or of all */
    bool keeps_width = of_numbers == GGUF_U32 || of_numbers == GGUF_I32 || of_numbers == GGUF_F32;
    uint32_t type = keeps_width && draw(m) % 4 ? of_4_bytes[draw_below(m, 3)]
                                               : (uint32_t)draw_below(m, GGUF_TYPE_COUNT + 1);
    memcpy(behind(m, value->key) + at, &type, sizeof type);
}

/* The value of "<architecture>.<key>", a u32, or NULL. */
static uint8_t *find_u32(const struct mutation *m, const char *key) {
    struct gguf_string name;
    char full_key[128];
    if (gguf_get_string(m->file, "general.architecture", &name) != 1) return NULL;
    (void)snprintf(full_key, sizeof full_key, "%.*s.%s", (int)name.length, name.bytes, key);
    const struct gguf_value *value = gguf_find(m->file, full_key);
    return value == NULL || value->type != GGUF_U32 ? NULL : behind(m, value->key) + 4;
}

/* Other heads of the same width in all: what the tensors' shapes allow, and no model has. */
static void change_heads(struct mutation *m) {
    static const char *const keys[] = {"attention.key_length", "attention.value_length",
                                       "rope.dimension_count"};
    uint8_t *heads = find_u32(m, "attention.head_count"), *kv_heads = find_u32(m, "attention.head_count_kv");
    if (heads == NULL || kv_heads == NULL) return;
    uint32_t n_heads, n_kv_heads, factor = 1u << draw_below(m, 7), length;
    memcpy(&n_heads, heads, sizeof n_heads);
    memcpy(&n_kv_heads, kv_heads, sizeof n_kv_heads);
    bool is_more = draw(m) % 2;
    n_heads = is_more ? n_heads * factor : n_heads / factor;
    n_kv_heads = is_more ? n_kv_heads * factor : n_kv_heads / factor;
    memcpy(heads, &n_heads, sizeof n_heads);
    memcpy(kv_heads, &n_kv_heads, sizeof n_kv_heads);
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        uint8_t *at = find_u32(m, keys[i]);
        if (at == NULL) continue;
        memcpy(&length, at, sizeof length);
        length = is_more ? length / factor : length * factor;
        memcpy(at, &length, sizeof length);
    }
}

static void change_text_bytes(struct mutation *m, struct gguf_string text) {
    if (text.length == 0) return;
    place_of(m, text.bytes)[draw_below(m, text.length)] = (uint8_t)draw(m);
}

/* An element of an array, a character of a text or of a key. */
static void change_inside(struct mutation *m) {
    const struct gguf_value *value = draw_value(m);
    if (value->type == GGUF_STRING) {
        change_text_bytes(m, value->string);
    } else if (value->type != GGUF_ARRAY || value->length == 0) {
        change_text_bytes(m, value->key);
    } else if (value->element_type == GGUF_STRING) {
        change_text_bytes(m, value->strings[draw_below(m, (size_t)value->length)]);
    } else {
        static const uint8_t widths[GGUF_TYPE_COUNT] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
        size_t index = draw_below(m, (size_t)value->length);
        make_wild_number(m, place_of(m, value->elements) + index * widths[value->element_type],
                         value->element_type);
    }
}

static void change_dims(struct mutation *m) {
    const struct gguf_tensor *tensor = draw_tensor(m);
    size_t which = draw_below(m, tensor->n_dims + 1);
    if (which == 0)
        make_wild_integer(m, behind(m, tensor->name), 4);
    else
        make_wild_integer(m, behind(m, tensor->name) + 4 + 8 * (which - 1), 8);
}

static void change_tensor_type(struct mutation *m) {
    const struct gguf_tensor *tensor = draw_tensor(m);
    uint32_t type = (uint32_t)draw_below(m, 42);
    memcpy(behind(m, tensor->name) + 4 + 8 * tensor->n_dims, &type, sizeof type);
}

static void change_offset(struct mutation *m) {
    const struct gguf_tensor *tensor = draw_tensor(m);
    uint8_t *at = behind(m, tensor->name) + 8 + 8 * tensor->n_dims;
    uint64_t offset = draw_below(m, m->length) / 32 * 32;
    if (draw(m) % 2)
        make_wild_integer(m, at, 8);
    else
        memcpy(at, &offset, sizeof offset);
}

static void swap_bytes(uint8_t *a, uint8_t *b, size_t n) {
    for (size_t i = 0; i < n; i++) {
        uint8_t byte = a[i];
        a[i] = b[i];
        b[i] = byte;
    }
}

/* Names, shapes, types or places of two tensors change hands. */
static void swap_tensors(struct mutation *m) {
    const struct gguf_tensor *a = draw_tensor(m), *b = draw_tensor(m);
    size_t what = draw_below(m, 3), dims_bytes = 8 * (size_t)a->n_dims;
    if (what == 0 && a->name.length == b->name.length)
        swap_bytes(place_of(m, a->name.bytes), place_of(m, b->name.bytes), a->name.length);
    if (a->n_dims != b->n_dims) return;
    if (what == 1) swap_bytes(behind(m, a->name), behind(m, b->name), 4 + dims_bytes + 4);
    if (what == 2) swap_bytes(behind(m, a->name) + 8 + dims_bytes, behind(m, b->name) + 8 + dims_bytes, 8);
}

/* Weights of which every pattern is a number, and absurd: NaN, infinity, the largest, anything. */
static void change_weights(struct mutation *m) {
    static const uint32_t patterns[] = {0x7fc00000, 0x7f800000, 0xff800000, 0xffffffff, 0,
                                        0x7c007c00, 0x7e007e00, 0x7f7fffff, 1};
    const struct gguf_tensor *tensor = draw_tensor(m);
    uint8_t *at = place_of(m, tensor->data);
    size_t begin = draw(m) % 2 ? 0 : draw_below(m, tensor->bytes / 4) * 4, kind = draw_below(m, 10);
    for (size_t i = begin; i + 4 <= tensor->bytes; i += 4) {
        uint32_t word = kind < 9 ? patterns[kind] : (uint32_t)draw(m);
        memcpy(at + i, &word, sizeof word);
        if (kind % 2 && draw(m) % 8 == 0) break;
    }
}

/* Everything behind a place moves by a few bytes, out of its alignment. */
static void shift(struct mutation *m) {
    size_t at = draw_below(m, m->head_bytes), n = 1 + draw_below(m, 32);
    if (m->length < at + n) return;
    memmove(m->bytes + at, m->bytes + at + n, m->length - at - n);
    m->length -= n;
}

/* ---- all of it ---- */

uint8_t *gguf_mutate(const struct gguf *file, const uint8_t *bytes, size_t *length, uint64_t seed) {
    static void (*const kinds[])(struct mutation *) = {
        change_number, change_number, change_number, change_number,  change_heads,   change_heads,
        change_inside, change_inside, change_inside, change_weights, change_weights, change_weights,
        change_type,   change_type,   change_length, change_count,   change_dims,    change_tensor_type,
        change_offset, swap_tensors,  swap_tensors,  swap_tensors,   flip_in_head,   flip_anywhere};
    struct mutation m = {.file = file, .original = bytes, .length = *length, .seed = seed};
    m.head_bytes = m.length;
    for (size_t i = 0; i < gguf_n_tensors(file); i++) {
        size_t begin = (size_t)(gguf_tensor_at(file, i)->data - bytes);
        if (begin < m.head_bytes) m.head_bytes = begin;
    }
    m.bytes = malloc(m.length);
    ASSERT(m.bytes != NULL);
    memcpy(m.bytes, bytes, m.length);
    for (size_t n = 1 + draw(&m) % 2 * draw_below(&m, 3); n > 0; n--)
        kinds[draw_below(&m, sizeof kinds / sizeof *kinds)](&m);
    /* last, as they leave nothing in its place */
    if (draw_below(&m, 30) == 0) shift(&m);
    if (draw_below(&m, 30) == 0) cut(&m);
    uint8_t *exact = realloc(m.bytes, m.length > 0 ? m.length : 1);
    ASSERT(exact != NULL);
    *length = m.length;
    return exact;
}
