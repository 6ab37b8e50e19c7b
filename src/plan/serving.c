#include "plan/serving.h"

#include <math.h>

#include "plan/matrix.h"
#include "plan/memory.h"
#include "plan/prefill.h"
#include "plan/time.h"

static double mean_context(const struct plan_load *load) {
    return fmax(1, load->prompt_tokens + load->output_tokens / 2);
}

/* Tokens of a prompt that the cache does not have. */
static double new_tokens(const struct plan_load *load) { return load->prompt_tokens * (1 - load->hit_rate); }

static double prefill_seconds(const struct plan_model *model, const struct plan_hardware *hardware,
                              const struct plan_load *load, double sequences,
                              struct plan_assumptions *assumptions) {
    return plan_prefill_of(model, hardware, load, new_tokens(load), load->prompt_tokens * load->hit_rate,
                           sequences, assumptions)
        .seconds;
}

struct plan_serving plan_serving_of(const struct plan_model *model, const struct plan_hardware *hardware,
                                    const struct plan_load *load, struct plan_assumptions *assumptions) {
    const struct plan_reach reach = plan_reach_of(load->engine, hardware);
    const double users = plan_load_rank_users(load), output = fmax(1, load->output_tokens);
    struct plan_step step;
    plan_step_of(&step, model, hardware, load, users, mean_context(load), assumptions);
    struct plan_serving serving = {.itl_seconds = step.seconds};
    serving.ttft_seconds = reach.request_us * 1e-6 + prefill_seconds(model, hardware, load, 1, assumptions);
    if (users > 1) {
        /* Prompts go through the model together, so one of many costs less than one alone. */
        const double each = prefill_seconds(model, hardware, load, users, assumptions) / users;
        serving.itl_seconds += reach.mix_share * (users - 1) * each / output;
        serving.ttft_seconds += reach.queue_share * (users - 1) / 2 * each + step.seconds / 2;
    }
    serving.e2e_seconds = serving.ttft_seconds + (output - 1) * serving.itl_seconds;
    serving.output_tokens_per_second = load->users * output / serving.e2e_seconds;
    return serving;
}

static double batch_seconds(const struct plan_model *model, const struct plan_hardware *hardware,
                            const struct plan_load *load, double users,
                            struct plan_assumptions *assumptions) {
    struct plan_step step;
    plan_step_of(&step, model, hardware, load, users, mean_context(load), assumptions);
    return prefill_seconds(model, hardware, load, users, assumptions) + load->output_tokens * step.seconds;
}

double plan_static_batch_seconds(const struct plan_model *model, const struct plan_hardware *hardware,
                                 const struct plan_load *load, struct plan_assumptions *assumptions) {
    return batch_seconds(model, hardware, load, plan_load_rank_users(load), assumptions);
}

double plan_max_output_rate(const struct plan_model *model, const struct plan_hardware *hardware,
                            const struct plan_load *load, double *users,
                            struct plan_assumptions *assumptions) {
    const struct plan_reach reach = plan_reach_of(load->engine, hardware);
    const double most_users = 2048; /* the largest batch that servers are built for */
    const double usable = 0.9;      /* of the memory: what vLLM and TensorRT-LLM take by default */
    const double room = usable * hardware->memory_bytes - plan_weights_of(model, load).device_bytes,
                 each = plan_kv_device_bytes(model, load, load->prompt_tokens + load->output_tokens) +
                        plan_state_device_bytes(model, load);
    double best = 0, at = 0;
    for (double n = fmin(most_users, floor(room / fmax(1, each))); n >= 1; n = floor(n / 2)) {
        const double rate = n * load->output_tokens / batch_seconds(model, hardware, load, n, assumptions);
        if (rate > best) best = rate, at = n;
    }
    if (users != NULL) *users = at * load->dp * load->replicas;
    return reach.busy_share * best * load->dp / plan_load_replica_devices(load);
}
