/* The event thread's part of a generation: its beginning, its reply as tokens come, its end. */
#include "server/generation.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/rng.h"
#include "server/account.h"
#include "server/route.h"

/* More unsent bytes than this, and the reply waits for its reader. */
enum { MOST_PENDING = 256 << 10 };

static void free_generation(struct generation *generation) {
    struct server *server = generation->server;
    if (generation->previous != NULL)
        generation->previous->next = generation->next;
    else
        server->first = generation->next;
    if (generation->next != NULL) generation->next->previous = generation->previous;
    server->n_generations--;
    generation_clear(generation);
    mem_free(generation);
    server_check_drained(server);
}

void generation_name(const struct generation *generation, char name[48]) {
    static const char *const prefixes[] = {"chatcmpl-", "cmpl-", "resp_", "msg_"};
    snprintf(name, 48, "%s%016" PRIx64, prefixes[generation->api], generation->id);
}

static bool is_anthropic(const struct generation *generation) { return generation->api == ASK_MESSAGES; }

/* ---- the reply ---- */

static void send_error(struct generation *generation, const struct api_error *error) {
    struct http_exchange *exchange = generation->exchange;
    generation->exchange = NULL;
    if (exchange == NULL) return;
    text_clear(&generation->out);
    if (generation->has_begun) {
        reply_fail(generation->reply, error, &generation->out);
        http_write(exchange, generation->out.bytes, generation->out.length);
        http_end(exchange);
    } else {
        server_reply_error(exchange, error, is_anthropic(generation));
    }
}

/* True if all is well. */
static bool send_out(struct generation *generation) {
    if (generation->out.failed) {
        const struct api_error error = {.status = 500, .message = "the server is out of memory"};
        send_error(generation, &error);
        return false;
    }
    if (generation->out.length > 0 && generation->ask->is_streamed) {
        http_write(generation->exchange, generation->out.bytes, generation->out.length);
        text_clear(&generation->out);
    }
    return true;
}

static bool has_token(const struct choice *choice) {
    return atomic_load_explicit(&choice->n_written, memory_order_acquire) > 0;
}

static struct reply_usage usage_of(const struct generation *generation) {
    struct reply_usage usage = {0};
    for (uint32_t i = 0; i < generation->n_choices; i++) {
        const struct choice *choice = &generation->choices[i];
        usage.output_tokens += generation->ask->max_tokens == 0 ? 0 : choice->n_read;
        if (i % generation->ask->best_of != 0) continue;
        usage.prompt_tokens += (uint32_t)choice->prompt->n;
        if (has_token(choice)) usage.cached_tokens += choice->request.n_cached;
    }
    return usage;
}

/* With the bill, which is complete when all choices have ended. */
static struct reply_usage final_usage_of(const struct generation *generation) {
    const struct server *server = generation->server;
    struct reply_usage usage = usage_of(generation);
    struct kv_bill bill = account_bill(generation);
    bool has_price = kv_price_is_set(&server->opts.price);
    usage.kv = (struct reply_kv){
        .is_known = true,
        .computed_tokens = bill.computed_tokens,
        .written_bytes = bill.written_bytes,
        .read_bytes = bill.read_bytes,
        .peak_bytes = bill.peak_bytes,
        .saved_by_sharing = bill.saved_by_sharing,
        .saved_by_codec = bill.saved_by_codec,
        .byte_seconds = byte_seconds(bill.held),
        .price = has_price ? kv_price_of(&server->opts.price, bill.held, server->arena_bytes) : (double)NAN,
    };
    return usage;
}

static void begin_reply(struct generation *generation) {
    struct reply_usage usage = usage_of(generation);
    if (generation->ask->is_streamed)
        http_begin(generation->exchange, 200, reply_content_type(generation->reply));
    generation->has_begun = generation->ask->is_streamed;
    generation->is_reply_started = true;
    reply_start(generation->reply, &usage, &generation->out);
}

