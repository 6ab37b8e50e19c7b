/* What `cabinet calibrate` measures, for those who measure between other things. */
#ifndef CABINET_CLI_CALIBRATE_H
#define CABINET_CLI_CALIBRATE_H

#include <stdbool.h>

#include "base/clock.h"
#include "base/team.h"
#include "kernel/kernel_set.h"
#include "plan/calibration.h"

struct calibrator {
    struct team *team;
    const struct kernel_set *kernels;
    struct clock clock;
    uint64_t measure_ns; /* least time of a measurement */
    unsigned n_passes;   /* through all measurements: the best counts, as others may disturb some of them */
    bool is_quiet;       /* no progress on stderr */
    struct calibration *result;
};

/* Fills all of the result. NO_MEMORY. */
int calibrate_all(struct calibrator *calibrator);
/* Its parts: calibrate_kernels.c. */
int calibrate_matmul(struct calibrator *calibrator);
int calibrate_attention(struct calibrator *calibrator);
int calibrate_vectors(struct calibrator *calibrator);
int calibrate_store(struct calibrator *calibrator);

/* Lowers *seconds (0: none yet) to what one call takes, times `scale`. */
void calibrate_time(const struct calibrator *calibrator, double *seconds, double scale,
                    void (*call)(void *argument), void *argument);
void calibrate_note(const struct calibrator *calibrator, const char *what);

/* The kept calibration of this machine, for so many threads. As calibration_read. */
int calibrate_load(struct calibration *calibration, unsigned n_threads);

/* Where it is kept. */
int calibrate_path(char *path, size_t size);
/* Keeps it in the cache folder. IO. */
int calibrate_keep(const struct calibration *calibration);

#endif
