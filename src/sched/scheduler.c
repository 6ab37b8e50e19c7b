#include "sched/scheduler.h"

#include "base/err.h"
#include "base/mem.h"
#include "kv/kv_usage.h"

int scheduler_open(struct scheduler *scheduler, struct kv_cache *kv, const struct kv_layout *layout,
                   uint32_t max_sequences, uint32_t chunk_tokens) {
    *scheduler = (struct scheduler){
        .kv = kv, .layout = layout, .chunk_tokens = chunk_tokens, .max_sequences = max_sequences};
    scheduler->in_step = mem_alloc(max_sequences, sizeof(struct sequence *));
    return scheduler->in_step == NULL ? ERR_NO_MEMORY : 0;
}

void scheduler_close(struct scheduler *scheduler) {
    mem_free(scheduler->in_step);
    scheduler->in_step = NULL;
}

/* ---- from state to state ---- */

static void start_waiting(struct scheduler *scheduler, struct sequence *sequence) {
    sequence->state = SEQUENCE_WAITING;
    sequence_queue_insert(&scheduler->waiting, sequence);
    scheduler->n_waiting++;
    sequence->is_holder = sequence->kv.table != 0;
    if (sequence->is_holder) sequence_list_insert(&scheduler->holders, sequence);
}

static void stop_waiting(struct scheduler *scheduler, struct sequence *sequence) {
    if (sequence->is_holder) sequence_list_remove(&scheduler->holders, sequence);
    sequence->is_holder = false;
    sequence_queue_remove(&scheduler->waiting, sequence);
    scheduler->n_waiting--;
}

static void start_running(struct scheduler *scheduler, struct sequence *sequence) {
    sequence->state = SEQUENCE_RUNNING;
    sequence_list_insert(&scheduler->running, sequence);
    scheduler->n_running++;
}

static void stop_running(struct scheduler *scheduler, struct sequence *sequence) {
    sequence_list_remove(&scheduler->running, sequence);
    scheduler->n_running--;
}

void scheduler_add(struct scheduler *scheduler, struct sequence *sequence) {
    ASSERT(!sequence_is_scheduled(sequence) && sequence_tokens_left(sequence) > 0);
    sequence->arrival = scheduler->n_arrivals++;
    sequence->n_matched = sequence->n_preemptions = 0;
    sequence->was_admitted = false;
    if (sequence->kv.n_computed == 0) kv_release(scheduler->kv, &sequence->kv);
    start_waiting(scheduler, sequence);
}

void scheduler_remove(struct scheduler *scheduler, struct sequence *sequence) {
    ASSERT(scheduler->n_in_step == 0);
    if (!sequence_is_scheduled(sequence)) return;
    if (sequence->state == SEQUENCE_WAITING)
        stop_waiting(scheduler, sequence);
    else
        stop_running(scheduler, sequence);
    sequence->state = SEQUENCE_UNSCHEDULED;
    scheduler->n_chances++;
}

static void refuse(struct scheduler *scheduler, const struct sequence *sequence) {
    scheduler->refused = sequence;
    scheduler->refused_at = scheduler->n_chances;
}

/* Takes a running sequence out of the step that is being planned. */
static void unplan(struct scheduler *scheduler, struct sequence *sequence) {
    if (sequence->n_rows == 0) return;
    uint32_t i = 0;
    while (scheduler->in_step[i] != sequence) i++;
    for (scheduler->n_in_step--; i < scheduler->n_in_step; i++)
        scheduler->in_step[i] = scheduler->in_step[i + 1];
    sequence->n_rows = 0;
}

/* Unless something changes, there is no room for it a step later either. */
static void preempt(struct scheduler *scheduler, struct sequence *sequence) {
    unplan(scheduler, sequence);
    stop_running(scheduler, sequence);
    kv_release(scheduler->kv, &sequence->kv);
    start_waiting(scheduler, sequence);
    sequence->n_preemptions++;
    scheduler->n_preemptions++;
    refuse(scheduler, sequence);
}

