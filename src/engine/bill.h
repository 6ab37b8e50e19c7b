/* The KV bill: what a request took of the cache, and what nobody is billed for.
 *
 * A block's time and reads divide equally among the sequences that have, or read, it at that moment. What is
 * left, goes to the *house*: time in which no request under way has a block (idle, leased, kept by a
 * conversation between two requests), and remainders of less than a byte a block. So at any moment
 *
 *   sum of all requests' bills, running and finished + house = what the pool and the steps saw.
 *
 * Time counts in byte-nanoseconds, which are whole numbers: the sums are exact. */
#ifndef CABINET_ENGINE_BILL_H
#define CABINET_ENGINE_BILL_H

#include "sched/scheduler.h"

typedef unsigned __int128 byte_ns;

/* Of one request. */
struct kv_bill {
    uint64_t computed_tokens;  /* rows: prompt and answer, and again after a preemption */
    uint64_t written_bytes;    /* of KV */
    uint64_t read_bytes;       /* its part of what attention read */
    byte_ns held;              /* its part of the blocks it had, over time */
    uint64_t peak_bytes;       /* most that it had at once, shared blocks whole; at that moment: */
    uint64_t saved_by_sharing; /* bytes less than all of peak_bytes for it alone */
    int64_t saved_by_codec;    /* bytes less than in f16; negative where they are more */
};

/* Of an engine, since it was opened. */
struct bill_totals {
    byte_ns pool, billed, house;             /* pool = billed + house */
    uint64_t read_bytes, billed_read_bytes;  /* by attention; the house has the difference */
    uint64_t written_bytes, computed_tokens; /* all billed */
};

/* What KV memory costs. */
struct kv_price {
    double gb_hour;      /* of 10^9 bytes for an hour; 0 if only the machine has a price */
    double machine_hour; /* of the whole machine, divided among bills by their part of the KV memory; or 0 */
};
static inline bool kv_price_is_set(const struct kv_price *price) {
    return price->gb_hour > 0 || price->machine_hour > 0;
}
/* Of so much memory over time, in the price's money. arena_bytes: of the whole KV memory. */
double kv_price_of(const struct kv_price *price, byte_ns held, uint64_t arena_bytes);
static inline double byte_seconds(byte_ns held) { return (double)held * 1e-9; }

/* ---- for the engine ---- */

struct request;

struct bills {
    const struct scheduler *scheduler; /* borrowed; the sequences' owners are requests */
    struct kv_account *account;
    struct kv_traffic *traffic; /* (max_sequences) scratch */
    uint64_t at_ns;             /* up to when all is billed */
    struct bill_totals totals;
};

int bills_open(struct bills *bills, const struct scheduler *scheduler, uint32_t max_sequences,
               uint64_t now_ns);
void bills_close(struct bills *bills);
/* Bills the time since the last call for what sequences have: call it before anything changes in the cache.
 */
void bills_advance(struct bills *bills, uint64_t now_ns);
/* Bills what the scheduler's step under way reads and writes, and notes peaks. Before its commit. */
void bills_step(struct bills *bills, uint64_t now_ns);

#endif
