/* The planner's page as one file that needs nothing else. */
#ifndef CABINET_CLI_PLAN_HTML_H
#define CABINET_CLI_PLAN_HTML_H

#include "plan/curves.h"

/* Writes the page of web/plan.html with these curves into `path`. IO if it cannot be written. */
int plan_html_write(const struct plan_curves *curves, const struct plan_what_if *table, const char *path);

#endif
