/* The pictures, each as lines for gnuplot. */
#include <math.h>
#include <string.h>

#include "plan/plot.h"

static const char blue[] = "#2563eb", teal[] = "#0f766e", orange[] = "#c2660a", grey[] = "#6b7280",
                  pale[] = "#bfdbfe";

/* A figure of every point, as a block of data that plots can name. */
void plan_plot_points(FILE *out, const struct plan_curves *curves) {
    fputs("$curve << END\n", out);
    for (size_t i = 0; i < PLAN_CURVE_POINTS; i++) {
        const struct plan_curve_point *p = &curves->points[i];
        double users = isfinite(p->users) && p->users >= 1 ? p->users : NAN;
        fprintf(out, "%.0f %.6g %.6g %.6g %.6g %.6g %.6g %.6g %.6g %.6g %.6g\n", p->context_tokens,
                p->weight_bytes, p->kv_bytes, p->other_bytes, p->weight_seconds, p->kv_seconds,
                p->compute_seconds, p->other_seconds, p->step_seconds, users,
                isfinite(p->usd_per_million_output) ? p->usd_per_million_output : NAN);
    }
    fputs("END\n", out);
}

static double bytes_of(const struct plan_curve_point *p) {
    return p->weight_bytes + p->kv_bytes + p->other_bytes;
}
static double seconds_of(const struct plan_curve_point *p) { return p->step_seconds; }

enum { NAMES_OF_MEMORY = 4, NAMES_OF_STEP = 5 };
static const double NAME_SHARE = 0.1; /* of the height that the name of a line takes */

/* The top of the axis: what is drawn in the left half stays below the names of the lines, which take `share`
 * of the height there. */
static double top_of(const struct plan_curves *curves, double (*value_of)(const struct plan_curve_point *),
                     double share) {
    double most = 0, left = 0;
    for (size_t i = 0; i < PLAN_CURVE_POINTS; i++) {
        const double value = value_of(&curves->points[i]);
        most = fmax(most, value);
        if (i <= PLAN_CURVE_POINTS / 2) left = fmax(left, value);
    }
    return fmax(1.05 * most, left / (1 - share));
}

/* Where a step reads as much cache as weights: a line down the picture, named above it. */
static void write_crossover(FILE *out, const struct plan_curves *curves) {
    const double first = curves->points[0].context_tokens,
                 last = curves->points[PLAN_CURVE_POINTS - 1].context_tokens, x = curves->crossover_tokens;
    if (!isfinite(x) || x < first || x > last) return;
    const double place = log(x / first) / log(last / first);
    fprintf(out,
            "set arrow 1 from %.9g, graph 0 to %.9g, graph 1 nohead front dt 2 lw 1.5 lc rgb 'black'\n"
            "set label 1 'cache = weights at %.0f tokens' at %.9g, graph 1 %s offset 0, 0.5\n",
            x, x, x, x,
            place < 0.3   ? "left"
            : place > 0.7 ? "right"
                          : "center");
}

static void end_crossover(FILE *out) { fputs("unset arrow 1\nunset label 1\nset yrange [*:*]\n", out); }

static void write_memory(FILE *out, const struct plan_curves *curves) {
    const double share = NAMES_OF_MEMORY * NAME_SHARE;
    double top = top_of(curves, bytes_of, share);
    const double unit = top >= 1e9 ? 1e9 : 1e6, capacity = curves->capacity_bytes;
    /* The machine's own line, if it is near, and not through the names. */
    if (capacity < 1.6 * top) top = fmax(top, capacity / (1 - share));
    fprintf(out, "set title 'Memory of all users' offset 0, 0.2\nset ylabel '%s'\nset yrange [0:%.9g]\n",
            unit > 1e6 ? "GB" : "MB", top / unit);
    write_crossover(out, curves);
    fprintf(out, "plot $curve using 1:(($2+$3+$4)/%g) with filledcurves x1 lc rgb '%s' title 'the rest', ",
            unit, pale);
    fprintf(out, "'' using 1:(($2+$3)/%g) with filledcurves x1 lc rgb '%s' title 'KV cache', ", unit, blue);
    fprintf(out, "'' using 1:($2/%g) with filledcurves x1 lc rgb '%s' title 'weights'", unit, teal);
    if (capacity <= top)
        fprintf(out, ", %.9g with lines dt 3 lw 2 lc rgb 'black' title 'what the machine has'",
                capacity / unit);
    fputs("\n", out);
    end_crossover(out);
}

