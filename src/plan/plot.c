/* The pictures, as a script for gnuplot: two by two the curves, below them the remedies. */
#include <errno.h>
#include <math.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "plan/curves.h"

extern char **environ;

static const char blue[] = "#2563eb", teal[] = "#0f766e", orange[] = "#c2660a", grey[] = "#6b7280";

/* A figure of every point, as a block of data that plots can name. */
static void write_points(FILE *out, const struct plan_curves *curves) {
    fputs("$curve << END\n", out);
    for (size_t i = 0; i < PLAN_CURVE_POINTS; i++) {
        const struct plan_curve_point *p = &curves->points[i];
        double users = isfinite(p->users) && p->users >= 1 ? p->users : NAN;
        fprintf(out, "%.0f %.9g %.9g %.9g %.9g %.9g %.9g %.9g %.9g %.9g %.9g\n", p->context_tokens,
                p->weight_bytes, p->kv_bytes, p->other_bytes, p->weight_seconds, p->kv_seconds,
                p->compute_seconds, p->other_seconds, p->step_seconds, users,
                isfinite(p->usd_per_million_output) ? p->usd_per_million_output : NAN);
    }
    fputs("END\n", out);
}

static double most_bytes(const struct plan_curves *curves) {
    double most = 0;
    for (size_t i = 0; i < PLAN_CURVE_POINTS; i++) {
        const struct plan_curve_point *p = &curves->points[i];
        most = fmax(most, p->weight_bytes + p->kv_bytes + p->other_bytes);
    }
    return most;
}

static void write_memory(FILE *out, const struct plan_curves *curves) {
    double most = most_bytes(curves), unit = most >= 1e9 ? 1e9 : 1e6;
    double top = fmax(most, fmin(curves->capacity_bytes, 1.6 * most)) * 1.05;
    fprintf(out, "set title 'Memory'\nset ylabel '%s'\nset yrange [0:%.9g]\n", unit > 1e6 ? "GB" : "MB",
            top / unit);
    fprintf(out,
            "plot $curve using 1:(($2+$3+$4)/%g) with filledcurves x1 lc rgb '#bfdbfe' title 'the rest', ",
            unit);
    fprintf(out, "'' using 1:(($2+$3)/%g) with filledcurves x1 lc rgb '%s' title 'KV cache', ", unit, blue);
    fprintf(out, "'' using 1:($2/%g) with filledcurves x1 lc rgb '%s' title 'weights'", unit, teal);
    if (curves->capacity_bytes <= top)
        fprintf(out, ", %.9g with lines dt 2 lw 1.5 lc rgb 'black' title 'there is'",
                curves->capacity_bytes / unit);
    fputs("\nset yrange [*:*]\n", out);
}

static void write_step(FILE *out, const struct plan_curves *curves) {
    double last = curves->points[PLAN_CURVE_POINTS - 1].context_tokens, x = curves->crossover_tokens;
    bool crosses = isfinite(x) && x >= curves->points[0].context_tokens && x <= last;
    fputs("set title 'A decode step'\nset ylabel 'ms'\nset yrange [0:*]\n", out);
    if (crosses)
        fprintf(out,
                "set arrow 1 from %.9g, graph 0 to %.9g, graph 1 nohead dt 2 lw 1.5 lc rgb 'black'\n"
                "set label 1 'cache = weights' at %.9g, graph 0.3 rotate left offset -1.1, 0\n",
                x, x, x);
    fprintf(out, "plot $curve using 1:($9*1e3) with lines lw 3 lc rgb 'black' title 'step', ");
    fprintf(out, "'' using 1:($5*1e3) with lines lw 2 lc rgb '%s' title 'weights read', ", teal);
    fprintf(out, "'' using 1:($6*1e3) with lines lw 2 lc rgb '%s' title 'KV read', ", blue);
    fprintf(out, "'' using 1:($7*1e3) with lines lw 2 lc rgb '%s' title 'arithmetic', ", orange);
    fprintf(out, "'' using 1:($8*1e3) with lines lw 2 lc rgb '%s' title 'waiting, fixed costs'\n", grey);
    fputs("unset arrow 1\nunset label 1\nset yrange [*:*]\n", out);
}

static bool any(const struct plan_curves *curves, bool of_users) {
    for (size_t i = 0; i < PLAN_CURVE_POINTS; i++) {
        const struct plan_curve_point *p = &curves->points[i];
        if (of_users ? isfinite(p->users) && p->users >= 1 : isfinite(p->usd_per_million_output)) return true;
    }
    return false;
}

/* A picture that has nothing to show says so. */
static void write_empty(FILE *out, const char *why) {
    fprintf(out,
            "unset logscale y\nset yrange [0:1]\nset ylabel ''\nset label 2 '%s' at graph 0.5, 0.5 center\n"
            "plot NaN notitle\nunset label 2\nset yrange [*:*]\n",
            why);
}

static void write_users(FILE *out, const struct plan_curves *curves) {
    fputs("set title 'Users who fit in the same memory'\nset ylabel 'users'\nset logscale y\n", out);
    if (any(curves, true))
        fprintf(out, "plot $curve using 1:10 with lines lw 3 lc rgb '%s' notitle\n", blue);
    else
        write_empty(out, "not even one fits");
    fputs("unset logscale y\n", out);
}

