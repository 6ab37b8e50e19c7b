#include "server/forecast_json.h"

static void assume(json_t *list, bool holds, const char *text) {
    if (holds) json_array_append_new(list, json_string(text));
}

/* What the figures take for granted. */
static json_t *assumptions_json(const struct server *server, const struct forecast *forecast) {
    json_t *list = json_array();
    assume(list, true,
           "output_tokens: the answer is as long as others have been, if max_tokens and the context let it");
    assume(list, true, "nobody comes after this request, and those who decode now go on");
    assume(list, forecast->n_steps == 0,
           "times: no step was measured yet, so they are those of a machine that is not this one");
    assume(list, forecast->load.n_waiting > 0,
           "queue_seconds: prompts that wait are as long as others have been");
    assume(list, kv_price_is_set(&server->opts.price), "price: none of the KV memory is shared with others");
    return list;
}

json_t *forecast_json(const struct server *server, const struct forecast *forecast, uint32_t n_prompt) {
    const struct kv_price *price = &server->opts.price;
    json_t *plan = json_pack(
        "{s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:f, s:f, s:f, s:f, s:f, s:f, s:I, s:I, s:o}", "object", "plan",
        "model", server->opts.model_name, "prompt_tokens", (json_int_t)n_prompt, "cached_tokens",
        (json_int_t)forecast->n_cached, "output_tokens", (json_int_t)forecast->n_output, "kv_bytes_per_token",
        (json_int_t)kv_layout_bytes_per_token(engine_kv_layout(server->opts.engine)), "kv_bytes",
        (json_int_t)forecast->kv_bytes, "kv_byte_seconds", byte_seconds(forecast->held), "queue_seconds",
        forecast->queue_seconds, "prefill_seconds", forecast->prefill_seconds, "ttft_seconds",
        forecast_ttft_seconds(forecast), "step_seconds", forecast->step_seconds, "seconds", forecast->seconds,
        "running", (json_int_t)forecast->load.n_running, "waiting", (json_int_t)forecast->load.n_waiting,
        "assumptions", assumptions_json(server, forecast));
    if (plan != NULL && kv_price_is_set(price))
        json_object_set_new(plan, "price",
                            json_real(kv_price_of(price, forecast->held, server->arena_bytes)));
    return plan;
}
