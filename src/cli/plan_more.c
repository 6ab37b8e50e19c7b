#include "cli/plan_more.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "cli/cli.h"
#include "cli/plan_html.h"
#include "cli/plan_print.h"
#include "plan/curves.h"
#include "plan/what_if_json.h"

enum {
    OPTION_WHAT_IF = 512,
    OPTION_ECONOMICS,
    OPTION_PLOT,
    OPTION_PICTURE,
    OPTION_WINDOW,
    OPTION_BUDGET_SHARE,
    OPTION_SHARING,
    OPTION_ACTIVE,
    OPTION_ACCEPTANCE,
    OPTION_SELECTED,
    OPTION_RETRIEVED,
    OPTION_THINK,
    OPTION_TURN,
    OPTION_PRICE,
    OPTION_FLAT_PRICE,
    OPTION_FLAT_HOURS,
    OPTION_FREE_TIER,
};

static const struct argp_option options[] = {
    {0, 0, 0, 0, "What remedies buy:", 5},
    {"what-if", OPTION_WHAT_IF, 0, 0, "a table: each remedy against the growing cache, and the best two", 5},
    {"if-window", OPTION_WINDOW, "TOKENS", 0, "that a window keeps (default 4096)", 5},
    {"if-keep", OPTION_BUDGET_SHARE, "SHARE", 0, "of the context that eviction keeps (default 0.25)", 5},
    {"if-shared", OPTION_SHARING, "SHARE", 0, "of the context that users have in common (default 0.5)", 5},
    {"if-active", OPTION_ACTIVE, "SHARE", 0, "of its time that a conversation computes (default 0.25)", 5},
    {"if-accepted", OPTION_ACCEPTANCE, "SHARE", 0, "of drafted tokens that are accepted (default 0.7)", 5},
    {"if-selected", OPTION_SELECTED, "TOKENS", 0, "that attention reads of the context (default 2048)", 5},
    {"if-retrieved", OPTION_RETRIEVED, "TOKENS", 0, "of text in place of the context (default 4096)", 5},
    {0, 0, 0, 0, "What remembering costs:", 6},
    {"economics", OPTION_ECONOMICS, 0, 0, "money by the length of the context", 6},
    {"think", OPTION_THINK, "SECONDS", 0, "between two turns, the cache held (default 60)", 6},
    {"turn", OPTION_TURN, "TOKENS", 0, "new tokens of a turn (default 256)", 6},
    {"price", OPTION_PRICE, "USD", 0, "of a million output tokens: how long a context may be", 6},
    {"flat-price", OPTION_FLAT_PRICE, "USD", 0, "a user and month (default 20)", 6},
    {"flat-hours", OPTION_FLAT_HOURS, "HOURS", 0, "that such a user uses (default 40)", 6},
    {"free-tier", OPTION_FREE_TIER, "USD", 0, "a user and month may cost: how long a context may be", 6},
    {0, 0, 0, 0, "Pictures:", 7},
    {"plot", OPTION_PLOT, "FILE", 0, "draw curves and remedies: FILE.svg, FILE.png (gnuplot) or FILE.html",
     7},
    {"picture", OPTION_PICTURE, "NAME", 0,
     "one alone: memory, step, users, cost or remedies (default: all on a sheet)", 7},
    {0},
};

static double parse_share(struct argp_state *state, const char *what, const char *text) {
    double value = (double)cli_parse_float(state, what, text);
    if (!(value > 0 && value <= 1))
        argp_failure(state, EXIT_USAGE, 0, "%s %s is not above 0 and at most 1", what, text);
    return value;
}

static double parse_above(struct argp_state *state, const char *what, const char *text) {
    double value = (double)cli_parse_float(state, what, text);
    if (!(value > 0 && value <= 1e9))
        argp_failure(state, EXIT_USAGE, 0, "%s %s is no number above 0", what, text);
    return value;
}

static bool ends_with(const char *text, const char *end) {
    size_t length = strlen(text), of_end = strlen(end);
    return length > of_end && strcmp(text + length - of_end, end) == 0;
}

static enum plan_picture parse_picture(struct argp_state *state, const char *text) {
    static const char *const names[] = {
#define X(name, meaning) #name,
        PLAN_PICTURE_LIST(X)
#undef X
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(text, names[i]) == 0) return (enum plan_picture)i;
    argp_failure(state, EXIT_USAGE, 0, "--picture '%s' is not memory, step, users, cost or remedies", text);
    return PLAN_PICTURE_sheet;
}

