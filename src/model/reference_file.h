/* A reference file: the next-token distributions of one run over one text, for another run to be compared
 * with.
 *
 * Little-endian:
 *   head   "CABINREF", u32 version 1, u32 n_vocab, u32 n_context, u32 n_chunks, u64 hash of the tokens, u64
 *          hash of the head so far
 *   rows   n_chunks * n_scored of them, in the order of the text: u64 hash of the rest of the row,
 *          f64 nll of the token that came next, u32 most likely token, u16 codes[n_vocab]
 * Hashes are XXH3-64. A code says how far a token's logit is below the row's largest, in steps of 1/2048 nat;
 * 65535 (32 nats and more) is a probability of zero.
 *
 * What that rounding costs: errors are uniform within half a step, and rows are normalised again when they
 * are read, so that to first order they cancel; the KL divergence of a run from its own reference is their
 * variance / 2 = 1/2048^2 / 24 = 1e-8 nats for a flat row, less for a peaked one. What is cut off is below
 * n_vocab e^-32 (1e-9 for 100,000 tokens).
 *
 * A file being read is a stranger's: lengths, hashes and ids are checked, and errors are CORRUPT or, where it
 * belongs to another run, INVALID. Reading and writing hold one row at a time. */
#ifndef CABINET_MODEL_REFERENCE_FILE_H
#define CABINET_MODEL_REFERENCE_FILE_H

#include <stdint.h>

/* What a run must share with a reference. */
struct reference_shape {
    uint32_t n_vocab, n_context, n_chunks;
    uint64_t tokens_hash; /* of all chunks' tokens: reference_hash */
};

/* Positions of a chunk that are scored: those in its second half, but for the last, which has no next token.
 */
static inline uint32_t reference_n_scored(uint32_t n_context) { return n_context - 1 - n_context / 2; }
uint64_t reference_hash(const int32_t *tokens, uint64_t n);
/* Of the whole file. */
uint64_t reference_bytes(const struct reference_shape *shape);

struct reference_file; /* one being written or read */

/* Writes to `path`.part-<process>, which reference_finish renames to `path` when every row is there. IO,
 * NO_MEMORY. */
int reference_create(struct reference_file **file, const char *path, const struct reference_shape *shape);
/* The next row: logits (n_vocab) that are a distribution (divergence.h), and what was computed from them. */
int reference_append(struct reference_file *file, const float *logits, double nll, uint32_t top);
int reference_finish(struct reference_file *file);

/* Opens a reference of the same shape. INVALID names the first thing that differs; NOT_FOUND, CORRUPT, IO. */
int reference_open(struct reference_file **file, const char *path, const struct reference_shape *shape);
/* The next row: logits (n_vocab), the largest of them 0. Not more than the shape has. */
int reference_next(struct reference_file *file, float *logits, double *nll, uint32_t *top);

/* Also drops what was written and not finished. NULL is fine. */
void reference_close(struct reference_file *file);

#endif
