#include "plan/curves.h"

#include <math.h>
#include <stdio.h>

#include "plan/memory.h"
#include "plan/money.h"
#include "plan/phase.h"
#include "plan/time.h"

enum { FIRST_CONTEXT = 256, DEFAULT_LAST = 131072 };

static struct plan_curve_point point_at(const struct plan_model *model, const struct plan_hardware *hardware,
                                        const struct plan_load *asked, double context) {
    struct plan_load load = *asked;
    load.context_tokens = context;
    load.prompt_tokens = fmax(1, context - load.output_tokens);
    load.shared_tokens = fmin(load.shared_tokens, context);
    struct plan_memory memory;
    struct plan_step step;
    struct plan_case plan;
    plan_memory_of(&memory, model, hardware, &load, NULL);
    plan_step_of(&step, model, hardware, &load, plan_load_rank_users(&load), context, NULL);
    plan_case_open(&plan, model, hardware, &load);
    struct plan_outcome outcome = plan_outcome_of(&plan);
    double devices = plan_load_devices(&load);
    return (struct plan_curve_point){
        .context_tokens = context,
        .weight_bytes = memory.weights.device_bytes * devices,
        .kv_bytes = memory.kv_device_bytes * devices,
        .other_bytes = (memory.activation_bytes + memory.reserved_bytes) * devices,
        .weight_seconds = step.weight_seconds,
        .kv_seconds = step.kv_read_seconds + step.kv_write_seconds,
        .compute_seconds = step.compute_seconds,
        .other_seconds = step.sync_seconds + step.overhead_seconds,
        .step_seconds = step.seconds,
        .users = memory.max_users,
        .usd_per_million_output = outcome.usd_per_million_output,
    };
}

void plan_curves_of(struct plan_curves *curves, const struct plan_model *model,
                    const struct plan_hardware *hardware, const struct plan_load *load) {
    double last = fmax(model->n_context > 0 ? model->n_context : DEFAULT_LAST, load->context_tokens);
    struct plan_phases phases;
    plan_phases_of(&phases, model, hardware, load);
    *curves = (struct plan_curves){.users = load->users,
                                   .context_tokens = load->context_tokens,
                                   .capacity_bytes = hardware->memory_bytes * plan_load_devices(load),
                                   .crossover_tokens = phases.crossover_tokens};
    double devices = plan_load_devices(load);
    char machines[32] = "";
    if (devices > 1) snprintf(machines, sizeof machines, "%.0f x ", devices);
    snprintf(curves->title, sizeof curves->title, "%s on %s%s, %u user%s, %s cache", model->name, machines,
             hardware->name, load->users, load->users == 1 ? "" : "s", load->kv->name);
    curves->asked = point_at(model, hardware, load, load->context_tokens);
    double step = log(fmax(last, 2 * FIRST_CONTEXT) / FIRST_CONTEXT) / (PLAN_CURVE_POINTS - 1);
    for (size_t i = 0; i < PLAN_CURVE_POINTS; i++)
        curves->points[i] = point_at(model, hardware, load, round(FIRST_CONTEXT * exp(step * (double)i)));
}