/* ---- sharing ---- */

/* One more than the tokens that a sequence may take over: the first row whose logits are wanted is its own.
 */
static uint32_t match_limit(const struct sequence *sequence) {
    if (sequence->skips_cache) return 1;
    return sequence->stream_begin < sequence->stream_end ? sequence->stream_begin + 1 : sequence->n_tokens;
}

/* Takes over what the cache has of a sequence behind what it has computed. */
static void take_over(struct scheduler *scheduler, struct sequence *sequence) {
    struct kv_seq *seq = &sequence->kv;
    uint32_t n = match_limit(sequence), n_before = seq->n_computed;
    if (seq->table == 0 && sequence->state == SEQUENCE_WAITING)
        kv_match(scheduler->kv, seq, sequence->tokens, n, sequence->salt);
    else
        kv_extend(scheduler->kv, seq, sequence->tokens, n);
    if (sequence->was_admitted && sequence->n_preemptions == 0)
        sequence->n_matched += seq->n_computed - n_before;
}

/* Whether `other`, which runs, is about to compute what `sequence` could take over: the block that it needs
 * next, or all that it may take. Both have the same full blocks, else they have nothing to wait for. */
static bool promises(const struct sequence *other, const struct sequence *sequence) {
    const struct kv_seq *ahead = &other->kv, *seq = &sequence->kv;
    if (ahead->node != seq->node || ahead->salt != seq->salt) return false;
    uint32_t i = seq->n_computed / BLOCK_TOKENS * BLOCK_TOKENS, end = i + BLOCK_TOKENS;
    uint32_t limit = match_limit(sequence) - 1, end_of_block = end;
    if (end > limit) end = limit;
    if (end > other->n_tokens) end = other->n_tokens;
    while (i < end && other->tokens[i] == sequence->tokens[i]) i++;
    return (i == end_of_block || i == limit) && seq->n_computed < i && ahead->n_computed < i;
}

/* Whether somebody before it in the order promises what it needs next; so the first waits for nobody. */
static bool is_promised(const struct scheduler *scheduler, const struct sequence *sequence) {
    for (const struct sequence *other = scheduler->running.first; other != NULL; other = other->link.next) {
        if (!sequence_precedes(other, sequence)) return false;
        if (promises(other, sequence)) return true;
    }
    return false;
}

/* ---- slots ---- */

/* Slots for n_rows tokens, or for the half, and so on. Returns how many; 0 if there is not even one. */
static uint32_t reserve(struct scheduler *scheduler, struct sequence *sequence, uint32_t n_rows) {
    for (; n_rows > 0; n_rows /= 2) {
        int result = kv_reserve(scheduler->kv, &sequence->kv, n_rows);
        if (result == 0) break;
        ASSERT(result == ERR_FULL); /* sequences are no longer than kv allows */
    }
    return n_rows;
}

/* The last waiting sequence, other than `sequence`, that brought slots along gives them back. False if there
 * is none. */
static bool strip_holder(struct scheduler *scheduler, const struct sequence *sequence) {
    struct sequence *holder = scheduler->holders.last;
    if (holder == NULL || holder == sequence) return false;
    sequence_list_remove(&scheduler->holders, holder);
    holder->is_holder = false;
    kv_release(scheduler->kv, &holder->kv);
    return true;
}

static bool make_room(struct scheduler *scheduler, const struct sequence *sequence) {
    if (strip_holder(scheduler, sequence)) return true;
    if (scheduler->running.last == sequence) return false;
    preempt(scheduler, scheduler->running.last);
    return true;
}

static void plan(struct scheduler *scheduler, struct sequence *sequence, uint32_t n_rows) {
    sequence->n_rows = n_rows;
    scheduler->in_step[scheduler->n_in_step++] = sequence;
}

