/* The grid: users whose contexts grow from level to level, rounds of decoding at each, a party with a prompt
 * in common, and fresh prompts. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/rng.h"
#include "cli/verify.h"
#include "kv/kv_usage.h"
#include "kv/slab_arena.h"

enum {
    CHUNK = 512,
    MOST_USERS = 16,
    PARTY = 8, /* users of a prompt in common */
    OWN_TOKENS = 33,
    STEPS = 8, /* of a round */
    MOST_ROUNDS = 5,
    PARTY_FIRST = MOST_USERS,
    FRESH = MOST_USERS + PARTY, /* the sequence of fresh prompts */
    N_SEQUENCES
};

static const char *const format_names[] = {"f16", "q8", "q4"};
static const uint32_t user_counts[] = {1, 4, MOST_USERS};
#define COUNT(array) (sizeof(array) / sizeof *(array))
/* Most tokens that a user gets by decoding, at all levels together. */
#define SPARE_TOKENS ((MOST_ROUNDS + 1) * STEPS * COUNT(user_counts) * VERIFY_MAX_LEVELS + OWN_TOKENS)

struct grid {
    uint32_t levels[VERIFY_MAX_LEVELS];
    size_t n_levels;
    uint32_t most_tokens; /* of all users of a cell together */
    uint32_t n_shared, n_rounds;
    uint32_t fresh[VERIFY_MAX_LEVELS];
    size_t n_fresh;
};

/* Cut to what the model's context holds. */
static struct grid grid_of(const struct verify *verify) {
    static const struct grid full = {
        {128, 512, 1024, 2048, 4096}, 5, 8192, 1024, MOST_ROUNDS, {64, 256, 1024}, 3};
    static const struct grid quick = {{128, 512, 1024}, 3, 2048, 512, 3, {64, 256}, 2};
    struct grid grid = verify->opts->is_quick ? quick : full;
    const uint32_t context = verify->model.description.n_context;
    const uint32_t spare = SPARE_TOKENS;
    while (grid.n_levels > 1 && grid.levels[grid.n_levels - 1] + spare > context) grid.n_levels--;
    while (grid.n_fresh > 1 && grid.fresh[grid.n_fresh - 1] + spare > context) grid.n_fresh--;
    if (grid.n_shared + spare > context) grid.n_shared = 0;
    return grid;
}

static uint32_t users_at(const struct grid *grid, uint32_t level) {
    uint32_t most = 1;
    for (size_t i = 0; i < COUNT(user_counts); i++)
        if (user_counts[i] * level <= grid->most_tokens) most = user_counts[i];
    return most;
}

static void note(const struct verify *verify, const char *what, uint32_t tokens) {
    if (verify->opts->is_json) return;
    if (isatty(STDERR_FILENO))
        fprintf(stderr, "\r\033[K%s %" PRIu32 " tokens ", what, tokens);
    else
        fprintf(stderr, "%s %" PRIu32 " tokens\n", what, tokens);
}

/* ---- opening ---- */

static uint32_t longest(const struct grid *grid) {
    uint32_t tokens = grid->levels[grid->n_levels - 1];
    if (grid->fresh[grid->n_fresh - 1] > tokens) tokens = grid->fresh[grid->n_fresh - 1];
    if (grid->n_shared > tokens) tokens = grid->n_shared;
    return tokens + SPARE_TOKENS;
}

/* Bytes of KV that the grid's sequences take, and as much again for what is left of fresh prompts. */
static uint64_t kv_bytes(const struct verify *verify, const struct grid *grid, const struct kv_rules *rules) {
    struct kv_layout layout = {0};
    if (description_kv_layout(&verify->model.description, rules, &layout) < 0) return 0;
    uint64_t most = 0, n_tokens = longest(grid);
    for (size_t i = 0; i < grid->n_levels; i++) {
        uint64_t n = (uint64_t)users_at(grid, grid->levels[i]) * (grid->levels[i] + 512);
        most = n > most ? n : most;
    }
    n_tokens +=
        most + grid->levels[grid->n_levels - 1] * UINT64_C(4) + PARTY * UINT64_C(512) + grid->n_shared;
    return 2 * kv_bytes_for(&layout, (uint32_t)n_tokens, CHUNK) + (64 << 20);
}

