#include "cli/lineup.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "kv/kv_usage.h"
#include "model/divergence.h"

/* A chunk's logits take at most so much. */
enum { MAX_SLICE_BYTES = 64 << 20, MIN_CHUNK = 32, MAX_CHUNK = 256, AGAIN_DIVISOR = 4, SLICES_A_CHUNK = 4 };

/* ---- a slice of rows, on all threads ---- */

struct slice {
    struct setting *setting;
    uint32_t position;
    const float *logits;
};

/* Row `row` of the slice, whose place in the chunk is `at`. */
static void score_row(void *argument, unsigned rank, size_t row) {
    (void)rank;
    const struct slice *slice = argument;
    struct setting *setting = slice->setting;
    const struct lineup *lineup = setting->lineup;
    uint32_t position = slice->position + (uint32_t)row, at = position - lineup->chunk_begin;
    const float *logits = slice->logits + row * lineup->n_vocab;
    double log_sum = divergence_log_sum(logits, lineup->n_vocab);
    double nll = log_sum - (double)logits[lineup->window[position + 1]];
    uint32_t top = divergence_top(logits, lineup->n_vocab);
    if (setting->is_referred_to) {
        memcpy(setting->rows + (size_t)at * lineup->n_vocab, logits, lineup->n_vocab * sizeof *logits);
        setting->log_sums[at] = log_sum;
        setting->nlls[at] = nll;
        setting->tops[at] = top;
    }
    if (setting->reference < 0) return;
    const struct setting *reference = &lineup->settings[setting->reference];
    setting->tokens[position - lineup->first_scored] = (struct token_comparison){
        .kl = divergence_kl(reference->rows + (size_t)at * lineup->n_vocab, reference->log_sums[at], logits,
                            log_sum, lineup->n_vocab),
        .delta_nll = nll - reference->nlls[at],
        .is_same_top = top == reference->tops[at],
    };
}

static int check_rows(const struct setting *setting, uint32_t position, uint32_t n_rows) {
    const struct lineup *lineup = setting->lineup;
    for (uint32_t row = 0; row < n_rows && setting->reference >= 0; row++) {
        const struct token_comparison *token = &setting->tokens[position + row - lineup->first_scored];
        if (!isfinite(token->kl) || !isfinite(token->delta_nll))
            return ERR(
                CORRUPT,
                "KV %s, position %" PRIu32
                ": the logits give no finite probability to the next token (is the model's file damaged?)",
                setting->name, position + row);
    }
    return 0;
}

static void deliver(void *user, uint32_t position, uint32_t n_rows, const float *logits) {
    struct setting *setting = user;
    struct lineup *lineup = setting->lineup;
    if (lineup->result < 0) return;
    ASSERT(position == setting->n_delivered &&
           position - lineup->chunk_begin + n_rows <= lineup->chunk_tokens);
    struct slice slice = {.setting = setting, .position = position, .logits = logits};
    team_for(lineup->opts.team, n_rows, 1, score_row, &slice);
    setting->n_delivered = position + n_rows;
    lineup->result = check_rows(setting, position, n_rows);
}

/* ---- opening ---- */

static uint32_t chunk_tokens(uint32_t n_vocab) {
    uint32_t n = MAX_CHUNK;
    while (n > MIN_CHUNK && (uint64_t)n * n_vocab * sizeof(float) > MAX_SLICE_BYTES) n /= 2;
    return n;
}

/* The setting's part of the memory, or what puts it under pressure. */
static int choose_memory(const struct lineup *lineup, const struct setting *setting, uint64_t *bytes) {
    *bytes = lineup->opts.kv_memory_bytes / lineup->n;
    if (setting->pressure == 0) return 0;
    struct kv_layout *layout = mem_alloc(1, sizeof *layout);
    if (layout == NULL) return ERR_NO_MEMORY;
    int result = description_kv_layout(&lineup->opts.model->description, &setting->kv, layout);
    if (result == 0)
        *bytes = (uint64_t)((double)kv_bytes_for(layout, lineup->opts.n_context, 1) / setting->pressure);
    mem_free(layout);
    return result;
}

