/* The attention inner loops of the x86 sets, written once over a vector type that the including file defines.
 *
 * The file that includes this has defined
 *   SET(name)                name_<set>
 *   TILE_ROWS, FOR_TILE_ROWS rows of one register tile, and the list 1 .. TILE_ROWS as X(n)
 *   TILE_STRIPS              strips of 32 columns of one register tile: 1 or 2
 *   vec, VEC_WIDTH           a vector of f32, and vec_{load,store,broadcast,zero,add,sub,div,fma,min,max}
 *   vec_max_across, vec_sum_across     to one float, in a fixed order
 *   vec_widen_{f16,bf16}, vec_narrow_{f16,bf16}    load from, store to 16-bit floats
 *   vec_fraction(t), vec_raise(p, t)   t less an integer n, and p * 2^n: what vec_power is made of, with
 *   POWER_FINE, POWER_COARSE           coefficients for such fractions
 *   STAY_AWAKE()             what is to be said now and then in work between products; may be missing
 *   CODED_PRODUCTS           the header with score_<codec> and weigh_<codec> of the coded codecs
 *
 * Scores (q times K) and the weighted sum (probabilities times V) are the same product
 * C[rows][32] += A[rows][k] * B[k][32]: a *strip* of B is a K area as it lies, k = dimensions, or 32
 * dimensions of V rows, k = keys. Every element of C is one chain of FMAs in order of k whatever the number
 * of rows and strips, so a row's bits do not depend on its neighbours. */
#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "base/float16.h"
#include "codec/coded.h"
#include "kernel/attention_coded.h"

#define INLINE static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 16")

#ifndef STAY_AWAKE
#define STAY_AWAKE() ((void)0)
#endif

enum {
    COLUMNS = 32,                     /* of a strip: the slots of a block, or 32 dimensions */
    STRIP_VECS = COLUMNS / VEC_WIDTH, /* vectors of one row of a strip */
    DEPTH = 128,                      /* most steps of k in one product, and the stride of A */
    WIDE_DEPTH = DEPTH / TILE_STRIPS  /* the same for widened B, to keep that in the first-level cache */
};
_Static_assert(ATTENTION_MAX_ROWS % VEC_WIDTH == 0, "vectors of rows");
_Static_assert(BLOCK_TOKENS == COLUMNS, "a K area is a strip as it lies");
_Static_assert((int)ATTENTION_TILE == (int)DEPTH, "a row of scores is a product's A operand as it lies");

/* One strip of B: segments of 2^segment_shift steps of k each. `ahead` is memory that is needed soon, as much
 * as the segment has: prefetching it is spread over the work, as a burst would wait for the core's few line
 * buffers. */
struct strip {
    const char *segment[ATTENTION_TILE_BLOCKS], *ahead[ATTENTION_TILE_BLOCKS];
};
struct operand {
    struct strip strips[TILE_STRIPS];
    size_t stride_bytes; /* from step to step in a segment */
    unsigned segment_shift;
};

/* What B consists of: the codecs' numbers, with a prefetch in every step, or f32 without one. The latter
 * serves several groups of rows, each of which prefetches its share before it begins. */
enum element { ELEMENT_f32, ELEMENT_f16, ELEMENT_bf16, ELEMENT_quiet };

INLINE size_t element_bytes(enum element type) { return type == ELEMENT_f16 || type == ELEMENT_bf16 ? 2 : 4; }

/* Vector i of a row of elements. */
INLINE vec load_vec(enum element type, const char *row, unsigned i) {
    const char *p = row + (size_t)i * VEC_WIDTH * element_bytes(type);
    if (type == ELEMENT_f16) return vec_widen_f16(p);
    if (type == ELEMENT_bf16) return vec_widen_bf16(p);
    return vec_load((const float *)p);
}

/* C += A * B for steps begin .. end of k; `accumulate` false starts from zero. n_rows, n_strips and type are
 * constants. */