static int open_format(struct verify *verify, const struct grid *grid, const char *name) {
    struct verify_format *format = &verify->formats[verify->n_formats];
    struct engine_opts opts = {.max_sequences = N_SEQUENCES,
                               .max_tokens = longest(grid),
                               .chunk_tokens = CHUNK,
                               .n_cached = 1,
                               .clock = verify->clock};
    TRY(kv_rules_parse(&opts.kv, name));
    if (opts.max_tokens > verify->model.description.n_context)
        opts.max_tokens = verify->model.description.n_context;
    opts.kv_memory_bytes = kv_bytes(verify, grid, &opts.kv);
    if (opts.kv_memory_bytes == 0) return 0; /* a format that the model's heads do not take */
    *format = (struct verify_format){.name = name};
    verify->n_formats++;
    TRY(engine_open(&format->engine, &verify->model, verify->team, &opts));
    format->machine =
        (struct self_machine){&verify->calibration, &verify->model, engine_kv_layout(format->engine)};
    TRY(self_check(&format->machine));
    format->sequences = mem_alloc(N_SEQUENCES, sizeof(struct sequence *));
    if (format->sequences == NULL) return ERR_NO_MEMORY;
    for (uint32_t i = 0; i < N_SEQUENCES; i++)
        TRY(engine_sequence_open(format->engine, &format->sequences[i]));
    return 0;
}

int verify_open_formats(struct verify *verify) {
    const struct grid grid = grid_of(verify);
    verify->n_sequences = N_SEQUENCES;
    verify->chunk_tokens = CHUNK;
    if (grid.levels[0] + OWN_TOKENS + STEPS > verify->model.description.n_context)
        return ERR(INVALID, "the model's context of %" PRIu32 " tokens is too short for the grid",
                   verify->model.description.n_context);
    verify->requests = mem_alloc(N_SEQUENCES, sizeof *verify->requests);
    verify->prompt = mem_alloc(longest(&grid), sizeof *verify->prompt);
    if (verify->requests == NULL || verify->prompt == NULL) return ERR_NO_MEMORY;
    for (size_t i = 0; i < COUNT(format_names); i++) TRY(open_format(verify, &grid, format_names[i]));
    return 0;
}

void verify_close_formats(struct verify *verify) {
    for (unsigned f = 0; f < verify->n_formats; f++) {
        struct verify_format *format = &verify->formats[f];
        for (uint32_t i = 0; format->sequences != NULL && i < N_SEQUENCES; i++)
            engine_sequence_close(format->engine, format->sequences[i]);
        mem_free(format->sequences);
        engine_close(format->engine);
    }
    mem_free(verify->requests);
    mem_free(verify->prompt);
}

/* ---- cells ---- */

/* The cell of that kind and place, new or not; NULL when there is no room for more. */
static struct verify_cell *cell_of(struct verify *verify, const struct verify_cell *place) {
    for (size_t i = 0; i < verify->n_cells; i++) {
        struct verify_cell *cell = &verify->cells[i];
        if (cell->kind == place->kind && cell->format == place->format && cell->context == place->context &&
            cell->users == place->users && cell->n_new == place->n_new && cell->n_shared == place->n_shared)
            return cell;
    }
    ASSERT(verify->n_cells < VERIFY_MAX_CELLS);
    struct verify_cell *cell = &verify->cells[verify->n_cells++];
    *cell = *place;
    return cell;
}