static void echo_prompt(struct choice *choice) {
    struct generation *generation = choice->generation;
    uint32_t n_top = generation->ask->n_top_logprobs;
    for (uint32_t i = 0; i < choice->prompt->n; i++) {
        struct reply_token token = {.token = choice->prompt->ids[i], .logprob = NAN};
        if (choice->prompt_ring != NULL && i > 0) {
            token.logprob = choice->prompt_ring[i].logprob;
            token.n_top = n_top;
            token.top = choice->prompt_tops + (size_t)i * n_top;
        }
        reply_prompt_token(generation->reply, choice->index, &token, &generation->out);
    }
}

static enum reply_finish reply_finish_of(enum finish_reason finish) {
    if (finish == FINISH_LENGTH || finish == FINISH_CONTEXT) return REPLY_LENGTH;
    return finish == FINISH_CANCELLED ? REPLY_CANCELLED : REPLY_STOP;
}

/* Takes from a choice's ring what its reader has room for. */
static void read_choice(struct choice *choice) {
    struct generation *generation = choice->generation;
    const struct ask *ask = generation->ask;
    enum finish_reason finish = atomic_load_explicit(&choice->finish, memory_order_acquire);
    uint32_t n = atomic_load_explicit(&choice->n_written, memory_order_acquire);
    if (choice->n_read == 0 && (n > 0 || finish != FINISH_NONE) && ask->echo && !choice->is_finished)
        echo_prompt(choice);
    for (; choice->n_read < n; choice->n_read++) {
        const struct ring_token *from = &choice->ring[choice->n_read];
        if (ask->max_tokens == 0) continue;
        struct reply_token token = {.token = from->token, .logprob = from->logprob};
        token.n_top = choice->tops == NULL ? 0 : ask->n_top_logprobs;
        token.top = choice->tops == NULL ? NULL : choice->tops + (size_t)choice->n_read * token.n_top;
        reply_token(generation->reply, choice->index, &token, &generation->out);
        if (ask->is_streamed && generation->out.length > MOST_PENDING) {
            choice->n_read++;
            return;
        }
    }
    if (finish == FINISH_NONE || choice->is_finished) return;
    choice->is_finished = true;
    reply_finish(generation->reply, choice->index, reply_finish_of(finish), &generation->out);
}

/* There is something to say. */
static bool has_begun(const struct generation *generation) {
    for (uint32_t i = 0; i < generation->n_choices; i++)
        if (has_token(&generation->choices[i]) || atomic_load(&generation->choices[i].finish) != FINISH_NONE)
            return true;
    return false;
}

static bool is_complete(const struct generation *generation) {
    for (uint32_t i = 0; i < generation->n_choices; i++)
        if (!generation->choices[i].is_finished) return false;
    return true;
}

static void end_reply(struct generation *generation) {
    struct reply_usage usage = final_usage_of(generation);
    reply_end(generation->reply, &usage, &generation->out);
    if (!send_out(generation)) return;
    struct http_exchange *exchange = generation->exchange;
    generation->exchange = NULL;
    if (generation->ask->is_streamed)
        http_end(exchange);
    else
        http_reply(exchange, 200, reply_content_type(generation->reply), NULL, 0, generation->out.bytes,
                   generation->out.length);
}

static void cancel(struct generation *generation) {
    if (!generation->is_with_engine || generation->is_cancelling) return;
    generation->is_cancelling = true;
    service_post(generation->server->service, &generation->cancel);
}

/* Writes what there is to say, if the reader takes it. */
static void go_on(struct generation *generation) {
    if (generation->exchange == NULL) return;
    if (atomic_load(&generation->failure_code) != 0) {
        struct api_error error = {0};
        api_error_fill(&error, atomic_load(&generation->failure_code), generation->failure);
        send_error(generation, &error);
        cancel(generation);
        return;
    }
    if (!generation->is_reply_started && !has_begun(generation)) return; /* an error has its own status */
    if (!generation->is_reply_started) begin_reply(generation);
    for (uint32_t i = 0; i < generation->n_choices; i++) {
        if (generation->has_begun && http_pending_bytes(generation->exchange) > MOST_PENDING) return;
        read_choice(&generation->choices[i]);
        if (!send_out(generation)) {
            cancel(generation);
            return;
        }
    }
    if (is_complete(generation)) end_reply(generation);
}

