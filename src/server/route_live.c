/* The cache as it lives, and whether its invariants hold: looked at on the engine's thread, between two
 * steps. */
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "kv/kv_usage.h"
#include "server/generation.h"
#include "server/route.h"

/* A choice that is with the engine. */
struct live_choice {
    struct generation *generation; /* which stays for the look: n_looks */
    const struct choice *choice;
    enum sequence_state state;
    uint32_t n_tokens, n_computed, n_cached, n_output, n_blocks, n_shared_blocks;
    uint64_t kv_bytes, first_token_ns, latest_token_ns;
};

struct look {
    struct server *server;
    struct http_exchange *exchange; /* NULL once the client is gone */
    struct caller caller;
    bool is_check;
    struct service_task task;
    struct mail done;
    /* seen */
    struct kv_usage usage;
    struct kv_group_usage groups[KV_MAX_GROUPS];
    struct engine_load load;
    bool holds;
    uint32_t n_choices;
    struct live_choice choices[]; /* (n_choices) */
};

static void look_at_choice(struct engine *engine, struct live_choice *live) {
    const struct sequence *sequence = live->choice->sequence;
    const struct kv_cache *kv = engine_kv(engine);
    const struct request *request = &live->choice->request;
    struct kv_sharing shared = kv_shared(kv, &sequence->kv);
    live->state = sequence->state;
    live->n_tokens = sequence->n_tokens;
    live->n_computed = sequence->kv.n_computed;
    live->n_cached = sequence->n_matched;
    live->n_output = request->n_output;
    live->n_blocks = kv_n_blocks(kv, &sequence->kv);
    live->n_shared_blocks = shared.n_blocks;
    live->kv_bytes = kv_held_bytes(kv, &sequence->kv);
    live->first_token_ns = request->first_token_ns;
    live->latest_token_ns = request->last_token_ns;
}

static void look_inside(struct engine *engine, void *user) {
    struct look *look = user;
    const struct kv_cache *kv = engine_kv(engine);
    look->usage = kv_usage(kv);
    look->load = engine_load(engine);
    for (unsigned g = 0; g < engine_kv_layout(engine)->n_groups; g++) look->groups[g] = kv_group_usage(kv, g);
    if (look->is_check) look->holds = kv_check(kv);
    for (uint32_t i = 0; i < look->n_choices; i++) look_at_choice(engine, &look->choices[i]);
    mailbox_post(look->server->mailbox, &look->done);
}

static json_t *choice_json(const struct look *look, const struct live_choice *live) {
    char name[48];
    generation_name(live->generation, name);
    uint64_t now = clock_now_ns(&look->server->clock);
    double seconds = (double)(live->latest_token_ns - live->first_token_ns) * 1e-9;
    const char *state = live->state == SEQUENCE_WAITING         ? "waiting"
                        : live->n_tokens - live->n_computed > 1 ? "prefill"
                                                                : "decode";
    return json_pack(
        "{s:s, s:I, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:f, s:I}", "id", name, "choice",
        (json_int_t)live->choice->index, "state", state, "prompt_tokens", (json_int_t)live->choice->prompt->n,
        "cached_tokens", (json_int_t)live->n_cached, "computed_tokens", (json_int_t)live->n_computed,
        "output_tokens", (json_int_t)live->n_output, "kv_bytes", (json_int_t)live->kv_bytes, "blocks",
        (json_int_t)live->n_blocks, "shared_blocks", (json_int_t)live->n_shared_blocks, "tokens_per_second",
        live->n_output > 1 && seconds > 0 ? (live->n_output - 1) / seconds : 0.0, "age_ms",
        (json_int_t)((now - live->generation->received_ns) / 1000000));
}

static json_t *groups_json(const struct look *look) {
    const struct kv_layout *layout = engine_kv_layout(look->server->opts.engine);
    json_t *groups = json_array();
    for (unsigned g = 0; g < layout->n_groups; g++) {
        const struct kv_group *group = &layout->groups[g];
        const struct kv_group_usage *usage = &look->groups[g];
        json_array_append_new(
            groups, json_pack("{s:s, s:I, s:I, s:I, s:{s:I, s:I, s:I}}", "kind", group->kind, "window",
                              (json_int_t)group->window, "layers", (json_int_t)group->n_layers, "block_bytes",
                              (json_int_t)group->block_bytes, "blocks", "open", (json_int_t)usage->n_open,
                              "sealed", (json_int_t)usage->n_sealed, "idle", (json_int_t)usage->n_idle));
    }
    return groups;
}

