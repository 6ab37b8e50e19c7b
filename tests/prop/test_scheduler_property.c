/* Random loads on the scheduler over a real cache with blocks of 3 tokens, too little memory and a made-up
 * model, so that admission, sharing, preemption and recomputation happen all the time.
 *
 *     test_scheduler_property [STEPS [SEED]]
 *
 * The model's state after a token is a hash of the token and of the state before it, which the model reads
 * from the cache's slots, and the next token is a function of the state. What each visible slot must hold,
 * and so which tokens each request must get, follows from the tokens alone: a wrong slot, a block shared that
 * must not be, or a preempted sequence that goes on otherwise than it would have alone, end the run. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/rng.h"
#include "kv/kv_usage.h"
#include "sched/scheduler.h"

_Static_assert(BLOCK_TOKENS == 3, "this program is to be built with tiny blocks");

enum {
    N_GROUPS = 2,
    MAX_SLABS = 64,
    MAX_ARENA_BYTES = 16384,
    MAX_WINDOW = 12,
    N_JOBS = 16,
    MAX_RUNNING = 8,
    MAX_CHUNK = 30,
    MAX_TOKENS = 40,
    N_DOCUMENTS = 3,
    VOCABULARY = 7,
    STEPS_PER_WORLD = 400,
    STEPS_TO_DRAIN = 4000,
};

static uint64_t seed = 1, n_steps = 100000;

/* The source of everything random: a run can be repeated from its seed and the number of its world. */
static uint64_t stream, n_drawn;
static uint32_t below(uint32_t n) { return (uint32_t)(rng_u64(stream, n_drawn++) % n); }

/* A client, with one request after the other. */
struct job {
    struct sequence sequence;
    int32_t tokens[MAX_TOKENS];
    uint64_t states[MAX_TOKENS]; /* the model's after each token */
    bool is_output[MAX_TOKENS];
    uint32_t n_states, n_goal;    /* tokens in the end */
    uint32_t next_streamed;       /* position whose logits are to be delivered next */
    uint32_t stream_end, n_limit; /* most tokens that may be matched */
    enum sequence_state was;      /* before the step */
    uint32_t n_left, n_preempted; /* before the step: tokens left; preemptions */
};

struct world {
    struct kv_cache *kv;
    struct kv_layout layout;
    struct scheduler scheduler;
    struct batch batch;
    struct job jobs[N_JOBS];
    uint64_t content[MAX_ARENA_BYTES]; /* at payload + slot: the state stored there */
    uint64_t number, step;
    uint32_t safe_tokens; /* a sequence of so many fits alone, however its blocks are scattered over slabs */
    bool may_fail;        /* requests may be longer */
    bool is_rash;         /* nobody is expected to grow, so that memory runs out */
};

static struct world world;

/* How often what this program is for has happened. */
static struct {
    uint64_t n_rows, n_requests, n_preemptions, n_recomputed, n_matched, n_failed, n_cancelled, n_stuck,
        n_copies, n_followed;
} seen;