static error_t parse(int key, char *text, struct argp_state *state) {
    struct plan_more *more = state->input;
    switch (key) {
    case OPTION_WHAT_IF: more->what_if = true; return 0;
    case OPTION_ECONOMICS: more->economics = true; return 0;
    case OPTION_PLOT:
        more->plot = text;
        if (!ends_with(text, ".svg") && !ends_with(text, ".png") && !ends_with(text, ".html"))
            argp_failure(state, EXIT_USAGE, 0, "--plot '%s' ends in none of .svg, .png and .html", text);
        return 0;
    case OPTION_PICTURE: more->picture = parse_picture(state, text); return 0;
    case ARGP_KEY_END:
        if (more->picture != PLAN_PICTURE_sheet && (more->plot == NULL || ends_with(more->plot, ".html")))
            argp_failure(state, EXIT_USAGE, 0, "--picture goes with --plot FILE.svg or FILE.png");
        return 0;
    case OPTION_WINDOW: more->remedies.window_tokens = parse_above(state, "--if-window", text); return 0;
    case OPTION_BUDGET_SHARE: more->remedies.budget_share = parse_share(state, "--if-keep", text); return 0;
    case OPTION_SHARING: more->remedies.hit_rate = parse_share(state, "--if-shared", text); return 0;
    case OPTION_ACTIVE: more->remedies.active_share = parse_share(state, "--if-active", text); return 0;
    case OPTION_ACCEPTANCE: more->remedies.acceptance = parse_share(state, "--if-accepted", text); return 0;
    case OPTION_SELECTED:
        more->remedies.selected_tokens = parse_above(state, "--if-selected", text);
        return 0;
    case OPTION_RETRIEVED:
        more->remedies.retrieved_tokens = parse_above(state, "--if-retrieved", text);
        return 0;
    case OPTION_THINK: more->money.think_seconds = parse_above(state, "--think", text); return 0;
    case OPTION_TURN: more->money.turn_tokens = parse_above(state, "--turn", text); return 0;
    case OPTION_PRICE: more->money.price = parse_above(state, "--price", text); return 0;
    case OPTION_FLAT_PRICE: more->money.flat_price = parse_above(state, "--flat-price", text); return 0;
    case OPTION_FLAT_HOURS: more->money.flat_hours = parse_above(state, "--flat-hours", text); return 0;
    case OPTION_FREE_TIER: more->money.free_tier = parse_above(state, "--free-tier", text); return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp argp = {options, parse, NULL, NULL, NULL, NULL, NULL};
const struct argp_child plan_more_argp_children[] = {{&argp, 0, NULL, 0}, {0}};

struct plan_more plan_more_default(void) {
    return (struct plan_more){.picture = PLAN_PICTURE_sheet,
                              .remedies = plan_remedy_opts_default(),
                              .money = plan_economics_opts_default()};
}

static int draw(const struct plan *plan, const struct plan_what_if *table, const struct plan_more *more) {
    const char *path = more->plot;
    struct plan_curves *curves = mem_alloc(1, sizeof *curves);
    if (curves == NULL) return ERR_NO_MEMORY;
    plan_curves_of(curves, plan->model, plan->hardware, &plan->load);
    int result = ends_with(path, ".html")
                     ? plan_html_write(curves, table, path)
                     : plan_plot(curves, table, path, ends_with(path, ".png"), more->picture);
    mem_free(curves);
    return result;
}

static void tell_economics(const struct plan_more *more, const struct plan *plan,
                           const struct plan_catalog *catalog, json_t *object) {
    struct plan_economics economics;
    plan_economics_of(&economics, plan->model, plan->hardware, &plan->load, &more->money, NULL);
    if (object != NULL)
        json_object_set_new(object, "economics", plan_economics_json(&economics));
    else
        plan_print_economics(&economics, &more->money, plan->hardware, &plan->load, catalog);
}

int plan_more_run(const struct plan_more *more, const struct plan *plan, const struct plan_catalog *catalog,
                  json_t *object) {
    struct plan_what_if *table = mem_alloc(1, sizeof *table);
    if (table == NULL) return ERR_NO_MEMORY;
    if (more->what_if || more->plot != NULL)
        plan_what_if_of(table, plan->model, plan->hardware, &plan->load, &more->remedies, catalog);
    if (more->what_if && object != NULL)
        json_object_set_new(object, "what_if", plan_what_if_json(table));
    else if (more->what_if)
        plan_print_what_if(table);
    if (more->economics) tell_economics(more, plan, catalog, object);
    int result = more->plot != NULL ? draw(plan, table, more) : 0;
    mem_free(table);
    return result;
}
