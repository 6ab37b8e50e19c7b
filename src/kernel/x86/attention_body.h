/* The attention inner loops of the x86 sets: written once, over a vector type that the including file defines.
 *
 * The file that includes this has defined
 *   SET(name)                name_<set>
 *   TILE_ROWS, FOR_TILE_ROWS rows of one register tile, and the list 1 .. TILE_ROWS as X(n)
 *   vec, VEC_WIDTH           a vector of f32, and vec_{load,store,broadcast,zero,add,sub,mul,fma,max}
 *   vec_max_across, vec_sum_across     to one float, in a fixed order
 *   vec_widen_{f16,bf16}, vec_narrow_{f16,bf16}    load from, store to 16-bit floats
 *   vec_scale2(p, y)         p * 2^n for the integer n in the low bits of y's mantissa
 *   vec_keep_from(p, t, at)  p where t >= at or t is NaN, else 0
 *
 * Scores (q times K) and the weighted sum (probabilities times V) are the same product
 * C[rows][32] += A[rows][k] * B[k][32]: B is a K area as it lies, k = dimensions, or 32 dimensions of V rows,
 * k = keys. Every element of C is one chain of FMAs in order of k whatever the number of rows, so a row's bits
 * do not depend on its neighbours. */
#include <math.h>
#include <stdbool.h>

#include "base/float16.h"

#define INLINE static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 16")

enum {
    COLUMNS = 32,                      /* of a product: the slots of a block, or 32 dimensions */
    COLUMN_VECS = COLUMNS / VEC_WIDTH, /* vectors of one row of C */
    DEPTH = 128                        /* most steps of k in one product, and the stride of A */
};
_Static_assert(BLOCK_TOKENS == COLUMNS, "a K area is a product's B operand as it lies");
_Static_assert((int)ATTENTION_TILE == (int)DEPTH, "a row of scores is a product's A operand as it lies");

/* B[k][32]: segments of 2^segment_shift steps each, the rows of a segment stride_bytes apart. Every step also
 * prefetches as many bytes as it reads from `ahead`, memory that is needed soon. */
struct operand {
    const char *segment[ATTENTION_TILE_BLOCKS], *ahead[ATTENTION_TILE_BLOCKS];
    size_t stride_bytes;
    unsigned segment_shift;
};

/* The element types of B: the codecs', and f32 that was widened by us and needs no prefetch. */
enum element { ELEMENT_f32, ELEMENT_f16, ELEMENT_bf16, ELEMENT_wide };

INLINE size_t element_bytes(enum element type) { return type == ELEMENT_f16 || type == ELEMENT_bf16 ? 2 : 4; }

INLINE vec load_element(enum element type, const char *p) {
    if (type == ELEMENT_f16) return vec_widen_f16(p);
    if (type == ELEMENT_bf16) return vec_widen_bf16(p);
    return vec_load((const float *)p);
}

