#include "engine/forecast.h"

#include "engine/engine_state.h"
#include "kv/kv_list.h"
#include "plan/self_memory.h"

/* What is in the engine, beside the request: rows that decode, and prompt tokens that go first. */
struct ahead {
    struct step_shape decoding;
    uint64_t n_tokens;
};

static struct ahead look_ahead(const struct engine *engine) {
    struct ahead ahead = {.n_tokens = (uint64_t)(engine->mean_prompt * engine->scheduler.n_waiting)};
    for (const struct sequence *s = engine->scheduler.running.first; s != NULL; s = s->link.next) {
        const uint32_t n_left = sequence_tokens_left(s);
        ahead.decoding.decode_rows++;
        ahead.decoding.decode_kv_tokens += s->n_tokens;
        if (n_left > 1) ahead.n_tokens += n_left;
    }
    return ahead;
}

static double step_seconds(const struct engine *engine, const struct step_shape *shape) {
    return step_time_predict(&engine->step_time, shape) + engine->mean_rest;
}

/* n_tokens of a prompt from `first` on, in the chunks that steps would take, beside those who decode. */
static double prompt_seconds(const struct engine *engine, const struct step_shape *decoding, uint64_t first,
                             uint64_t n_tokens) {
    enum { MOST_CHUNKS = 4096 }; /* beyond, the rest counts like the last one */
    const uint32_t chunk = engine_chunk(engine, decoding, (uint32_t)first);
    double seconds = 0;
    for (uint64_t done = 0, i = 0; done < n_tokens; i++) {
        const uint64_t n = n_tokens - done < chunk ? n_tokens - done : chunk;
        struct step_shape shape = *decoding;
        shape.prefill_rows = (uint32_t)n;
        shape.prefill_kv_tokens = n * (first + done) + n * (n + 1) / 2;
        const double step = step_seconds(engine, &shape);
        if (i >= MOST_CHUNKS) return seconds + step * (double)((n_tokens - done + chunk - 1) / chunk);
        seconds += step;
        done += n;
    }
    return seconds;
}

static double decode_seconds(const struct engine *engine, const struct ahead *ahead, uint64_t n_tokens) {
    struct step_shape shape = ahead->decoding;
    shape.decode_rows++;
    shape.decode_kv_tokens += n_tokens;
    return step_seconds(engine, &shape);
}

/* Where all places are taken, they become free as answers end: each place once in a mean answer. */
static double wait_seconds(const struct engine *engine, double step_seconds) {
    const struct scheduler *scheduler = &engine->scheduler;
    if (scheduler->n_running < engine->opts.max_sequences) return 0;
    return (scheduler->n_waiting + 1.0) / engine->opts.max_sequences * engine->mean_output * step_seconds;
}

uint64_t engine_kv_bytes_of(const struct engine *engine, uint32_t n_tokens) {
    struct self_payloads payloads = {0};
    self_payloads_add(&payloads, &engine->layout, 1, n_tokens, 0);
    return self_payload_bytes(&payloads, &engine->layout);
}

void engine_forecast(const struct engine *engine, const struct forecast_ask *ask, struct forecast *forecast) {
    const struct ahead ahead = look_ahead(engine);
    const uint32_t room = engine->opts.max_tokens - ask->n_prompt;
    uint32_t n_output = engine->mean_output < 1 ? 1 : (uint32_t)engine->mean_output;
    if (n_output > ask->max_output_tokens) n_output = ask->max_output_tokens;
    if (n_output > room) n_output = room;
    *forecast = (struct forecast){
        .n_cached = kv_list_cached(engine->kv, ask->prompt, ask->n_prompt, ask->salt),
        .n_output = n_output,
        .n_steps = engine->step_time.n_noted[0] + engine->step_time.n_noted[1],
        .load = engine_load(engine),
    };
    forecast->step_seconds = decode_seconds(engine, &ahead, ask->n_prompt + n_output / 2);
    forecast->queue_seconds = wait_seconds(engine, forecast->step_seconds) +
                              prompt_seconds(engine, &ahead.decoding, 0, ahead.n_tokens);
    forecast->prefill_seconds =
        prompt_seconds(engine, &ahead.decoding, forecast->n_cached, ask->n_prompt - forecast->n_cached);
    const double answer_seconds = n_output > 1 ? (n_output - 1) * forecast->step_seconds : 0;
    forecast->seconds = forecast_ttft_seconds(forecast) + answer_seconds;
    const uint64_t prompt_bytes = engine_kv_bytes_of(engine, ask->n_prompt);
    forecast->kv_bytes = engine_kv_bytes_of(engine, ask->n_prompt + n_output);
    forecast->held = (byte_ns)(1e9 * ((double)prompt_bytes / 2 * forecast->prefill_seconds +
                                      (double)(prompt_bytes + forecast->kv_bytes) / 2 * answer_seconds));
}
