/* The readers of the catalogs' entries, one file each: what catalog.c is made of. */
#ifndef CABINET_PLAN_CATALOG_PARTS_H
#define CABINET_PLAN_CATALOG_PARTS_H

#include "plan/catalog.h"
#include "plan/json_fields.h"

/* One entry of "models", "devices" or "prices"; `place` names file and text, the entry's name is filled in.
 */
int catalog_read_model(struct json_place *place, const json_t *entry, struct plan_model *model);
int catalog_read_hardware(struct json_place *place, const json_t *entry, struct plan_hardware *hardware,
                          bool is_strict);
int catalog_read_price(struct json_place *place, const json_t *entry, struct plan_price *price);

#endif
