/* What `cabinet calibrate` found out about a machine: speeds of memory and arithmetic, and of Cabinet's own
 * kernels by shape. Kept as a JSON file that is a hardware entry too (plan/hardware.h), with the kernels'
 * speeds under "cabinet". */
#ifndef CABINET_PLAN_CALIBRATION_H
#define CABINET_PLAN_CALIBRATION_H

#include <stdint.h>

#include "codec/codec.h"
#include "kernel/weight_type.h"

#define CALIBRATION_SCHEMA "cabinet-calibration/1"

enum {
    CALIBRATION_MATMUL_ROWS = 6,
    CALIBRATION_ATTENTION_ROWS = 4,
    CALIBRATION_MAX_READS = 24,
    CALIBRATION_NAME_LENGTH = 96
};
/* Rows at which products, and query rows at which attention are measured; between them one interpolates. */
extern const uint32_t calibration_matmul_rows[CALIBRATION_MATMUL_ROWS];       /* 1 .. 512 */
extern const uint32_t calibration_attention_rows[CALIBRATION_ATTENTION_ROWS]; /* 1 .. 48 */

/* A sweep of reads over a buffer. */
struct calibration_read {
    uint32_t n_threads;
    uint64_t buffer_bytes;
    double bytes_per_second;
};

/* All times are those of all threads together unless they say otherwise; 0: not measured. */
struct calibration {
    char machine[CALIBRATION_NAME_LENGTH], kernels[16], version[16], date[24];
    uint32_t n_threads;
    uint64_t memory_bytes;
    uint32_t n_reads;
    struct calibration_read reads[CALIBRATION_MAX_READS];
    double read_bytes_per_second; /* all threads, the largest buffer */
    double int8_ops, bf16_flops, f32_flops;
    double fork_seconds;                                       /* to fork and join the team */
    double matmul_call_seconds, attention_call_seconds;        /* of a call, whatever its size */
    double vector_seconds;                                     /* of a number in a norm, one thread */
    double matmul[WEIGHT_TYPE_END][CALIBRATION_MATMUL_ROWS];   /* seconds per byte of the matrix, once */
    double attention[CODEC_COUNT][CALIBRATION_ATTENTION_ROWS]; /* seconds per query row, key, and number of a
                                                                  head; K and V in that codec */
    double store[CODEC_COUNT]; /* seconds per number of K or V, one thread: row codecs write a row, block
                                  codecs a full block anew */
};

/* What a calibration has to fit; an empty text or 0 fits any. */
struct calibration_fit {
    const char *kernels, *version;
    uint32_t n_threads;
};

/* Writes the file whole or not at all. IO. */
int calibration_write(const struct calibration *calibration, const char *path);
/* NOT_FOUND if there is none, CORRUPT for what is no calibration, UNSUPPORTED with the reason for one that
 * does not fit; each says what to do. */
int calibration_read(struct calibration *calibration, const char *path, const struct calibration_fit *fit);

#endif
