/* What a class of software reaches of a class of device: the constants of the time model. One row a pair of
 * classes, never one for a model, a measurement or a single device. docs/planner.md says how they were found
 * and how well they hold. */
#ifndef CABINET_PLAN_REACH_H
#define CABINET_PLAN_REACH_H

#include "plan/assumption.h"
#include "plan/load.h"

#define PLAN_CLASS_LIST(X)                                                                                   \
    X(hbm, "stacked memory: data-centre GPUs, TPUs, accelerators")                                           \
    X(gddr, "graphics memory: consumer and workstation cards")                                               \
    X(radeon, "AMD graphics without matrix libraries of HBM parts: Radeon cards, Ryzen AI")                  \
    X(soc, "a GPU that shares LPDDR with its processor")                                                     \
    X(apple_early, "Apple M1 and M2")                                                                        \
    X(apple, "Apple from M3: integer and floating-point units work at the same time")                        \
    X(cpu, "a processor with its memory")                                                                    \
    X(board, "a small computer of before 2020, without dot-product instructions")                            \
    X(concept, "a machine on paper")

enum plan_class {
#define X(name, meaning) PLAN_CLASS_##name,
    PLAN_CLASS_LIST(X)
#undef X
};
enum plan_class plan_class_of(const struct plan_hardware *hardware);

/* Whose rate matrix products run at: of 16-bit units; of integer units, whatever the format (a quarter of
 * int8's, so that it compares with 16 bits'); of the units for the weights' format. */
enum plan_peak { PLAN_PEAK_BF16, PLAN_PEAK_INT8, PLAN_PEAK_FORMAT };

struct plan_reach {
    /* Fixed time of a decode step in microseconds: of each layer, of each layer with experts on top of that,
     * of each recurrent layer on top, of experts when a batch is more than one token, of each sequence. */
    double layer_us, expert_layer_us, recurrent_layer_us, batch_expert_us, sequence_us;
    double prefill_layer_us, request_us; /* of each layer and chunk of a prompt; of each request */
    /* Parts of the memory's peak bandwidth: weights, routed experts' relative to weights', the cache. */
    double weight, expert, kv;
    /* Parts of the arithmetic peak: matrix products in 16 bits, those with narrower types relative to that,
     * with weights unpacked to 16 bits relative to that; attention with very wide heads (see prefill.h). */
    double gemm, fp8, fp4, unpacked, attention;
    double tile_tokens;  /* an expert's product costs as much as with that many tokens more */
    double unpack_flops; /* of the 16-bit peak for each quantised weight of a decode step; 0: hidden */
    double overlap;      /* step = (transfer^p + compute^p)^(1/p); INFINITY: the longer of the two */
    double queue_share, mix_share; /* serving.h */
    double busy_share;             /* of a tuned server's best steps, over a whole benchmark */
    double chunk_tokens;           /* of a prompt go through the model at once */
    double collectives;            /* of each layer */
    enum plan_peak peak;
    bool pipelines_decode; /* stages work on different sequences at the same time */
};

struct plan_reach plan_reach_of(enum plan_engine engine, const struct plan_hardware *hardware);
const char *plan_engine_name(enum plan_engine engine);

/* The 16-bit peak; where the hardware has none, from a narrower one, or from the class's usual ratio to its
 * bandwidth (marked). */
double plan_bf16_peak(const struct plan_hardware *hardware, struct plan_assumptions *assumptions);
/* Operations per second that matrix products with the load's weights reach on one device. */
double plan_gemm_rate(const struct plan_reach *reach, const struct plan_hardware *hardware,
                      const struct plan_load *load, struct plan_assumptions *assumptions);
/* Bytes per second: measured where it is, else the peak. */
double plan_peak_bandwidth(const struct plan_hardware *hardware);

#endif
