/* What `cabinet top` shows of a server: one look at it, read out of what the server says, and written. */
#ifndef CABINET_CLI_TOP_VIEW_H
#define CABINET_CLI_TOP_VIEW_H

#include <jansson.h>
#include <stdint.h>
#include <stdio.h>

#include "base/text.h"

struct top_look {
    const char *url; /* borrowed */
    json_t *live;    /* the answer of GET /v1/kv/live */
    /* of GET /metrics */
    double waste_bytes, slot_fragmentation, slab_fragmentation;
    double queried_tokens, hit_tokens, n_demotions, n_evictions;
};

/* The sum of a metric's samples in Prometheus' text format that have `label`, text such as use="waste" (NULL:
 * all of them); 0 if there is none. */
double top_metric(const struct text *metrics, const char *name, const char *label);
/* INVALID if one of the answers is not a Cabinet server's. The look is the caller's to free, also then. */
int top_look_read(struct top_look *look, const char *url, const struct text *live,
                  const struct text *metrics);
void top_look_free(struct top_look *look);
/* A few lines, and one for each of at most max_rows sequences. `before`: the look before this one, or NULL.
 */
void top_print(const struct top_look *look, const struct top_look *before, size_t max_rows, FILE *stream);
/* One object (docs/json.md) on one line. */
void top_print_json(const struct top_look *look, FILE *stream);

#endif
