/* What a caller has in the cache: its list, pins and drops; and what a prompt would cost. A body is read on
 * the worker, then the engine's thread looks or acts between two steps; a list begins there. Nobody is shown
 * anybody's text, nor, without an admin key, the prefixes of another salt. */
#include <string.h>
#include <time.h>

#include "base/err.h"
#include "base/mem.h"
#include "kv/kv_forget.h"
#include "kv/kv_list.h"
#include "kv/kv_pin.h"
#include "server/account.h"
#include "server/forecast_json.h"
#include "server/generation.h"
#include "server/kv_ask.h"
#include "server/route.h"

enum { LIST_ENTRIES = 4096 };

struct kv_job {
    struct server *server;
    struct http_exchange *exchange; /* NULL once the client is gone */
    struct caller caller;
    enum kv_ask_kind kind;
    bool is_list;
    struct text body;
    struct job job;
    struct service_task task;
    struct mail done;
    /* asked */
    struct kv_ask ask;
    struct token_list prefix;
    uint64_t salt;
    bool is_everybody; /* all salts, or that of the ask's label */
    /* told */
    struct api_error error;
    int n_tokens; /* pinned or unpinned */
    uint64_t bytes;
    struct forecast forecast;
    uint64_t now_us;
    struct kv_prefix *entries; /* (n_entries) */
    uint32_t n_entries;
    bool is_complete;
};

/* ---- on the worker ---- */

static int encode_prefix(struct kv_job *job) {
    struct token_list *list = &job->prefix;
    list->most = job->server->opts.max_tokens;
    const struct ask *ask = job->ask.ask;
    if (ask != NULL && ask->n_prompts > 0) return prepare_text(job->server, &ask->prompts[0], list);
    if (ask != NULL) return prepare_conversation(job->server, ask, (int64_t)time(NULL), list);
    for (uint32_t i = 0; i < job->ask.n_ids; i++) TRY(token_list_append(list, job->ask.ids[i]));
    return 0;
}

/* As a request of that prompt is refused (prepare.c). */
static int refuse_prompt(struct kv_job *job, int result) {
    api_error_from(&job->error, result);
    if (result != ERR_TOO_LARGE && result != ERR_FULL) return result;
    job->error.code = "context_length_exceeded";
    job->error.status = 400;
    return result;
}

static int check_prompt(struct kv_job *job) {
    const struct token_list *prompt = &job->prefix;
    int result = engine_check_prompt(job->server->opts.engine, prompt->ids, (uint32_t)prompt->n);
    return result < 0 ? refuse_prompt(job, result) : 0;
}

/* A shorter prefix would name what no block says about it. */
static int check_length(struct kv_job *job) {
    bool has_prefix = job->ask.ask != NULL || job->ask.ids != NULL;
    if (job->kind == KV_ASK_PLAN) return check_prompt(job);
    if (!has_prefix || job->prefix.n >= BLOCK_TOKENS) return 0;
    return api_error_set(&job->error, 400, NULL, "prefix_too_short",
                         "the prefix has %zu tokens; the cache keeps prefixes in blocks of %d", job->prefix.n,
                         BLOCK_TOKENS);
}

static int check_label(struct kv_job *job) {
    bool has_prefix = job->prefix.n > 0;
    job->is_everybody = job->kind == KV_ASK_DROP && job->caller.is_admin && job->ask.cache_salt == NULL &&
                        (!has_prefix || job->ask.label != NULL);
    if (job->ask.label == NULL || job->caller.is_admin) return 0;
    return api_error_set(&job->error, 403, "salt", "admin_key_needed",
                         "salt names what belongs to others: that needs an admin key");
}

static int read_job(struct kv_job *job) {
    const struct ask_limits limits = prepare_limits(job->server);
    const char *body = job->body.bytes == NULL ? "" : job->body.bytes;
    TRY(kv_ask_parse(job->kind, body, job->body.length, &limits, &job->ask, &job->error));
    if (!server_has_model(job->server, job->ask.model))
        return api_error_set(&job->error, 404, "model", "model_not_found",
                             "the model '%.200s' is not served here; '%.100s' is", job->ask.model,
                             job->server->opts.model_name);
    int result = cache_salt_of(&job->server->salts, job->caller.key, job->ask.cache_salt, &job->salt);
    if (result == 0) result = encode_prefix(job);
    if (result < 0 && job->kind == KV_ASK_PLAN) return refuse_prompt(job, result);
    if (result < 0) return api_error_from(&job->error, result);
    TRY(check_length(job));
    return check_label(job);
}

static void run_read(void *user) { (void)read_job(user); }

/* ---- on the engine's thread ---- */

static bool is_meant(struct kv_job *job, uint64_t salt) {
    char label[CACHE_SALT_LABEL];
    if (job->ask.label == NULL) return true;
    return cache_salt_label(&job->server->salts, salt, label) == 0 && strcmp(label, job->ask.label) == 0;
}

