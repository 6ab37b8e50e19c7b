/* The catalogs: models, hardware, prices, collectives, as data. What is in catalog/ is linked into the
 * program; a folder can add to it and replace entries of the same name. */
#ifndef CABINET_PLAN_CATALOG_H
#define CABINET_PLAN_CATALOG_H

#include <stddef.h>

#include "plan/hardware.h"
#include "plan/model.h"

enum { PLAN_MAX_PRICE_TIERS = 4 };

/* What every token of a request costs when its prompt is longer than that. */
struct plan_price_tier {
    double above_input_tokens, input, output, cache_read;
};

struct plan_price {
    char provider[64], model[PLAN_NAME_LENGTH], date[16], source[PLAN_SOURCE_LENGTH];
    double input, output, cache_read, cache_write; /* USD per million tokens; 0: none */
    uint32_t n_tiers;
    struct plan_price_tier tiers[PLAN_MAX_PRICE_TIERS]; /* ascending */
};

struct plan_catalog {
    struct plan_model *models;
    struct plan_hardware *hardware;
    struct plan_price *prices;
    size_t n_models, n_hardware, n_prices;
};

/* The linked-in files, then those of `folder` (NULL: none): models.json, hardware.json, prices.json, each if
 * there. CORRUPT names file, line and field. Close with plan_catalog_close, also after a failure. */
int plan_catalog_open(struct plan_catalog *catalog, const char *folder);
/* A file's entries: `name` is what it would be called in a folder, "models.json". As plan_catalog_open. */
int plan_catalog_add(struct plan_catalog *catalog, const char *name, const char *path);
void plan_catalog_close(struct plan_catalog *catalog);

/* By name, Hugging Face id (with or without owner) or hardware id; letters and digits count, nothing else.
 * NULL and NOT_FOUND with the nearest names. The result lives as long as the catalog. */
const struct plan_model *plan_catalog_model(const struct plan_catalog *catalog, const char *name);
const struct plan_hardware *plan_catalog_hardware(const struct plan_catalog *catalog, const char *name);

/* A hardware entry alone in a file (the object of one device, as in catalog/hardware.json; unknown keys are
 * left alone): what `--hardware FILE.json` and a calibration are. */
int plan_hardware_read(struct plan_hardware *hardware, const char *path);

#endif
