/* cabinet plan --verify: predicts what steps of a model cost on this machine, runs them, and says how far off
 * it was.
 *
 * The machine's calibration alone predicts first. Then half of the cells correct it by a factor for each part
 * of a step (plan/self_fit.h), and the other half judge what it predicts so. What is corrected and what
 * judges is measured in the same minutes, format by format in turn, as machines wander. */
#include "cli/verify.h"

#include <stdio.h>
#include <unistd.h>

#include "base/mem.h"
#include "cli/calibrate.h"
#include "cli/cli.h"

enum { OPTION_JSON = 256, OPTION_QUICK, OPTION_THREADS };

static const struct argp_option options[] = {
    {"quick", OPTION_QUICK, 0, 0, "a smaller grid and fewer rounds", 0},
    {"threads", OPTION_THREADS, "T", 0, "threads (default: all cores)", 0},
    {"json", OPTION_JSON, 0, 0, "print one JSON object (docs/json.md)", 0},
    {0},
};

static error_t parse(int key, char *argument, struct argp_state *state) {
    struct verify_opts *opts = state->input;
    switch (key) {
    case OPTION_QUICK: opts->is_quick = true; return 0;
    case OPTION_JSON: opts->is_json = true; return 0;
    case OPTION_THREADS:
        opts->n_threads = (unsigned)cli_parse_count(state, "--threads", argument, 1, 1024);
        return 0;
    default: return cli_parse_model(key, argument, state, &opts->model);
    }
}

static const struct argp argp = {
    options,
    parse,
    "MODEL",
    "Predict memory, step time, prefill time and time to first token of a model on this machine over a grid "
    "of "
    "contexts, users, KV formats and prompts in common; then run them and print predicted, measured, error. "
    "Measures the machine first if `cabinet calibrate` has not. The result is kept in the cache folder: "
    "`cabinet "
    "plan` on this machine states its own error from then on.\v"
    "Examples:\n"
    "  cabinet plan --verify smollm2 --quick\n"
    "  cabinet plan --verify model.gguf --json",
    NULL,
    NULL,
    NULL};

/* The kept calibration, or a new one where there is none that fits. */
static int load_calibration(struct verify *verify) {
    enum { MEASURE_NS = 4 * 1000 * 1000, PASSES = 3 };
    int result = calibrate_load(&verify->calibration, team_size(verify->team));
    if (result != ERR_NOT_FOUND && result != ERR_UNSUPPORTED) return result;
    struct calibrator calibrator = {.team = verify->team,
                                    .kernels = verify->model.kernels,
                                    .clock = verify->clock,
                                    .measure_ns = MEASURE_NS,
                                    .n_passes = PASSES,
                                    .is_quiet = verify->opts->is_json,
                                    .result = &verify->calibration};
    TRY(calibrate_all(&calibrator));
    return calibrate_keep(&verify->calibration);
}

static int open_model(struct verify *verify) {
    const struct verify_opts *opts = verify->opts;
    const struct kernel_set *kernels = kernel_set_get(NULL);
    if (kernels == NULL) return ERR_UNSUPPORTED;
    TRY(cli_model_path(opts->model, verify->path, sizeof verify->path));
    TRY(team_open(&verify->team, opts->n_threads != 0 ? opts->n_threads : team_default_size()));
    return model_open(&verify->model, verify->path, kernels, verify->team);
}

static int run(struct verify *verify) {
    TRY(open_model(verify));
    TRY(load_calibration(verify));
    TRY(verify_open_formats(verify));
    TRY(verify_measure(verify));
    verify_judge(verify);
    TRY(verify_keep(verify));
    return verify_print(verify);
}

int verify_main(int argc, char **argv) {
    struct verify_opts opts = {0};
    cli_parse(&argp, argc, argv, &opts);
    struct verify *verify = mem_alloc(1, sizeof *verify);
    if (verify == NULL) return cli_fail();
    verify->opts = &opts;
    verify->clock = clock_monotonic();
    int result = run(verify);
    verify_close_formats(verify);
    model_close(&verify->model);
    team_close(verify->team);
    mem_free(verify);
    return result < 0 ? cli_fail() : 0;
}
