/* cabinet plan --batch: one prediction a line. */
#ifndef CABINET_CLI_PLAN_BATCH_H
#define CABINET_CLI_PLAN_BATCH_H

#include "plan/catalog.h"

/* Answers the lines of `path` ("-": standard input) on standard output, and says on standard error how many.
 * INVALID at the end if a line could not be used; the others are answered all the same. */
int plan_batch_answer_file(const struct plan_catalog *catalog, const char *path);

#endif
