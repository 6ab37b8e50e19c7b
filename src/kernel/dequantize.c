#include <string.h>

#include "base/err.h"
#include "kernel/weight_run.h"
#include "kernel/weight_type.h"

WEIGHT_INLINE void dequantize_runs(enum weight_type type, const uint8_t *source, float *destination,
                                   size_t n) {
    for (size_t index = 0; index < n / WEIGHT_RUN; index++) {
        struct weight_run run;
        weight_unpack_run(type, &run, source, index);
        float scale = f16_to_f32(run.scale), minimum = f16_to_f32(run.minimum) * (float)run.minimum_factor;
        for (int i = 0; i < WEIGHT_RUN; i++) {
            float w =
                scale * (float)run.scale_factor[i / 16] * (float)(run.code[i] - weight_run_offset(type));
            /* not "+ 0" for the others: it would turn -0 into 0 */
            *destination++ = weight_run_has_minimum(type) ? w + minimum : w;
        }
    }
}

static void dequantize_16(float (*to_f32)(uint16_t), const uint8_t *source, float *destination, size_t n) {
    for (size_t i = 0; i < n; i++) {
        uint16_t bits;
        memcpy(&bits, source + 2 * i, sizeof bits);
        destination[i] = to_f32(bits);
    }
}

void weight_dequantize(enum weight_type type, const void *source, float *destination, size_t n) {
    switch (type) {
    case WEIGHT_F32: memcpy(destination, source, n * sizeof *destination); return;
    case WEIGHT_F16: dequantize_16(f16_to_f32, source, destination, n); return;
    case WEIGHT_BF16: dequantize_16(bf16_to_f32, source, destination, n); return;
    case WEIGHT_Q4_0: dequantize_runs(WEIGHT_Q4_0, source, destination, n); return;
    case WEIGHT_Q4_1: dequantize_runs(WEIGHT_Q4_1, source, destination, n); return;
    case WEIGHT_Q5_0: dequantize_runs(WEIGHT_Q5_0, source, destination, n); return;
    case WEIGHT_Q8_0: dequantize_runs(WEIGHT_Q8_0, source, destination, n); return;
    case WEIGHT_Q4_K: dequantize_runs(WEIGHT_Q4_K, source, destination, n); return;
    case WEIGHT_Q6_K: dequantize_runs(WEIGHT_Q6_K, source, destination, n); return;
    }
    UNREACHABLE("a weight type that runs here");
}