static void add_sample(struct verify *verify, const struct verify_cell *place, double seconds,
                       const struct self_seconds *parts) {
    struct verify_cell *cell = cell_of(verify, place);
    if (cell->n_samples == VERIFY_MAX_SAMPLES) return;
    const double weight = 1.0 / ++cell->n_samples;
    cell->samples[cell->n_samples - 1] = seconds;
    for (int i = 0; i < SELF_PARTS; i++)
        cell->parts.part[i] += weight * (parts->part[i] - cell->parts.part[i]);
}

static void forget_samples(struct verify_cell *cell) {
    cell->n_samples = 0;
    cell->parts = (struct self_seconds){0};
}

/* ---- requests ---- */

/* Asks for n_output tokens after `n_random` new ones behind what the sequence has. */
static int submit(struct verify *verify, struct verify_format *format, uint32_t index, uint32_t n_random,
                  uint32_t n_output, bool skips_cache) {
    const struct sequence *sequence = format->sequences[index];
    uint32_t n = sequence->n_tokens;
    memcpy(verify->prompt, sequence->tokens, n * sizeof *verify->prompt);
    for (uint64_t turn = ++verify->n_turns; n < sequence->n_tokens + n_random; n++)
        verify->prompt[n] = (token_id)(rng_u64(turn, n) % verify->model.description.n_vocab);
    verify->requests[index] = (struct request){.sequence = format->sequences[index],
                                               .max_output_tokens = n_output,
                                               .sampling = {.top_p = 1, .repeat_penalty = 1},
                                               .ignores_end = true,
                                               .skips_cache = skips_cache};
    return engine_submit(format->engine, &verify->requests[index], verify->prompt, n);
}

static int check(const struct verify *verify, uint32_t first, uint32_t n) {
    for (uint32_t i = first; i < first + n; i++)
        if (verify->requests[i].finish == FINISH_FAILED) return verify->requests[i].error;
    return 0;
}

/* Computes n_tokens more of a sequence. */
static int grow(struct verify *verify, struct verify_format *format, uint32_t index, uint32_t n_tokens,
                double *seconds) {
    const struct sequence *sequence = format->sequences[index];
    TRY(submit(verify, format, index, n_tokens - sequence_tokens_left(sequence), 1, true));
    *seconds = 0;
    while (engine_step(format->engine) > 0) {
        const struct engine_step_report *report = engine_latest_step(format->engine);
        *seconds += (double)(report->picked_ns - report->begin_ns) * 1e-9;
    }
    return check(verify, index, 1);
}

/* ---- what is measured ---- */

/* All users apart grow to a level, beside what they have decoded; each one's prompt is a sample of prefill.
 */
static int grow_users(struct verify *verify, unsigned f, const struct grid *grid, size_t level) {
    struct verify_format *format = &verify->formats[f];
    const uint32_t n_users = users_at(grid, grid->levels[level]), n_before = format->n_grown;
    const uint32_t n_new = grid->levels[level] - n_before;
    for (uint32_t u = 0; u < n_users; u++) {
        double seconds;
        const uint32_t first = format->sequences[u]->kv.n_computed;
        TRY(grow(verify, format, u, n_new, &seconds));
        const struct verify_cell place = {.kind = VERIFY_prefill,
                                          .format = f,
                                          .context = n_before,
                                          .users = 1,
                                          .n_new = n_new,
                                          .is_fit = (level + f) % 2 == 0};
        const struct self_seconds parts = self_prefill(&format->machine, first, n_new, CHUNK);
        add_sample(verify, &place, seconds, &parts);
    }
    format->n_grown = grid->levels[level];
    return 0;
}

