/* What a machine costs, and a token of it. USD; NAN where no price is known. */
#ifndef CABINET_PLAN_MONEY_H
#define CABINET_PLAN_MONEY_H

#include "plan/memory.h"
#include "plan/time.h"

struct plan_money {
    double usd_per_device_hour, usd_per_hour; /* of all devices */
    double usd_per_million_input, usd_per_million_cached_input, usd_per_million_output;
    double usd_per_conversation; /* one request: prompt (the hit part as cached) and answer */
    double usd_per_user_hour;
};

/* The load's price, or the lowest offer, or the purchase over three years with its electricity. NAN if none.
 */
double plan_device_hour_usd(const struct plan_hardware *hardware, const struct plan_load *load,
                            struct plan_assumptions *assumptions);
void plan_money_of(struct plan_money *money, const struct plan_model *model,
                   const struct plan_hardware *hardware, const struct plan_load *load,
                   const struct plan_memory *memory, const struct plan_time *time,
                   struct plan_assumptions *assumptions);

#endif
