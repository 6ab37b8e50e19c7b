/* cabinet plan: what a conversation will cost to remember, before anybody buys a machine. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/mem.h"
#include "cli/cli.h"
#include "cli/plan_batch.h"
#include "cli/plan_here.h"
#include "cli/plan_more.h"
#include "cli/plan_page.h"
#include "cli/plan_subject.h"
#include "cli/verify.h"
#include "plan/plan_json.h"
#include "plan/reach.h"

enum {
    OPTION_JSON = 256,
    OPTION_CONTEXT,
    OPTION_USERS,
    OPTION_KV,
    OPTION_WEIGHTS,
    OPTION_PROMPT,
    OPTION_OUTPUT,
    OPTION_SHARED,
    OPTION_HIT_RATE,
    OPTION_HOLD,
    OPTION_TP,
    OPTION_PP,
    OPTION_EP,
    OPTION_DP,
    OPTION_CP,
    OPTION_REPLICAS,
    OPTION_ENGINE,
    OPTION_USD,
    OPTION_SOLVE,
    OPTION_TTFT,
    OPTION_ITL,
    OPTION_BUDGET,
    OPTION_CATALOG,
    OPTION_LIST,
    OPTION_BATCH,
    OPTION_VERIFY, /* taken before the others are looked at */
};

static const struct argp_option options[] = {
    {0, 0, 0, 0, "The machine:", 1},
    {"hardware", 'H', "H", 0, "a name of the catalog, a JSON file, or 'this': this machine, calibrated", 1},
    {"tp", OPTION_TP, "N", 0, "tensor parallel: devices that share each layer (default 1)", 1},
    {"pp", OPTION_PP, "N", 0, "pipeline parallel: devices with layers of their own (default 1)", 1},
    {"ep", OPTION_EP, "N", 0,
     "expert parallel: of the tp x dp devices, those that divide the experts (default 1)", 1},
    {"dp", OPTION_DP, "N", 0, "data parallel: groups with users of their own (default 1)", 1},
    {"cp", OPTION_CP, "N", 0, "context parallel: devices that share each cache by tokens (default 1)", 1},
    {"replicas", OPTION_REPLICAS, "N", 0, "copies of all of it (default 1)", 1},
    {"engine", OPTION_ENGINE, "CLASS", 0,
     "whose software: cabinet, llama_cpp, server, ideal, ... (default: what usually runs there)", 1},
    {"usd-per-hour", OPTION_USD, "USD", 0, "price of one device (default: the catalog's lowest offer)", 1},
    {0, 0, 0, 0, "The load:", 2},
    {"context", 'c', "TOKENS", 0, "that each user has, such as 8192 or 128k (default 8192)", 2},
    {"users", 'u', "N", 0, "at the same time (default 1)", 2},
    {"prompt", OPTION_PROMPT, "TOKENS", 0, "of a request (default: the context but the answer)", 2},
    {"output", 'o', "TOKENS", 0, "of an answer (default 512)", 2},
    {"shared", OPTION_SHARED, "TOKENS", 0, "in front of all contexts, stored once (default 0)", 2},
    {"hit-rate", OPTION_HIT_RATE, "RATE", 0, "of the prompt that is cached, 0 to 1 (default 0)", 2},
    {"hold", OPTION_HOLD, "SECONDS", 0,
     "that a cached prompt is kept for, which its price pays (default 300)", 2},
    {"kv", OPTION_KV, "FORMAT", 0,
     "how the cache is stored: f16, bf16, f8, q8, k8v4, q4, q3, ... (default f16)", 2},
    {"weights", OPTION_WEIGHTS, "FORMAT", 0,
     "how weights are stored: bf16, fp8, q8_0, q4_k_m, mxfp4, ... (default: as a GGUF stores them, else "
     "bf16)",
     2},
    {0, 0, 0, 0, "The other way round:", 3},
    {"solve", OPTION_SOLVE, "WHAT", 0, "max-context, max-users, cheapest or slo", 3},
    {"ttft", OPTION_TTFT, "SECONDS", 0, "promised time to the first token", 3},
    {"itl", OPTION_ITL, "SECONDS", 0, "promised time between tokens", 3},
    {"budget", OPTION_BUDGET, "USD", 0, "an hour, at most", 3},
    {0, 0, 0, 0, "Other:", 8},
    {"catalog", OPTION_CATALOG, "DIR", 0, "adds models.json, hardware.json, prices.json of this folder", 8},
    {"batch", OPTION_BATCH, "FILE", 0,
     "predict each line of a JSON Lines file ('-': standard input) of published measurements (docs/json.md)",
     8},
    {"list", OPTION_LIST, "WHAT", 0, "models or hardware: all names", 8},
    {"verify", OPTION_VERIFY, 0, 0,
     "predict MODEL on this machine, run it, compare: see cabinet plan --verify --help", 8},
    {"json", OPTION_JSON, 0, 0, "print one JSON object (docs/json.md)", 8},
    {0},
};

