#include "plan/reach.h"

#include <math.h>
#include <string.h>

enum plan_class plan_class_of(const struct plan_hardware *hardware) {
    if (hardware->device == PLAN_DEVICE_concept) return PLAN_CLASS_concept;
    if (hardware->device == PLAN_DEVICE_cpu)
        return strstr(hardware->memory_type, "LPDDR4") != NULL && hardware->year < 2020 ? PLAN_CLASS_board
                                                                                        : PLAN_CLASS_cpu;
    if (strcmp(hardware->vendor, "Apple") == 0)
        return strstr(hardware->id, "m1") != NULL || strstr(hardware->id, "m2") != NULL
                   ? PLAN_CLASS_apple_early
                   : PLAN_CLASS_apple;
    const bool is_graphics = strstr(hardware->memory_type, "GDDR") != NULL;
    if (strcmp(hardware->vendor, "AMD") == 0 && (is_graphics || hardware->device == PLAN_DEVICE_apu))
        return PLAN_CLASS_radeon;
    if (hardware->device == PLAN_DEVICE_apu) return PLAN_CLASS_soc;
    return is_graphics ? PLAN_CLASS_gddr : PLAN_CLASS_hbm;
}

const char *plan_engine_name(enum plan_engine engine) {
    static const char *const names[] = {
#define X(name, meaning) #name,
        PLAN_ENGINE_LIST(X)
#undef X
    };
    return names[engine];
}

/* llama.cpp. A layer is some ten kernels; CUDA graphs halved what lies between them, Metal has most. Prompts
 * in micro-batches of 512 tokens; grouped products of experts sort tokens into tiles of 64 to 128. */
static const struct plan_reach llama_cpp = {
    .layer_us = 37,
    .expert_layer_us = 21,    /* routing, gather and sum */
    .recurrent_layer_us = 35, /* more and smaller kernels than attention has */
    .batch_expert_us = 148,   /* above one token the matrix path sorts rows by expert, on the device */
    .weight = 0.85,           /* coalesced reads of one stream of weights */
    .expert = 0.88,           /* shorter runs of bytes */
    .kv = 0.71,               /* flash attention's decode kernel */
    .gemm = 0.91,             /* int8 tensor kernels, relative to a quarter of the int8 peak */
    .attention = 0.56,        /* with head_dim 128: 0.38 of the peak */
    .tile_tokens = 150,
    .overlap = 1.5,
    .queue_share = 1,
    .mix_share = 1,
    .busy_share = 0.8,
    .chunk_tokens = 512,
    .collectives = 2,
};

/* vLLM. CUDA graphs replay the decode step; Python schedules between two steps. */
static const struct plan_reach server = {
    .layer_us = 36,
    .expert_layer_us = 66, /* router, two grouped products, permutation */
    .recurrent_layer_us = 35,
    .sequence_us = 10,       /* scheduling, sampling and detokenising in Python */
    .prefill_layer_us = 120, /* prompts run without graphs: launches are seen */
    .request_us = 17000,     /* HTTP, tokenising, the first step's wait */
    .weight = 0.78,
    .expert = 0.88,
    .kv = 0.84,
    .peak = PLAN_PEAK_FORMAT,
    .gemm = 0.77, /* of the dense peak, large products: 0.80 is measured for H100 and B200 */
    .fp8 = 0.77,
    .fp4 = 0.8,        /* scaling, quantising of activations, attention in 16 bits */
    .unpacked = 0.46,  /* weights widened before each product */
    .attention = 1.04, /* with head_dim 128: 0.69 of the peak */
    .tile_tokens = 74,
    .overlap = 1.5,
    .queue_share = 0.43,
    .mix_share = 1.02,
    .busy_share = 0.785,
    .chunk_tokens = 8192,
    .collectives = 2,
    .pipelines_decode = true,
};

