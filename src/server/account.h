/* What is told of requests and steps: one line in the log, and the metrics (docs/metrics.md). */
#ifndef CABINET_SERVER_ACCOUNT_H
#define CABINET_SERVER_ACCOUNT_H

#include "server/generation.h"

/* The gauges of load and cache: on the engine's thread when something has changed without a step, and before
 * that thread runs. */
void account_load(struct server *server, struct engine *engine);
/* The parts of it that are the cache's: gauges, and counters that follow the engine's bills. */
void account_cache(struct server *server, struct engine *engine);
void account_totals(struct server *server, const struct engine *engine);
/* Begins or ends to observe how old blocks get. While the engine's thread does not run. */
void account_watch(struct server *server, bool watches);
/* Its choices' bills together: of a generation whose choices the engine has let go of. */
struct kv_bill account_bill(const struct generation *generation);
/* The generation is over, for whatever reason. */
void account_finished(const struct generation *generation);
/* The engine's thread: a step is done. */
void account_step(struct server *server, struct engine *engine);
/* An HTTP reply: `server` as void pointer, the route's label, the status. */
void account_status(void *server, uint32_t route, int status);

#endif
