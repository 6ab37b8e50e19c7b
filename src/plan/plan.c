#include "plan/plan.h"

#include <math.h>
#include <stdio.h>

#include "plan/layout.h"

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

/* The layout of fewest devices that holds the load; false: none does. */
static bool enough_devices(const struct plan *plan, struct plan_load *best) {
    struct plan_load load = plan->load;
    struct plan_memory memory;
    int can;
    best->tp = 0;
    for (size_t i = 0; (can = plan_layout_at(plan->hardware, plan->model, i, &load)) >= 0; i++) {
        if (can == 0) continue;
        plan_memory_of(&memory, plan->model, plan->hardware, &load, NULL);
        if (memory.device_bytes > memory.capacity_bytes) continue;
        if (best->tp == 0 || plan_load_devices(&load) < plan_load_devices(best)) *best = load;
    }
    return best->tp > 0;
}

void plan_what_fits(const struct plan *plan, char *text, size_t size) {
    const struct plan_memory *memory = &plan->memory;
    struct plan_load layout;
    char context[64] = "", users[64] = "", devices[96];
    if (memory->max_context_tokens >= 1)
        snprintf(context, sizeof context, "; %.0f tokens for each of these users would fit",
                 memory->max_context_tokens);
    if (memory->max_users >= 1)
        snprintf(users, sizeof users, "; %.0f users of this length would fit", memory->max_users);
    if (enough_devices(plan, &layout))
        snprintf(devices, sizeof devices, "; %.0f devices (--tp %u --pp %u --dp %u --ep %u) would hold it",
                 plan_load_devices(&layout), layout.tp, layout.pp, layout.dp, layout.ep);
    else
        snprintf(devices, sizeof devices,
                 "; no layout of this hardware holds it: fewer bits, users or tokens would");
    snprintf(text, size, "%.1f GB are needed on a device that has %.1f%s%s%s", memory->device_bytes / 1e9,
             memory->capacity_bytes / 1e9, context, users, devices);
}
