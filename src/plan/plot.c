/* Pictures by gnuplot: one alone, or all on a sheet: two by two the curves, below them the remedies. */
#include "plan/plot.h"

#include <errno.h>
#include <spawn.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

/* Edges of a picture within the whole, 0 to 1 from the lower left corner. */
struct edges {
    double left, right, top, bottom;
};
static const struct edges on_sheet[] = {
    [PLAN_PICTURE_memory] = {0.1, 0.48, 0.915, 0.725},   [PLAN_PICTURE_step] = {0.6, 0.98, 0.915, 0.725},
    [PLAN_PICTURE_users] = {0.1, 0.48, 0.625, 0.435},    [PLAN_PICTURE_cost] = {0.6, 0.98, 0.625, 0.435},
    [PLAN_PICTURE_remedies] = {0.38, 0.97, 0.345, 0.05},
};
static const struct edges alone = {0.14, 0.97, 0.79, 0.16}, remedies_alone = {0.45, 0.96, 0.885, 0.115};

static void write_edges(FILE *out, struct edges edges) {
    fprintf(out, "set lmargin at screen %g\nset rmargin at screen %g\nset tmargin at screen %g\n", edges.left,
            edges.right, edges.top);
    fprintf(out, "set bmargin at screen %g\n", edges.bottom);
}

/* Within single quotes gnuplot knows one special sign; control characters end lines. */
static void write_quoted(FILE *out, const char *text) {
    putc('\'', out);
    for (const char *c = text; *c != '\0'; c++)
        if (*c == '\'')
            fputs("\'\'", out);
        else if ((unsigned char)*c >= ' ')
            putc(*c, out);
    putc('\'', out);
}

/* Above the middle of the one picture, or of the sheet. */
static void write_title(FILE *out, const char *title, const struct edges *edges) {
    fputs(edges == NULL ? "set multiplot title " : "set multiplot\nset label 9 ", out);
    write_quoted(out, title);
    if (edges == NULL)
        fputs(" font ',16'\n", out);
    else
        fprintf(out, " at screen %g, screen 0.955 center\n", (edges->left + edges->right) / 2);
}

static void write_axes(FILE *out, const struct plan_curves *curves) {
    fputs("set grid lc rgb '#e5e7eb'\nset border 3 lc rgb '#6b7280'\nset tics nomirror\nset title offset 0, "
          "0.9\n"
          "set key top left reverse Left samplen 2\nset xlabel 'context, tokens'\nset logscale x 2\n"
          "set xtics (256, '1k' 1024, '4k' 4096, '16k' 16384, '64k' 65536, '256k' 262144, '1M' 1048576, '4M' "
          "4194304, '16M' 16777216)\n",
          out);
    fprintf(out, "set xrange [%.0f:%.0f]\n", curves->points[0].context_tokens,
            curves->points[PLAN_CURVE_POINTS - 1].context_tokens);
}

static void write_script(FILE *out, const struct plan_curves *curves, const struct plan_what_if *table,
                         bool is_png, enum plan_picture picture) {
    const bool is_sheet = picture == PLAN_PICTURE_sheet, is_tall = picture == PLAN_PICTURE_remedies;
    fprintf(out, "set terminal %s size %s font 'Sans,%d' noenhanced background 'white'\n",
            is_png ? "pngcairo" : "svg",
            is_sheet  ? "1000,1300"
            : is_tall ? "720,640"
                      : "720,420",
            is_png ? 11 : 14);
    plan_plot_points(out, curves);
    write_title(out, curves->title, is_sheet ? NULL : is_tall ? &remedies_alone : &alone);
    write_axes(out, curves);
    for (enum plan_picture each = 0; each < PLAN_PICTURE_sheet; each++) {
        if (!is_sheet && each != picture) continue;
        write_edges(out, is_sheet ? on_sheet[each] : is_tall ? remedies_alone : alone);
        if (each == PLAN_PICTURE_remedies) fputs("set xtics auto\n", out);
        plan_plot_picture(out, each, curves, table);
    }
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
              bool is_png, enum plan_picture picture) {
    FILE *script = tmpfile(), *drawn = NULL;
    int result = 0;
    if (script == NULL) return ERR(IO, "no temporary file for gnuplot: %s", strerror(errno));
    write_script(script, curves, table, is_png, picture);
    if (fflush(script) != 0 || fseek(script, 0, SEEK_SET) != 0)
        result = ERR(IO, "writing for gnuplot: %s", strerror(errno));
    if (result == 0 && (drawn = fopen(path, "we")) == NULL) result = ERR(IO, "%s: %s", path, strerror(errno));
    if (result == 0) result = run_gnuplot(script, drawn);
    fclose(script);
    if (drawn != NULL && fclose(drawn) != 0 && result == 0) result = ERR(IO, "%s: %s", path, strerror(errno));
    if (drawn != NULL && result < 0) unlink(path);
    return result;
}
