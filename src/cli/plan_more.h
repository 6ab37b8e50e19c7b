/* What `cabinet plan` can add to a plan: remedies, economics, pictures. */
#ifndef CABINET_CLI_PLAN_MORE_H
#define CABINET_CLI_PLAN_MORE_H

#include <argp.h>
#include <jansson.h>

#include "plan/economics.h"
#include "plan/plan.h"
#include "plan/plot.h"
#include "plan/what_if.h"

struct plan_more {
    bool what_if, economics;
    const char *plot; /* a file to draw into; NULL: none */
    enum plan_picture picture;
    struct plan_remedy_opts remedies;
    struct plan_economics_opts money;
};

/* Its options, for the verb's argp; the child's input is a struct plan_more. */
extern const struct argp_child plan_more_argp_children[];
struct plan_more plan_more_default(void);

/* Does what is asked for, after the plan was made: prints, or adds to `object` where that is not NULL, and
 * draws. */
int plan_more_run(const struct plan_more *more, const struct plan *plan, const struct plan_catalog *catalog,
                  json_t *object);

#endif