/* Rows for a running sequence, at most n_rows, whoever has to go for it. */
static uint32_t plan_running(struct scheduler *scheduler, struct sequence *sequence, uint32_t n_rows) {
    uint32_t n_reserved;
    while ((n_reserved = reserve(scheduler, sequence, n_rows)) == 0)
        if (!make_room(scheduler, sequence)) return 0;
    plan(scheduler, sequence, n_reserved);
    return n_reserved;
}

/* ---- admission ---- */

/* Adds the blocks, by group, that a sequence will need beside those it holds. */
static void add_growth(const struct scheduler *scheduler, const struct sequence *sequence,
                       uint64_t n_blocks[KV_MAX_GROUPS]) {
    uint32_t n_left = sequence_tokens_left(sequence);
    uint32_t n_step = n_left < scheduler->chunk_tokens ? n_left : scheduler->chunk_tokens;
    uint32_t n_tokens = sequence->n_expected > sequence->n_tokens ? sequence->n_expected : sequence->n_tokens;
    for (unsigned g = 0; g < scheduler->layout->n_groups; g++) {
        const struct kv_group *group = &scheduler->layout->groups[g];
        uint64_t n_held = kv_group_n_blocks(scheduler->kv, &sequence->kv, g);
        uint64_t n_most = kv_group_blocks(group, n_tokens, n_step);
        if (n_most > n_held) n_blocks[g] += n_most - n_held;
    }
}

/* Whether what a waiting sequence will need is free beside what the running ones will. */
static bool fits(const struct scheduler *scheduler, const struct sequence *sequence) {
    uint64_t n_blocks[KV_MAX_GROUPS] = {0};
    for (const struct sequence *other = scheduler->running.first; other != NULL; other = other->link.next)
        add_growth(scheduler, other, n_blocks);
    add_growth(scheduler, sequence, n_blocks);
    return kv_has_room(scheduler->kv, n_blocks);
}

/* Admits the first waiting sequence, if it may, with at most `budget` rows: *n_rows, 0 if others are about to
 * compute what it needs. */
static bool admit(struct scheduler *scheduler, struct sequence *sequence, uint32_t budget, uint32_t *n_rows) {
    bool is_alone = scheduler->n_in_step == 0, is_fresh = sequence->kv.table == 0;
    *n_rows = 0;
    if (!is_alone && scheduler->refused == sequence && scheduler->refused_at == scheduler->n_chances)
        return false;
    take_over(scheduler, sequence);
    uint32_t n_left = sequence_tokens_left(sequence);
    bool has_room = is_alone || fits(scheduler, sequence), waits = is_promised(scheduler, sequence);
    if (has_room && !waits) {
        do *n_rows = reserve(scheduler, sequence, n_left < budget ? n_left : budget);
        while (*n_rows == 0 && is_alone && strip_holder(scheduler, sequence));
    }
    if (!has_room || (*n_rows == 0 && !waits)) {
        if (is_fresh) kv_release(scheduler->kv, &sequence->kv);
        refuse(scheduler, sequence);
        return false;
    }
    if (!sequence->was_admitted) sequence->n_matched = sequence->kv.n_computed;
    sequence->was_admitted = true;
    stop_waiting(scheduler, sequence);
    start_running(scheduler, sequence);
    if (*n_rows > 0) plan(scheduler, sequence, *n_rows);
    return true;
}

/* Admits waiting sequences in order, with at most `budget` rows in all. Returns their rows. */
static uint32_t admit_all(struct scheduler *scheduler, uint32_t budget) {
    uint32_t n_rows = 0, n;
    while (scheduler->n_waiting > 0 && scheduler->n_running < scheduler->max_sequences && n_rows < budget &&
           admit(scheduler, scheduler->waiting.first, budget - n_rows, &n))
        n_rows += n;
    return n_rows;
}

/* ---- the step ---- */