static void write_step(FILE *out, const struct plan_curves *curves) {
    fprintf(out, "set title 'Time of a decode step' offset 0, 0.2\nset ylabel 'ms'\nset yrange [0:%.9g]\n",
            top_of(curves, seconds_of, NAMES_OF_STEP * NAME_SHARE) * 1e3);
    write_crossover(out, curves);
    fprintf(out, "plot $curve using 1:($9*1e3) with lines lw 3 lc rgb 'black' title 'the step', ");
    fprintf(out, "'' using 1:($5*1e3) with lines lw 2 lc rgb '%s' title 'weights read', ", teal);
    fprintf(out, "'' using 1:($6*1e3) with lines lw 2 lc rgb '%s' title 'KV cache read', ", blue);
    fprintf(out, "'' using 1:($7*1e3) with lines lw 2 lc rgb '%s' title 'arithmetic', ", orange);
    fprintf(out, "'' using 1:($8*1e3) with lines lw 2 lc rgb '%s' title 'waiting, fixed costs'\n", grey);
    end_crossover(out);
}

static bool any(const struct plan_curves *curves, bool of_users) {
    for (size_t i = 0; i < PLAN_CURVE_POINTS; i++) {
        const struct plan_curve_point *p = &curves->points[i];
        if (of_users ? isfinite(p->users) && p->users >= 1 : isfinite(p->usd_per_million_output)) return true;
    }
    return false;
}

/* A curve over two logarithms; one that has nothing to show says so. */
static void write_loglog(FILE *out, bool has_points, const char *column, const char *color, const char *why) {
    if (has_points)
        fprintf(out, "set logscale y\nplot $curve using 1:%s with lines lw 3 lc rgb '%s' notitle\n", column,
                color);
    else
        fprintf(out,
                "set yrange [0:1]\nset ylabel ''\nset label 2 '%s' at graph 0.5, 0.5 center\n"
                "plot NaN notitle\nunset label 2\nset yrange [*:*]\n",
                why);
    fputs("unset logscale y\n", out);
}

static void write_users(FILE *out, const struct plan_curves *curves) {
    fputs("set title 'Users who fit in the same memory' offset 0, -0.4\nset ylabel 'users'\n", out);
    write_loglog(out, any(curves, true), "10", blue, "not even one fits");
}

static void write_cost(FILE *out, const struct plan_curves *curves) {
    fputs(
        "set title 'Cost of output, the machine full' offset 0, -0.4\nset ylabel 'USD per million tokens'\n",
        out);
    write_loglog(out, any(curves, false), "11", orange,
                 any(curves, true) ? "no price is known (--usd-per-hour)" : "not even one fits");
}

/* Bars from 1 to the factor: how many more users, how much faster. */
static void write_remedies(FILE *out, const struct plan_what_if *table) {
    size_t n = 0;
    fputs("$bars << END\n", out);
    for (size_t i = 0; i < table->n; i++) {
        const struct plan_what_if_row *row = &table->rows[i];
        if (!row->applies) continue;
        double users = row->outcome.users / table->base.users;
        double speed = table->base.seconds_per_token / row->outcome.seconds_per_token;
        fprintf(out, "%zu %.6g %.6g \"%s\"\n", n++, isfinite(users) && users > 0 ? users : 1.0, speed,
                row->remedy->title);
    }
    fputs("END\n", out);
    if (n == 0) return;
    fprintf(
        out,
        "set title 'What each remedy buys' offset 0, -0.4\nset xlabel 'times as many users, times as fast "
        "(1: as today)'\n"
        "set ylabel ''\nset logscale x 2\nset format x '%%g'\nset xrange [*:*]\nset yrange [%zu.7:-2.7]\n"
        "set key top right horizontal\n"
        "plot $bars using (1):1:(1):2:($1-0.36):($1):ytic(4) with boxxyerror fill solid lc rgb '%s' "
        "title 'users who fit', '' using (1):1:(1):3:($1):($1+0.36) with boxxyerror fill solid lc rgb '%s' "
        "title 'speed of a user'\n",
        n - 1, blue, orange);
}

void plan_plot_picture(FILE *out, enum plan_picture picture, const struct plan_curves *curves,
                       const struct plan_what_if *table) {
    switch (picture) {
    case PLAN_PICTURE_memory: write_memory(out, curves); break;
    case PLAN_PICTURE_step: write_step(out, curves); break;
    case PLAN_PICTURE_users: write_users(out, curves); break;
    case PLAN_PICTURE_cost: write_cost(out, curves); break;
    case PLAN_PICTURE_remedies: write_remedies(out, table); break;
    case PLAN_PICTURE_sheet: break;
    }
}
