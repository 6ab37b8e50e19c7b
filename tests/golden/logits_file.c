#include "logits_file.h"

#include "base/cursor.h"
#include "base/err.h"

#include <errno.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAGIC_BYTES = 8, MAX_FILE_BYTES = 1 << 28, MAX_NARROW_VOCAB = 1 << 16, MAX_COMPACT_VOCAB = 1 << 18 };
static const char magic_full[] = "CABLOGF1";
static const char magic_compact[] = "CABLOGC2";

static int read_whole(void **bytes, size_t *length, const char *path) {
    FILE *stream = fopen(path, "rb");
    if (stream == NULL && errno == ENOENT) return ERR(NOT_FOUND, "%s: no such file", path);
    if (stream == NULL) return ERR(IO, "%s: %s", path, strerror(errno));
    int result = 0;
    long end = fseek(stream, 0, SEEK_END) == 0 ? ftell(stream) : -1;
    if (end < 0 || end > MAX_FILE_BYTES) {
        result = ERR(IO, "%s: its length cannot be told or is too large", path);
        goto out;
    }
    *length = (size_t)end;
    *bytes = malloc(*length + 1);
    if (*bytes == NULL) {
        result = ERR(NO_MEMORY, "%s: %zu bytes", path, *length);
        goto out;
    }
    rewind(stream);
    if (fread(*bytes, 1, *length, stream) != *length) result = ERR(IO, "%s: short read", path);
out:
    fclose(stream);
    return result;
}

static bool has_wide_ids(const struct logits_file *file) { return file->n_vocab > MAX_NARROW_VOCAB; }

/* The id at `index` of the whole (n_rows, n_top) table. */
static uint32_t top_id(const struct logits_file *file, size_t index) {
    if (has_wide_ids(file)) return ((const uint32_t *)file->top_ids)[index];
    return ((const uint16_t *)file->top_ids)[index];
}

/* Every section is a multiple of 4 bytes long, the ids come last: all pointers are aligned. */
static int parse(struct logits_file *file, size_t length, const char *path) {
    struct cursor cursor = cursor_over(file->bytes, length);
    const char *magic = cursor_take(&cursor, MAGIC_BYTES);
    bool full = magic != NULL && memcmp(magic, magic_full, MAGIC_BYTES) == 0;
    bool compact = magic != NULL && memcmp(magic, magic_compact, MAGIC_BYTES) == 0;
    if (!full && !compact) return ERR(CORRUPT, "%s: not a file of golden logits", path);
    file->n_tokens = cursor_u32(&cursor);
    file->n_vocab = cursor_u32(&cursor);
    file->n_top = compact ? cursor_u32(&cursor) : 0;
    file->n_rows = compact ? cursor_u32(&cursor) : file->n_tokens;
    uint64_t n = file->n_tokens; /* bounded first, so that no product below overflows */
    if (n > MAX_FILE_BYTES || file->n_rows > n || file->n_vocab == 0 || file->n_vocab > MAX_FILE_BYTES ||
        (compact && (file->n_top < 2 || file->n_top > file->n_vocab || file->n_vocab > MAX_COMPACT_VOCAB)))
        return ERR(CORRUPT, "%s: impossible sizes", path);
    file->tokens = cursor_take(&cursor, n * sizeof *file->tokens);
    uint64_t n_rows = file->n_rows, n_listed = n_rows * file->n_top;
    if (full) {
        file->logits = cursor_take(&cursor, n_rows * file->n_vocab * sizeof *file->logits);
    } else {
        file->log_rest = cursor_take(&cursor, n_rows * sizeof *file->log_rest);
        file->top_logprobs = cursor_take(&cursor, n_listed * sizeof *file->top_logprobs);
        file->top_ids =
            cursor_take(&cursor, n_listed * (has_wide_ids(file) ? sizeof(uint32_t) : sizeof(uint16_t)));
    }
    if (cursor.failed || cursor_left(&cursor) != 0) return ERR(CORRUPT, "%s: wrong length", path);
    for (size_t i = 0; i < n; i++)
        if (file->tokens[i] < 0 || (uint32_t)file->tokens[i] >= file->n_vocab)
            return ERR(CORRUPT, "%s: token %zu is outside the vocabulary", path, i);
    for (size_t i = 0; i < n_listed; i++)
        if (top_id(file, i) >= file->n_vocab)
            return ERR(CORRUPT, "%s: an id is outside the vocabulary", path);
    return 0;
}

int logits_file_read(struct logits_file *file, const char *path) {
    *file = (struct logits_file){0};
    size_t length = 0;
    int result = read_whole(&file->bytes, &length, path);
    if (result == 0) result = parse(file, length, path);
    if (result < 0) logits_file_free(file);
    return result;
}

void logits_file_free(struct logits_file *file) {
    free(file->bytes);
    *file = (struct logits_file){0};
}

