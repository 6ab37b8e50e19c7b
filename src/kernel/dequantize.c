#include <string.h>

#include "kernel/weight_run.h"

static void dequantize_run(struct weight_traits traits, const struct weight_run *run, float *destination) {
    const float run_scale =
        traits.scale == SCALE_E8M0 ? weight_e8m0_to_f32((uint8_t)run->scale) : f16_to_f32(run->scale);
    const unsigned share = WEIGHT_RUN / traits.n_shares;
    for (unsigned i = 0; i < WEIGHT_RUN; i++) {
        float scale = run_scale * (float)run->scale_factor[i / share];
        float w = scale * (float)weight_number(traits, run->code[i]);
        /* not "+ 0" for types without a minimum: it would turn -0 into 0 */
        if (traits.has_minimum) w += f16_to_f32(run->minimum) * (float)run->minimum_factor[i / share];
        destination[i] = w;
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
    default: break;
    }
    const struct weight_traits traits = weight_traits_of(type);
    for (size_t index = 0; index < n / WEIGHT_RUN; index++) {
        struct weight_run run;
        weight_unpack_run(type, &run, source, index);
        dequantize_run(traits, &run, destination + index * WEIGHT_RUN);
    }
}