/* llama.cpp by device: what differs from a card of NVIDIA's with graphics memory. */
static struct plan_reach llama_cpp_of(enum plan_class class, bool is_early) {
    struct plan_reach reach = llama_cpp;
    if (is_early) {
        reach.layer_us = 91; /* each kernel launched by the host */
        reach.kv = 0.29;     /* attention without flash kernels reads scores and values several times */
        reach.gemm = 0.64;   /* 16-bit products of unpacked weights */
    }
    if (class == PLAN_CLASS_gddr) reach.peak = PLAN_PEAK_INT8;
    switch (class) {
    case PLAN_CLASS_hbm: /* one stream's matrix-vector kernels do not fill the memory of these */
    case PLAN_CLASS_concept:
        reach.weight = 0.60;
        reach.gemm = 0.25; /* no warp-group instructions: a quarter of Hopper's peak */
        break;
    case PLAN_CLASS_radeon: /* Vulkan: no matrix units in attention */
        reach.layer_us = 60;
        reach.kv = 0.48;
        reach.gemm = 0.39;
        reach.attention = 0.054;
        reach.weight = 0.86;
        reach.chunk_tokens = 2048;
        break;
    case PLAN_CLASS_soc:
        reach.layer_us = 44;
        reach.weight = 0.87;
        reach.gemm = 0.30;
        reach.kv = 0.71;
        reach.chunk_tokens = 2048;
        break;
    case PLAN_CLASS_apple_early:
    case PLAN_CLASS_apple: /* Metal: command buffers; quantised weights unpacked by the shader's ALUs */
        reach.layer_us = 126;
        reach.gemm = 0.66;
        reach.kv = 0.71;
        reach.unpack_flops = class == PLAN_CLASS_apple_early && is_early ? 34 : 23;
        break;
    case PLAN_CLASS_cpu:
    case PLAN_CLASS_board:
        reach.layer_us = 60; /* threads meet after each product */
        reach.weight = class == PLAN_CLASS_cpu ? 0.70 : 0.25;
        reach.gemm = 0.5;
        break;
    case PLAN_CLASS_gddr: break;
    }
    return reach;
}

static struct plan_reach server_of(enum plan_engine engine, enum plan_class class) {
    struct plan_reach reach = server;
    switch (engine) {
    case PLAN_ENGINE_server_2024:
        reach.layer_us = 94; /* scheduler and sampler on the step's path */
        break;
    case PLAN_ENGINE_sglang: /* a prompt goes before the answers: longer waits, steps less mixed */
        reach.queue_share = 1.6;
        reach.mix_share = 0.64;
        break;
    case PLAN_ENGINE_native_2023:
    case PLAN_ENGINE_native:
        reach.layer_us = 35;
        reach.expert_layer_us = 58;
        reach.prefill_layer_us = 53;
        reach.request_us = 7900;
        reach.queue_share = 1.1;
        reach.mix_share = 1.11;
        reach.sequence_us = engine == PLAN_ENGINE_native ? 13 : 24;  /* sampling of each row by itself */
        if (engine == PLAN_ENGINE_native_2023) reach.request_us = 0; /* measured without a server in front */
        break;
    default: break;
    }
    if (class == PLAN_CLASS_cpu ||
        class == PLAN_CLASS_board) { /* no engine of this class was measured on one: llama.cpp's figures */
        reach.weight = llama_cpp_of(class, false).weight;
        reach.gemm = llama_cpp_of(class, false).gemm;
    }
    return reach;
}

/* distributed-llama on small CPUs: Q40 unpacked without wide vectors. */
static struct plan_reach distributed_of(enum plan_class class) {
    struct plan_reach reach = llama_cpp_of(class == PLAN_CLASS_board ? class : PLAN_CLASS_cpu, false);
    if (class != PLAN_CLASS_board) reach.weight = 0.55;
    return reach;
}

/* FlexGen: PyTorch, one layer at a time for all sequences. Transfers have their own share in offload.c. */
static struct plan_reach offload_of(enum plan_class class) {
    struct plan_reach reach = server_of(PLAN_ENGINE_server_2024, class);
    reach.gemm = 0.4;
    reach.sequence_us = 0;
    reach.request_us = 0;
    return reach;
}

static const struct plan_reach ideal = {
    .peak = PLAN_PEAK_FORMAT,
    .weight = 1,
    .expert = 1,
    .kv = 1,
    .gemm = 1,
    .fp8 = 1,
    .fp4 = 1,
    .unpacked = 1,
    .attention = 1,
    .overlap = INFINITY,
    .busy_share = 1,
    .mix_share = 1,
    .queue_share = 1,
    .chunk_tokens = 8192,
    .collectives = 2,
    .pipelines_decode = true,
};

