/* A plan for people: the page that `cabinet plan` prints. */
#ifndef CABINET_CLI_PLAN_PAGE_H
#define CABINET_CLI_PLAN_PAGE_H

#include "plan/catalog.h"
#include "plan/solve.h"

void plan_page_print(const struct plan *plan);
/* The answer's best plan as a page, the others as a table, and what keeps it from more. */
void plan_page_print_answer(const struct plan_answer *answer, enum plan_solve kind);
void plan_page_list_models(const struct plan_catalog *catalog);
void plan_page_list_hardware(const struct plan_catalog *catalog);

#endif