/* One round of decode steps of users first .. first + n - 1 together. */
static int decode(struct verify *verify, unsigned f, uint32_t first, const struct verify_cell *place) {
    struct verify_format *format = &verify->formats[f];
    const uint32_t n = place->users;
    for (uint32_t u = first; u < first + n; u++) TRY(submit(verify, format, u, 0, STEPS, true));
    double seconds = 0;
    struct self_seconds parts = {0};
    uint32_t n_steps = 0;
    for (;;) {
        uint64_t position = 0;
        for (uint32_t u = first; u < first + n; u++) position += format->sequences[u]->kv.n_computed;
        if (engine_step(format->engine) <= 0) break;
        const struct engine_step_report *report = engine_latest_step(format->engine);
        if (report->n_decode_rows != n || report->n_prefill_rows != 0)
            return ERR(INTERNAL, "a step of %" PRIu32 " users had other rows", n);
        struct cost_batch batch = cost_batch_decode(n, position / n);
        batch.n_shared = place->n_shared;
        const struct self_seconds step = self_step(&format->machine, &batch);
        for (int i = 0; i < SELF_PARTS; i++) parts.part[i] += step.part[i] / STEPS;
        seconds += (double)(report->picked_ns - report->begin_ns) * 1e-9 / STEPS;
        n_steps++;
    }
    TRY(check(verify, first, n));
    if (n_steps != STEPS) return ERR(INTERNAL, "%" PRIu32 " steps instead of %d", n_steps, STEPS);
    add_sample(verify, place, seconds, &parts);
    return 0;
}

/* Rounds of all formats and user counts in turn. The first warms up. */
static int decode_level(struct verify *verify, const struct grid *grid, size_t level) {
    const uint32_t context = grid->levels[level];
    for (uint32_t round = 0; round <= grid->n_rounds; round++)
        for (unsigned f = 0; f < verify->n_formats; f++)
            for (size_t i = 0; i < COUNT(user_counts) && user_counts[i] <= users_at(grid, context); i++) {
                const struct verify_cell place = {.kind = VERIFY_step,
                                                  .format = f,
                                                  .context = context,
                                                  .users = user_counts[i],
                                                  .n_new = 1,
                                                  .is_fit = (level + f + i) % 2 == 0};
                TRY(decode(verify, f, 0, &place));
                if (round == 0) forget_samples(cell_of(verify, &place));
            }
    return 0;
}

/* What the pool holds now beside what it should. */
static int weigh(struct verify *verify, unsigned f, uint32_t context) {
    struct verify_format *format = &verify->formats[f];
    const struct kv_layout *layout = format->machine.layout;
    struct self_payloads payloads = {0};
    uint32_t n_users = 0;
    for (uint32_t u = 0; u < MOST_USERS; u++) {
        const uint32_t n_tokens = format->sequences[u]->kv.n_computed;
        self_payloads_add(&payloads, layout, 1, n_tokens, 0);
        n_users += n_tokens > 0;
    }
    if (format->n_party > 0)
        self_payloads_add(&payloads, layout, PARTY, format->sequences[PARTY_FIRST]->kv.n_computed,
                          format->n_party);
    const struct verify_cell place = {.kind = VERIFY_memory,
                                      .format = f,
                                      .context = context,
                                      .users = n_users + (format->n_party > 0 ? PARTY : 0),
                                      .n_shared = format->n_party};
    struct verify_cell *cell = cell_of(verify, &place);
    cell->measured = (double)kv_usage(engine_kv(format->engine)).held_bytes;
    cell->predicted = (double)self_payload_bytes(&payloads, layout);
    return 0;
}

/* The party: one computes the prompt, the others take it over. */
static int gather_party(struct verify *verify, unsigned f, uint32_t n_shared) {
    struct verify_format *format = &verify->formats[f];
    double seconds;
    TRY(grow(verify, format, PARTY_FIRST, n_shared, &seconds));
    struct sequence *host = format->sequences[PARTY_FIRST];
    for (uint32_t u = PARTY_FIRST; u < PARTY_FIRST + PARTY; u++) {
        struct sequence *guest = format->sequences[u];
        if (guest != host) memcpy(guest->tokens, host->tokens, n_shared * sizeof *guest->tokens);
        guest->n_tokens = n_shared;
        TRY(submit(verify, format, u, OWN_TOKENS, 1, false));
        while (engine_step(format->engine) > 0) continue;
        TRY(check(verify, u, 1));
    }
    format->n_party = n_shared;
    return 0;
}