static void write_cost(FILE *out, const struct plan_curves *curves) {
    fputs(
        "set title 'Cost of output, the machine full'\nset ylabel 'USD per million tokens'\nset logscale y\n",
        out);
    if (any(curves, false))
        fprintf(out, "plot $curve using 1:11 with lines lw 3 lc rgb '%s' notitle\n", orange);
    else
        write_empty(out, "no price is known (--usd-per-hour)");
    fputs("unset logscale y\n", out);
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
    fprintf(out,
            "set title 'What each remedy buys: times more users, times faster (1: as today)'\nset xlabel "
            "''\nset ylabel ''\nset "
            "logscale x 2\n"
            "set format x '%%g'\nset xrange [*:*]\nset yrange [%zu.7:-0.7]\nset ytics font ',11'\nset key "
            "top right\n"
            "plot $bars using (1):1:(1):2:($1-0.36):($1):ytic(4) with boxxyerror fill solid lc rgb '%s' "
            "title 'users "
            "who fit', '' using (1):1:(1):3:($1):($1+0.36) with boxxyerror fill solid lc rgb '%s' title "
            "'speed of a user'\n",
            n - 1, blue, orange);
}

static void write_script(FILE *out, const struct plan_curves *curves, const struct plan_what_if *table,
                         bool is_png) {
    fprintf(out, "set terminal %s size 1000,1300 font 'Sans,%d' noenhanced background 'white'\n",
            is_png ? "pngcairo" : "svg", is_png ? 11 : 13);
    write_points(out, curves);
    fputs("set multiplot title '", out);
    /* Within single quotes gnuplot knows one special sign; control characters end lines. */
    for (const char *c = curves->title; *c != '\0'; c++)
        if (*c == '\'')
            fputs("''", out);
        else if ((unsigned char)*c >= ' ')
            putc(*c, out);
    fputs("' font ',15'\nset grid lc rgb '#e5e7eb'\nset border 3 lc rgb '#6b7280'\nset tics nomirror\n"
          "set key top left reverse Left samplen 2\nset xlabel 'context, tokens'\nset logscale x 2\n"
          "set xtics (256, '1k' 1024, '4k' 4096, '16k' 16384, '64k' 65536, '256k' 262144, '1M' 1048576, '4M' "
          "4194304, '16M' "
          "16777216)\nset lmargin at screen 0.09\nset rmargin at screen 0.48\n",
          out);
    fprintf(out, "set xrange [%.0f:%.0f]\n", curves->points[0].context_tokens,
            curves->points[PLAN_CURVE_POINTS - 1].context_tokens);
    fputs("set tmargin at screen 0.93\nset bmargin at screen 0.73\n", out);
    write_memory(out, curves);
    fputs("set lmargin at screen 0.59\nset rmargin at screen 0.98\n", out);
    write_step(out, curves);
    fputs("set tmargin at screen 0.64\nset bmargin at screen 0.44\nset lmargin at screen 0.09\nset rmargin "
          "at screen 0.48\n",
          out);
    write_users(out, curves);
    fputs("set lmargin at screen 0.59\nset rmargin at screen 0.98\n", out);
    write_cost(out, curves);
    fputs("set tmargin at screen 0.36\nset bmargin at screen 0.04\nset lmargin at screen 0.36\nset rmargin "
          "at screen 0.98\n"
          "set xtics auto\n",
          out);
    write_remedies(out, table);
    fputs("unset multiplot\n", out);
}

/* Reads the script from one file and writes the picture to another: no shell, no names in the script. */
static int run_gnuplot(FILE *script, FILE *picture) {
    posix_spawn_file_actions_t actions;
    if (posix_spawn_file_actions_init(&actions) != 0) return ERR(NO_MEMORY, "no memory to start gnuplot");
    posix_spawn_file_actions_adddup2(&actions, fileno(script), STDIN_FILENO);
    posix_spawn_file_actions_adddup2(&actions, fileno(picture), STDOUT_FILENO);
    char name[] = "gnuplot", from[] = "-";
    char *const arguments[] = {name, from, NULL};
    pid_t child;
    int failure = posix_spawnp(&child, name, &actions, NULL, arguments, environ), status = 0;
    posix_spawn_file_actions_destroy(&actions);
    if (failure != 0)
        return ERR(UNSUPPORTED, "pictures need gnuplot: %s (apt install gnuplot-nox, or --plot FILE.html)",
                   strerror(failure));
    while (waitpid(child, &status, 0) < 0)
        if (errno != EINTR) return ERR(IO, "gnuplot: %s", strerror(errno));
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) return ERR(IO, "gnuplot failed (it said why above)");
    return 0;
}

int plan_plot(const struct plan_curves *curves, const struct plan_what_if *table, const char *path,
              bool is_png) {
    FILE *script = tmpfile(), *picture = NULL;
    int result = 0;
    if (script == NULL) return ERR(IO, "no temporary file for gnuplot: %s", strerror(errno));
    write_script(script, curves, table, is_png);
    if (fflush(script) != 0 || fseek(script, 0, SEEK_SET) != 0)
        result = ERR(IO, "writing for gnuplot: %s", strerror(errno));
    if (result == 0 && (picture = fopen(path, "we")) == NULL)
        result = ERR(IO, "%s: %s", path, strerror(errno));
    if (result == 0) result = run_gnuplot(script, picture);
    fclose(script);
    if (picture != NULL && fclose(picture) != 0 && result == 0)
        result = ERR(IO, "%s: %s", path, strerror(errno));
    if (picture != NULL && result < 0) unlink(path);
    return result;
}
