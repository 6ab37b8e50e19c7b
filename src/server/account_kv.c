/* The cache's figures among the metrics. */
#include <string.h>

#include "kv/kv_usage.h"
#include "kv/kv_watch.h"
#include "server/account.h"

/* Brings a counter up to what is counted elsewhere; *noted is how far it was. */
static void grow(struct metrics *metrics, enum metric metric, uint32_t label, uint64_t *noted, uint64_t now) {
    metrics_add_at(metrics, metric, metric_series(label, 0), (int64_t)(now - *noted));
    *noted = now;
}

static void set_bytes(struct metrics *metrics, const struct kv_usage *usage) {
    uint64_t in_use = usage->held_bytes + usage->idle_bytes + usage->waste_bytes;
    uint64_t free_bytes = usage->arena_bytes > in_use ? usage->arena_bytes - in_use : 0;
    metrics_set(metrics, METRIC_kv_cache_usage, (double)usage->held_bytes / (double)usage->arena_bytes);
    metrics_set(metrics, METRIC_kv_capacity_bytes, (double)usage->arena_bytes);
    metrics_set(metrics, METRIC_kv_capacity_tokens, (double)usage->capacity_tokens);
    metrics_set(metrics, METRIC_kv_undemoted_tokens, (double)usage->undemoted_tokens);
    metrics_set(metrics, METRIC_kv_free_tokens, (double)usage->free_tokens);
    metrics_set_at(metrics, METRIC_kv_bytes, metric_series(METRIC_use_held, 0), (double)usage->held_bytes);
    metrics_set_at(metrics, METRIC_kv_bytes, metric_series(METRIC_use_idle, 0), (double)usage->idle_bytes);
    metrics_set_at(metrics, METRIC_kv_bytes, metric_series(METRIC_use_waste, 0), (double)usage->waste_bytes);
    metrics_set_at(metrics, METRIC_kv_bytes, metric_series(METRIC_use_free, 0), (double)free_bytes);
    metrics_set_at(metrics, METRIC_kv_fragmentation, metric_series(METRIC_of_slabs, 0),
                   in_use == 0 ? 0 : (double)usage->waste_bytes / (double)in_use);
}

static void set_blocks(struct metrics *metrics, struct engine *engine, const struct kv_figures *figures) {
    const struct kv_layout *layout = engine_kv_layout(engine);
    double n_blocks[METRIC_group_COUNT][METRIC_state_COUNT] = {0};
    double n_payloads[METRIC_group_COUNT][METRIC_class_COUNT] = {0};
    for (unsigned g = 0; g < layout->n_groups; g++) {
        struct kv_group_usage group = kv_group_usage(engine_kv(engine), g);
        uint32_t kind = layout->groups[g].window == 0 ? METRIC_group_full : METRIC_group_window;
        n_blocks[kind][METRIC_state_open] += group.n_open;
        n_blocks[kind][METRIC_state_sealed] += group.n_sealed;
        n_blocks[kind][METRIC_state_idle] += group.n_idle;
        n_blocks[kind][METRIC_state_free] += group.n_free;
        n_payloads[kind][METRIC_class_open] += (double)figures->n_payloads[g][KV_OPEN];
        n_payloads[kind][METRIC_class_sink] += (double)figures->n_payloads[g][KV_SINK];
        n_payloads[kind][METRIC_class_sealed] += (double)figures->n_payloads[g][KV_SEALED];
        n_payloads[kind][METRIC_class_demoted] += (double)figures->n_payloads[g][KV_DEMOTED];
    }
    for (uint32_t g = 0; g < METRIC_group_COUNT; g++) {
        for (uint32_t s = 0; s < METRIC_state_COUNT; s++)
            metrics_set_at(metrics, METRIC_kv_blocks, metric_series(s, g), n_blocks[g][s]);
        for (uint32_t c = 0; c < METRIC_class_COUNT; c++)
            metrics_set_at(metrics, METRIC_kv_payloads, metric_series(c, g), n_payloads[g][c]);
    }
}