INLINE void product(unsigned n_rows, unsigned n_strips, enum element type, const float *a,
                    const struct operand *b, unsigned begin, unsigned end, bool accumulate, float *c,
                    size_t c_stride) {
    enum { MOST_VECS = TILE_STRIPS * STRIP_VECS };
    const unsigned n_vecs = n_strips * STRIP_VECS;
    vec acc[TILE_ROWS][MOST_VECS];
    const float *c_row = c;
    if (accumulate) {
        UNROLL for (unsigned r = 0; r < n_rows; r++, c_row += c_stride) {
            UNROLL for (unsigned v = 0; v < n_vecs; v++) acc[r][v] = vec_load(c_row + v * VEC_WIDTH);
        }
    } else {
        UNROLL for (unsigned r = 0; r < n_rows; r++) {
            UNROLL for (unsigned v = 0; v < n_vecs; v++) acc[r][v] = vec_zero();
        }
    }
    const size_t stride_bytes = b->stride_bytes, step_bytes = COLUMNS * element_bytes(type);
    for (unsigned k = begin; k < end;) {
        unsigned segment = k >> b->segment_shift, first = segment << b->segment_shift;
        unsigned stop = first + (1u << b->segment_shift) < end ? first + (1u << b->segment_shift) : end;
        const char *row[TILE_STRIPS], *ahead[TILE_STRIPS] = {NULL};
        UNROLL for (unsigned s = 0; s < n_strips; s++) {
            row[s] = b->strips[s].segment[segment] + (k - first) * stride_bytes;
            if (type != ELEMENT_quiet) ahead[s] = b->strips[s].ahead[segment] + (k - first) * step_bytes;
        }
        const float *a_k = a + k, *a_stop = a + stop;
        for (; a_k != a_stop; a_k++) {
            /* The shorter side of the tile is loaded first and stays in registers: the order is the
             * compiler's hint not to spill. */
            vec factor[TILE_ROWS], column[MOST_VECS];
            if ((unsigned)TILE_ROWS < (unsigned)MOST_VECS) {
                UNROLL for (unsigned r = 0; r < n_rows; r++) { factor[r] = vec_broadcast(a_k + r * DEPTH); }
                UNROLL for (unsigned v = 0; v < n_vecs; v++) {
                    column[v] = load_vec(type, row[v / STRIP_VECS], v % STRIP_VECS);
                    UNROLL for (unsigned r = 0; r < n_rows; r++) {
                        acc[r][v] = vec_fma(factor[r], column[v], acc[r][v]);
                    }
                }
            } else {
                UNROLL for (unsigned v = 0; v < n_vecs; v++) {
                    column[v] = load_vec(type, row[v / STRIP_VECS], v % STRIP_VECS);
                }
                UNROLL for (unsigned r = 0; r < n_rows; r++) {
                    factor[r] = vec_broadcast(a_k + r * DEPTH);
                    UNROLL for (unsigned v = 0; v < n_vecs; v++) {
                        acc[r][v] = vec_fma(factor[r], column[v], acc[r][v]);
                    }
                }
            }
            UNROLL for (unsigned s = 0; s < n_strips; s++) {
                row[s] += stride_bytes;
                if (type == ELEMENT_quiet) continue;
                __builtin_prefetch(ahead[s], 0, 2);
                if (type == ELEMENT_f32) __builtin_prefetch(ahead[s] + 64, 0, 2);
                ahead[s] += step_bytes;
            }
        }
        k = stop;
    }
    /* Forget the row addresses of the beginning: computing them again is cheaper than keeping them. */
    __asm__("" : "+r"(c), "+r"(c_stride));
    UNROLL for (unsigned r = 0; r < n_rows; r++, c += c_stride) {
        UNROLL for (unsigned v = 0; v < n_vecs; v++) vec_store(c + v * VEC_WIDTH, acc[r][v]);
    }
}

typedef void product_function(const float *a, const struct operand *b, unsigned begin, unsigned end,
                              bool accumulate, float *c, size_t c_stride);

