#include "cli/plan_batch.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "plan/batch.h"

int plan_batch_answer_file(const struct plan_catalog *catalog, const char *path) {
    struct plan_batch_counts counts;
    const bool is_input = strcmp(path, "-") == 0;
    FILE *file = is_input ? stdin : fopen(path, "rb");
    if (file == NULL) return ERR(IO, "%s: %s", path, strerror(errno));
    const int result = plan_batch_run(catalog, file, stdout, &counts);
    if (!is_input) fclose(file);
    TRY(result);
    fprintf(stderr, "%zu lines, %zu in scope, %zu that could not be used\n", counts.n_lines,
            counts.n_in_scope, counts.n_errors);
    if (counts.n_errors > 0)
        return ERR(INVALID, "%zu of %zu lines could not be used", counts.n_errors, counts.n_lines);
    return 0;
}
