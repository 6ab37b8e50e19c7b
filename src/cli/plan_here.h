/* What a load of a GGUF file takes on this machine, by Cabinet's own calibrated kernels: beside the page that
 * `cabinet plan --hardware this` prints for all engines alike. */
#ifndef CABINET_CLI_PLAN_HERE_H
#define CABINET_CLI_PLAN_HERE_H

#include <jansson.h>

#include "plan/load.h"
#include "plan/verification.h"

struct plan_here {
    double step_seconds, prefill_seconds; /* all users at the context; one prompt that nothing is cached of */
    double kv_bytes;                      /* whole blocks of all users */
    struct self_seconds parts;            /* of the step; they add up */
    bool is_verified;                     /* corrected and judged by `cabinet plan --verify` */
    struct verification verification;
};

/* NOT_FOUND and UNSUPPORTED as calibration_read; UNSUPPORTED for a model that Cabinet does not run, INVALID
 * for a KV format that it or the model's heads do not take. */
int plan_here_of(struct plan_here *here, const char *path, const struct plan_load *load);
void plan_here_print(const struct plan_here *here);
json_t *plan_here_json(const struct plan_here *here);

#endif