static int decode_party(struct verify *verify, const struct grid *grid) {
    for (uint32_t round = 0; round <= grid->n_rounds; round++)
        for (unsigned f = 0; f < verify->n_formats; f++) {
            const struct verify_cell place = {.kind = VERIFY_step,
                                              .format = f,
                                              .context = grid->n_shared + OWN_TOKENS,
                                              .users = PARTY,
                                              .n_new = 1,
                                              .n_shared = grid->n_shared,
                                              .is_fit = f % 2 == 0};
            TRY(decode(verify, f, PARTY_FIRST, &place));
            if (round == 0) forget_samples(cell_of(verify, &place));
        }
    return 0;
}

/* A prompt that nothing is cached of, on an engine that does nothing else. */
static int ask_fresh(struct verify *verify, unsigned f, uint32_t n_tokens) {
    struct verify_format *format = &verify->formats[f];
    const struct request *request = &verify->requests[FRESH];
    format->sequences[FRESH]->n_tokens = 0;
    TRY(submit(verify, format, FRESH, n_tokens, 1, true));
    while (engine_step(format->engine) > 0) continue;
    TRY(check(verify, FRESH, 1));
    const struct verify_cell place = {.kind = VERIFY_ttft, .format = f, .users = 1, .n_new = n_tokens};
    const struct self_seconds parts = self_prefill(&format->machine, 0, n_tokens, CHUNK);
    add_sample(verify, &place, (double)(request->first_token_ns - request->submitted_ns) * 1e-9, &parts);
    return 0;
}

/* Of all threads of this process, which spin where they wait for each other. */
static double processor_seconds(void) {
    struct rusage usage;
    if (getrusage(RUSAGE_SELF, &usage) < 0) return 0;
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           1e-6 * (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

static int measure_grid(struct verify *verify) {
    const struct grid grid = grid_of(verify);
    for (size_t level = 0; level < grid.n_levels; level++) {
        const uint32_t context = grid.levels[level];
        note(verify, "contexts of", context);
        for (unsigned f = 0; f < verify->n_formats; f++) TRY(grow_users(verify, f, &grid, level));
        TRY(decode_level(verify, &grid, level));
        for (unsigned f = 0; f < verify->n_formats; f++) TRY(weigh(verify, f, context));
    }
    if (grid.n_shared > 0) {
        note(verify, "a prompt in common of", grid.n_shared);
        for (unsigned f = 0; f < verify->n_formats; f++) TRY(gather_party(verify, f, grid.n_shared));
        TRY(decode_party(verify, &grid));
        for (unsigned f = 0; f < verify->n_formats; f++) TRY(weigh(verify, f, grid.n_shared));
    }
    for (size_t i = 0; i < grid.n_fresh; i++) {
        note(verify, "fresh prompts of", grid.fresh[i]);
        for (uint32_t round = 0; round < grid.n_rounds; round++)
            for (unsigned f = 0; f < verify->n_formats; f++) TRY(ask_fresh(verify, f, grid.fresh[i]));
    }
    if (!verify->opts->is_json && isatty(STDERR_FILENO)) fputs("\r\033[K", stderr);
    return 0;
}

int verify_measure(struct verify *verify) {
    const uint64_t begin_ns = clock_now_ns(&verify->clock);
    const double begin = processor_seconds();
    TRY(measure_grid(verify));
    const double seconds = (double)(clock_now_ns(&verify->clock) - begin_ns) * 1e-9;
    const double share = (processor_seconds() - begin) / (seconds * team_size(verify->team));
    verify->processor_share = share < 1 ? share : 1;
    return 0;
}