/* The prefix, or without one everything, of a salt. */
static void drop(struct kv_job *job, struct kv_cache *kv, uint64_t salt) {
    const struct token_list *prefix = &job->prefix;
    job->bytes +=
        prefix->n > 0 ? kv_forget(kv, prefix->ids, (uint32_t)prefix->n, salt) : kv_drop(kv, NULL, 0, salt);
}

/* Of every salt that the label means. What is in use or pinned stays, and so does its entry. */
static void drop_of_everybody(struct kv_job *job, struct kv_cache *kv) {
    struct kv_prefix entry;
    uint64_t latest = 0;
    bool has_latest = false;
    for (uint32_t cursor = 0; kv_list_next(kv, NULL, &cursor, &entry);) {
        if ((has_latest && entry.salt == latest) || !is_meant(job, entry.salt)) continue;
        drop(job, kv, entry.salt);
        latest = entry.salt;
        has_latest = true;
    }
}

/* NOT_FOUND is a 404 by itself; FULL is not the pool's fault, and waiting does not help. */
static void refuse_pin(struct kv_job *job, int code) {
    api_error_from(&job->error, code);
    if (code == ERR_NOT_FOUND) job->error.code = "prefix_not_cached";
    if (code != ERR_FULL && code != ERR_TOO_LARGE) return;
    job->error.status = 400;
    job->error.code = "too_much_pinned";
}

static void pin(struct kv_job *job, struct kv_cache *kv) {
    const struct kv_ask *ask = &job->ask;
    uint64_t until_us = job->kind == KV_ASK_PIN ? job->now_us + ask->ttl_seconds * UINT64_C(1000000) : 0;
    job->n_tokens = kv_pin(kv, job->prefix.ids, (uint32_t)job->prefix.n, job->salt, until_us, ask->priority);
    if (job->n_tokens < 0) refuse_pin(job, job->n_tokens);
}

static void list(struct kv_job *job, struct kv_cache *kv) {
    const uint64_t *salt = job->is_everybody ? NULL : &job->salt;
    uint32_t capacity = 0;
    struct kv_prefix entry;
    for (uint32_t cursor = 0; kv_list_next(kv, salt, &cursor, &entry);) {
        if (job->n_entries == LIST_ENTRIES) return;
        if (job->n_entries == capacity) {
            capacity = capacity == 0 ? 16 : 2 * capacity;
            struct kv_prefix *grown = mem_realloc(job->entries, capacity, sizeof *grown);
            if (grown == NULL) {
                api_error_from(&job->error, ERR_NO_MEMORY);
                return;
            }
            job->entries = grown;
        }
        job->entries[job->n_entries++] = entry;
    }
    job->is_complete = true;
}

static void plan(struct kv_job *job, const struct engine *engine) {
    const struct forecast_ask ask = {.prompt = job->prefix.ids,
                                     .n_prompt = (uint32_t)job->prefix.n,
                                     .salt = job->salt,
                                     .max_output_tokens = job->ask.ask != NULL ? job->ask.ask->max_tokens
                                                                               : job->ask.max_tokens};
    engine_forecast(engine, &ask, &job->forecast);
}

static void act(struct engine *engine, void *user) {
    struct kv_job *job = user;
    struct kv_cache *kv = engine_kv(engine);
    job->now_us = engine_poll(engine);
    if (job->is_list)
        list(job, kv);
    else if (job->kind == KV_ASK_PLAN)
        plan(job, engine);
    else if (job->kind != KV_ASK_DROP)
        pin(job, kv);
    else if (job->is_everybody)
        drop_of_everybody(job, kv);
    else
        drop(job, kv, job->salt);
    account_load(job->server, engine);
    mailbox_post(job->server->mailbox, &job->done);
}

/* ---- on the event thread ---- */

static json_int_t seconds(uint64_t from_us, uint64_t to_us) {
    return to_us > from_us ? (json_int_t)((to_us - from_us) / 1000000) : 0;
}

static json_t *entry_json(const struct kv_job *job, const struct kv_prefix *entry) {
    char label[CACHE_SALT_LABEL];
    json_t *pinned = json_null();
    if (entry->is_pinned) pinned = json_integer(seconds(job->now_us, entry->pinned_until_us));
    json_t *object = json_pack(
        "{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:o, s:I}", "tokens", (json_int_t)entry->n_tokens, "bytes",
        (json_int_t)entry->run_bytes, "path_bytes", (json_int_t)entry->path_bytes, "users",
        (json_int_t)entry->n_users, "hits", (json_int_t)entry->n_hits, "age_seconds",
        seconds(entry->created_us, job->now_us), "idle_seconds", seconds(entry->last_used_us, job->now_us),
        "pinned_seconds", pinned, "priority", (json_int_t)entry->priority);
    if (job->caller.is_admin && cache_salt_label(&job->server->salts, entry->salt, label) == 0)
        json_object_set_new(object, "salt", json_string(label));
    return object;
}

