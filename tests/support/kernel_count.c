#include "kernel_count.h"

#include "base/err.h"
#include "base/mem.h"
#include "codec/coded.h"

/* An area of K or V that rows have read: which of its slots. */
struct area {
    const void *address; /* NULL: no area */
    size_t bytes;
    uint64_t slots; /* a bit each */
};

static struct kernel_counts counts;
static struct area *areas; /* (capacity, a power of two) a hash table */
static size_t n_areas, capacity;
static bool is_one_sequence;
static uint64_t slot_bytes; /* read so far: slots times bytes of their areas */

_Static_assert(BLOCK_TOKENS <= 64, "a bit a slot");

/* ---- areas ---- */

static struct area *find_area(const void *address) {
    size_t i = (uintptr_t)address / 64 * 0x9e3779b97f4a7c15u >> 20;
    while (areas[i &= capacity - 1].address != NULL && areas[i].address != address) i++;
    return &areas[i];
}

static void grow(void) {
    struct area *old = areas;
    size_t n_old = capacity;
    capacity = capacity == 0 ? 1024 : 2 * capacity;
    areas = mem_alloc(capacity, sizeof *areas);
    ASSERT(areas != NULL);
    for (size_t i = 0; i < n_old; i++)
        if (old[i].address != NULL) *find_area(old[i].address) = old[i];
    mem_free(old);
}

/* What has been read of an area counts; what is read of it from now on counts again. */
static void flush(struct area *area) {
    slot_bytes += (uint64_t)__builtin_popcountll(area->slots) * area->bytes;
    area->slots = 0;
}

static void read_slots(const void *address, size_t bytes, unsigned begin, unsigned end) {
    if (2 * n_areas >= capacity) grow();
    struct area *area = find_area(address);
    if (area->address == NULL) {
        *area = (struct area){.address = address, .bytes = bytes};
        n_areas++;
    }
    if (area->bytes != bytes) flush(area); /* scratch memory that another layer used before */
    area->bytes = bytes;
    for (unsigned slot = begin; slot < end; slot++) area->slots |= UINT64_C(1) << slot;
}

static void write_area(const void *address, uint64_t bytes) {
    if (capacity > 0) flush(find_area(address));
    counts.kv_write_bytes += bytes;
}

void kernel_count_begin(bool is_one) {
    is_one_sequence = is_one;
    counts = (struct kernel_counts){0};
    slot_bytes = 0;
    mem_free(areas);
    areas = NULL;
    n_areas = capacity = 0;
}

struct kernel_counts kernel_count_end(void) {
    for (size_t i = 0; i < capacity; i++) flush(&areas[i]);
    struct kernel_counts result = counts;
    result.kv_read_bytes = slot_bytes / BLOCK_TOKENS;
    kernel_count_begin(false);
    return result;
}

/* ---- the functions of a set ---- */

static bool is_supported(void) { return true; }

static void count_matmul(const struct panel_matrix *w, size_t panel_begin, size_t panel_end,
                         const struct activations *x, size_t row_begin, size_t row_end, float *out,
                         size_t out_stride) {
    (void)x;
    (void)out;
    (void)out_stride;
    size_t first = panel_begin * PANEL_ROWS, last = panel_end * PANEL_ROWS;
    if (last > w->n_rows) last = w->n_rows;
    uint64_t ops = 2 * (uint64_t)(last - first) * w->n_cols * (row_end - row_begin);
    counts.weight_bytes += (panel_end - panel_begin) * w->panel_bytes;
    if (w->type == WEIGHT_F32 || w->type == WEIGHT_F16)
        counts.f32_ops += ops;
    else if (w->type == WEIGHT_BF16)
        counts.bf16_ops += ops;
    else
        counts.quantised_ops += ops;
}

static void count_products(enum codec_id codec, uint64_t ops) {
    bool is_float = codec == CODEC_f32 || codec == CODEC_f16 || codec == CODEC_bf16;
    *(is_float ? &counts.f32_ops : &counts.coded_ops) += ops;
}

static void count_tile(struct attention_rows *rows, const struct attention_tile *tile) {
    const size_t k_bytes = codec_get(tile->k_codec)->k_bytes(rows->head_dim),
                 v_bytes = codec_get(tile->v_codec)->v_bytes(rows->head_dim);
    for (unsigned r = 0; r < rows->n_rows; r++) {
        const uint32_t begin = tile->begin[r], end = tile->end[r];
        if (begin >= end) continue;
        count_products(tile->k_codec, 2 * (uint64_t)(end - begin) * rows->head_dim);
        count_products(tile->v_codec, 2 * (uint64_t)(end - begin) * rows->head_dim);
        for (unsigned block = begin / BLOCK_TOKENS; block <= (end - 1) / BLOCK_TOKENS; block++) {
            const unsigned base = block * BLOCK_TOKENS;
            const unsigned from = begin > base ? begin - base : 0,
                           to = end < base + BLOCK_TOKENS ? end - base : BLOCK_TOKENS;
            read_slots(tile->k[block], k_bytes, from, to);
            read_slots(tile->v[block], v_bytes, from, to);
        }
    }
    for (unsigned block = 0; block < ATTENTION_TILE_BLOCKS && !is_one_sequence && capacity > 0; block++) {
        flush(find_area(tile->k[block]));
        flush(find_area(tile->v[block]));
    }
}

