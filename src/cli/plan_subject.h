/* What MODEL and --hardware of `cabinet plan` mean: files, this machine, or names of the catalogs. */
#ifndef CABINET_CLI_PLAN_SUBJECT_H
#define CABINET_CLI_PLAN_SUBJECT_H

#include "plan/catalog.h"

/* Both are copied, so that they outlive what they were read from. `name` of a model: a GGUF file, a
 * config.json, a name of the catalog, or a model of the cache folder; NOT_FOUND offers near names. */
int plan_subject_model(struct plan_model *model, const struct plan_catalog *catalog, const char *name);
/* "this" needs no catalog. NULL: this machine if it is calibrated, else PLAN_USUAL_HARDWARE, with *is_assumed
 * true. */
int plan_subject_hardware(struct plan_hardware *hardware, const struct plan_catalog *catalog,
                          const char *name, bool *is_assumed);

#define PLAN_USUAL_HARDWARE "h100-sxm"

#endif
