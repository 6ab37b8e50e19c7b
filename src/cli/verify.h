/* `cabinet plan --verify`, and the inside of it: the grid, what was measured of it, and how well it was
 * predicted. */
#ifndef CABINET_CLI_VERIFY_H
#define CABINET_CLI_VERIFY_H

#include <stdbool.h>

#include "engine/engine.h"
#include "plan/self_fit.h"
#include "plan/self_memory.h"

enum { VERIFY_MAX_CELLS = 160, VERIFY_MAX_SAMPLES = 32, VERIFY_MAX_FORMATS = 4, VERIFY_MAX_LEVELS = 8 };

/* What a cell is about. A TTFT is that of a fresh prompt, from handing it in to its first token. */
#define VERIFY_KIND_LIST(X) X(memory) X(step) X(prefill) X(ttft)
enum verify_kind {
#define X(name) VERIFY_##name,
    VERIFY_KIND_LIST(X)
#undef X
        VERIFY_KINDS
};

struct verify_cell {
    enum verify_kind kind;
    unsigned format;
    uint32_t context, users, n_new, n_shared; /* tokens before; sequences; tokens of a prompt; in common */
    bool is_fit;                              /* corrects the calibration; the others judge it */
    uint32_t n_samples;
    double samples[VERIFY_MAX_SAMPLES]; /* seconds of a step, or of a prompt */
    struct self_seconds parts;          /* as calibrated, the mean of the samples */
    double measured, predicted;         /* seconds or, of memory, bytes */
};

struct verify_opts {
    const char *model;
    unsigned n_threads;
    bool is_quick, is_json;
};

struct verify {
    const struct verify_opts *opts;
    struct team *team;
    struct model model;
    char path[4096];
    struct clock clock;
    struct calibration calibration;
    unsigned n_formats;
    struct verify_format {
        const char *name;
        struct engine *engine;
        struct sequence **sequences; /* (n_sequences) */
        struct self_machine machine;
        uint32_t n_grown,
            n_party; /* tokens of users apart, and of the party with a prompt in common; 0: none */
    } formats[VERIFY_MAX_FORMATS];
    uint32_t n_sequences, chunk_tokens;
    struct request *requests; /* (n_sequences) */
    token_id *prompt;
    uint64_t n_turns;
    /* What this process had of its threads' processors while it measured, 0 .. 1: what is missing, others
     * took. */
    double processor_share;
    size_t n_cells;
    struct verify_cell cells[VERIFY_MAX_CELLS];
    struct self_factors factors[SELF_FIT_FORMATS];
    struct self_errors errors[VERIFY_KINDS];             /* of the cells that judge */
    struct self_errors uncorrected_errors[VERIFY_KINDS]; /* of the calibration alone */
};

/* The verb, `argv` without --verify; returns the exit code. */
int verify_main(int argc, char **argv);

const char *verify_kind_name(enum verify_kind kind);
/* Runs the grid on opened formats: verify_grid.c. */
int verify_open_formats(struct verify *verify);
void verify_close_formats(struct verify *verify);
int verify_measure(struct verify *verify);
/* Fits and judges, prints, keeps: verify_report.c. */
void verify_judge(struct verify *verify);
/* Where the result for a model's file is kept. */
int verify_file(const char *model_path, char *path, size_t size);
int verify_keep(const struct verify *verify);
int verify_print(const struct verify *verify);

#endif
