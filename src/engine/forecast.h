/* What a request would cost if it came now: memory and time, by the engine's own measured steps (step_time.h)
 * and who is in it. */
#ifndef CABINET_ENGINE_FORECAST_H
#define CABINET_ENGINE_FORECAST_H

#include "engine/engine.h"

struct forecast_ask {
    const token_id *prompt;
    uint32_t n_prompt;
    uint64_t salt;
    uint32_t max_output_tokens;
};

struct forecast {
    uint32_t n_cached; /* tokens of the prompt that would be taken over, in whole blocks */
    /* As many as answers have had on average, but no more than asked for and than fit. */
    uint32_t n_output;
    uint64_t kv_bytes; /* most that it has, shared blocks whole */
    byte_ns held;      /* of memory over time, as if it shared none of it */
    /* Until its first step; from there to its first token; from one token to the next in the middle of the
     * answer; from the request to the last token. */
    double queue_seconds, prefill_seconds, step_seconds, seconds;
    uint64_t n_steps; /* measured so far: with none, times are a guess */
    struct engine_load load;
};
static inline double forecast_ttft_seconds(const struct forecast *forecast) {
    return forecast->queue_seconds + forecast->prefill_seconds;
}

/* Those ahead are computed first, others go on decoding beside it, and nobody comes after it. Whoever waits
 * is taken for a prompt as long as earlier ones. Between two steps; changes nothing. */
void engine_forecast(const struct engine *engine, const struct forecast_ask *ask, struct forecast *forecast);
/* Bytes of KV of one sequence of so many tokens, in whole blocks: what it has between two steps. */
uint64_t engine_kv_bytes_of(const struct engine *engine, uint32_t n_tokens);

#endif