#define CHECK(condition)                                                                                     \
    do {                                                                                                     \
        if (!(condition))                                                                                    \
            fail_msg("seed %llu, world %llu, step %llu, line %d: %s", (unsigned long long)seed,              \
                     (unsigned long long)world.number, (unsigned long long)world.step, __LINE__,             \
                     #condition);                                                                            \
    } while (0)

static struct job *job_of(const struct sequence *sequence) { return sequence->owner; }
static bool precedes(const struct job *a, const struct job *b) {
    const struct sequence *x = &a->sequence, *y = &b->sequence;
    return x->priority < y->priority || (x->priority == y->priority && x->arrival < y->arrival);
}

/* ---- the model ---- */

static uint64_t state_after(uint64_t before, int32_t token) { return rng_u64(before, (uint32_t)token); }
static int32_t pick(uint64_t state) { return (int32_t)(state % VOCABULARY); }

/* The states that follow from a job's tokens alone. */
static void extend_states(struct job *job) {
    for (; job->n_states < job->sequence.n_tokens; job->n_states++) {
        uint32_t i = job->n_states;
        job->states[i] = state_after(i == 0 ? 0 : job->states[i - 1], job->tokens[i]);
    }
}

static uint64_t *slot(const struct batch_sequence *entry, unsigned group, uint32_t position) {
    uint64_t payload = entry->payloads[group][position / BLOCK_TOKENS];
    CHECK(payload < MAX_ARENA_BYTES);
    return &world.content[payload + position % BLOCK_TOKENS];
}

static void compute_row(const struct batch_sequence *entry, const struct job *job, uint32_t position,
                        int32_t token) {
    CHECK(token == job->tokens[position]);
    uint64_t before = position == 0 ? 0 : *slot(entry, 0, position - 1);
    for (unsigned g = 0; g < N_GROUPS; g++) {
        *slot(entry, g, position) = state_after(before, token);
        for (uint32_t i = kv_window_begin(world.layout.groups[g].window, position); i <= position; i++)
            CHECK(*slot(entry, g, i) == job->states[i]);
    }
}

static void compute_step(void) {
    const struct batch *batch = &world.batch;
    const struct kv_op *ops;
    for (uint32_t i = 0, n = kv_ops(world.kv, &ops); i < n; i++, seen.n_copies++)
        for (uint32_t s = 0; s < ops[i].n_slots; s++)
            world.content[ops[i].target + s] = world.content[ops[i].source + s];
    for (uint32_t i = 0; i < batch->n_sequences; i++) {
        const struct batch_sequence *entry = &batch->sequences[i];
        for (uint32_t row = 0; row < entry->n_rows; row++)
            compute_row(entry, job_of(world.scheduler.in_step[i]), entry->first_position + row,
                        batch->tokens[entry->first_row + row]);
    }
    seen.n_rows += batch->n_rows;
}

/* ---- what a step must be ---- */

/* The first in order of those that were in a state, and had tokens left if asked; or NULL. */
static struct job *first_job(enum sequence_state was, bool has_left) {
    struct job *first = NULL;
    for (int i = 0; i < N_JOBS; i++) {
        struct job *job = &world.jobs[i];
        if (job->was == was && (!has_left || job->n_left > 0) && (first == NULL || precedes(job, first)))
            first = job;
    }
    return first;
}

/* Which part of the step a job's rows belong to: 0 decode, 1 chunks of running ones, 2 admitted. */
static int part_of(const struct job *job) {
    return job->was == SEQUENCE_WAITING ? 2 : job->n_left > 1 ? 1 : 0;
}

static void check_batch(uint32_t budget) {
    const struct batch *batch = &world.batch;
    uint32_t n_rows = 0, n_prefill = 0, n_wanted = 0;
    CHECK(world.scheduler.n_in_step == batch->n_sequences);
    for (uint32_t i = 0; i < batch->n_sequences; i++) {
        const struct job *job = job_of(world.scheduler.in_step[i]);
        const struct batch_sequence *entry = &batch->sequences[i];
        const struct sequence *sequence = &job->sequence;
        CHECK(sequence->state == SEQUENCE_RUNNING);
        CHECK(entry->n_rows > 0 && entry->n_rows == sequence->n_rows && entry->first_row == n_rows);
        CHECK(entry->first_position == sequence->kv.n_computed);
        CHECK(entry->first_position + entry->n_rows <= sequence->n_tokens);
        if (i > 0) {
            const struct job *before = job_of(world.scheduler.in_step[i - 1]);
            CHECK(part_of(before) < part_of(job) ||
                  (part_of(before) == part_of(job) && precedes(before, job)));
        }
        if (entry->first_position + entry->n_rows == sequence->n_tokens)
            CHECK(batch->wanted[n_wanted++] == n_rows + entry->n_rows - 1);
        n_rows += entry->n_rows;
        if (part_of(job) > 0) n_prefill += entry->n_rows;
    }
    CHECK(n_rows == batch->n_rows && n_wanted == batch->n_wanted);
    CHECK(world.scheduler.n_prefill_rows == n_prefill);
    CHECK(world.scheduler.n_decode_rows == n_rows - n_prefill);
    CHECK(n_prefill <= world.scheduler.chunk_tokens);
    CHECK(n_prefill <= budget || (budget == 0 && n_prefill == n_rows));
}

/* Nobody's rows, slots or place are given to one who comes later in the order. */
static void check_order(uint32_t budget) {
    uint32_t n_running = 0, n_waiting = 0;
    const struct job *last_running = NULL, *first_preempted = NULL, *last_admitted = NULL,
                     *first_waiting = NULL;
    for (int i = 0; i < N_JOBS; i++) {
        struct job *job = &world.jobs[i];
        const struct sequence *sequence = &job->sequence;
        n_running += sequence->state == SEQUENCE_RUNNING;
        n_waiting += sequence->state == SEQUENCE_WAITING;
        bool is_preempted = sequence->n_preemptions > job->n_preempted;
        CHECK(!is_preempted ||
              (job->was == SEQUENCE_RUNNING && sequence->state == SEQUENCE_WAITING && sequence->n_rows == 0));
        CHECK(is_preempted || job->was != SEQUENCE_RUNNING || sequence->state == SEQUENCE_RUNNING);
        if (sequence->state == SEQUENCE_WAITING) {
            CHECK((sequence->kv.table != 0) == sequence->is_holder);
            if (first_waiting == NULL || precedes(job, first_waiting)) first_waiting = job;
            if (is_preempted && (first_preempted == NULL || precedes(job, first_preempted)))
                first_preempted = job;
        } else if (sequence->state == SEQUENCE_RUNNING) {
            if (last_running == NULL || precedes(last_running, job)) last_running = job;
            if (job->was == SEQUENCE_WAITING && (last_admitted == NULL || precedes(last_admitted, job)))
                last_admitted = job;
        }
    }
    CHECK(n_running == world.scheduler.n_running && n_waiting == world.scheduler.n_waiting);
    CHECK(n_running <= world.scheduler.max_sequences);
    CHECK(first_preempted == NULL || (last_admitted == NULL && precedes(last_running, first_preempted)));
    CHECK(last_admitted == NULL || first_waiting == NULL || precedes(last_admitted, first_waiting));
    const struct job *oldest = first_job(SEQUENCE_RUNNING, true);
    CHECK(oldest == NULL || oldest->sequence.n_rows > 0 ||
          (budget == 0 && oldest->n_left > 1 && world.scheduler.n_decode_rows > 0));
    for (int i = 0; i < N_JOBS; i++) {
        const struct job *job = &world.jobs[i];
        if (job->sequence.state != SEQUENCE_RUNNING || job->was != SEQUENCE_RUNNING || job->n_left != 1 ||
            job->sequence.n_rows == 1)
            continue;
        seen.n_stuck++; /* nobody is left who could give it a slot */
        CHECK(job == last_running);
    }
}

/* Whether the job's next token is one that another, before it in the order, has or will compute after the
 * same tokens. */
static bool may_follow(const struct job *job) {
    for (int i = 0; i < N_JOBS; i++) {
        const struct job *other = &world.jobs[i];
        uint32_t n = job->sequence.kv.n_computed;
        if (other == job || other->sequence.state != SEQUENCE_RUNNING || !precedes(other, job)) continue;
        if (other->sequence.salt == job->sequence.salt && other->sequence.n_tokens > n &&
            other->states[n] == job->states[n])
            return true;
    }
    return false;
}

/* Who gets no rows of a prompt though the step has room for them waits for another to compute them. */
static void check_followers(uint32_t budget) {
    uint32_t most = budget < world.scheduler.chunk_tokens ? budget : world.scheduler.chunk_tokens;
    for (int i = 0; i < N_JOBS; i++) {
        const struct job *job = &world.jobs[i];
        bool is_idle =
            job->sequence.state == SEQUENCE_RUNNING && job->sequence.n_rows == 0 && job->n_left > 1;
        if (!is_idle || world.scheduler.n_prefill_rows >= most ||
            world.scheduler.running.last == &job->sequence)
            continue;
        CHECK(may_follow(job));
        seen.n_followed++;
    }
}

static void check_streamed(void) {
    const struct batch *batch = &world.batch;
    uint32_t n = 0;
    for (uint32_t i = 0; i < batch->n_sequences; i++) {
        struct job *job = job_of(world.scheduler.in_step[i]);
        const struct batch_sequence *entry = &batch->sequences[i];
        uint32_t end = entry->first_position + entry->n_rows;
        CHECK(job->next_streamed >= job->stream_end || entry->first_position <= job->next_streamed);
        for (; job->next_streamed < end && job->next_streamed < job->stream_end; job->next_streamed++, n++)
            CHECK(n < batch->n_streamed &&
                  batch->streamed[n] == entry->first_row + job->next_streamed - entry->first_position);
    }
    CHECK(n == batch->n_streamed);
}

static void check_matches(void) {
    for (int i = 0; i < N_JOBS; i++) {
        const struct job *job = &world.jobs[i];
        const struct sequence *sequence = &job->sequence;
        if (job->was != SEQUENCE_WAITING || sequence->state != SEQUENCE_RUNNING) continue;
        seen.n_matched += sequence->n_preemptions == 0 && sequence->n_matched > 0;
        seen.n_recomputed += sequence->n_preemptions > 0;
        CHECK(sequence->n_matched <= job->n_limit);
        if (sequence->skips_cache && job->n_limit == 0) CHECK(sequence->kv.n_computed == 0);
    }
}

/* ---- requests ---- */

static void submit(struct job *job) {
    struct sequence *sequence = &job->sequence;
    uint32_t n_prompt = sequence->n_tokens;
    sequence->n_expected = world.is_rash ? 0 : below(3) == 0 ? below(MAX_TOKENS + 1) : job->n_goal;
    sequence->priority = (int32_t)below(3) - 1;
    sequence->stream_begin = sequence->stream_end = 0;
    if (sequence->kv.n_computed == 0 && below(5) == 0) {
        sequence->stream_begin = below(n_prompt);
        sequence->stream_end = n_prompt - 1;
    }
    bool is_streamed = sequence->stream_begin < sequence->stream_end;
    job->next_streamed = sequence->stream_begin;
    job->stream_end = is_streamed ? sequence->stream_end : 0;
    job->n_limit = sequence->skips_cache ? 0 : is_streamed ? sequence->stream_begin : n_prompt - 1;
    if (sequence->kv.n_computed > 0) job->n_limit = n_prompt - 1;
    extend_states(job);
    scheduler_add(&world.scheduler, sequence);
    seen.n_requests++;
}

/* A prompt that begins like one of a few documents. */
static void start(struct job *job) {
    *job = (struct job){0};
    uint32_t most = world.may_fail ? MAX_TOKENS : world.safe_tokens;
    uint32_t document = below(N_DOCUMENTS), n_prompt = 1 + below(below(2) == 0 ? most - 1 : most / 3),
             n_common = below(2) == 0 ? n_prompt : below(n_prompt + 1);
    for (uint32_t i = 0; i < n_prompt; i++)
        job->tokens[i] =
            i < n_common ? (int32_t)(rng_u64(document, i) % VOCABULARY) : (int32_t)below(VOCABULARY);
    job->n_goal = n_prompt + 1 + below(most - n_prompt);
    job->sequence = (struct sequence){.tokens = job->tokens,
                                      .n_tokens = n_prompt,
                                      .max_tokens = MAX_TOKENS,
                                      .salt = below(8) == 0,
                                      .skips_cache = below(8) == 0,
                                      .owner = job};
    submit(job);
}

/* The same client asks on, and its sequence keeps what it holds. */
static bool ask_on(struct job *job) {
    struct sequence *sequence = &job->sequence;
    uint32_t most = world.may_fail ? MAX_TOKENS : world.safe_tokens;
    if (sequence->n_tokens + 2 > most) return false;
    uint32_t n_new = 1 + below(most - sequence->n_tokens - 1);
    for (uint32_t i = 0; i < n_new; i++) job->tokens[sequence->n_tokens++] = (int32_t)below(VOCABULARY);
    job->n_goal = sequence->n_tokens + 1 + below(most - sequence->n_tokens);
    submit(job);
    return true;
}

static void stop(struct job *job) {
    scheduler_remove(&world.scheduler, &job->sequence);
    kv_release(world.kv, &job->sequence.kv);
}

/* Each output token is the one that the tokens before it lead to, whatever happened meanwhile. */
static void check_answer(const struct job *job) {
    uint64_t state = 0;
    for (uint32_t i = 0; i < job->sequence.n_tokens; i++) {
        if (job->is_output[i]) CHECK(job->tokens[i] == pick(state));
        state = state_after(state, job->tokens[i]);
    }
    CHECK(job->next_streamed >= job->stream_end);
}

/* The next token of everybody whose last row was computed, read from where the cache says it lies. */
static void take_tokens(void) {
    for (int i = 0; i < N_JOBS; i++) {
        struct job *job = &world.jobs[i];
        struct sequence *sequence = &job->sequence;
        if (sequence->state != SEQUENCE_RUNNING || sequence_tokens_left(sequence) > 0) continue;
        uint32_t n, last = sequence->n_tokens - 1;
        uint64_t payload = kv_payloads(world.kv, &sequence->kv, 0, &n)[last / BLOCK_TOKENS];
        job->is_output[sequence->n_tokens] = true;
        job->tokens[sequence->n_tokens++] = pick(world.content[payload + last % BLOCK_TOKENS]);
        extend_states(job);
        if (sequence->n_tokens < job->n_goal) continue;
        check_answer(job);
        scheduler_remove(&world.scheduler, sequence);
        if (below(3) > 0 || !ask_on(job)) kv_release(world.kv, &sequence->kv);
    }
}

/* One that fails had all memory to itself, and was longer than it. */
static void drop_failed(struct sequence *failed) {
    CHECK(world.may_fail && failed->n_tokens > world.safe_tokens);
    CHECK(world.batch.n_rows == 0 && world.scheduler.n_in_step == 0);
    for (int i = 0; i < N_JOBS; i++)
        CHECK(&world.jobs[i].sequence == failed || world.jobs[i].sequence.kv.table == 0);
    stop(job_of(failed));
    seen.n_failed++;
}

/* ---- worlds ---- */

static void note_before(void) {
    for (int i = 0; i < N_JOBS; i++) {
        struct job *job = &world.jobs[i];
        job->was = job->sequence.state;
        job->n_left = sequence_tokens_left(&job->sequence);
        job->n_preempted = job->sequence.n_preemptions;
    }
}

static void step(void) {
    uint32_t budget = below(4) == 0 ? 0 : below(MAX_CHUNK + 3);
    struct sequence *failed;
    note_before();
    uint64_t n_allocations = mem_count();
    int result;
    while ((result = scheduler_next(&world.scheduler, &world.batch, budget, &failed)) < 0) {
        CHECK(result == ERR_FULL && failed != NULL);
        drop_failed(failed);
        note_before();
    }
    CHECK(failed == NULL && mem_count() == n_allocations);
    check_batch(budget);
    check_order(budget);
    check_followers(budget);
    check_streamed();
    check_matches();
    CHECK(world.batch.n_rows > 0 || world.scheduler.n_running + world.scheduler.n_waiting == 0);
    CHECK(kv_check(world.kv));
    compute_step();
    scheduler_commit(&world.scheduler);
    CHECK(mem_count() == n_allocations && kv_check(world.kv));
    take_tokens();
}

static void arrive_and_leave(void) {
    for (int i = 0; i < N_JOBS; i++) {
        struct job *job = &world.jobs[i];
        if (!sequence_is_scheduled(&job->sequence)) {
            if (below(6) == 0) start(job);
        } else if (below(400) == 0) {
            stop(job);
            seen.n_cancelled++;
        }
    }
}

/* At worst each block takes a slab: in so small an arena that is the largest payload. */
static uint32_t safe_tokens(uint64_t n_slabs) {
    for (uint32_t n = 0;; n++) {
        uint64_t n_blocks = 0;
        for (unsigned g = 0; g < N_GROUPS; g++)
            n_blocks += kv_group_blocks(&world.layout.groups[g], n + 1, 1);
        if (n_blocks > n_slabs || n == MAX_TOKENS) return n;
    }
}

static void open_world(void) {
    uint64_t number = world.number;
    world = (struct world){.number = number};
    world.layout.n_groups = N_GROUPS;
    size_t slab_bytes = 0;
    for (unsigned g = 0; g < N_GROUPS; g++) {
        struct kv_group *group = &world.layout.groups[g];
        /* The model reads the position before its own from group 0. */
        group->window = below(2) * (g == 0 ? 2 + below(MAX_WINDOW - 1) : below(MAX_WINDOW + 1));
        for (uint32_t n_layers = 1 + below(2); n_layers > 0; n_layers--)
            assert_int_equal(
                kv_layout_add(&world.layout, g, 1 + below(2), 2 + 2 * below(2), kv_codecs_both(CODEC_f16)),
                0);
        if (group->block_bytes > slab_bytes) slab_bytes = group->block_bytes;
    }
    struct kv_opts opts = {.memory_bytes =
                               (4 + below(MAX_SLABS - 3)) * slab_bytes + below((uint32_t)slab_bytes),
                           .max_sequences = N_JOBS,
                           .max_tokens = MAX_TOKENS};
    if (opts.memory_bytes > MAX_ARENA_BYTES) opts.memory_bytes = MAX_ARENA_BYTES;
    assert_int_equal(kv_open(&world.kv, &world.layout, &opts), 0);
    uint32_t n_running = 1 + below(MAX_RUNNING), n_chunk = 1 + below(MAX_CHUNK);
    assert_int_equal(scheduler_open(&world.scheduler, world.kv, &world.layout, n_running, n_chunk), 0);
    assert_int_equal(batch_open(&world.batch, n_running + n_chunk, n_running), 0);
    world.safe_tokens = safe_tokens(opts.memory_bytes / slab_bytes);
    world.is_rash = below(2) == 0;
    world.may_fail = below(4) == 0 || world.safe_tokens < 6;
}

static void close_world(void) {
    seen.n_preemptions += world.scheduler.n_preemptions;
    struct kv_usage usage = kv_usage(world.kv);
    CHECK(usage.n_open == 0 && usage.n_sealed == 0 && usage.free_tokens == usage.capacity_tokens);
    batch_close(&world.batch);
    scheduler_close(&world.scheduler);
    kv_close(world.kv);
}

static void every_request_of_any_load_gets_its_tokens(void **state) {
    (void)state;
    printf("%llu steps, seed %llu\n", (unsigned long long)n_steps, (unsigned long long)seed);
    for (uint64_t done = 0; done < n_steps; world.number++) {
        stream = rng_u64(seed, world.number);
        n_drawn = 0;
        open_world();
        for (; world.step < STEPS_PER_WORLD; world.step++) {
            arrive_and_leave();
            step();
        }
        while (world.scheduler.n_running + world.scheduler.n_waiting > 0) {
            CHECK(world.step++ < STEPS_PER_WORLD + STEPS_TO_DRAIN);
            step();
        }
        done += world.step;
        close_world();
    }
    printf("%llu rows of %llu requests: %llu preemptions, %llu recomputed, %llu with a match, %llu failed, "
           "%llu cancelled, %llu waits in place, %llu copies, %llu waits for another\n",
           (unsigned long long)seen.n_rows, (unsigned long long)seen.n_requests,
           (unsigned long long)seen.n_preemptions, (unsigned long long)seen.n_recomputed,
           (unsigned long long)seen.n_matched, (unsigned long long)seen.n_failed,
           (unsigned long long)seen.n_cancelled, (unsigned long long)seen.n_stuck,
           (unsigned long long)seen.n_copies, (unsigned long long)seen.n_followed);
    if (n_steps >= 100000) /* else the run may have been too short for some of them */
        CHECK(seen.n_preemptions > 0 && seen.n_recomputed > 0 && seen.n_matched > 0 && seen.n_failed > 0 &&
              seen.n_cancelled > 0 && seen.n_stuck > 0 && seen.n_copies > 0 && seen.n_followed > 0);
}

int main(int argc, char **argv) {
    if (argc > 1) n_steps = strtoull(argv[1], NULL, 0);
    if (argc > 2) seed = strtoull(argv[2], NULL, 0);
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_request_of_any_load_gets_its_tokens)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