static size_t argmax(const float *values, size_t n) {
    size_t best = 0;
    for (size_t i = 1; i < n; i++)
        if (values[i] > values[best]) best = i;
    return best;
}

static double log_sum_exp(const float *values, size_t n) {
    double top = values[argmax(values, n)], sum = 0;
    for (size_t i = 0; i < n; i++) sum += exp(values[i] - top);
    return top + log(sum);
}

/* KL over the whole vocabulary. */
static double compare_full(const float *golden, const float *tested, size_t n, double *max_diff,
                           double *sum_diff) {
    double golden_norm = log_sum_exp(golden, n), tested_norm = log_sum_exp(tested, n), kl = 0;
    for (size_t i = 0; i < n; i++) {
        double p = golden[i] - golden_norm, q = tested[i] - tested_norm;
        kl += exp(p) * (p - q);
        double diff = fabs((double)golden[i] - tested[i]);
        *max_diff = fmax(*max_diff, diff);
        *sum_diff += diff;
    }
    return kl;
}

/* KL over the top tokens and one bucket for the others, whose tested mass is summed from their own logits:
 * one minus the top's mass would cancel. */
static double compare_compact(const struct logits_file *file, size_t row, const float *tested,
                              double *max_diff, double *sum_diff) {
    bool is_top[MAX_COMPACT_VOCAB] = {false};
    const float *logprobs = file->top_logprobs + row * file->n_top;
    double norm = log_sum_exp(tested, file->n_vocab), kl = 0, rest = 0;
    for (size_t i = 0; i < file->n_top; i++) {
        uint32_t id = top_id(file, row * file->n_top + i);
        double p = logprobs[i], q = tested[id] - norm;
        kl += exp(p) * (p - q);
        *max_diff = fmax(*max_diff, fabs(p - q));
        *sum_diff += fabs(p - q);
        is_top[id] = true;
    }
    for (size_t i = 0; i < file->n_vocab; i++)
        if (!is_top[i]) rest += exp(tested[i] - norm);
    double p_rest = file->log_rest[row];
    return kl + (p_rest > -HUGE_VAL ? exp(p_rest) * (p_rest - log(rest)) : 0);
}

/* How far the golden winner leads over `id`, which a compact file may not list: then, at least over its last
 * one. */
static double golden_lead(const struct logits_file *file, size_t row, size_t id) {
    if (file->n_top == 0) {
        const float *golden = file->logits + row * file->n_vocab;
        return (double)golden[argmax(golden, file->n_vocab)] - golden[id];
    }
    const float *logprobs = file->top_logprobs + row * file->n_top;
    size_t i = 0;
    while (i + 1 < file->n_top && top_id(file, row * file->n_top + i) != id) i++;
    return (double)logprobs[0] - logprobs[i];
}

int logits_compare_row(struct logits_compare *compare, const struct logits_file *file, size_t row,
                       const float *logits) {
    if (row >= file->n_rows) return ERR(INVALID, "row %zu of %u", row, file->n_rows);
    compare->n++;
    size_t n_bad = 0;
    for (size_t i = 0; i < file->n_vocab; i++) n_bad += !isfinite(logits[i]);
    if (n_bad > 0) {
        compare->n_not_finite += n_bad;
        compare->kl_mean = compare->kl_max = compare->max_abs_diff = compare->mean_abs_diff = INFINITY;
        compare->top1_wrong_beyond_margin++;
        return 0;
    }
    double sum_diff = 0, kl;
    if (file->n_top == 0)
        kl = compare_full(file->logits + row * file->n_vocab, logits, file->n_vocab, &compare->max_abs_diff,
                          &sum_diff);
    else
        kl = compare_compact(file, row, logits, &compare->max_abs_diff, &sum_diff);
    compare->kl_max = fmax(compare->kl_max, kl);
    if (compare->n_not_finite == 0) { /* else the means stay infinite */
        double mean_diff = sum_diff / (double)(file->n_top == 0 ? file->n_vocab : file->n_top);
        compare->kl_mean += (kl - compare->kl_mean) / (double)compare->n;
        compare->mean_abs_diff += (mean_diff - compare->mean_abs_diff) / (double)compare->n;
    }
    size_t tested_best = argmax(logits, file->n_vocab);
    double lead = golden_lead(file, row, tested_best);
    if (lead == 0) {
        compare->top1_equal++;
    } else {
        compare->worst_lead = fmax(compare->worst_lead, lead);
        compare->top1_wrong_beyond_margin += lead > compare->margin;
    }
    return 0;
}

int logits_compare_all(struct logits_compare *compare, const struct logits_file *file, const float *logits) {
    for (size_t i = 0; i < file->n_rows; i++)
        TRY(logits_compare_row(compare, file, i, logits + i * file->n_vocab));
    return 0;
}