static json_t *list_json(const struct kv_job *job) {
    json_t *data = json_array();
    for (uint32_t i = 0; i < job->n_entries; i++)
        if (json_array_append_new(data, entry_json(job, &job->entries[i])) < 0) break;
    if (json_array_size(data) != job->n_entries) {
        json_decref(data);
        return NULL;
    }
    return json_pack("{s:s, s:I, s:b, s:o}", "object", "list", "block_tokens", (json_int_t)BLOCK_TOKENS,
                     "is_complete", job->is_complete, "data", data);
}

static json_t *done_json(const struct kv_job *job) {
    if (job->is_list) return list_json(job);
    json_int_t n_tokens = job->n_tokens, n_asked = (json_int_t)job->prefix.n;
    switch (job->kind) {
    case KV_ASK_PIN:
        return json_pack("{s:s, s:I, s:I, s:I, s:I}", "object", "kv.pin", "prompt_tokens", n_asked,
                         "pinned_tokens", n_tokens, "ttl_seconds", (json_int_t)job->ask.ttl_seconds,
                         "priority", (json_int_t)job->ask.priority);
    case KV_ASK_UNPIN:
        return json_pack("{s:s, s:I, s:I}", "object", "kv.unpin", "prompt_tokens", n_asked, "unpinned_tokens",
                         n_tokens);
    case KV_ASK_PLAN: return forecast_json(job->server, &job->forecast, (uint32_t)job->prefix.n);
    default: return json_pack("{s:s, s:I}", "object", "kv.drop", "freed_bytes", (json_int_t)job->bytes);
    }
}

static void end(struct kv_job *job) {
    job->server->n_pending--;
    if (job->exchange != NULL && job->error.status != 0)
        server_reply_error(job->exchange, &job->error, false);
    else if (job->exchange != NULL)
        server_reply_json(job->exchange, 200, done_json(job));
    kv_ask_free(&job->ask);
    token_list_free(&job->prefix);
    mem_free(job->entries);
    mem_free(job);
}

static void on_acted(void *user) { end(user); }

static void on_read(void *user) {
    struct kv_job *job = user;
    job->server->body_bytes -= job->body.length;
    text_free(&job->body);
    if (job->error.status != 0 || job->exchange == NULL)
        end(job);
    else
        service_post(job->server->service, &job->task);
}

static void on_closed(void *user, const char *why) {
    (void)why;
    struct kv_job *job = user;
    job->exchange = NULL;
}

/* A job that replies to the exchange, or NULL when it was told that there is no memory. */
static struct kv_job *job_open(struct server *server, struct http_exchange *exchange,
                               const struct caller *caller) {
    struct kv_job *job = mem_alloc(1, sizeof *job);
    if (job == NULL) {
        const struct api_error error = {.status = 503, .message = "the server is out of memory"};
        server_reply_error(exchange, &error, false);
        return NULL;
    }
    job->server = server;
    job->exchange = exchange;
    job->caller = *caller;
    job->job = (struct job){.run = run_read, .user = job, .done = {.deliver = on_read, .user = job}};
    job->task = (struct service_task){.run = act, .user = job};
    job->done = (struct mail){.deliver = on_acted, .user = job};
    return job;
}

static void begin(struct server *server, struct http_exchange *exchange, const struct caller *caller,
                  enum kv_ask_kind kind) {
    static const struct http_owner owner = {.on_closed = on_closed};
    struct api_error error = {0};
    if (!server_takes_body(server, exchange, &error)) {
        server_reply_error(exchange, &error, false);
        return;
    }
    struct kv_job *job = job_open(server, exchange, caller);
    if (job == NULL) return;
    job->kind = kind;
    http_take_body(exchange, &job->body);
    server->body_bytes += job->body.length;
    http_set_owner(exchange, &owner, job);
    server->n_pending++;
    worker_submit(server->worker, &job->job);
}

void route_kv_pin(struct server *server, struct http_exchange *exchange, const struct caller *caller) {
    begin(server, exchange, caller, KV_ASK_PIN);
}
void route_kv_unpin(struct server *server, struct http_exchange *exchange, const struct caller *caller) {
    begin(server, exchange, caller, KV_ASK_UNPIN);
}
void route_kv_drop(struct server *server, struct http_exchange *exchange, const struct caller *caller) {
    begin(server, exchange, caller, KV_ASK_DROP);
}
void route_plan(struct server *server, struct http_exchange *exchange, const struct caller *caller) {
    begin(server, exchange, caller, KV_ASK_PLAN);
}

void route_kv_list(struct server *server, struct http_exchange *exchange, const struct caller *caller) {
    static const struct http_owner owner = {.on_closed = on_closed};
    struct kv_job *job = job_open(server, exchange, caller);
    if (job == NULL) return;
    job->is_list = true;
    server->n_pending++;
    int result = kv_ask_parse_query(http_query(exchange), &job->ask, &job->error);
    job->is_everybody = caller->is_admin && job->ask.cache_salt == NULL;
    if (result == 0) {
        result = cache_salt_of(&server->salts, caller->key, job->ask.cache_salt, &job->salt);
        if (result < 0) api_error_from(&job->error, result);
    }
    if (result < 0) {
        end(job);
        return;
    }
    http_set_owner(exchange, &owner, job);
    service_post(server->service, &job->task);
}
