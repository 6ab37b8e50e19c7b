#include "forward_run.h"

#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "kv/kv_usage.h"

static int open_parts(struct forward_run *run, const struct forward_opts *opts) {
    TRY(team_open(&run->team, opts->n_threads));
    TRY(model_open(&run->model, opts->path, opts->kernels, run->team));
    TRY(description_kv_layout(&run->model.description, &opts->kv, &run->layout));
    uint64_t bytes = 2 * opts->max_sequences * kv_bytes_for(&run->layout, opts->max_tokens, opts->max_tokens);
    struct kv_opts kv_opts = {
        .memory_bytes = bytes, .max_sequences = opts->max_sequences, .max_tokens = opts->max_tokens};
    TRY(kv_open(&run->kv, &run->layout, &kv_opts));
    run->arena = mem_alloc_aligned(bytes, 1);
    if (run->arena == NULL) return ERR_NO_MEMORY;
    memset(run->arena, 0xff,
           bytes); /* NaN in every format: whoever reads a slot that was not written is seen */
    TRY(batch_open(&run->batch, opts->max_rows, opts->max_sequences));
    return workspace_open(&run->workspace, &run->model, &run->layout, opts->max_rows, opts->max_sequences,
                          opts->max_rows, opts->max_tokens, opts->n_threads);
}

int forward_open(struct forward_run *run, const struct forward_opts *opts) {
    *run = (struct forward_run){0};
    int result = open_parts(run, opts);
    if (result < 0) forward_close(run);
    return result;
}

void forward_close(struct forward_run *run) {
    workspace_close(&run->workspace);
    batch_close(&run->batch);
    mem_free(run->arena);
    kv_close(run->kv);
    model_close(&run->model);
    team_close(run->team);
    *run = (struct forward_run){0};
}

int forward_step(struct forward_run *run, const struct forward_part *parts, size_t n_parts) {
    struct batch *batch = &run->batch;
    batch_clear(batch);
    for (size_t i = 0; i < n_parts; i++) {
        const struct forward_part *part = &parts[i];
        uint32_t first = part->seq->n_computed, n_blocks;
        TRY(kv_reserve(run->kv, part->seq, part->n_rows));
        struct batch_sequence *entry = batch_append(batch, part->tokens + first, part->n_rows, first, 0);
        for (unsigned g = 0; g < run->layout.n_groups; g++) {
            entry->payloads[g] = kv_payloads(run->kv, part->seq, g, &n_blocks);
            entry->staged[g] = kv_staged_payload(run->kv, part->seq, g);
        }
        uint32_t row = batch->n_rows - part->n_rows;
        while (part->logits != NULL && row < batch->n_rows) batch->wanted[batch->n_wanted++] = row++;
    }
    transformer_forward(&run->model, &run->layout, run->arena, &run->workspace, run->team, batch);
    const float *logits = run->workspace.logits;
    size_t n_vocab = run->model.description.n_vocab;
    for (size_t i = 0; i < n_parts; i++) {
        kv_commit(run->kv, parts[i].seq, parts[i].tokens, parts[i].n_rows);
        if (parts[i].logits == NULL) continue;
        memcpy(parts[i].logits, logits, parts[i].n_rows * n_vocab * sizeof *logits);
        logits += parts[i].n_rows * n_vocab;
    }
    return kv_check(run->kv) ? 0 : ERR(INTERNAL, "kv_check failed after a step");
}

int forward_last(struct forward_run *run, const int32_t *tokens, uint32_t n_tokens, uint32_t chunk,
                 uint32_t n_last, float *logits) {
    struct kv_seq seq = {0};
    uint32_t first = n_tokens - n_last; /* a chunk ends before it: a step's rows are all wanted, or none */
    int result = 0;
    while (result == 0 && seq.n_computed < n_tokens) {
        uint32_t left = (seq.n_computed < first ? first : n_tokens) - seq.n_computed;
        float *out = NULL;
        if (seq.n_computed >= first)
            out = logits + (size_t)(seq.n_computed - first) * run->model.description.n_vocab;
        result = forward_step(run, &(struct forward_part){&seq, tokens, left < chunk ? left : chunk, out}, 1);
    }
    kv_release(run->kv, &seq);
    return result;
}

int forward_all(struct forward_run *run, const int32_t *tokens, uint32_t n_tokens, uint32_t chunk,
                float *logits) {
    return forward_last(run, tokens, n_tokens, chunk, n_tokens, logits);
}
