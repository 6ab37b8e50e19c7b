/* Inside of engine: what it consists of. */
#ifndef CABINET_ENGINE_ENGINE_STATE_H
#define CABINET_ENGINE_ENGINE_STATE_H

#include "engine/engine.h"
#include "engine/mask_thread.h"
#include "engine/picker.h"
#include "engine/step_time.h"
#include "model/transformer.h"
#include "sched/scheduler.h"

struct engine {
    const struct model *model;
    struct team *team;
    struct engine_opts opts;
    struct kv_layout layout;
    struct kv_cache *kv;
    uint64_t arena_bytes, capacity_tokens; /* of the KV memory; the longest sequence that fits */
    void *mapping;                         /* holds the arena, from the first huge page border on */
    size_t mapping_bytes;
    uint8_t *arena;
    struct scheduler scheduler;
    struct bills bills;
    struct batch batch;
    struct workspace workspace;
    struct picker picker;
    struct mask_thread *masks;
    struct step_time step_time;
    struct engine_step_report report;
    double mean_rest;             /* seconds of a step beside what step_time predicts, as above */
    double mean_prompt;           /* tokens of the prompts so far, likewise */
    double mean_output;           /* tokens of the answers so far, later ones counting more */
    struct request **with_logits; /* (batch.n_wanted) whose logits the latest step computed */
    bool *is_over;                /* (n_with_logits) finished since: the request may be gone */
    uint32_t n_with_logits;
    uint32_t n_open;
};

/* Prompt tokens of the next step beside those who decode; `context`: before them. */
uint32_t engine_chunk(const struct engine *engine, const struct step_shape *decoding, uint32_t context);
void engine_finish(struct engine *engine, struct request *request, enum finish_reason reason);

#endif
