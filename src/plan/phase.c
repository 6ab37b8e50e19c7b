#include "plan/phase.h"

#include <math.h>

#include "plan/time.h"

const char *plan_phase_name(enum plan_phase phase) {
    static const char *const names[] = {
#define X(name, phrase) #name,
        PLAN_PHASE_LIST(X)
#undef X
    };
    return names[phase];
}

const char *plan_phase_phrase(enum plan_phase phase) {
    static const char *const phrases[] = {
#define X(name, phrase) phrase,
        PLAN_PHASE_LIST(X)
#undef X
    };
    return phrases[phase];
}

struct asked {
    const struct plan_model *model;
    const struct plan_hardware *hardware;
    const struct plan_load *load;
};

/* Bytes of cache for a byte of weights, in one step. */
static double ratio(const struct asked *asked, double users, double context) {
    struct plan_step step;
    plan_step_of(&step, asked->model, asked->hardware, asked->load, users, context, NULL);
    return step.kv_read_bytes / step.weight_bytes;
}

/* The least whole number from which on the ratio is at least 1: of tokens, or of users. The ratio may rise
 * only. */
static double first_over(const struct asked *asked, bool of_users, double other) {
    const double most = 1e12;
    double low = 0, high = 1;
#define RATIO(x) (of_users ? ratio(asked, (x), other) : ratio(asked, other, (x)))
    while (high < most && RATIO(high) < 1) {
        low = high;
        high *= 2;
    }
    if (high >= most) return INFINITY;
    while (high - low > 1) {
        const double middle = floor(low + (high - low) / 2);
        if (RATIO(middle) < 1)
            low = middle;
        else
            high = middle;
    }
#undef RATIO
    return high;
}

void plan_phases_of(struct plan_phases *phases, const struct plan_model *model,
                    const struct plan_hardware *hardware, const struct plan_load *load) {
    const struct asked asked = {model, hardware, load};
    const double users = plan_load_rank_users(load), now = ratio(&asked, users, load->context_tokens);
    phases->phase = now < 0.5 ? PLAN_PHASE_weights : now > 2 ? PLAN_PHASE_cache : PLAN_PHASE_crossover;
    phases->crossover_tokens = first_over(&asked, false, users);
    phases->crossover_users = first_over(&asked, true, load->context_tokens) * load->dp * load->replicas;
}
