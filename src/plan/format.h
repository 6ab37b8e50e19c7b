/* How numbers are stored: bytes of cache rows and of weights, by the names that people write. */
#ifndef CABINET_PLAN_FORMAT_H
#define CABINET_PLAN_FORMAT_H

#include <stdbool.h>
#include <stdint.h>

#include "codec/codec.h"

/* A format of the cache. Cabinet's own take their bytes from the codecs, scales and all; others are
 * element bits with a scale per group. */
struct plan_kv_format {
    const char *name;
    double nominal_bytes;      /* per element, without scales */
    enum codec_id k, v;        /* CODEC_COUNT: not Cabinet's */
    double group, scale_bytes; /* others: elements a scale is for (0: none), and its bytes */
};

/* NULL if unknown. Case and punctuation do not matter; "fp16", "float16", "FP8 e4m3", "q8_0" are understood.
 */
const struct plan_kv_format *plan_kv_format_find(const char *name);
const char *plan_kv_format_names(void);
/* Bytes of one row of `dim` elements, of K or of V, blocks' scales spread over their tokens. */
double plan_kv_row_bytes(const struct plan_kv_format *format, uint32_t dim, bool is_v);
/* INVALID names the head size that the format does not take. */
int plan_kv_format_check(const struct plan_kv_format *format, uint32_t dim);

/* What limits arithmetic with a weight format: which of the machine's peaks counts. */
enum plan_arithmetic { PLAN_BF16, PLAN_FP8, PLAN_INT8, PLAN_FP4, PLAN_F32 };

struct plan_weight_format {
    const char *name;
    double bits; /* per weight, scales included, averaged over a model's tensors */
    enum plan_arithmetic arithmetic;
    bool is_unpacked; /* codes smaller than what is multiplied: unpacked in the kernel */
};

/* NULL if unknown. Matches as plan_kv_format_find does; of "FP8 (Meta, dynamic)" the first words count. */
const struct plan_weight_format *plan_weight_format_find(const char *name);
const char *plan_weight_format_names(void);

/* Compares as names of the catalogs are compared: letters and digits alone, in either case. */
bool plan_names_equal(const char *a, const char *b);

#endif