/* C += A * B for steps begin .. end of k; `accumulate` false starts from zero. n_rows and type are constants. */
INLINE void product(unsigned n_rows, enum element type, const float *a, const struct operand *b, unsigned begin,
                    unsigned end, bool accumulate, float *c, size_t c_stride) {
    vec acc[TILE_ROWS][COLUMN_VECS];
    const float *c_row = c;
    if (accumulate) {
        UNROLL for (unsigned r = 0; r < n_rows; r++, c_row += c_stride) {
            UNROLL for (unsigned v = 0; v < COLUMN_VECS; v++) acc[r][v] = vec_load(c_row + v * VEC_WIDTH);
        }
    } else {
        UNROLL for (unsigned r = 0; r < n_rows; r++) {
            UNROLL for (unsigned v = 0; v < COLUMN_VECS; v++) acc[r][v] = vec_zero();
        }
    }
    const size_t step_bytes = COLUMNS * element_bytes(type), stride_bytes = b->stride_bytes;
    for (unsigned k = begin; k < end;) {
        unsigned segment = k >> b->segment_shift, first = segment << b->segment_shift;
        unsigned stop = first + (1u << b->segment_shift) < end ? first + (1u << b->segment_shift) : end;
        const char *row = b->segment[segment] + (k - first) * stride_bytes;
        const char *ahead = type == ELEMENT_wide ? NULL : b->ahead[segment] + (k - first) * step_bytes;
        const float *a_k = a + k, *a_stop = a + stop;
        for (; a_k != a_stop; a_k++, row += stride_bytes) {
            /* The shorter side of the tile is loaded first and stays in registers: the order is the compiler's
             * hint not to spill. */
            vec factor[TILE_ROWS], column[COLUMN_VECS];
            if (TILE_ROWS < COLUMN_VECS) {
                UNROLL for (unsigned r = 0; r < n_rows; r++) factor[r] = vec_broadcast(a_k + r * DEPTH);
                UNROLL for (unsigned v = 0; v < COLUMN_VECS; v++) {
                    column[v] = load_element(type, row + v * VEC_WIDTH * element_bytes(type));
                    UNROLL for (unsigned r = 0; r < n_rows; r++) acc[r][v] = vec_fma(factor[r], column[v], acc[r][v]);
                }
            } else {
                UNROLL for (unsigned v = 0; v < COLUMN_VECS; v++)
                    column[v] = load_element(type, row + v * VEC_WIDTH * element_bytes(type));
                UNROLL for (unsigned r = 0; r < n_rows; r++) {
                    factor[r] = vec_broadcast(a_k + r * DEPTH);
                    UNROLL for (unsigned v = 0; v < COLUMN_VECS; v++)
                        acc[r][v] = vec_fma(factor[r], column[v], acc[r][v]);
                }
            }
            if (type != ELEMENT_wide) {
                __builtin_prefetch(ahead, 0, 2);
                if (type == ELEMENT_f32) __builtin_prefetch(ahead + 64, 0, 2);
                ahead += step_bytes;
            }
        }
        k = stop;
    }
    /* Forget the row addresses of the beginning: computing them again is cheaper than 12 live registers. */
    __asm__("" : "+r"(c), "+r"(c_stride));
    UNROLL for (unsigned r = 0; r < n_rows; r++, c += c_stride) {
        UNROLL for (unsigned v = 0; v < COLUMN_VECS; v++) vec_store(c + v * VEC_WIDTH, acc[r][v]);
    }
}

typedef void product_function(const float *a, const struct operand *b, unsigned begin, unsigned end,
                              bool accumulate, float *c, size_t c_stride);