static int open_setting(struct lineup *lineup, struct setting *setting) {
    const struct lineup_opts *opts = &lineup->opts;
    uint32_t chunk = setting->is_again ? lineup->chunk_tokens / AGAIN_DIVISOR : lineup->chunk_tokens;
    uint64_t kv_memory_bytes;
    TRY(choose_memory(lineup, setting, &kv_memory_bytes));
    struct engine_opts engine_opts = {
        .kv_memory_bytes = kv_memory_bytes,
        .kv = setting->kv,
        .max_sequences = 1,
        .max_tokens = opts->n_context,
        .chunk_tokens = chunk,
        .slice_rows = lineup->chunk_tokens / SLICES_A_CHUNK,
        .clock = clock_monotonic(),
    };
    setting->lineup = lineup;
    TRY(engine_open(&setting->engine, opts->model, setting->is_again ? opts->other_team : opts->team,
                    &engine_opts));
    setting->bytes_per_token = kv_layout_bytes_per_token(engine_kv_layout(setting->engine));
    if (setting->reference >= 0) {
        setting->tokens = mem_alloc(opts->n_context, sizeof *setting->tokens);
        if (setting->tokens == NULL) return ERR_NO_MEMORY;
    }
    if (setting->is_referred_to) {
        uint32_t n = lineup->chunk_tokens;
        setting->rows = mem_alloc((size_t)n * lineup->n_vocab, sizeof *setting->rows);
        setting->log_sums = mem_alloc(n, sizeof *setting->log_sums);
        setting->nlls = mem_alloc(n, sizeof *setting->nlls);
        setting->tops = mem_alloc(n, sizeof *setting->tops);
        if (!setting->rows || !setting->log_sums || !setting->nlls || !setting->tops) return ERR_NO_MEMORY;
    }
    return engine_sequence_open(setting->engine, &setting->sequence);
}

int lineup_open(struct lineup *lineup, const struct lineup_opts *opts) {
    lineup->opts = *opts;
    lineup->n_vocab = opts->model->description.n_vocab;
    lineup->chunk_tokens = chunk_tokens(lineup->n_vocab);
    for (unsigned i = 0; i < lineup->n; i++) {
        int reference = lineup->settings[i].reference;
        ASSERT(reference < (int)i);
        if (reference >= 0) lineup->settings[reference].is_referred_to = true;
    }
    for (unsigned i = 0; i < lineup->n; i++) {
        int result = open_setting(lineup, &lineup->settings[i]);
        if (result < 0) {
            lineup_close(lineup);
            return result;
        }
    }
    return 0;
}

void lineup_close(struct lineup *lineup) {
    for (unsigned i = 0; i < lineup->n; i++) {
        struct setting *setting = &lineup->settings[i];
        if (setting->engine != NULL) engine_sequence_close(setting->engine, setting->sequence);
        engine_close(setting->engine);
        mem_free(setting->tokens);
        mem_free(setting->rows);
        mem_free(setting->log_sums);
        mem_free(setting->nlls);
        mem_free(setting->tops);
    }
    lineup->n = 0;
}

/* ---- running ---- */

static int submit(struct setting *setting, const token_id *prompt, uint32_t n, uint32_t first,
                  void (*on_logits)(void *, uint32_t, uint32_t, const float *), void *user) {
    setting->request = (struct request){.sequence = setting->sequence,
                                        .sampling = {.top_p = 1, .repeat_penalty = 1},
                                        .max_output_tokens = 1,
                                        .ignores_end = true,
                                        .skips_cache = true,
                                        .on_logits = on_logits,
                                        .first_logits = first,
                                        .user = user};
    int result = engine_submit(setting->engine, &setting->request, prompt, n);
    if (result < 0) setting->request.sequence = NULL;
    return result;
}

