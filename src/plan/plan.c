#include "plan/plan.h"

#include <math.h>
#include <stdio.h>

int plan_make(struct plan *plan, const struct plan_model *model, const struct plan_hardware *hardware,
              const struct plan_load *load, const struct plan_promise *promise) {
    *plan = (struct plan){.model = model, .hardware = hardware, .load = *load, .promise = *promise};
    struct plan_assumptions *assumptions = &plan->assumptions;
    TRY(plan_load_check(load, model));
    if (hardware->memory_bytes <= 0)
        return ERR(INVALID, "%s: its memory is not known, give mem_bytes in a file", hardware->name);
    if (model->assumed[0] != '\0') plan_assume(assumptions, "%s", model->assumed);
    if (model->parameters_are_computed)
        plan_assume(assumptions, "%.0f parameters, counted from the shape", model->parameters);
    plan_memory_of(&plan->memory, model, hardware, load, assumptions);
    TRY(plan_time_of(&plan->time, model, hardware, load, assumptions));
    plan_metrics_of(&plan->metrics, &plan->time, load, promise);
    plan_phases_of(&plan->phases, model, hardware, load);
    plan_money_of(&plan->money, model, hardware, load, &plan->memory, &plan->time, assumptions);
    if (model->n_context > 0 && load->context_tokens > model->n_context)
        plan_assume(assumptions, "%s was made for %u tokens: more is planned as if it were not", model->name,
                    model->n_context);
    plan->fits = plan->memory.device_bytes <= plan->memory.capacity_bytes;
    plan->limit = plan->fits ? plan->time.step.limit : PLAN_LIMIT_capacity;
    return 0;
}

/* The fewest devices in a tensor group that hold the load; 0: none up to 64. */
static uint32_t enough_devices(const struct plan *plan) {
    for (uint32_t tp = plan->load.tp * 2; tp <= 64; tp *= 2) {
        struct plan_load load = plan->load;
        struct plan_memory memory;
        load.tp = tp;
        if (plan_load_check(&load, plan->model) < 0) continue;
        plan_memory_of(&memory, plan->model, plan->hardware, &load, NULL);
        if (memory.device_bytes <= memory.capacity_bytes) return tp;
    }
    return 0;
}

void plan_what_fits(const struct plan *plan, char *text, size_t size) {
    const struct plan_memory *memory = &plan->memory;
    const uint32_t tp = enough_devices(plan);
    int n = snprintf(text, size, "%.1f GB are needed on a device that has %.1f", memory->device_bytes / 1e9,
                     memory->capacity_bytes / 1e9);
    if (memory->max_context_tokens >= 1 && n >= 0 && (size_t)n < size)
        n += snprintf(text + n, size - (size_t)n, "; %.0f tokens for each of these users would fit",
                      memory->max_context_tokens);
    if (memory->max_users >= 1 && n >= 0 && (size_t)n < size)
        n += snprintf(text + n, size - (size_t)n, "; %.0f users of this length would fit", memory->max_users);
    if (tp > 0 && n >= 0 && (size_t)n < size)
        snprintf(text + n, size - (size_t)n, "; --tp %u would hold it", tp);
    else if (memory->max_users < 1 && n >= 0 && (size_t)n < size)
        snprintf(text + n, size - (size_t)n,
                 "; fewer bits (--weights, --kv), more devices (--tp, --pp) or --solve cheapest would help");
}