struct plan_opts {
    const char *model, *hardware, *catalog, *list, *batch;
    struct plan_load load;
    struct plan_goal goal;
    struct plan_more more;
    bool is_json, weights_given, output_given, context_given, solves;
    enum plan_solve solve;
};

/* "128k" is 128 x 1024. */
static double parse_tokens(struct argp_state *state, const char *what, const char *text) {
    char *end;
    const double value = strtod(text, &end);
    double unit = 1;
    if (*end == 'k' || *end == 'K') unit = 1024;
    if (*end == 'M') unit = 1024 * 1024;
    if (unit > 1) end++;
    if (end == text || *end != '\0' || !(value >= 0) || value * unit > 1e9 ||
        value * unit != floor(value * unit))
        argp_failure(state, EXIT_USAGE, 0, "%s '%s' is no number of tokens such as 8192, 128k or 1M", what,
                     text);
    return value * unit;
}

static double parse_amount(struct argp_state *state, const char *what, const char *text) {
    char *end;
    const double value = strtod(text, &end);
    if (end == text || *end != '\0' || !isfinite(value) || value <= 0)
        argp_failure(state, EXIT_USAGE, 0, "%s '%s' is no number above 0", what, text);
    return value;
}

static enum plan_engine parse_engine(struct argp_state *state, const char *text) {
    static const char *const names[] = {
#define X(name, meaning) #name,
        PLAN_ENGINE_LIST(X)
#undef X
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (plan_names_equal(text, names[i])) return (enum plan_engine)i;
    argp_failure(state, EXIT_USAGE, 0,
                 "--engine '%s' is not one of "
#define X(name, meaning) #name ", "
                 PLAN_ENGINE_LIST(X) "as in cabinet plan --help"
#undef X
                 ,
                 text);
    return PLAN_ENGINE_ideal;
}

static enum plan_solve parse_solve(struct argp_state *state, const char *text) {
    static const char *const words[] = {
#define X(name, word, meaning) word,
        PLAN_SOLVE_LIST(X)
#undef X
    };
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (strcmp(text, words[i]) == 0) return (enum plan_solve)i;
    argp_failure(state, EXIT_USAGE, 0, "--solve '%s' is not max-context, max-users, cheapest or slo", text);
    return PLAN_SOLVE_slo;
}

static void parse_formats(int key, const char *text, struct argp_state *state, struct plan_opts *opts) {
    if (key == OPTION_KV) {
        opts->load.kv = plan_kv_format_find(text);
        if (opts->load.kv == NULL)
            argp_failure(state, EXIT_USAGE, 0, "--kv '%s' is not one of %s", text, plan_kv_format_names());
        return;
    }
    opts->load.weights = plan_weight_format_find(text);
    opts->weights_given = true;
    if (opts->load.weights == NULL)
        argp_failure(state, EXIT_USAGE, 0, "--weights '%s' is not one of %s", text,
                     plan_weight_format_names());
}

static uint32_t *layout_member(struct plan_load *load, int key) {
    switch (key) {
    case OPTION_TP: return &load->tp;
    case OPTION_PP: return &load->pp;
    case OPTION_EP: return &load->ep;
    case OPTION_DP: return &load->dp;
    case OPTION_CP: return &load->cp;
    case OPTION_REPLICAS: return &load->replicas;
    default: return NULL;
    }
}

/* Prompt, answer and context go together: what is not given follows from what is. */
static void complete_lengths(struct argp_state *state, struct plan_opts *opts) {
    struct plan_load *load = &opts->load;
    const bool prompt_given = opts->goal.prompt_is_given;
    if (!opts->output_given && opts->context_given && load->output_tokens > load->context_tokens)
        load->output_tokens = load->context_tokens;
    if (prompt_given && !opts->context_given)
        load->context_tokens = load->prompt_tokens + load->output_tokens;
    if (!prompt_given && load->output_tokens > load->context_tokens)
        argp_failure(state, EXIT_USAGE, 0, "an answer of %.0f tokens does not fit into a context of %.0f",
                     load->output_tokens, load->context_tokens);
    if (!prompt_given) load->prompt_tokens = load->context_tokens - load->output_tokens;
    if (load->context_tokens < 1) argp_failure(state, EXIT_USAGE, 0, "--context must be at least 1");
}

static void parse_end(struct argp_state *state, struct plan_opts *opts) {
    if (opts->list != NULL) {
        if (strcmp(opts->list, "models") != 0 && strcmp(opts->list, "hardware") != 0)
            argp_failure(state, EXIT_USAGE, 0, "--list '%s' is not models or hardware", opts->list);
        return;
    }
    if (opts->batch != NULL) {
        if (opts->model != NULL) argp_error(state, "--batch has its models in FILE");
        return;
    }
    if (opts->model == NULL) argp_error(state, "MODEL is missing");
    if (opts->solves && opts->solve == PLAN_SOLVE_slo && opts->goal.promise.ttft_seconds == 0 &&
        opts->goal.promise.itl_seconds == 0)
        argp_failure(state, EXIT_USAGE, 0, "--solve slo needs --ttft or --itl");
    if (opts->solves && (opts->more.what_if || opts->more.economics || opts->more.plot != NULL))
        argp_failure(state, EXIT_USAGE, 0,
                     "--solve does not go with --what-if, --economics and --plot: plan what it finds");
    complete_lengths(state, opts);
}

static error_t parse_machine(int key, char *argument, struct argp_state *state, struct plan_opts *opts) {
    switch (key) {
    case 'H': opts->hardware = argument; return 0;
    case OPTION_ENGINE:
        opts->load.engine = parse_engine(state, argument);
        opts->goal.engine_is_given = true;
        return 0;
    case OPTION_USD:
        opts->load.usd_per_device_hour = parse_amount(state, "--usd-per-hour", argument);
        return 0;
    case OPTION_CATALOG: opts->catalog = argument; return 0;
    case OPTION_LIST: opts->list = argument; return 0;
    case OPTION_BATCH: opts->batch = argument; return 0;
    case OPTION_JSON: opts->is_json = true; return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

static error_t parse(int key, char *argument, struct argp_state *state) {
    struct plan_opts *opts = state->input;
    struct plan_load *load = &opts->load;
    uint32_t *ranks = layout_member(load, key);
    if (ranks != NULL) {
        *ranks = (uint32_t)cli_parse_count(state, "a layout's number", argument, 1, 1000000);
        return 0;
    }
    switch (key) {
    case ARGP_KEY_INIT: state->child_inputs[0] = &opts->more; return 0;
    case 'c':
        load->context_tokens = parse_tokens(state, "--context", argument);
        opts->context_given = true;
        return 0;
    case 'u': load->users = (uint32_t)cli_parse_count(state, "--users", argument, 1, 100000000); return 0;
    case OPTION_PROMPT:
        load->prompt_tokens = parse_tokens(state, "--prompt", argument);
        opts->goal.prompt_is_given = true;
        return 0;
    case 'o':
        load->output_tokens = parse_tokens(state, "--output", argument);
        opts->output_given = true;
        return 0;
    case OPTION_SHARED: load->shared_tokens = parse_tokens(state, "--shared", argument); return 0;
    case OPTION_HIT_RATE:
        load->hit_rate = (double)cli_parse_float(state, "--hit-rate", argument);
        if (load->hit_rate < 0 || load->hit_rate > 1)
            argp_failure(state, EXIT_USAGE, 0, "--hit-rate %s is not within 0 and 1", argument);
        return 0;
    case OPTION_HOLD: load->hold_seconds = parse_amount(state, "--hold", argument); return 0;
    case OPTION_KV:
    case OPTION_WEIGHTS: parse_formats(key, argument, state, opts); return 0;
    case OPTION_SOLVE:
        opts->solve = parse_solve(state, argument);
        opts->solves = true;
        return 0;
    case OPTION_TTFT: opts->goal.promise.ttft_seconds = parse_amount(state, "--ttft", argument); return 0;
    case OPTION_ITL: opts->goal.promise.itl_seconds = parse_amount(state, "--itl", argument); return 0;
    case OPTION_BUDGET: opts->goal.usd_per_hour = parse_amount(state, "--budget", argument); return 0;
    case ARGP_KEY_ARG:
        if (state->arg_num > 0) argp_error(state, "one MODEL is enough; '%s' is too much", argument);
        opts->model = argument;
        return 0;
    case ARGP_KEY_END: parse_end(state, opts); return 0;
    default: return parse_machine(key, argument, state, opts);
    }
}

static const struct argp argp = {
    options,
    parse,
    "MODEL\n--batch FILE",
    "Tell what a load of a model takes on a machine: memory, seconds, money. MODEL is a name of the catalog "
    "(--list models), a GGUF file, a Hugging Face config.json, or a model of the cache folder.\v"
    "Examples:\n"
    "  cabinet plan llama-3.1-8b --hardware rtx4090 --context 32k --weights q4_k_m\n"
    "  cabinet plan llama-3.1-70b --hardware h100-sxm --tp 4 --users 64 --context 16k --kv f8 --weights fp8\n"
    "  cabinet plan qwen3-32b --hardware h100-sxm --users 32 --solve max-context --itl 0.05\n"
    "  cabinet plan deepseek-v3 --users 256 --context 64k --weights fp8 --solve cheapest --itl 0.1\n"
    "  cabinet plan llama-3.1-8b --hardware h100-sxm --users 8 --context 64k --what-if\n"
    "  cabinet plan llama-3.1-8b --hardware h100-sxm --economics --price 2 --plot plan.html\n"
    "  cabinet plan --batch measurements.jsonl",
    plan_more_argp_children,
    NULL,
    NULL};

static void print_json(json_t *object) {
    json_dumpf(object, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(12));
    putchar('\n');
    json_decref(object);
}

static json_t *answer_json(const struct plan_answer *answer) {
    json_t *object = plan_json(&answer->plans[0]), *others = json_array();
    for (size_t i = 1; i < answer->n; i++) json_array_append_new(others, plan_json(&answer->plans[i]));
    json_object_set_new(object, "solved_limit", json_string(plan_limit_name(answer->limit)));
    json_object_set_new(object, "others", others);
    return object;
}

/* Everything that a run needs: too much for the stack. */
struct work {
    struct plan_catalog catalog;
    struct plan_model model;
    struct plan_hardware hardware;
    struct plan plan;
    struct plan_answer answer;
    struct plan_here here;
};

/* What nobody asked for and the plan took. */
static void state_choices(struct plan *plan, const struct plan_opts *opts, bool hardware_is_assumed) {
    struct plan_assumptions *assumptions = &plan->assumptions;
    if (hardware_is_assumed && !(opts->solves && opts->solve == PLAN_SOLVE_cheapest))
        plan_assume(assumptions, "%s, as --hardware names none", plan->hardware->id);
    if (!opts->weights_given && plan->load.weights != NULL)
        plan_assume(assumptions, "weights in %s, as --weights names no format", plan->load.weights->name);
    if (!opts->goal.engine_is_given)
        plan_assume(assumptions, "software of class %s, as --engine names none",
                    plan_engine_name(plan->load.engine));
}

static int solve(struct work *work, const struct plan_opts *opts, bool hardware_is_assumed) {
    TRY(plan_solve(&work->answer, opts->solve, &work->catalog, &work->plan, &opts->goal));
    for (size_t i = 0; i < work->answer.n; i++)
        state_choices(&work->answer.plans[i], opts, hardware_is_assumed);
    if (opts->is_json)
        print_json(answer_json(&work->answer));
    else
        plan_page_print_answer(&work->answer, opts->solve);
    return 0;
}

/* Whether Cabinet itself can be predicted: of a file that it runs, here. Else nothing is said of it. */
static bool has_here(struct work *work, const struct plan_opts *opts) {
    char path[4096];
    return work->model.file_bytes > 0 && opts->hardware != NULL && strcmp(opts->hardware, "this") == 0 &&
           cli_model_path(opts->model, path, sizeof path) == 0 &&
           plan_here_of(&work->here, path, &opts->load) == 0;
}

static int print_plan(struct work *work, const struct plan_opts *opts) {
    const bool is_here = has_here(work, opts);
    if (!opts->is_json) {
        plan_page_print(&work->plan);
        if (is_here) plan_here_print(&work->here);
        return plan_more_run(&opts->more, &work->plan, &work->catalog, NULL);
    }
    json_t *object = plan_json(&work->plan);
    if (is_here) json_object_set_new(object, "here", plan_here_json(&work->here));
    int result = plan_more_run(&opts->more, &work->plan, &work->catalog, object);
    if (result == 0)
        print_json(object);
    else
        json_decref(object);
    return result;
}

static int run(struct work *work, const struct plan_opts *opts) {
    bool is_assumed;
    struct plan_load load = opts->load;
    TRY(plan_catalog_open(&work->catalog, opts->catalog));
    if (opts->list != NULL) {
        if (strcmp(opts->list, "models") == 0)
            plan_page_list_models(&work->catalog);
        else
            plan_page_list_hardware(&work->catalog);
        return 0;
    }
    if (opts->batch != NULL) return plan_batch_answer_file(&work->catalog, opts->batch);
    TRY(plan_subject_model(&work->model, &work->catalog, opts->model));
    TRY(plan_subject_hardware(&work->hardware, &work->catalog, opts->hardware, &is_assumed));
    if (work->model.file_bytes > 0 && !opts->weights_given) load.weights = NULL;
    if (!opts->goal.engine_is_given) load.engine = plan_usual_engine(&work->hardware, &load);
    work->plan = (struct plan){.model = &work->model, .hardware = &work->hardware, .load = load};
    if (opts->solves) return solve(work, opts, is_assumed);
    TRY(plan_make(&work->plan, &work->model, &work->hardware, &load, &opts->goal.promise));
    state_choices(&work->plan, opts, is_assumed);
    return print_plan(work, opts);
}

/* Takes --verify out of the arguments; false if it is not there. */
static bool take_verify(int *argc, char **argv) {
    for (int i = 1; i < *argc; i++) {
        if (strcmp(argv[i], "--verify") != 0) continue;
        memmove(argv + i, argv + i + 1, (size_t)(*argc - i) * sizeof *argv); /* the NULL behind them too */
        --*argc;
        return true;
    }
    return false;
}

int cli_plan(int argc, char **argv) {
    static char verify_name[] = "plan --verify";
    if (take_verify(&argc, argv)) {
        argv[0] = verify_name;
        return verify_main(argc, argv);
    }
    struct plan_opts opts = {.load = plan_load_default(), .more = plan_more_default()};
    cli_parse(&argp, argc, argv, &opts);
    struct work *work = mem_alloc(1, sizeof *work);
    int result = work == NULL ? ERR_NO_MEMORY : run(work, &opts);
    if (work != NULL) plan_catalog_close(&work->catalog);
    mem_free(work);
    return result < 0 ? cli_fail() : EXIT_SUCCESS;
}
