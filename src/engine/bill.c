#include "engine/bill.h"

#include "base/err.h"
#include "base/mem.h"
#include "engine/request.h"
#include "kernel/kernel_set.h"
#include "kv/kv_account.h"

int bills_open(struct bills *bills, const struct scheduler *scheduler, uint32_t max_sequences,
               uint64_t now_ns) {
    *bills = (struct bills){.scheduler = scheduler, .at_ns = now_ns};
    TRY(kv_account_open(&bills->account, scheduler->kv, ATTENTION_TILE_BLOCKS));
    bills->traffic = mem_alloc(max_sequences, sizeof *bills->traffic);
    return bills->traffic != NULL ? 0 : ERR_NO_MEMORY;
}

void bills_close(struct bills *bills) {
    kv_account_close(bills->account);
    mem_free(bills->traffic);
}

static void note_peak(struct kv_bill *bill, const struct kv_share *share) {
    if (share->held_bytes <= bill->peak_bytes) return;
    bill->peak_bytes = share->held_bytes;
    bill->saved_by_sharing = share->held_bytes - share->share_bytes;
    bill->saved_by_codec = (int64_t)share->f16_bytes - (int64_t)share->held_bytes;
}

/* Bills the latest look for so long. Returns what that was, of these sequences. */
static byte_ns bill_time(const struct bills *bills, const struct sequence_list *list, uint64_t ns) {
    byte_ns billed = 0;
    for (const struct sequence *sequence = list->first; sequence != NULL; sequence = sequence->link.next) {
        struct kv_share share = kv_account_share(bills->account, &sequence->kv);
        struct request *request = sequence->owner;
        byte_ns held = (byte_ns)share.share_bytes * ns;
        request->bill.held += held;
        billed += held;
        note_peak(&request->bill, &share);
    }
    return billed;
}

static void bill_all(struct bills *bills, uint64_t now_ns) {
    uint64_t ns = now_ns - bills->at_ns;
    kv_account_look(bills->account);
    byte_ns pool = (byte_ns)kv_account_pool_bytes(bills->account) * ns;
    byte_ns billed =
        bill_time(bills, &bills->scheduler->running, ns) + bill_time(bills, &bills->scheduler->holders, ns);
    ASSERT(billed <= pool);
    bills->totals.pool += pool;
    bills->totals.billed += billed;
    bills->totals.house += pool - billed;
    bills->at_ns = now_ns;
}

void bills_advance(struct bills *bills, uint64_t now_ns) {
    if (now_ns > bills->at_ns) bill_all(bills, now_ns);
}

void bills_step(struct bills *bills, uint64_t now_ns) {
    const struct scheduler *scheduler = bills->scheduler;
    struct bill_totals *totals = &bills->totals;
    bill_all(bills, now_ns > bills->at_ns ? now_ns : bills->at_ns);
    for (uint32_t i = 0; i < scheduler->n_in_step; i++) {
        const struct sequence *sequence = scheduler->in_step[i];
        bills->traffic[i] = (struct kv_traffic){.seq = &sequence->kv, .n_rows = sequence->n_rows};
    }
    struct kv_step_bytes step = kv_account_step(bills->account, bills->traffic, scheduler->n_in_step);
    for (uint32_t i = 0; i < scheduler->n_in_step; i++) {
        const struct kv_traffic *traffic = &bills->traffic[i];
        struct request *request = scheduler->in_step[i]->owner;
        request->bill.computed_tokens += traffic->n_rows;
        request->bill.read_bytes += traffic->read_bytes;
        request->bill.written_bytes += traffic->written_bytes;
        totals->computed_tokens += traffic->n_rows;
        totals->billed_read_bytes += traffic->read_bytes;
    }
    totals->read_bytes += step.read;
    totals->written_bytes += step.written;
}

double kv_price_of(const struct kv_price *price, byte_ns held, uint64_t arena_bytes) {
    double byte_hours = byte_seconds(held) / 3600;
    return byte_hours * (price->gb_hour / 1e9 + price->machine_hour / (double)arena_bytes);
}
