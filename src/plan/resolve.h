/* Names as publications write them, to entries of the catalogs: "Meta-Llama-3.1-70B-Instruct", "NVIDIA H100
 * 80GB HBM3", "vLLM 0.6.3". What is taken for what is an assumption, and marked. */
#ifndef CABINET_PLAN_RESOLVE_H
#define CABINET_PLAN_RESOLVE_H

#include "plan/assumption.h"
#include "plan/catalog.h"
#include "plan/load.h"

/* The entry of that name, or the one most like it of the same family and size; else a dense model of the size
 * that the name states, scaled from the nearest of the catalog. NOT_FOUND with near names. */
int plan_resolve_model(const struct plan_catalog *catalog, const char *name, struct plan_model *model,
                       struct plan_assumptions *assumptions);
/* The entry of that name, or the one whose words it has; else a processor or card of ordinary bandwidth when
 * the name says that it is one. NOT_FOUND with near names. */
int plan_resolve_hardware(const struct plan_catalog *catalog, const char *name,
                          struct plan_hardware *hardware, struct plan_assumptions *assumptions);
/* The class of an engine by its name and the date of the measurement ("2024-05", NULL: today). Unknown: what
 * is usual on that hardware. */
enum plan_engine plan_resolve_engine(const char *name, const char *date, const struct plan_hardware *hardware,
                                     struct plan_assumptions *assumptions);

#endif
