/* The layouts that a solver tries: tensor groups within what a fast link reaches, pipeline stages beyond; of
 * models with experts also groups with users of their own that divide the experts among them. */
#ifndef CABINET_PLAN_LAYOUT_H
#define CABINET_PLAN_LAYOUT_H

#include "plan/load.h"

/* The i-th layout into `load` (its users, lengths and formats stay): 1, 0 if this model or hardware cannot be
 * laid out so, -1 behind the last. Of few devices first, within a number of stages or groups. */
int plan_layout_at(const struct plan_hardware *hardware, const struct plan_model *model, size_t i,
                   struct plan_load *load);

#endif