#define COUNT_STORE(name)                                                                                    \
    static void store_k_##name(void *area, unsigned slot, unsigned n_slots, const float *rows,               \
                               size_t stride, unsigned head_dim) {                                           \
        (void)slot;                                                                                          \
        (void)rows;                                                                                          \
        (void)stride;                                                                                        \
        write_area(area, codec_get(CODEC_##name)->k_bytes(head_dim) / BLOCK_TOKENS * n_slots);               \
    }                                                                                                        \
    static void store_v_##name(void *area, unsigned slot, unsigned n_slots, const float *rows,               \
                               size_t stride, unsigned head_dim) {                                           \
        (void)slot;                                                                                          \
        (void)rows;                                                                                          \
        (void)stride;                                                                                        \
        write_area(area, codec_get(CODEC_##name)->v_bytes(head_dim) / BLOCK_TOKENS * n_slots);               \
    }
CODEC_ROW_LIST(COUNT_STORE)

static void count_convert_k(const struct codec *to, void *to_area, const struct codec *from,
                            const void *from_area, unsigned head_dim) {
    (void)from;
    (void)from_area;
    write_area(to_area, to->k_bytes(head_dim));
}

static void count_convert_v(const struct codec *to, void *to_area, const struct codec *from,
                            const void *from_area, unsigned head_dim) {
    (void)from;
    (void)from_area;
    write_area(to_area, to->v_bytes(head_dim));
}

static void ignore_row(struct activations *x, size_t row) {
    (void)x;
    (void)row;
}
static void ignore_rows(struct attention_rows *rows) { (void)rows; }
static void ignore_parts(struct attention_rows *rows, const struct attention_rows *part) {
    (void)rows;
    (void)part;
}

static void count_rotate(float *x, unsigned n) {
    (void)x;
    counts.vector_numbers += n;
}
static void ignore_rope(float *heads, unsigned n_heads, unsigned head_dim, const float *table,
                        unsigned n_dims, bool is_interleaved) {
    (void)heads;
    (void)n_heads;
    (void)head_dim;
    (void)table;
    (void)n_dims;
    (void)is_interleaved;
}
static void count_rmsnorm(float *out, const float *x, const float *weight, size_t n, float epsilon) {
    (void)out;
    (void)x;
    (void)weight;
    (void)epsilon;
    counts.vector_numbers += n;
}
static void count_gated(float *out, const float *gate, const float *up, size_t n) {
    (void)out;
    (void)gate;
    (void)up;
    counts.vector_numbers += n;
}
static void count_softcap(float *x, size_t n, float cap) {
    (void)x;
    (void)cap;
    counts.vector_numbers += n;
}
static void count_add(float *x, const float *y, size_t n) {
    (void)x;
    (void)y;
    counts.vector_numbers += n;
}

static size_t ignore_largest(const float *x, size_t n) {
    (void)x;
    (void)n;
    return 0;
}
static double ignore_soften(float *out, const float *x, size_t n, float max, float temperature) {
    (void)out;
    (void)x;
    (void)n;
    (void)max;
    (void)temperature;
    return 0;
}

#define MATMUL_ENTRY(type, number, elements, bytes) [WEIGHT_##type] = count_matmul,
#define STORE_K_ENTRY(name) [CODEC_##name] = store_k_##name,
#define STORE_V_ENTRY(name) [CODEC_##name] = store_v_##name,

const struct kernel_set kernel_set_count = {
    .name = "count",
    .is_supported = is_supported,
    .quantize_row = ignore_row,
    .round_row = ignore_row,
    .quantised_form = FORM_INT8,
    .matmul = {WEIGHT_TYPE_LIST(MATMUL_ENTRY)},
    .attend_prepare = ignore_rows,
    .attend_tile = count_tile,
    .attend_merge = ignore_parts,
    .store_k = {CODEC_ROW_LIST(STORE_K_ENTRY)},
    .store_v = {CODEC_ROW_LIST(STORE_V_ENTRY)},
    .convert_k = count_convert_k,
    .convert_v = count_convert_v,
    .rotate = count_rotate,
    .rope = ignore_rope,
    .rmsnorm = count_rmsnorm,
    .silu_mul = count_gated,
    .gelu_mul = count_gated,
    .softcap = count_softcap,
    .add = count_add,
    .largest = ignore_largest,
    .soften = ignore_soften,
};
