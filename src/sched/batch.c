#include "sched/batch.h"

#include <string.h>

#include "base/err.h"
#include "base/mem.h"

int batch_open(struct batch *batch, uint32_t max_rows, uint32_t max_sequences) {
    *batch = (struct batch){.max_rows = max_rows, .max_sequences = max_sequences};
    batch->tokens = mem_alloc(max_rows, sizeof *batch->tokens);
    batch->positions = mem_alloc(max_rows, sizeof *batch->positions);
    batch->wanted = mem_alloc(max_rows, sizeof *batch->wanted);
    batch->streamed = mem_alloc(max_rows, sizeof *batch->streamed);
    batch->sequences = mem_alloc(max_sequences, sizeof *batch->sequences);
    if (batch->tokens && batch->positions && batch->wanted && batch->streamed && batch->sequences) return 0;
    batch_close(batch);
    return ERR_NO_MEMORY;
}

void batch_close(struct batch *batch) {
    mem_free(batch->tokens);
    mem_free(batch->positions);
    mem_free(batch->wanted);
    mem_free(batch->streamed);
    mem_free(batch->sequences);
    *batch = (struct batch){0};
}

void batch_clear(struct batch *batch) {
    batch->n_rows = batch->n_sequences = batch->n_wanted = batch->n_streamed = 0;
}

struct batch_sequence *batch_append(struct batch *batch, const int32_t *tokens, uint32_t n_rows,
                                    uint32_t first_position, int want_last) {
    ASSERT(batch->n_sequences < batch->max_sequences && n_rows <= batch->max_rows - batch->n_rows &&
           n_rows > 0);
    struct batch_sequence *entry = &batch->sequences[batch->n_sequences++];
    *entry = (struct batch_sequence){
        .first_row = batch->n_rows, .n_rows = n_rows, .first_position = first_position};
    memcpy(batch->tokens + batch->n_rows, tokens, n_rows * sizeof *tokens);
    for (uint32_t i = 0; i < n_rows; i++) batch->positions[batch->n_rows + i] = first_position + i;
    batch->n_rows += n_rows;
    if (want_last) batch->wanted[batch->n_wanted++] = batch->n_rows - 1;
    return entry;
}

void batch_stream(struct batch *batch, uint32_t begin, uint32_t end) {
    ASSERT(batch->n_sequences > 0);
    const struct batch_sequence *entry = &batch->sequences[batch->n_sequences - 1];
    uint32_t first = entry->first_position, last = first + entry->n_rows;
    for (uint32_t position = begin > first ? begin : first; position < end && position < last; position++)
        batch->streamed[batch->n_streamed++] = entry->first_row + (position - first);
}