static json_t *live_json(const struct look *look) {
    const struct server *server = look->server;
    const struct kv_usage *usage = &look->usage;
    json_t *sequences = json_array();
    for (uint32_t i = 0; i < look->n_choices; i++)
        json_array_append_new(sequences, choice_json(look, &look->choices[i]));
    return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:o, s:I, s:I, s:I, s:f, s:f, s:o}", "block_tokens",
                     (json_int_t)BLOCK_TOKENS, "arena_bytes", (json_int_t)usage->arena_bytes, "held_bytes",
                     (json_int_t)usage->held_bytes, "idle_bytes", (json_int_t)usage->idle_bytes, "free_bytes",
                     (json_int_t)(usage->arena_bytes - usage->held_bytes - usage->idle_bytes),
                     "capacity_tokens", (json_int_t)usage->capacity_tokens, "bytes_per_token",
                     (json_int_t)kv_layout_bytes_per_token(engine_kv_layout(server->opts.engine)), "groups",
                     groups_json(look), "running", (json_int_t)look->load.n_running, "waiting",
                     (json_int_t)look->load.n_waiting, "preemptions", (json_int_t)look->load.n_preemptions,
                     "prefill_tokens_per_second", server->prefill_rate.per_second, "decode_tokens_per_second",
                     server->decode_rate.per_second, "sequences", sequences);
}

static json_t *check_json(const struct look *look) {
    const struct kv_usage *usage = &look->usage;
    return json_pack("{s:b, s:I, s:I, s:I, s:I, s:I, s:I}", "ok", look->holds, "open",
                     (json_int_t)usage->n_open, "sealed", (json_int_t)usage->n_sealed, "idle",
                     (json_int_t)usage->n_idle, "running", (json_int_t)look->load.n_running, "waiting",
                     (json_int_t)look->load.n_waiting, "requests", (json_int_t)look->server->n_generations);
}

/* Rows per second since the last time that somebody looked, half a second ago or more. */
static void update_rate(struct rate *rate, uint64_t count, uint64_t now_ns) {
    if (now_ns - rate->at_ns < 500000000) return;
    if (rate->at_ns != 0)
        rate->per_second = (double)(count - rate->count) * 1e9 / (double)(now_ns - rate->at_ns);
    rate->count = count;
    rate->at_ns = now_ns;
}

static void on_done(void *user) {
    struct look *look = user;
    struct server *server = look->server;
    server->n_pending--;
    uint64_t now_ns = clock_now_ns(&server->clock);
    update_rate(&server->prefill_rate, atomic_load(&server->n_prefill_rows), now_ns);
    update_rate(&server->decode_rate, atomic_load(&server->n_decode_rows), now_ns);
    if (look->exchange != NULL)
        server_reply_json(look->exchange, 200, look->is_check ? check_json(look) : live_json(look));
    for (uint32_t i = 0; i < look->n_choices; i++) generation_look_ends(look->choices[i].generation);
    mem_free(look);
}

static void on_closed(void *user, const char *why) {
    (void)why;
    struct look *look = user;
    look->exchange = NULL;
}

static bool may_see(const struct generation *generation, const struct caller *caller) {
    return generation->is_with_engine && (caller->is_admin || generation->caller.key == caller->key);
}

static void begin(struct server *server, struct http_exchange *exchange, const struct caller *caller,
                  bool is_check) {
    static const struct http_owner owner = {.on_closed = on_closed};
    uint32_t n = 0;
    for (const struct generation *g = server->first; g != NULL && !is_check; g = g->next)
        if (may_see(g, caller)) n += g->n_choices;
    struct look *found = mem_alloc(1, sizeof *found + n * sizeof *found->choices);
    if (found == NULL) {
        const struct api_error error = {.status = 500, .message = "the server is out of memory"};
        server_reply_error(exchange, &error, false);
        return;
    }
    found->server = server;
    found->exchange = exchange;
    found->caller = *caller;
    found->is_check = is_check;
    for (struct generation *g = server->first; g != NULL && !is_check; g = g->next)
        for (uint32_t i = 0; may_see(g, caller) && i < g->n_choices; i++) {
            g->n_looks++;
            found->choices[found->n_choices++] =
                (struct live_choice){.generation = g, .choice = &g->choices[i]};
        }
    found->task = (struct service_task){.run = look_inside, .user = found};
    found->done = (struct mail){.deliver = on_done, .user = found};
    http_set_owner(exchange, &owner, found);
    server->n_pending++;
    service_post(server->service, &found->task);
}

void route_live(struct server *server, struct http_exchange *exchange, const struct caller *caller) {
    begin(server, exchange, caller, false);
}

void route_debug_check(struct server *server, struct http_exchange *exchange, const struct caller *caller) {
    begin(server, exchange, caller, true);
}