#define PRODUCT_DEFINE(type, n, strips)                                                                      \
    static void product_##type##_##n##_##strips(const float *a, const struct operand *b, unsigned begin,     \
                                                unsigned end, bool accumulate, float *c, size_t c_stride) {  \
        product(n, strips, ELEMENT_##type, a, b, begin, end, accumulate, c, c_stride);                       \
    }
#define PRODUCTS_DEFINE(n, strips)                                                                           \
    PRODUCT_DEFINE(f32, n, strips)                                                                           \
    PRODUCT_DEFINE(f16, n, strips)                                                                           \
    PRODUCT_DEFINE(bf16, n, strips)                                                                          \
    PRODUCT_DEFINE(quiet, n, strips)
#define PRODUCT_LIST(type, n, strips) [ELEMENT_##type][strips - 1][n] = product_##type##_##n##_##strips,
#define PRODUCTS_LIST(n, strips)                                                                             \
    PRODUCT_LIST(f32, n, strips)                                                                             \
    PRODUCT_LIST(f16, n, strips)                                                                             \
    PRODUCT_LIST(bf16, n, strips)                                                                            \
    PRODUCT_LIST(quiet, n, strips)
#if TILE_STRIPS == 2
#define FOR_STRIPS(MACRO, n) MACRO(n, 1) MACRO(n, 2)
#else
#define FOR_STRIPS(MACRO, n) MACRO(n, 1)
#endif

#define X(n) FOR_STRIPS(PRODUCTS_DEFINE, n)
FOR_TILE_ROWS
#undef X

/* By element, strips - 1, rows. */
static product_function *const products[][TILE_STRIPS][TILE_ROWS + 1] = {
#define X(n) FOR_STRIPS(PRODUCTS_LIST, n)
    FOR_TILE_ROWS
#undef X
};

/* Short runs: a call of memcpy costs more than the copy. */
INLINE void copy(float *to, const float *from, unsigned n) {
    unsigned i = 0;
    for (; i + VEC_WIDTH <= n; i += VEC_WIDTH) vec_store(to + i, vec_load(from + i));
    for (; i < n; i++) to[i] = from[i];
}

/* The first n of a row's elements as f32, zeros up to COLUMNS. */
INLINE void widen_row(enum element type, const char *row, unsigned n, float *wide) {
    for (unsigned i = 0; i < COLUMNS; i += VEC_WIDTH) {
        if (i + VEC_WIDTH <= n) {
            vec_store(wide + i, load_vec(type, row, i / VEC_WIDTH));
            continue;
        }
        for (unsigned j = i; j < i + VEC_WIDTH; j++) {
            if (j >= n)
                wide[j] = 0;
            else if (type == ELEMENT_f16)
                wide[j] = f16_to_f32(((const f16_bits *)row)[j]);
            else if (type == ELEMENT_bf16)
                wide[j] = bf16_to_f32(((const bf16_bits *)row)[j]);
            else
                wide[j] = ((const float *)row)[j];
        }
    }
}

typedef float wide_strip[WIDE_DEPTH][COLUMNS];

/* Replaces B[begin .. end)[0 .. n_columns) of each strip by a copy in f32; begin starts a segment. */
INLINE void widen(enum element type, struct operand *b, unsigned n_strips, unsigned begin, unsigned end,
                  unsigned n_columns, wide_strip *wide) {
    for (unsigned s = 0; s < n_strips; s++) {
        float(*to)[COLUMNS] = wide[s];
        for (unsigned k = begin; k < end;) {
            const char **segment = &b->strips[s].segment[k >> b->segment_shift], *row = *segment;
            unsigned n = end - k < 1u << b->segment_shift ? end - k : 1u << b->segment_shift;
            *segment = (const char *)to;
            for (float(*stop)[COLUMNS] = to + n; to != stop; to++, row += b->stride_bytes)
                widen_row(type, row, n_columns, *to);
            k += n;
        }
    }
    b->stride_bytes = COLUMNS * sizeof(float);
}

/* Prefetches the g-th of n shares of what lies ahead of segments first .. end, `bytes` in each. */
INLINE void prefetch_share(const struct operand *b, unsigned n_strips, unsigned first, unsigned end,
                           size_t bytes, unsigned g, unsigned n) {
    if (n == 1) return; /* the product itself does it */
    const size_t from = bytes * g / n & ~(size_t)63, to = bytes * (g + 1) / n & ~(size_t)63;
    for (unsigned s = 0; s < n_strips; s++)
        for (unsigned segment = first; segment < end; segment++)
            for (size_t i = from; i < to; i += 64) __builtin_prefetch(b->strips[s].ahead[segment] + i, 0, 2);
}

/* A tile's rows are worked on in groups of at most TILE_ROWS. All rows see keys max_begin .. min_end, if that
 * is any; none sees keys outside of min_begin .. max_end. */
struct row_group {
    unsigned first, n_rows, min_begin, max_begin, min_end, max_end;
};
/* Numbers that are multiplied with codes: their bytes as the set has them. */
enum { FACTOR_BYTES = 2 };
/* What a call keeps on its stack, about 100 KB. */
struct tile_work {
    _Alignas(64) float scores[ATTENTION_MAX_ROWS][ATTENTION_TILE]; /* then probabilities, for float V */
    /* For coded V: probabilities times the scales of V, as codes, and what an integer sum of a row is worth
     */
    _Alignas(64) uint8_t weights[ATTENTION_CODE_ROWS][ATTENTION_TILE * FACTOR_BYTES];
    float weight_scales[ATTENTION_MAX_ROWS];
    _Alignas(64) float q[ATTENTION_MAX_ROWS][DEPTH]; /* DEPTH dimensions of the queries */
    _Alignas(64) wide_strip wide[TILE_STRIPS];
    _Alignas(64) float partial[TILE_ROWS][COLUMNS]; /* out columns when fewer than COLUMNS are left */
    struct row_group groups[(ATTENTION_MAX_ROWS + TILE_ROWS - 1) / TILE_ROWS];
    unsigned n_groups;
    unsigned begin, end; /* keys that some row sees lie in these blocks: begin starts one */
};

static unsigned min_unsigned(unsigned a, unsigned b) { return a < b ? a : b; }
static unsigned max_unsigned(unsigned a, unsigned b) { return a > b ? a : b; }

static void group_rows(struct tile_work *work, unsigned n_rows, const struct attention_tile *tile) {
    work->n_groups = work->end = 0;
    work->begin = ATTENTION_TILE;
    for (unsigned first = 0; first < n_rows; first += TILE_ROWS) {
        struct row_group group = {
            first, min_unsigned(n_rows - first, TILE_ROWS), ATTENTION_TILE, 0, ATTENTION_TILE, 0};
        for (unsigned r = first; r < first + group.n_rows; r++) {
            group.max_begin = max_unsigned(group.max_begin, tile->begin[r]);
            group.min_end = min_unsigned(group.min_end, tile->end[r]);
            if (tile->begin[r] == tile->end[r]) continue;
            group.min_begin = min_unsigned(group.min_begin, tile->begin[r]);
            group.max_end = max_unsigned(group.max_end, tile->end[r]);
        }
        work->begin = min_unsigned(work->begin, group.min_begin / COLUMNS * COLUMNS);
        work->end = max_unsigned(work->end, group.max_end);
        work->groups[work->n_groups++] = group;
    }
}

#include "kernel/x86/attention_codes_body.h"
#include "kernel/x86/attention_soften_body.h"

#ifdef BF16_PRODUCTS
#include BF16_PRODUCTS
#else
INLINE bool bf16_takes(unsigned head_dim) { return head_dim == 0; }
#define score_bf16_tiles(work, rows, tile)
#define weigh_bf16_tiles(work, rows, tile)
INLINE bool weighs_in_tiles(const struct attention_rows *rows, const struct attention_tile *tile) {
    (void)rows, (void)tile;
    return false;
}
#endif

/* scores = q * K^T for the blocks that a row sees. */
INLINE void score(enum element type, struct tile_work *work, const struct attention_rows *rows,
                  const struct attention_tile *tile) {
    /* Widening once pays as soon as two groups of rows meet the same keys. */
    const bool widens = work->n_groups > 1 && type != ELEMENT_f32;
    const unsigned n_blocks = (work->end + COLUMNS - 1) / COLUMNS;
    const size_t row_bytes = COLUMNS * element_bytes(type);
    product_function *const(*product_of)[TILE_ROWS + 1] = products[work->n_groups > 1 ? ELEMENT_quiet : type];
    for (unsigned d = 0, depth, n_strips; d < rows->head_dim; d += depth) {
        depth = widens ? WIDE_DEPTH : DEPTH;
        if (depth > rows->head_dim - d) depth = rows->head_dim - d;
        for (unsigned r = 0; r < rows->n_rows; r++)
            copy(work->q[r], rows->q + (size_t)r * rows->head_dim + d, depth);
        for (unsigned block = work->begin / COLUMNS; block < n_blocks; block += n_strips) {
            n_strips = n_blocks - block < TILE_STRIPS ? n_blocks - block : TILE_STRIPS;
            struct operand k = {.stride_bytes = row_bytes, .segment_shift = 31};
            for (unsigned s = 0; s < n_strips; s++) {
                k.strips[s].segment[0] = (const char *)tile->k[block + s] + d * row_bytes;
                k.strips[s].ahead[0] = (const char *)tile->v[block + s] + d * row_bytes;
            }
            if (widens) widen(type, &k, n_strips, 0, depth, COLUMNS, work->wide);
            for (unsigned g = 0; g < work->n_groups; g++) {
                const struct row_group *group = &work->groups[g];
                prefetch_share(&k, n_strips, 0, 1, depth * row_bytes, g, work->n_groups);
                if (group->max_end > block * COLUMNS && group->min_begin < (block + n_strips) * COLUMNS)
                    product_of[n_strips - 1][group->n_rows](work->q[group->first], &k, 0, depth, d > 0,
                                                            work->scores[group->first] + block * COLUMNS,
                                                            ATTENTION_TILE);
            }
        }
    }
}

/* c += probabilities * V, each row of a group for its own keys within begin .. end. */
INLINE void weigh_rows(product_function *const *product_of, const struct tile_work *work,
                       const struct row_group *group, const struct operand *v, unsigned begin, unsigned end,
                       const struct attention_tile *tile, float *c, size_t c_stride) {
    for (unsigned r = group->first; r < group->first + group->n_rows; r++, c += c_stride) {
        const unsigned row_begin = max_unsigned(tile->begin[r], begin),
                       row_end = min_unsigned(tile->end[r], end);
        if (row_begin < row_end) product_of[1](work->scores[r], v, row_begin, row_end, true, c, 0);
    }
}

/* c += probabilities * V for keys begin .. end and a group: the keys that all its rows see together, those
 * before and after row by row, so that every row meets its keys in order. */
INLINE void weigh_group(product_function *const *product_of, const struct tile_work *work,
                        const struct row_group *group, const struct operand *v, unsigned begin, unsigned end,
                        const struct attention_tile *tile, float *c, size_t c_stride) {
    const unsigned common = max_unsigned(group->max_begin, begin),
                   common_end = min_unsigned(group->min_end, end);
    if (common >= common_end) {
        if (group->min_begin < end && group->max_end > begin)
            weigh_rows(product_of, work, group, v, begin, end, tile, c, c_stride);
        return;
    }
    if (group->min_begin < common) weigh_rows(product_of, work, group, v, begin, common, tile, c, c_stride);
    product_of[group->n_rows](work->scores[group->first], v, common, common_end, true, c, c_stride);
    if (group->max_end > common_end && end > common_end)
        weigh_rows(product_of, work, group, v, common_end, end, tile, c, c_stride);
}

/* Dimensions d .. of V, in strips; what follows in memory order of the next K areas is prefetched. */
INLINE struct operand v_operand(enum element type, const struct tile_work *work,
                                const struct attention_tile *tile, unsigned head_dim, unsigned d,
                                unsigned n_strips) {
    struct operand v = {.stride_bytes = head_dim * element_bytes(type), .segment_shift = 5};
    for (unsigned s = 0; s < n_strips; s++, d += COLUMNS)
        for (unsigned block = work->begin / COLUMNS; block * COLUMNS < work->end; block++) {
            const char *row = (const char *)tile->v[block] + d * element_bytes(type),
                       *next = tile->next_k[block];
            v.strips[s].segment[block] = row;
            v.strips[s].ahead[block] = next == NULL ? row : next + d * COLUMNS * element_bytes(type);
        }
    return v;
}

/* out += probabilities * V for keys begin .. end and dimensions d .. d + n_columns (of each strip). */
INLINE void weigh_part(enum element type, bool widens, struct tile_work *work, struct attention_rows *rows,
                       const struct attention_tile *tile, unsigned d, unsigned n_strips, unsigned n_columns,
                       unsigned begin, unsigned end) {
    const unsigned head_dim = rows->head_dim;
    struct operand v = v_operand(type, work, tile, head_dim, d, n_strips);
    if (widens && n_columns == COLUMNS)
        widen(type, &v, n_strips, begin, end, COLUMNS, work->wide);
    else if (widens)
        widen(type, &v, n_strips, begin, end, n_columns, work->wide);
    product_function *const *product_of =
        products[widens || work->n_groups > 1 ? ELEMENT_quiet : type][n_strips - 1];
    for (unsigned g = 0; g < work->n_groups; g++) {
        const struct row_group *group = &work->groups[g];
        float *out = rows->out + (size_t)group->first * head_dim + d;
        prefetch_share(&v, n_strips, begin / COLUMNS, (end + COLUMNS - 1) / COLUMNS,
                       COLUMNS * COLUMNS * element_bytes(type), g, work->n_groups);
        if (n_columns == COLUMNS) {
            weigh_group(product_of, work, group, &v, begin, end, tile, out, head_dim);
            continue;
        }
        for (unsigned r = 0; r < group->n_rows; r++)
            copy(work->partial[r], out + (size_t)r * head_dim, n_columns);
        weigh_group(product_of, work, group, &v, begin, end, tile, work->partial[0], COLUMNS);
        for (unsigned r = 0; r < group->n_rows; r++)
            copy(out + (size_t)r * head_dim, work->partial[r], n_columns);
    }
}

/* out += probabilities * V. */
INLINE void weigh(enum element type, struct tile_work *work, struct attention_rows *rows,
                  const struct attention_tile *tile) {
    for (unsigned d = 0, n_strips; d < rows->head_dim; d += n_strips * COLUMNS) {
        const unsigned n_left = rows->head_dim - d, n_columns = n_left < COLUMNS ? n_left : COLUMNS;
        const bool widens = n_columns < COLUMNS || (work->n_groups > 1 && type != ELEMENT_f32);
        n_strips = n_left < TILE_STRIPS * COLUMNS ? 1 : TILE_STRIPS;
        for (unsigned begin = work->begin, end; begin < work->end; begin = end) {
            end = widens && work->end - begin > WIDE_DEPTH ? begin + WIDE_DEPTH : work->end;
            weigh_part(type, widens, work, rows, tile, d, n_strips, n_columns, begin, end);
        }
    }
}

#define X(codec)                                                                                             \
    static void score_##codec(struct tile_work *work, const struct attention_rows *rows,                     \
                              const struct attention_tile *tile) {                                           \
        if (CODEC_##codec == CODEC_bf16 && bf16_takes(rows->head_dim)) {                                     \
            score_bf16_tiles(work, rows, tile);                                                              \
            return;                                                                                          \
        }                                                                                                    \
        score(ELEMENT_##codec, work, rows, tile);                                                            \
    }                                                                                                        \
    static void weigh_##codec(struct tile_work *work, struct attention_rows *rows,                           \
                              const struct attention_tile *tile) {                                           \
        if (CODEC_##codec == CODEC_bf16 && bf16_takes(rows->head_dim)) {                                     \
            weigh_bf16_tiles(work, rows, tile);                                                              \
            return;                                                                                          \
        }                                                                                                    \
        weigh(ELEMENT_##codec, work, rows, tile);                                                            \
    }
CODEC_FLOAT_LIST(X)
#undef X

#include CODED_PRODUCTS

void SET(attend_tile)(struct attention_rows *rows, const struct attention_tile *tile) {
    static void (*const score_of[CODEC_COUNT])(struct tile_work *, const struct attention_rows *,
                                               const struct attention_tile *) = {
#define X(codec) [CODEC_##codec] = score_##codec,
        CODEC_LIST(X)
#undef X
    };
    static void (*const weigh_of[CODEC_COUNT])(struct tile_work *, struct attention_rows *,
                                               const struct attention_tile *) = {
#define X(codec) [CODEC_##codec] = weigh_##codec,
        CODEC_LIST(X)
#undef X
    };
    struct tile_work work;
    group_rows(&work, rows->n_rows, tile);
    score_of[tile->k_codec](&work, rows, tile);
    if (codec_is_coded(tile->v_codec))
        soften_codes(rows, &work, tile);
    else
        soften(rows, work.scores, tile, weighs_in_tiles(rows, tile));
    weigh_of[tile->v_codec](&work, rows, tile);
}