#define PRODUCT_DEFINE(type, n)                                                                              \
    static void product_##type##_##n(const float *a, const struct operand *b, unsigned begin, unsigned end,  \
                                     bool accumulate, float *c, size_t c_stride) {                           \
        product(n, ELEMENT_##type, a, b, begin, end, accumulate, c, c_stride);                               \
    }
#define X(n) PRODUCT_DEFINE(f32, n) PRODUCT_DEFINE(f16, n) PRODUCT_DEFINE(bf16, n) PRODUCT_DEFINE(wide, n)
FOR_TILE_ROWS
#undef X

static product_function *const products[][TILE_ROWS + 1] = {
#define X(n) [n] = product_f32_##n,
    [ELEMENT_f32] = {FOR_TILE_ROWS},
#undef X
#define X(n) [n] = product_f16_##n,
    [ELEMENT_f16] = {FOR_TILE_ROWS},
#undef X
#define X(n) [n] = product_bf16_##n,
    [ELEMENT_bf16] = {FOR_TILE_ROWS},
#undef X
#define X(n) [n] = product_wide_##n,
    [ELEMENT_wide] = {FOR_TILE_ROWS},
#undef X
};

/* e^t for t <= 0, within 2^-23 + |t| * 2^-26 of it relatively; 0 for t < -87, where f32 becomes denormal.
 * t * log2(e) = n + r with n rounded by adding 1.5 * 2^23; 2^r is a minimax polynomial on [-1/2, 1/2] whose
 * constant is 1, so that e^0 = 1. */
INLINE vec vec_exp(vec t) {
    const vec log2e = vec_set(0x1.715476p+0f), magic = vec_set(0x1.8p+23f);
    vec y = vec_fma(t, log2e, magic);
    vec r = vec_fma(t, log2e, vec_sub(magic, y));
    vec p = vec_set(0x1.5bba14p-10f);
    p = vec_fma(p, r, vec_set(0x1.3cea88p-7f));
    p = vec_fma(p, r, vec_set(0x1.c6b752p-5f));
    p = vec_fma(p, r, vec_set(0x1.ebf9bcp-3f));
    p = vec_fma(p, r, vec_set(0x1.62e42ap-1f));
    p = vec_fma(p, r, vec_set(1.0f));
    return vec_keep_from(vec_scale2(p, y), t, vec_set(-87.0f));
}

INLINE float exp_one(float t) { return vec_sum_across(vec_first(vec_exp(vec_set(t)))); }

INLINE void scale_row(float *row, unsigned n, float factor) {
    for (unsigned i = 0; i < n; i++) row[i] *= factor;
}

/* Turns n_vecs vectors of scores into exp(score - max), moving the row's max, sum and out along. */
INLINE void soften(struct attention_rows *rows, unsigned r, float *scores, unsigned n_vecs) {
    vec largest = vec_load(scores);
    for (unsigned i = 1; i < n_vecs; i++) largest = vec_max(largest, vec_load(scores + i * VEC_WIDTH));
    float max = vec_max_across(largest);
    if (max > rows->max[r]) {
        float factor = exp_one(rows->max[r] - max);
        rows->max[r] = max;
        rows->sum[r] *= factor;
        scale_row(rows->out + (size_t)r * rows->head_dim, rows->head_dim, factor);
    }
    /* While every score is -infinity there is nothing to subtract. */
    vec shift = vec_set(rows->max[r] == -INFINITY ? 0.0f : rows->max[r]), sum = vec_zero();
    for (unsigned i = 0; i < n_vecs; i++) {
        vec p = vec_exp(vec_sub(vec_load(scores + i * VEC_WIDTH), shift));
        vec_store(scores + i * VEC_WIDTH, p);
        sum = vec_add(sum, p);
    }
    rows->sum[r] += vec_sum_across(sum);
}

static void soften_row(struct attention_rows *rows, unsigned r, float *scores, unsigned n_visible) {
    enum { FULL = ATTENTION_TILE / VEC_WIDTH };
    unsigned n_vecs = (n_visible + VEC_WIDTH - 1) / VEC_WIDTH;
    for (unsigned i = n_visible; i < n_vecs * VEC_WIDTH; i++) scores[i] = -INFINITY;
    if (n_vecs == FULL)
        soften(rows, r, scores, FULL);
    else if (n_vecs > 0)
        soften(rows, r, scores, n_vecs);
}

/* B[0 .. n_rows)[0 .. n_columns) of `from` as f32, zeros in the columns past n_columns. */
INLINE void widen(enum element type, const struct operand *from, unsigned n_rows, unsigned n_columns,
                  float (*wide)[COLUMNS]) {
    const unsigned n_vecs = n_columns / VEC_WIDTH;
    for (unsigned k = 0; k < n_rows; k++) {
        unsigned segment = k >> from->segment_shift, in_segment = k - (segment << from->segment_shift);
        const char *row = from->segment[segment] + in_segment * from->stride_bytes;
        __builtin_prefetch(from->ahead[segment] + in_segment * COLUMNS * element_bytes(type), 0, 2);
        if (n_columns == COLUMNS) {
            UNROLL for (unsigned v = 0; v < COLUMN_VECS; v++)
                vec_store(wide[k] + v * VEC_WIDTH,
                          load_element(type, row + v * VEC_WIDTH * element_bytes(type)));
            continue;
        }
        for (unsigned v = 0; v < n_vecs; v++)
            vec_store(wide[k] + v * VEC_WIDTH, load_element(type, row + v * VEC_WIDTH * element_bytes(type)));
        for (unsigned i = n_vecs * VEC_WIDTH; i < COLUMNS; i++) {
            if (i >= n_columns)
                wide[k][i] = 0;
            else if (type == ELEMENT_f16)
                wide[k][i] = f16_to_f32(((const f16_bits *)row)[i]);
            else if (type == ELEMENT_bf16)
                wide[k][i] = bf16_to_f32(((const bf16_bits *)row)[i]);
            else
                wide[k][i] = ((const float *)row)[i];
        }
    }
}

/* Makes `operand` point to the widened copy of itself. */
INLINE void use_wide(enum element type, struct operand *operand, unsigned n_rows, unsigned n_columns,
                     float (*wide)[COLUMNS]) {
    widen(type, operand, n_rows, n_columns, wide);
    *operand = (struct operand){.segment = {(const char *)wide}, .stride_bytes = sizeof *wide, .segment_shift = 31};
}

/* Where a tile's rows are worked on: a group of at most TILE_ROWS at a time. */
struct row_group {
    unsigned first, n_rows, min_visible, max_visible;
};
struct tile_work {
    _Alignas(64) float scores[ATTENTION_MAX_ROWS][ATTENTION_TILE]; /* then probabilities */
    _Alignas(64) float q[ATTENTION_MAX_ROWS][DEPTH];               /* DEPTH dimensions of the queries */
    _Alignas(64) float wide[DEPTH][COLUMNS];
    _Alignas(64) float partial[TILE_ROWS][COLUMNS]; /* out columns when fewer than COLUMNS are left */
    struct row_group groups[(ATTENTION_MAX_ROWS + TILE_ROWS - 1) / TILE_ROWS];
    unsigned n_groups, max_visible;
};

static void group_rows(struct tile_work *work, unsigned n_rows, const uint32_t *n_visible) {
    work->n_groups = work->max_visible = 0;
    for (unsigned first = 0; first < n_rows; first += TILE_ROWS) {
        unsigned n = n_rows - first < TILE_ROWS ? n_rows - first : TILE_ROWS;
        struct row_group group = {first, n, n_visible[first], n_visible[first]};
        for (unsigned r = first + 1; r < first + n; r++) {
            if (n_visible[r] < group.min_visible) group.min_visible = n_visible[r];
            if (n_visible[r] > group.max_visible) group.max_visible = n_visible[r];
        }
        if (group.max_visible > work->max_visible) work->max_visible = group.max_visible;
        work->groups[work->n_groups++] = group;
    }
}

/* scores = q * K^T for the blocks that a row sees. */
INLINE void score(enum element type, struct tile_work *work, const struct attention_rows *rows,
                  const struct attention_tile *tile) {
    /* Widening once pays as soon as two groups of rows meet the same keys. */
    const bool widens = work->n_groups > 1 && type != ELEMENT_f32;
    for (unsigned d = 0; d < rows->head_dim; d += DEPTH) {
        unsigned depth = rows->head_dim - d < DEPTH ? rows->head_dim - d : DEPTH;
        for (unsigned r = 0; r < rows->n_rows; r++)
            memcpy(work->q[r], rows->q + (size_t)r * rows->head_dim + d, depth * sizeof(float));
        for (unsigned block = 0; block * COLUMNS < work->max_visible; block++) {
            const size_t row_bytes = COLUMNS * element_bytes(type), offset = d * row_bytes;
            struct operand k = {.segment = {(const char *)tile->k[block] + offset},
                                .ahead = {(const char *)tile->v[block] + offset},
                                .stride_bytes = row_bytes,
                                .segment_shift = 31};
            if (widens) use_wide(type, &k, depth, COLUMNS, work->wide);
            for (unsigned g = 0; g < work->n_groups; g++) {
                const struct row_group *group = &work->groups[g];
                if (group->max_visible <= block * COLUMNS) continue;
                products[widens ? ELEMENT_wide : type][group->n_rows](
                    work->q[group->first], &k, 0, depth, d > 0, work->scores[group->first] + block * COLUMNS,
                    ATTENTION_TILE);
                k.ahead[0] = k.segment[0]; /* once is enough */
            }
        }
    }
}

/* out += probabilities * V: for the keys that all rows of a group see together, then for each row alone. */
INLINE void weigh(enum element type, struct tile_work *work, struct attention_rows *rows,
                  const struct attention_tile *tile) {
    for (unsigned d = 0; d < rows->head_dim; d += COLUMNS) {
        const unsigned n_columns = rows->head_dim - d < COLUMNS ? rows->head_dim - d : COLUMNS;
        const bool widens = n_columns < COLUMNS || (work->n_groups > 1 && type != ELEMENT_f32);
        struct operand v = {.stride_bytes = rows->head_dim * element_bytes(type), .segment_shift = 5};
        for (unsigned block = 0; block * COLUMNS < work->max_visible; block++) {
            v.segment[block] = (const char *)tile->v[block] + d * element_bytes(type);
            v.ahead[block] = tile->next_k[block] == NULL
                                 ? v.segment[block]
                                 : (const char *)tile->next_k[block] + d * COLUMNS * element_bytes(type);
        }
        if (widens) use_wide(type, &v, work->max_visible, n_columns, work->wide);
        product_function *const *product_of = products[widens ? ELEMENT_wide : type];
        for (unsigned g = 0; g < work->n_groups; g++) {
            const struct row_group *group = &work->groups[g];
            float *out = rows->out + (size_t)group->first * rows->head_dim + d, *c = out;
            size_t c_stride = rows->head_dim;
            if (n_columns < COLUMNS) {
                c = work->partial[0];
                c_stride = COLUMNS;
                for (unsigned r = 0; r < group->n_rows; r++)
                    memcpy(work->partial[r], out + (size_t)r * rows->head_dim, n_columns * sizeof(float));
            }
            if (group->min_visible > 0)
                product_of[group->n_rows](work->scores[group->first], &v, 0, group->min_visible, true, c, c_stride);
            for (unsigned r = 0; r < group->n_rows; r++) {
                unsigned n_visible = tile->n_visible[group->first + r];
                if (n_visible > group->min_visible)
                    product_of[1](work->scores[group->first + r], &v, group->min_visible, n_visible, true,
                                  c + r * c_stride, 0);
            }
            for (unsigned r = 0; n_columns < COLUMNS && r < group->n_rows; r++)
                memcpy(out + (size_t)r * rows->head_dim, work->partial[r], n_columns * sizeof(float));
            memcpy(v.ahead, v.segment, sizeof v.ahead);
        }
    }
}

INLINE void attend(enum element type, struct attention_rows *rows, const struct attention_tile *tile) {
    struct tile_work work;
    group_rows(&work, rows->n_rows, tile->n_visible);
    score(type, &work, rows, tile);
    for (unsigned r = 0; r < rows->n_rows; r++) soften_row(rows, r, work.scores[r], tile->n_visible[r]);
    weigh(type, &work, rows, tile);
}

void SET(attend_merge)(struct attention_rows *rows, const struct attention_rows *part) {
    for (unsigned r = 0; r < rows->n_rows; r++) {
        if (part->sum[r] == 0) continue;
        float max = rows->max[r] > part->max[r] ? rows->max[r] : part->max[r];
        float old_factor = exp_one(rows->max[r] - max), part_factor = exp_one(part->max[r] - max);
        rows->max[r] = max;
        rows->sum[r] = rows->sum[r] * old_factor + part->sum[r] * part_factor;
        float *out = rows->out + (size_t)r * rows->head_dim;
        const float *part_out = part->out + (size_t)r * rows->head_dim;
        for (unsigned i = 0; i < rows->head_dim; i++) out[i] = out[i] * old_factor + part_out[i] * part_factor;
    }
}

#define SAME(value) (value)
#define CODEC_DEFINE(codec, element, from_f32)                                                               \
    void SET(attend_tile_##codec)(struct attention_rows * rows, const struct attention_tile *tile) {         \
        attend(ELEMENT_##codec, rows, tile);                                                                 \
    }                                                                                                        \
    void SET(store_v_##codec)(void *v_area, unsigned slot, const float *row, unsigned head_dim) {            \
        element *v = (element *)v_area + (size_t)slot * head_dim;                                            \
        unsigned i = 0;                                                                                      \
        for (; i + VEC_WIDTH <= head_dim; i += VEC_WIDTH) vec_narrow_##codec(v + i, vec_load(row + i));      \
        for (; i < head_dim; i++) v[i] = from_f32(row[i]);                                                   \
    }                                                                                                        \
    void SET(store_k_##codec)(void *k_area, unsigned slot, const float *row, unsigned head_dim) {            \
        element *k = (element *)k_area + slot, narrow[VEC_WIDTH];                                            \
        unsigned i = 0;                                                                                      \
        for (; i + VEC_WIDTH <= head_dim; i += VEC_WIDTH) {                                                  \
            vec_narrow_##codec(narrow, vec_load(row + i));                                                   \
            for (unsigned j = 0; j < VEC_WIDTH; j++) k[(size_t)(i + j) * BLOCK_TOKENS] = narrow[j];          \
        }                                                                                                    \
        for (; i < head_dim; i++) k[(size_t)i * BLOCK_TOKENS] = from_f32(row[i]);                            \
    }
CODEC_DEFINE(f32, float, SAME)
CODEC_DEFINE(f16, f16_bits, f16_from_f32)
CODEC_DEFINE(bf16, bf16_bits, bf16_from_f32)
