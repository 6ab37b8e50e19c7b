#include "plan/layout.h"

#define COUNT_OF(array) (sizeof(array) / sizeof *(array))

/* Devices that a tensor group may have: those of the link's domain; without one, a box of 8 over the bus, and
 * machines that are whole computers stay alone. */
static uint32_t domain_of(const struct plan_hardware *hardware) {
    if (hardware->scaleup_domain > 0) return hardware->scaleup_domain;
    return hardware->device == PLAN_DEVICE_apu || hardware->device == PLAN_DEVICE_cpu ? 1 : 8;
}

int plan_layout_at(const struct plan_hardware *hardware, const struct plan_model *model, size_t i,
                   struct plan_load *load) {
    static const uint32_t groups[] = {1, 2, 4, 8, 16, 32, 64, 72}, stages[] = {1, 2, 3, 4, 6, 8},
                          ranks[] = {1, 2, 4, 8, 16};
    const size_t n_staged = COUNT_OF(groups) * COUNT_OF(stages);
    const uint32_t n_experts = model->experts.n;
    if (i >= n_staged + COUNT_OF(groups) * (COUNT_OF(ranks) - 1)) return -1;
    load->tp = groups[i % COUNT_OF(groups)];
    load->pp = i < n_staged ? stages[i / COUNT_OF(groups)] : 1;
    load->dp = i < n_staged ? 1 : ranks[1 + (i - n_staged) / COUNT_OF(groups)];
    load->cp = 1;
    if (load->tp > domain_of(hardware) || (load->dp > 1 && n_experts == 0)) return 0;
    load->ep = load->tp * load->dp;
    if (n_experts == 0 || n_experts % load->ep != 0) {
        if (load->dp > 1) return 0;
        load->ep = 1;
    }
    return plan_load_check(load, model) == 0;
}
