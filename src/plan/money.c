#include "plan/money.h"

#include <math.h>

/* Life of a device, what is bought beside it, and electricity: the price surveys of catalog/hardware.json,
 * "tco_defaults". */
static const double LIFE_YEARS = 3, OTHER_CAPITAL = 1.2, USD_PER_KILOWATT_HOUR = 0.15, HOURS_A_YEAR = 8760;

double plan_device_hour_usd(const struct plan_hardware *hardware, const struct plan_load *load,
                            struct plan_assumptions *assumptions) {
    if (load->usd_per_device_hour > 0) return load->usd_per_device_hour;
    if (hardware->usd_per_hour > 0) {
        plan_assume(assumptions, "%s at %.2f USD per device and hour, the lowest offer known (%s)",
                    hardware->id, hardware->usd_per_hour, hardware->price_source);
        return hardware->usd_per_hour;
    }
    if (hardware->price_usd <= 0) {
        plan_assume(assumptions, "%s: no price is known; --usd-per-hour gives one", hardware->id);
        return NAN;
    }
    plan_assume(
        assumptions,
        "%s bought for %.0f USD, used for %.0f years, a fifth more for what is around it, %s at %.2f USD/kWh",
        hardware->id, hardware->price_usd, LIFE_YEARS, hardware->watts > 0 ? "electricity" : "no electricity",
        USD_PER_KILOWATT_HOUR);
    return hardware->price_usd * OTHER_CAPITAL / (LIFE_YEARS * HOURS_A_YEAR) +
           hardware->watts / 1000 * USD_PER_KILOWATT_HOUR;
}

/* A held token takes its share of the memory that is for caches, and of the machine with it, for the time
 * that it is held: what it costs not to have that room. Nothing is computed. */
static double cached_token_usd(const struct plan_model *model, const struct plan_load *load,
                               const struct plan_memory *memory, double usd_per_hour) {
    const double room = memory->capacity_bytes - (memory->device_bytes - memory->kv_device_bytes);
    const double ranks = (double)load->dp * load->replicas;
    if (room <= 0) return NAN;
    const double share =
        plan_kv_device_bytes(model, load, load->context_tokens) / load->context_tokens / room;
    return usd_per_hour / ranks * share * load->hold_seconds / 3600;
}

void plan_money_of(struct plan_money *money, const struct plan_model *model,
                   const struct plan_hardware *hardware, const struct plan_load *load,
                   const struct plan_memory *memory, const struct plan_time *time,
                   struct plan_assumptions *assumptions) {
    const double hour = plan_device_hour_usd(hardware, load, assumptions),
                 all = hour * plan_load_devices(load), ranks = (double)load->dp * load->replicas;
    const double output = all / 3600 * time->step.seconds / load->users,
                 input = all / ranks / 3600 / time->prefill_tokens_per_second,
                 cached = cached_token_usd(model, load, memory, all);
    const double n_cached = load->prompt_tokens * load->hit_rate, n_new = load->prompt_tokens - n_cached;
    *money = (struct plan_money){
        .usd_per_device_hour = hour,
        .usd_per_hour = all,
        .usd_per_million_input = input * 1e6,
        .usd_per_million_cached_input = cached * 1e6,
        .usd_per_million_output = output * 1e6,
        .usd_per_conversation = (n_new > 0 ? n_new * input : 0) + (n_cached > 0 ? n_cached * cached : 0) +
                                load->output_tokens * output,
        .usd_per_user_hour = all / load->users,
    };
}
