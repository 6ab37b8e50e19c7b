/* What `cabinet plan --verify` found out about the planner's own error for one model on this machine. */
#ifndef CABINET_PLAN_VERIFICATION_H
#define CABINET_PLAN_VERIFICATION_H

#include "plan/calibration.h"
#include "plan/self_fit.h"

#define VERIFICATION_SCHEMA "cabinet-verification/1"
enum { VERIFICATION_NAME_LENGTH = 16, VERIFICATION_MAX_FORMATS = 8 };

struct verification {
    char version[16], kernels[16], date[24];
    uint32_t n_threads;
    uint64_t model_bytes;
    struct self_errors memory, step, prefill, ttft; /* of what judged, relative */
    uint32_t n_formats;
    struct verification_format {
        char name[VERIFICATION_NAME_LENGTH];
        struct self_factors factors;
    } formats[VERIFICATION_MAX_FORMATS];
};

/* NOT_FOUND, CORRUPT or UNSUPPORTED as calibration_read; a model file of another size does not fit either. */
int verification_read(struct verification *verification, const char *path, const struct calibration_fit *fit,
                      uint64_t model_bytes);
/* Those of a KV format; where it was not verified, those of the first. */
const struct self_factors *verification_factors(const struct verification *verification, const char *format);

#endif