struct plan_reach plan_reach_of(enum plan_engine engine, const struct plan_hardware *hardware) {
    const enum plan_class class = plan_class_of(hardware);
    struct plan_reach reach;
    if (class == PLAN_CLASS_concept) engine = PLAN_ENGINE_ideal;
    switch (engine) {
    case PLAN_ENGINE_ideal: reach = ideal; break;
    case PLAN_ENGINE_cabinet: /* until this machine is calibrated: what its neighbour reaches */
    case PLAN_ENGINE_llama_cpp: reach = llama_cpp_of(class, false); break;
    case PLAN_ENGINE_llama_cpp_2024: reach = llama_cpp_of(class, true); break;
    case PLAN_ENGINE_distributed: reach = distributed_of(class); break;
    case PLAN_ENGINE_offload: reach = offload_of(class); break;
    default: reach = server_of(engine, class); break;
    }
    /* LIMINAL's figures come out with three collectives a layer (docs/planner.md). */
    if (class == PLAN_CLASS_concept) reach.collectives = 3;
    return reach;
}

double plan_peak_bandwidth(const struct plan_hardware *hardware) {
    return hardware->bandwidth > 0 ? hardware->bandwidth : hardware->measured_bandwidth;
}

/* Matrix products of AMD's parts stay well below the printed peak; where somebody measured the best product,
 * the peak is what would give that at the usual four fifths. */
static double believable(double peak, double measured) {
    const double usual = 0.8;
    return measured > 0 ? fmin(peak, measured / usual) : peak;
}

double plan_bf16_peak(const struct plan_hardware *hardware, struct plan_assumptions *assumptions) {
    if (hardware->bf16_flops > 0) return believable(hardware->bf16_flops, hardware->measured_bf16_flops);
    double peak;
    if (hardware->fp8_flops > 0)
        peak = hardware->fp8_flops / 2;
    else if (hardware->fp4_flops > 0)
        peak = hardware->fp4_flops / 4;
    else if (hardware->int8_ops > 0)
        peak = hardware->int8_ops / 2;
    else /* operations per byte of bandwidth: of CPUs with wide vectors, of Apple's GPUs */
        peak = plan_peak_bandwidth(hardware) * (hardware->device == PLAN_DEVICE_cpu ? 15 : 60);
    plan_assume(assumptions, "%s has no 16-bit peak in the catalog, taken as %.3g TFLOPS", hardware->name,
                peak / 1e12);
    return peak;
}

double plan_gemm_rate(const struct plan_reach *reach, const struct plan_hardware *hardware,
                      const struct plan_load *load, struct plan_assumptions *assumptions) {
    const double bf16 = plan_bf16_peak(hardware, assumptions);
    const struct plan_weight_format *format = load->weights;
    /* GeForce cards halve 16-bit products with 32-bit sums and keep integer ones whole. */
    if (reach->peak == PLAN_PEAK_INT8)
        return reach->gemm * (hardware->int8_ops > 0 ? fmin(bf16, hardware->int8_ops / 4) : bf16);
    const double scale = hardware->bf16_flops > 0 ? bf16 / hardware->bf16_flops : 1;
    if (reach->peak == PLAN_PEAK_BF16 || format == NULL || format->bits >= 16) return reach->gemm * bf16;
    if (format->arithmetic == PLAN_FP4 && hardware->fp4_flops > 0)
        return reach->gemm * reach->fp4 * hardware->fp4_flops * scale;
    if (format->is_unpacked) return reach->gemm * reach->unpacked * bf16;
    if (format->arithmetic == PLAN_FP8 && hardware->fp8_flops > 0)
        return reach->gemm * reach->fp8 * hardware->fp8_flops * scale;
    if (format->arithmetic == PLAN_INT8 && hardware->int8_ops > 0)
        return reach->gemm * reach->fp8 * hardware->int8_ops * scale;
    return reach->gemm * bf16;
}