static uint32_t codec_label(enum codec_id codec) {
    static const char *const names[] = {
#define NAME(label, id, text) text,
        METRIC_LABEL_codec(NAME)
#undef NAME
    };
    for (uint32_t i = 0; i < METRIC_codec_COUNT; i++)
        if (strcmp(names[i], codec_get(codec)->name) == 0) return i;
    return METRIC_codec_other;
}

static void set_storage(struct metrics *metrics, const struct kv_figures *figures) {
    double bytes[METRIC_codec_COUNT] = {0};
    for (int codec = 0; codec < CODEC_COUNT; codec++)
        bytes[codec_label((enum codec_id)codec)] += (double)figures->codec_bytes[codec];
    for (uint32_t i = 0; i < METRIC_codec_COUNT; i++)
        metrics_set_at(metrics, METRIC_kv_codec_bytes, metric_series(i, 0), bytes[i]);
    double n_slots = (double)figures->n_slots, n_unused = (double)figures->n_unused_slots;
    metrics_set_at(metrics, METRIC_kv_slots, metric_series(METRIC_slot_used, 0), n_slots - n_unused);
    metrics_set_at(metrics, METRIC_kv_slots, metric_series(METRIC_slot_unused, 0), n_unused);
    metrics_set_at(metrics, METRIC_kv_fragmentation, metric_series(METRIC_of_slots, 0),
                   n_slots == 0 ? 0 : n_unused / n_slots);
}

void account_cache(struct server *server, struct engine *engine) {
    struct metrics *metrics = server->metrics;
    struct kv_usage usage = kv_usage(engine_kv(engine));
    struct kv_figures figures = engine_kv_figures(engine);
    set_bytes(metrics, &usage);
    metrics_set(metrics, METRIC_kv_bytes_per_token,
                (double)kv_layout_bytes_per_token(engine_kv_layout(engine)));
    set_blocks(metrics, engine, &figures);
    set_storage(metrics, &figures);
    grow(metrics, METRIC_kv_demotions, 0, &server->noted.n_demotions, usage.n_demotions);
    grow(metrics, METRIC_kv_demoted_bytes, 0, &server->noted.demoted_bytes, usage.demoted_bytes);
    grow(metrics, METRIC_kv_copies, 0, &server->noted.n_copies, usage.n_copies);
    grow(metrics, METRIC_kv_copied_tokens, 0, &server->noted.copied_tokens, usage.copied_tokens);
}

void account_totals(struct server *server, const struct engine *engine) {
    const struct bill_totals *totals = engine_bills(engine);
    struct noted_totals *noted = &server->noted;
    const byte_ns second = 1000000000;
    grow(server->metrics, METRIC_kv_traffic, METRIC_direction_read, &noted->read_bytes, totals->read_bytes);
    grow(server->metrics, METRIC_kv_traffic, METRIC_direction_written, &noted->written_bytes,
         totals->written_bytes);
    grow(server->metrics, METRIC_kv_byte_seconds, METRIC_account_requests, &noted->billed_byte_seconds,
         (uint64_t)(totals->billed / second));
    grow(server->metrics, METRIC_kv_byte_seconds, METRIC_account_house, &noted->house_byte_seconds,
         (uint64_t)(totals->house / second));
}

static void observe_age(void *user, enum block_age age, uint64_t ms) {
    struct metrics *metrics = user;
    double seconds = (double)ms * 1e-3;
    switch (age) {
    case BLOCK_AGE_GAP: metrics_observe(metrics, METRIC_kv_block_reuse_gap, seconds); break;
    case BLOCK_AGE_LAST: metrics_observe(metrics, METRIC_kv_block_idle, seconds); break;
    case BLOCK_AGE_LIFE:
        metrics_observe(metrics, METRIC_kv_block_lifetime, seconds);
        metrics_add(metrics, METRIC_kv_evictions, 1);
        break;
    }
}

void account_watch(struct server *server, bool watches) {
    struct kv_cache *kv = engine_kv(server->opts.engine);
    kv_watch(kv, watches ? observe_age : NULL, watches ? server->metrics : NULL);
}