/* Ends what a failure has left under way. */
static void cancel(struct setting *setting) {
    if (setting->request.sequence != NULL) engine_cancel(setting->engine, &setting->request);
    setting->request.sequence = NULL;
}

/* One step of a setting. */
static int step(struct lineup *lineup, struct setting *setting) {
    if (lineup->opts.interrupt != NULL && *lineup->opts.interrupt) return ERR(CANCELLED, "interrupted");
    (void)engine_step(setting->engine);
    return setting->request.finish == FINISH_FAILED ? setting->request.error : lineup->result;
}

/* What so many tokens take, seen while the sequence holds them. */
static void note_bytes(struct setting *setting, uint32_t n_window) {
    uint32_t wanted = n_window - 1 < LINEUP_ALL_IN_TOKENS ? n_window - 1 : LINEUP_ALL_IN_TOKENS;
    if (setting->n_delivered < wanted || setting->all_in_tokens >= wanted) return;
    struct kv_usage usage = kv_usage(engine_kv(setting->engine));
    setting->all_in_tokens = setting->n_delivered;
    setting->all_in_bytes = usage.held_bytes + usage.waste_bytes;
    if (setting->pressure > 0) setting->bytes_per_token = usage.held_bytes / setting->n_delivered;
}

/* The leader's next chunk, and all others up to its end. */
static int run_chunk(struct lineup *lineup) {
    struct setting *leader = &lineup->settings[0];
    uint32_t before = leader->n_delivered;
    lineup->chunk_begin = before;
    while (leader->n_delivered == before) TRY(step(lineup, leader));
    for (unsigned i = 1; i < lineup->n; i++)
        while (lineup->settings[i].n_delivered < leader->n_delivered) TRY(step(lineup, &lineup->settings[i]));
    for (unsigned i = 0; i < lineup->n; i++) note_bytes(&lineup->settings[i], lineup->n_window);
    return 0;
}

static int run_window(struct lineup *lineup) {
    for (unsigned i = 0; i < lineup->n; i++) {
        struct setting *setting = &lineup->settings[i];
        setting->n_delivered = lineup->first_scored;
        TRY(submit(setting, lineup->window, lineup->n_window - 1, lineup->first_scored, deliver, setting));
    }
    while (lineup->settings[0].n_delivered < lineup->n_window - 1) {
        TRY(run_chunk(lineup));
        if (lineup->opts.on_progress != NULL)
            lineup->opts.on_progress(lineup->opts.user, lineup->settings[0].n_delivered, lineup->n_window);
    }
    return 0;
}

/* Every sequence starts anew, so that chunks begin at the same positions in all settings. */
static int renew_sequences(struct lineup *lineup) {
    for (unsigned i = 0; i < lineup->n; i++) {
        struct setting *setting = &lineup->settings[i];
        cancel(setting);
        engine_sequence_close(setting->engine, setting->sequence);
        setting->sequence = NULL;
        TRY(engine_sequence_open(setting->engine, &setting->sequence));
    }
    return 0;
}

int lineup_run(struct lineup *lineup, const token_id *window, uint32_t n, uint32_t first_target) {
    ASSERT(n <= lineup->opts.n_context && first_target >= 1 && first_target < n);
    lineup->window = window;
    lineup->n_window = n;
    lineup->first_scored = first_target - 1;
    lineup->result = 0;
    int result = run_window(lineup);
    int renewed = renew_sequences(lineup);
    return result < 0 ? result : renewed;
}

int lineup_ask(struct lineup *lineup, unsigned index, const token_id *prompt, uint32_t n, uint32_t first,
               void (*on_logits)(void *, uint32_t, uint32_t, const float *), void *user) {
    struct setting *setting = &lineup->settings[index];
    lineup->result = 0;
    int result = submit(setting, prompt, n, first, on_logits, user);
    while (result == 0 && setting->request.finish == FINISH_NONE) result = step(lineup, setting);
    cancel(setting);
    return result;
}
