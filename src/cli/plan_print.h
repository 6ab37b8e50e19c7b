/* The planner's tables for people: remedies, and what remembering costs. */
#ifndef CABINET_CLI_PLAN_PRINT_H
#define CABINET_CLI_PLAN_PRINT_H

#include "plan/economics.h"
#include "plan/what_if.h"

void plan_print_what_if(const struct plan_what_if *table);
/* `catalog` for published prices and the models of the table of a hundred users. */
void plan_print_economics(const struct plan_economics *economics, const struct plan_economics_opts *opts,
                          const struct plan_hardware *hardware, const struct plan_load *load,
                          const struct plan_catalog *catalog);

#endif