/* Frees the generation when neither worker, engine nor client have anything to do with it any more. */
static void settle(struct generation *generation) {
    if (generation->is_with_worker || generation->is_with_engine || generation->is_cancelling) return;
    if (generation->exchange != NULL || generation->n_looks > 0) return; /* a slow reader, an onlooker */
    account_finished(generation);
    free_generation(generation);
}

void generation_look_ends(struct generation *generation) {
    generation->n_looks--;
    settle(generation);
}

/* ---- the exchange's owner ---- */

static void resume(void *user) {
    struct generation *generation = user;
    if (!generation->is_reply_started) return;
    go_on(generation);
    settle(generation);
}

static void abandon(void *user, const char *why) {
    struct generation *generation = user;
    generation->exchange = NULL;
    generation->cancelled_why = why;
    cancel(generation);
    settle(generation);
}

/* ---- mail ---- */

static void on_news(void *user) {
    struct generation *generation = user;
    go_on(generation);
}

static void on_ended(void *user) {
    struct generation *generation = user;
    generation->is_with_engine = false;
    go_on(generation);
    settle(generation);
}

static void on_cancelled(void *user) {
    struct generation *generation = user;
    generation->is_cancelling = false;
    settle(generation);
}

static void on_prepared(void *user) {
    struct generation *generation = user;
    generation->is_with_worker = false;
    generation->server->body_bytes -= generation->n_body_bytes;
    if (generation->exchange != NULL && generation->error.status != 0) {
        send_error(generation, &generation->error);
    } else if (generation->exchange != NULL) {
        generation->is_with_engine = true;
        service_post(generation->server->service, &generation->submit);
    }
    settle(generation);
}

static void run_prepare(void *generation) { generation_prepare(generation); }

void generation_begin(struct server *server, struct http_exchange *exchange, enum ask_api api,
                      const struct caller *caller) {
    struct generation *generation = mem_alloc(1, sizeof *generation);
    if (generation == NULL) {
        const struct api_error error = {.status = 503, .retry_after_seconds = 1, .message = "out of memory"};
        server_reply_error(exchange, &error, api == ASK_MESSAGES);
        return;
    }
    http_take_body(exchange, &generation->body);
    generation->n_body_bytes = generation->body.length;
    server->body_bytes += generation->n_body_bytes;
    generation->server = server;
    generation->exchange = exchange;
    generation->caller = *caller;
    generation->api = api;
    generation->id = rng_u64(server->id_seed, server->n_ids++);
    generation->created_s = (int64_t)time(NULL);
    generation->received_ns = clock_now_ns(&server->clock);
    generation->job = (struct job){.run = run_prepare, .user = generation};
    generation->job.done = (struct mail){.deliver = on_prepared, .user = generation};
    generation->news = (struct mail){.deliver = on_news, .user = generation};
    generation->ended = (struct mail){.deliver = on_ended, .user = generation};
    generation->cancelled = (struct mail){.deliver = on_cancelled, .user = generation};
    generation->submit = (struct service_task){.run = generation_submit, .user = generation};
    generation->cancel = (struct service_task){.run = generation_cancel, .user = generation};
    generation->next = server->first;
    if (server->first != NULL) server->first->previous = generation;
    server->first = generation;
    server->n_generations++;
    static const struct http_owner owner = {.on_closed = abandon, .on_writable = resume};
    http_set_owner(exchange, &owner, generation);
    generation->is_with_worker = true;
    worker_submit(server->worker, &generation->job);
}
