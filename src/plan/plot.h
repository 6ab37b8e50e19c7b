/* Curves and remedies as pictures, drawn by gnuplot for white paper. */
#ifndef CABINET_PLAN_PLOT_H
#define CABINET_PLAN_PLOT_H

#include <stdio.h>

#include "plan/curves.h"

/* name, what it shows */
#define PLAN_PICTURE_LIST(X)                                                                                 \
    X(memory, "weights, cache and the rest by the length of the context")                                    \
    X(step, "what a decode step waits for by the length of the context")                                     \
    X(users, "who fit in the same memory by the length of the context")                                      \
    X(cost, "of a million output tokens by the length of the context")                                       \
    X(remedies, "what each buys, as bars")

enum plan_picture {
#define X(name, meaning) PLAN_PICTURE_##name,
    PLAN_PICTURE_LIST(X)
#undef X
        PLAN_PICTURE_sheet /* all of them */
};

/* One picture, or the sheet, as SVG or PNG into `path`. UNSUPPORTED if there is no gnuplot; IO if it fails.
 */
int plan_plot(const struct plan_curves *curves, const struct plan_what_if *table, const char *path,
              bool is_png, enum plan_picture picture);

/* gnuplot's lines for one picture (no sheet), margins apart; those of curves name a block `$curve`, which
 * plan_plot_points writes. plot_pictures.c. */
void plan_plot_points(FILE *out, const struct plan_curves *curves);
void plan_plot_picture(FILE *out, enum plan_picture picture, const struct plan_curves *curves,
                       const struct plan_what_if *table);

#endif
