/* A forecast (engine/forecast.h) as /v1/plan tells it. Pure. */
#ifndef CABINET_SERVER_FORECAST_JSON_H
#define CABINET_SERVER_FORECAST_JSON_H

#include <jansson.h>

#include "engine/forecast.h"
#include "server/server_state.h"

/* NULL without memory. */
json_t *forecast_json(const struct server *server, const struct forecast *forecast, uint32_t n_prompt);

#endif