/* Plans rows of the running sequences: those that lack one token, or those that lack more, with at most
 * `budget` rows in all. Returns the rows; *stuck, unless they all got some, is the last that did not. */
static uint32_t plan_phase(struct scheduler *scheduler, bool is_prefill, uint32_t budget,
                           struct sequence **stuck) {
    uint32_t n_rows = 0;
    for (struct sequence *sequence = scheduler->running.first; sequence != NULL && n_rows < budget;
         sequence = sequence->link.next) {
        uint32_t n_left = sequence_tokens_left(sequence), n_most = budget - n_rows;
        if (n_left == 0 || (n_left > 1) != is_prefill) continue;
        if (is_prefill) {
            take_over(scheduler, sequence);
            if (is_promised(scheduler, sequence)) continue;
            n_left = sequence_tokens_left(sequence);
        }
        uint32_t n = plan_running(scheduler, sequence, n_left < n_most ? n_left : n_most);
        if (n == 0) *stuck = sequence;
        n_rows += n;
    }
    return n_rows;
}

static void write_batch(const struct scheduler *scheduler, struct batch *batch) {
    for (uint32_t i = 0; i < scheduler->n_in_step; i++) {
        const struct sequence *sequence = scheduler->in_step[i];
        uint32_t first = sequence->kv.n_computed, n_rows = sequence->n_rows, n_blocks;
        struct batch_sequence *entry = batch_append(batch, sequence->tokens + first, n_rows, first,
                                                    first + n_rows == sequence->n_tokens);
        batch_stream(batch, sequence->stream_begin, sequence->stream_end);
        for (unsigned g = 0; g < scheduler->layout->n_groups; g++) {
            entry->payloads[g] = kv_payloads(scheduler->kv, &sequence->kv, g, &n_blocks);
            entry->staged[g] = kv_staged_payload(scheduler->kv, &sequence->kv, g);
        }
    }
}

int scheduler_next(struct scheduler *scheduler, struct batch *batch, uint32_t prefill_budget,
                   struct sequence **failed) {
    ASSERT(scheduler->n_in_step == 0);
    batch_clear(batch);
    *failed = NULL;
    struct sequence *stuck = NULL;
    uint64_t n_preemptions = scheduler->n_preemptions;
    plan_phase(scheduler, false, UINT32_MAX, &stuck);
    uint32_t budget = prefill_budget;
    if (budget > scheduler->chunk_tokens || (budget == 0 && scheduler->n_in_step == 0))
        budget = scheduler->chunk_tokens;
    uint32_t n_prefill = plan_phase(scheduler, true, budget, &stuck);
    if (scheduler->n_in_step == 0 && stuck != NULL) {
        *failed = stuck;
        return ERR_FULL; /* as kv_reserve said */
    }
    if (scheduler->n_preemptions == n_preemptions) n_prefill += admit_all(scheduler, budget - n_prefill);
    if (scheduler->n_in_step == 0 && scheduler->n_running == 0 && scheduler->n_waiting > 0) {
        *failed = scheduler->waiting.first;
        return ERR_FULL;
    }
    write_batch(scheduler, batch);
    scheduler->n_prefill_rows = n_prefill;
    scheduler->n_decode_rows = batch->n_rows - n_prefill;
    return 0;
}

void scheduler_commit(struct scheduler *scheduler) {
    for (uint32_t i = 0; i < scheduler->n_in_step; i++) {
        struct sequence *sequence = scheduler->in_step[i];
        kv_commit(scheduler->kv, &sequence->kv, sequence->tokens, sequence->n_rows);
        uint32_t n_computed = sequence->kv.n_computed;
        if (sequence->n_rows > 1 && n_computed == sequence->n_tokens) scheduler->n_chances++;
        sequence->n_rows = 0;
        if (sequence->stream_begin < n_computed)
            sequence->stream_begin = n_computed < sequence->stream_end ? n_computed : sequence->stream_end;
    }
    scheduler->n_in_step = 0;
}
