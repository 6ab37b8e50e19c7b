/* cabinet calibrate: measures this machine once, and keeps the result for the planner. */
#include "cli/calibrate.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"
#include "cli/cache_file.h"
#include "cli/cli.h"
#include "cli/machine.h"

enum { OPTION_JSON = 256, OPTION_QUICK, OPTION_THREADS };
#define CALIBRATION_FILE "calibration.json"

static const struct argp_option options[] = {
    {"quick", OPTION_QUICK, 0, 0, "shorter measurements: some seconds, and less certain", 0},
    {"threads", OPTION_THREADS, "T", 0, "threads to measure with (default: all cores)", 0},
    {"json", OPTION_JSON, 0, 0, "print what is kept, one JSON object (docs/json.md)", 0},
    {0},
};

struct calibrate_opts {
    bool is_quick, is_json;
    unsigned n_threads;
};

static error_t parse(int key, char *argument, struct argp_state *state) {
    struct calibrate_opts *opts = state->input;
    switch (key) {
    case OPTION_QUICK: opts->is_quick = true; return 0;
    case OPTION_JSON: opts->is_json = true; return 0;
    case OPTION_THREADS:
        opts->n_threads = (unsigned)cli_parse_count(state, "--threads", argument, 1, 1024);
        return 0;
    case ARGP_KEY_ARG: argp_error(state, "'%s' is too much: calibrate takes no argument", argument); return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp argp = {
    options,
    parse,
    NULL,
    "Measure what this machine can do and what Cabinet's kernels reach of it: read bandwidth by threads and "
    "buffer, peaks of arithmetic, products with weights by type and rows, attention by KV format, what a "
    "call "
    "costs. Takes about half a minute, wants the machine for itself, and keeps the result in the cache "
    "folder, "
    "where `plan --hardware this` and `plan --verify` find it.\v"
    "Examples:\n"
    "  cabinet calibrate\n"
    "  cabinet calibrate --quick --json",
    NULL,
    NULL,
    NULL};

/* ---- measuring ---- */

void calibrate_time(const struct calibrator *calibrator, double *seconds, double scale,
                    void (*call)(void *argument), void *argument) {
    call(argument); /* touches what there is to touch */
    for (uint64_t n_calls = 1;; n_calls *= 2) {
        uint64_t start = clock_now_ns(&calibrator->clock);
        for (uint64_t i = 0; i < n_calls; i++) call(argument);
        uint64_t elapsed = clock_now_ns(&calibrator->clock) - start;
        if (elapsed < calibrator->measure_ns && n_calls < (1u << 24)) continue;
        const double time = scale * (double)elapsed * 1e-9 / (double)n_calls;
        if (*seconds <= 0 || time < *seconds) *seconds = time;
        return;
    }
}

void calibrate_note(const struct calibrator *calibrator, const char *what) {
    if (calibrator->is_quiet) return;
    if (isatty(STDERR_FILENO))
        fprintf(stderr, "\r\033[Kmeasuring %s", what);
    else
        fprintf(stderr, "measuring %s\n", what);
}

static void note_end(const struct calibrator *calibrator) {
    if (!calibrator->is_quiet && isatty(STDERR_FILENO)) fputs("\r\033[K", stderr);
}

/* That of so many threads over such a buffer, new or not; the last one when there is no room for more. */
static struct calibration_read *read_of(struct calibration *c, unsigned n_threads, uint64_t buffer_bytes) {
    for (uint32_t i = 0; i < c->n_reads; i++)
        if (c->reads[i].n_threads == n_threads && c->reads[i].buffer_bytes == buffer_bytes)
            return &c->reads[i];
    if (c->n_reads < CALIBRATION_MAX_READS) c->n_reads++;
    c->reads[c->n_reads - 1] = (struct calibration_read){n_threads, buffer_bytes, 0};
    return &c->reads[c->n_reads - 1];
}

/* One team's reads over buffers of several sizes. */
static int measure_reads(struct calibrator *calibrator, unsigned n_threads) {
    static const uint64_t buffers[] = {1 << 20, 16 << 20, 256 << 20};
    struct calibration *c = calibrator->result;
    struct team *team;
    TRY(team_open(&team, n_threads));
    int result = 0;
    for (size_t i = 0; i < sizeof buffers / sizeof *buffers; i++) {
        struct machine machine;
        result = machine_open(&machine, team, calibrator->kernels, calibrator->clock, buffers[i]);
        if (result < 0) break;
        struct calibration_read *read = read_of(c, n_threads, buffers[i]);
        const double speed = machine_measure_read(&machine);
        if (speed > read->bytes_per_second) read->bytes_per_second = speed;
        c->read_bytes_per_second = read->bytes_per_second;
        machine_close(&machine);
    }
    team_close(team);
    return result;
}

static int measure_peaks(struct calibrator *calibrator) {
    enum { SMALL = 1 << 20 };
    struct machine machine;
    TRY(machine_open(&machine, calibrator->team, calibrator->kernels, calibrator->clock, SMALL));
    struct machine_limits limits = machine_measure(&machine);
    struct calibration *c = calibrator->result;
    if (limits.int8_ops_per_second > c->int8_ops) c->int8_ops = limits.int8_ops_per_second;
    if (limits.bf16_flops > c->bf16_flops) c->bf16_flops = limits.bf16_flops;
    if (limits.f32_flops > c->f32_flops) c->f32_flops = limits.f32_flops;
    machine_close(&machine);
    return 0;
}

static void do_nothing(void *argument, unsigned rank, unsigned n_ranks) {
    (void)argument;
    (void)rank;
    (void)n_ranks;
}
static void fork_and_join(void *team) { team_run(team, do_nothing, NULL); }

/* The processor's name, or the machine's kind where the system does not say. */
static void find_name(char *name, size_t size) {
    char line[256];
    FILE *file = fopen("/proc/cpuinfo", "re");
    snprintf(name, size, "this machine");
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        const char *value = strstr(line, ": ");
        if (strncmp(line, "model name", 10) != 0 || value == NULL) continue;
        line[strcspn(line, "\n")] = '\0';
        snprintf(name, size, "%.90s", value + 2);
        break;
    }
    if (file != NULL) (void)fclose(file);
}

static void describe(struct calibrator *calibrator) {
    struct calibration *c = calibrator->result;
    find_name(c->machine, sizeof c->machine);
    snprintf(c->kernels, sizeof c->kernels, "%s", calibrator->kernels->name);
    snprintf(c->version, sizeof c->version, "%s", CABINET_VERSION);
    time_t now = time(NULL);
    struct tm utc;
    if (gmtime_r(&now, &utc) == NULL || strftime(c->date, sizeof c->date, "%Y-%m-%dT%H:%M:%SZ", &utc) == 0)
        c->date[0] = '\0';
    c->n_threads = team_size(calibrator->team);
    c->memory_bytes = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
}

static int measure_all(struct calibrator *calibrator) {
    struct calibration *c = calibrator->result;
    calibrate_note(calibrator, "memory");
    for (unsigned n = 1; n < c->n_threads; n *= 2) TRY(measure_reads(calibrator, n));
    TRY(measure_reads(calibrator, c->n_threads));
    calibrate_note(calibrator, "peaks");
    TRY(measure_peaks(calibrator));
    calibrate_time(calibrator, &c->fork_seconds, 1, fork_and_join, calibrator->team);
    TRY(calibrate_vectors(calibrator));
    TRY(calibrate_matmul(calibrator));
    TRY(calibrate_attention(calibrator));
    return calibrate_store(calibrator);
}

int calibrate_all(struct calibrator *calibrator) {
    *calibrator->result = (struct calibration){0};
    describe(calibrator);
    for (unsigned i = 0; i < calibrator->n_passes; i++) TRY(measure_all(calibrator));
    note_end(calibrator);
    return 0;
}

/* ---- the verb ---- */

int calibrate_path(char *path, size_t size) { return cache_file(CALIBRATION_FILE, path, size); }

int calibrate_load(struct calibration *calibration, unsigned n_threads) {
    char path[4096];
    const struct kernel_set *kernels = kernel_set_get(NULL);
    if (kernels == NULL) return ERR_UNSUPPORTED;
    TRY(calibrate_path(path, sizeof path));
    const struct calibration_fit fit = {
        .kernels = kernels->name, .version = CABINET_VERSION, .n_threads = n_threads};
    return calibration_read(calibration, path, &fit);
}

int calibrate_keep(const struct calibration *calibration) {
    char path[4096];
    TRY(calibrate_path(path, sizeof path));
    return calibration_write(calibration, path);
}

static void print_text(const struct calibration *c, const char *path) {
    char bytes[CLI_BYTES_LENGTH];
    printf("%s, %" PRIu32 " threads, kernels %s, %s of memory\n", c->machine, c->n_threads, c->kernels,
           cli_format_bytes(bytes, (double)c->memory_bytes));
    printf("reads, GB/s:");
    for (uint32_t i = 0; i < c->n_reads; i++)
        printf("%s %.1f (%" PRIu32 " x %s)", i == 0 ? "" : ",", c->reads[i].bytes_per_second * 1e-9,
               c->reads[i].n_threads, cli_format_bytes(bytes, (double)c->reads[i].buffer_bytes));
    printf("\npeaks: int8 %.0f Gop/s, bf16 %.0f GFLOP/s, f32 %.0f GFLOP/s\n", c->int8_ops * 1e-9,
           c->bf16_flops * 1e-9, c->f32_flops * 1e-9);
    printf("fork and join %.2f us, a product's call %.2f us, attention's %.2f us\n\n", c->fork_seconds * 1e6,
           c->matmul_call_seconds * 1e6, c->attention_call_seconds * 1e6);
    printf("products, GB/s of weights; rows:");
    for (int i = 0; i < CALIBRATION_MATMUL_ROWS; i++) printf("%8" PRIu32, calibration_matmul_rows[i]);
    for (uint32_t type = 0; type < WEIGHT_TYPE_END; type++) {
        if (c->matmul[type][0] <= 0) continue;
        printf("\n%-32s", weight_format_get(type)->name);
        for (int i = 0; i < CALIBRATION_MATMUL_ROWS; i++) printf("%8.1f", 1e-9 / c->matmul[type][i]);
    }
    printf("\n\nattention, 10^9 numbers/s; rows:");
    for (int i = 0; i < CALIBRATION_ATTENTION_ROWS; i++) printf("%8" PRIu32, calibration_attention_rows[i]);
    for (int codec = 0; codec < CODEC_COUNT; codec++) {
        printf("\n%-32s", codec_get((enum codec_id)codec)->name);
        for (int i = 0; i < CALIBRATION_ATTENTION_ROWS; i++) printf("%8.1f", 1e-9 / c->attention[codec][i]);
    }
    printf("\n\nkept as %s\n", path);
}

static int calibrate(const struct calibrate_opts *opts) {
    enum { LONG_NS = 10 * 1000 * 1000, LONG_PASSES = 5, QUICK_NS = 2 * 1000 * 1000, QUICK_PASSES = 2 };
    char path[4096];
    struct calibration calibration;
    struct calibrator calibrator = {.kernels = kernel_set_get(NULL),
                                    .clock = clock_monotonic(),
                                    .measure_ns = opts->is_quick ? QUICK_NS : LONG_NS,
                                    .n_passes = opts->is_quick ? QUICK_PASSES : LONG_PASSES,
                                    .is_quiet = opts->is_json,
                                    .result = &calibration};
    if (calibrator.kernels == NULL) return ERR_UNSUPPORTED;
    TRY(calibrate_path(path, sizeof path)); /* before the measuring, not after */
    TRY(team_open(&calibrator.team, opts->n_threads != 0 ? opts->n_threads : team_default_size()));
    int result = calibrate_all(&calibrator);
    team_close(calibrator.team);
    if (result == 0) result = calibrate_keep(&calibration);
    if (result < 0) return result;
    if (!opts->is_json) {
        print_text(&calibration, path);
        return 0;
    }
    char *text;
    TRY(cli_read_text(path, &text));
    printf("%s\n", text);
    mem_free(text);
    return 0;
}

int cli_calibrate(int argc, char **argv) {
    struct calibrate_opts opts = {0};
    cli_parse(&argp, argc, argv, &opts);
    return calibrate(&opts) < 0 ? cli_fail() : 0;
}
