/* What is asked of a machine: how many conversations of what length, stored and spread how. */
#ifndef CABINET_PLAN_LOAD_H
#define CABINET_PLAN_LOAD_H

#include <stdint.h>

#include "plan/format.h"
#include "plan/hardware.h"
#include "plan/model.h"

/* Classes of software, which differ in what they reach of a machine (reach.c has the figures). */
#define PLAN_ENGINE_LIST(X)                                                                                  \
    X(cabinet, "Cabinet")                                                                                    \
    X(llama_cpp, "llama.cpp and its kin: one process, few users")                                            \
    X(llama_cpp_2024, "llama.cpp before CUDA graphs and int8 tensor kernels (August 2024)")                  \
    X(server, "vLLM and its kin: an interpreter between the steps")                                          \
    X(server_2024, "vLLM before its second engine (March 2025)")                                             \
    X(sglang, "SGLang: prompts go before answers")                                                           \
    X(native, "TensorRT-LLM, NIM, TurboMind: compiled, no interpreter between the steps")                    \
    X(native_2023, "TensorRT-LLM, TurboMind, FasterTransformer before June 2024")                            \
    X(distributed, "distributed-llama: one model over machines on Ethernet")                                 \
    X(offload, "FlexGen and its kin: weights and cache in memory and on disk")                               \
    X(ideal, "the machine's limits, reached in full")

enum plan_engine {
#define X(name, meaning) PLAN_ENGINE_##name,
    PLAN_ENGINE_LIST(X)
#undef X
};

enum { PLAN_MOST_DEVICES = 1000000 };

struct plan_load {
    double context_tokens;               /* held by each user at the moment that is planned */
    double prompt_tokens, output_tokens; /* of one request */
    double shared_tokens; /* in front of all contexts, stored and read once for each device group */
    double hit_rate;      /* 0..1: part of the prompt that is found in the cache */
    uint32_t users;       /* conversations at the same time, over all replicas */
    const struct plan_kv_format *kv;
    const struct plan_weight_format *weights; /* NULL: as the model's file stores them */
    double weight_bytes;                      /* all weights, when known; 0: from the format */
    /* Layout. A replica has tp x pp x cp x dp devices; `ep` of them share the experts (1: each tensor group
     * has all). */
    uint32_t tp, pp, ep, dp, cp, replicas;
    enum plan_engine engine;
    double usd_per_device_hour; /* 0: the hardware's own */
    double hold_seconds;        /* that a cached prompt is kept for until it is read again */
};

/* One user, f16, bf16 weights, one device, 8,192 tokens of which 512 are the answer. */
struct plan_load plan_load_default(void);
/* Whose software runs such a load when nobody says: Cabinet on this machine, llama.cpp where weights are a
 * GGUF's or the machine has no memory of its own for graphics, else a server; a machine on paper reaches its
 * limits. */
enum plan_engine plan_usual_engine(const struct plan_hardware *hardware, const struct plan_load *load);
/* Devices of one replica, of all; users of one data-parallel rank (the fullest). */
double plan_load_replica_devices(const struct plan_load *load);
double plan_load_devices(const struct plan_load *load);
double plan_load_rank_users(const struct plan_load *load);
/* INVALID: numbers out of range, or a layout that does not divide the model; says what would. */
int plan_load_check(const struct plan_load *load, const struct plan_model *model);

#endif
