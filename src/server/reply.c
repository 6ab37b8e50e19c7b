#include "server/reply.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/rng.h"
#include "server/json_text.h"
#include "server/reply_form.h"

static const struct reply_form *const forms[] = {
    [ASK_CHAT] = &reply_form_chat,
    [ASK_COMPLETIONS] = &reply_form_completions,
    [ASK_RESPONSES] = &reply_form_responses,
    [ASK_MESSAGES] = &reply_form_messages,
};

/* --- parts --- */

/* Room for one more; false, with `out` failed, if there is no memory. */
static bool grow(void *array, size_t n, size_t *capacity, size_t size, struct text *out) {
    void **elements = array;
    if (n < *capacity) return true;
    size_t larger = *capacity < 4 ? 8 : *capacity * 2;
    void *grown = mem_realloc(*elements, larger, size);
    if (grown == NULL) {
        out->failed = true;
        return false;
    }
    *elements = grown;
    *capacity = larger;
    return true;
}

/* Ids of calls and items: random enough not to meet those of another reply. */
static void make_id(struct reply *reply, bool is_call, char id[40]) {
    static const char *const prefixes[][2] = {[ASK_CHAT] = {"msg_", "call_"},
                                              [ASK_COMPLETIONS] = {"msg_", "call_"},
                                              [ASK_RESPONSES] = {"msg_", "call_"},
                                              [ASK_MESSAGES] = {"msg_", "toolu_"}};
    unsigned long long high = rng_u64(reply->opts.id, 2 * reply->n_ids);
    unsigned low = (unsigned)rng_u64(reply->opts.id, 2 * reply->n_ids + 1);
    reply->n_ids++;
    /* Templates of Mistral take no other ids, and will see this one in the next turn. */
    if (is_call && reply->opts.tool_format == TOOL_FORMAT_MISTRAL)
        (void)snprintf(id, 10, "%09llx", high >> 28);
    else
        (void)snprintf(id, 40, "%s%016llx%08x", prefixes[reply->ask->api][is_call], high, low);
}

static bool keeps_text(const struct reply *reply) {
    return !reply->ask->is_streamed || reply->form->keeps_text;
}

static void end_part(struct reply_choice *choice) {
    struct reply *reply = choice->reply;
    if (!choice->is_open) return;
    struct reply_part *part = &choice->parts[choice->n_parts - 1];
    part->is_cut = choice->finish != REPLY_STOP;
    choice->is_open = false;
    if (reply->ask->is_streamed) reply->form->part_end(choice, part, reply->out);
}

/* NULL if there is no memory. */
static struct reply_part *begin_part(struct reply_choice *choice, bool is_call) {
    size_t capacity = choice->parts_capacity;
    end_part(choice);
    if (!grow(&choice->parts, choice->n_parts, &capacity, sizeof *choice->parts, choice->reply->out))
        return NULL;
    choice->parts_capacity = (uint32_t)capacity;
    struct reply_part *part = &choice->parts[choice->n_parts++];
    *part = (struct reply_part){.is_call = is_call, .range = {choice->n_given, choice->n_given}};
    make_id(choice->reply, is_call, part->id);
    choice->is_open = true;
    return part;
}

/* Entries whose text is certain by now; at the end without a stop string, all. */
static struct reply_range take_due(struct reply_choice *choice, bool all) {
    struct reply_range due = {choice->n_given, choice->n_given};
    while (due.end < choice->n_entries && (all || choice->entries[due.end].start < choice->n_bytes))
        due.end++;
    choice->n_given = due.end;
    return due;
}

static void add_text(void *user, const char *bytes, size_t length) {
    struct reply_choice *choice = user;
    struct reply *reply = choice->reply;
    struct reply_part *part = choice->n_parts > 0 ? &choice->parts[choice->n_parts - 1] : NULL;
    bool is_new = part == NULL || !choice->is_open || part->is_call;
    if (is_new && (part = begin_part(choice, false)) == NULL) return;
    struct reply_range due = take_due(choice, false);
    part->range.end = due.end;
    if (keeps_text(reply)) text_append(&part->text, bytes, length);
    reply->out->failed |= part->text.failed;
    if (reply->ask->is_streamed) reply->form->text(choice, part, is_new, bytes, length, due, reply->out);
}

static void add_call(void *user, const char *name) {
    struct reply_choice *choice = user;
    struct reply *reply = choice->reply;
    struct reply_part *part = begin_part(choice, true);
    if (part == NULL) return;
    part->name = mem_strndup(name, strlen(name));
    reply->out->failed |= part->name == NULL;
    if (reply->ask->is_streamed) reply->form->call(choice, part, reply->out);
}

static void add_arguments(void *user, const char *bytes, size_t length) {
    struct reply_choice *choice = user;
    struct reply *reply = choice->reply;
    if (!choice->is_open) return; /* there was no memory for it */
    struct reply_part *part = &choice->parts[choice->n_parts - 1];
    if (keeps_text(reply)) text_append(&part->text, bytes, length);
    reply->out->failed |= part->text.failed;
    if (reply->ask->is_streamed) reply->form->arguments(choice, part, bytes, length, reply->out);
}

static void end_call(void *user) { end_part(user); }

static uint32_t count_calls(const struct reply_choice *choice, uint32_t n_parts) {
    uint32_t n_calls = 0;
    for (uint32_t i = 0; i < n_parts; i++) n_calls += choice->parts[i].is_call;
    return n_calls;
}

uint32_t reply_call_index(const struct reply_choice *choice, const struct reply_part *part) {
    return count_calls(choice, reply_part_index(choice, part));
}

bool reply_has_calls(const struct reply_choice *choice) { return count_calls(choice, choice->n_parts) > 0; }

bool reply_has_text(const struct reply_choice *choice) {
    return choice->n_parts > count_calls(choice, choice->n_parts);
}

/* --- open --- */

static int open_choice(struct reply *reply, uint32_t index) {
    struct reply_choice *choice = &reply->choices[index];
    const struct tool_sink sink = {add_text, add_call, add_arguments, end_call, choice};
    const struct ask *ask = reply->ask;
    choice->reply = reply;
    choice->index = index;
    TRY(output_text_open(&choice->output, reply->opts.tokenizer, ask->stops, ask->n_stops));
    if (!reply->opts.parses_tools || reply->form->call == NULL) return 0;
    bool is_forced = ask->tool_choice == ASK_TOOLS_REQUIRED || ask->tool_choice == ASK_TOOLS_NAMED;
    return tool_parser_open(&choice->parser, (enum tool_format)reply->opts.tool_format, is_forced, &sink);
}

static int open_all(struct reply *reply, const struct reply_opts *opts) {
    reply->opts = *opts;
    reply->ask = opts->ask;
    reply->form = forms[opts->ask->api];
    reply->marks = tool_format_marks((enum tool_format)opts->tool_format, opts->tokenizer);
    reply->model = mem_strndup(opts->model, strlen(opts->model));
    if (reply->model == NULL) return ERR_NO_MEMORY;
    if (opts->fingerprint != NULL) {
        reply->fingerprint = mem_strndup(opts->fingerprint, strlen(opts->fingerprint));
        if (reply->fingerprint == NULL) return ERR_NO_MEMORY;
    }
    reply->choices = mem_alloc(opts->n_choices, sizeof *reply->choices);
    reply->given = mem_alloc(opts->n_choices, sizeof *reply->given);
    if (reply->choices == NULL || reply->given == NULL) return ERR_NO_MEMORY;
    for (uint32_t i = 0; i < opts->n_choices; i++) TRY(open_choice(reply, i));
    return 0;
}

int reply_open(struct reply **reply, const struct reply_opts *opts) {
    *reply = NULL;
    struct reply *opened = mem_alloc(1, sizeof *opened);
    if (opened == NULL) return ERR_NO_MEMORY;
    int result = open_all(opened, opts);
    if (result < 0) {
        reply_close(opened);
        return result;
    }
    *reply = opened;
    return 0;
}

static void close_choice(struct reply_choice *choice) {
    output_text_close(choice->output);
    tool_parser_close(choice->parser);
    for (uint32_t i = 0; i < choice->n_parts; i++) {
        mem_free(choice->parts[i].name);
        text_free(&choice->parts[i].text);
    }
    mem_free(choice->parts);
    mem_free(choice->entries);
    mem_free(choice->tops);
    text_free(&choice->piece);
}

void reply_close(struct reply *reply) {
    if (reply == NULL) return;
    for (uint32_t i = 0; reply->choices != NULL && i < reply->opts.n_choices; i++)
        close_choice(&reply->choices[i]);
    mem_free(reply->choices);
    mem_free(reply->given);
    mem_free(reply->model);
    mem_free(reply->fingerprint);
    text_free(&reply->head);
    mem_free(reply);
}

const char *reply_content_type(const struct reply *reply) {
    return reply->ask->is_streamed ? "text/event-stream" : "application/json";
}

/* --- tokens --- */

static size_t count_characters(const char *bytes, size_t length) {
    size_t n = 0;
    for (size_t i = 0; i < length; i++) n += ((unsigned char)bytes[i] & 0xc0) != 0x80;
    return n;
}

/* Text that is certain, in `choice->piece`: to the parser, or to the client as it is. */
static void deliver(struct reply_choice *choice, bool is_parsed) {
    struct text *piece = &choice->piece;
    choice->reply->out->failed |= piece->failed;
    choice->n_bytes += piece->length;
    choice->n_characters += count_characters(piece->bytes, piece->length);
    if (piece->length > 0 && is_parsed && choice->parser != NULL)
        tool_parser_add(choice->parser, piece->bytes, piece->length);
    else if (piece->length > 0)
        add_text(choice, piece->bytes, piece->length);
    text_clear(piece);
}

static void add_entry(struct reply_choice *choice, const struct reply_token *token) {
    struct text *out = choice->reply->out;
    const char *held;
    if (!choice->reply->ask->wants_logprobs) return;
    if (!grow(&choice->entries, choice->n_entries, &choice->entries_capacity, sizeof *choice->entries, out))
        return;
    size_t n_held = output_text_held(choice->output, &held);
    uint32_t n_top =
        token->n_top < choice->reply->ask->n_top_logprobs ? token->n_top : choice->reply->ask->n_top_logprobs;
    struct reply_entry entry = {.token = token->token,
                                .logprob = token->logprob,
                                .top_at = choice->n_tops,
                                .start = choice->n_bytes + n_held,
                                .start_characters = choice->n_characters + count_characters(held, n_held)};
    for (; entry.n_top < n_top; entry.n_top++) {
        if (!grow(&choice->tops, choice->n_tops, &choice->tops_capacity, sizeof *choice->tops, out)) return;
        choice->tops[choice->n_tops++] = token->top[entry.n_top];
    }
    choice->entries[choice->n_entries++] = entry;
}

void reply_start(struct reply *reply, const struct reply_usage *usage, struct text *out) {
    reply->out = out;
    reply->started = *usage;
    if (reply->ask->is_streamed) reply->form->start(reply, out);
    if (!reply->ask->repeats_final_message) return;
    const json_t *last = json_array_get(reply->ask->messages, json_array_size(reply->ask->messages) - 1);
    const char *text = json_string_value(json_object_get(last, "content"));
    for (uint32_t i = 0; i < reply->opts.n_choices; i++) {
        text_append_string(&reply->choices[i].piece, text);
        deliver(&reply->choices[i], false);
    }
}

void reply_prompt_token(struct reply *reply, uint32_t index, const struct reply_token *token,
                        struct text *out) {
    struct reply_choice *choice = &reply->choices[index];
    char text[TOKENIZER_STEP_MAX];
    reply->out = out;
    add_entry(choice, token);
    size_t length = tokenizer_decode_step(reply->opts.tokenizer, &choice->prompt_stream, token->token, text);
    text_append(&choice->piece, text, length);
    deliver(choice, false);
}

/* A prompt of ids may end within a character. */
static void end_prompt(struct reply_choice *choice) {
    char text[TOKENIZER_STEP_MAX];
    size_t length = tokenizer_decode_end(&choice->prompt_stream, text);
    text_append(&choice->piece, text, length);
    if (length > 0) deliver(choice, false);
}

/* The text of a mark that is a control token, or NULL. */
static const char *mark_of(const struct reply_choice *choice, token_id token) {
    const struct tool_marks *marks = &choice->reply->marks;
    if (choice->parser == NULL || token < 0) return NULL;
    if (token == marks->open_token) return marks->open;
    return token == marks->close_token ? marks->close : NULL;
}

void reply_token(struct reply *reply, uint32_t index, const struct reply_token *token, struct text *out) {
    struct reply_choice *choice = &reply->choices[index];
    reply->out = out;
    if (output_text_stopped_by(choice->output) >= 0) return;
    if (choice->n_tokens++ == 0) end_prompt(choice);
    if (!isnan(token->logprob)) choice->logprob_sum += (double)token->logprob;
    add_entry(choice, token);
    const char *mark = mark_of(choice, token->token);
    if (mark == NULL) {
        (void)output_text_add(choice->output, token->token, &choice->piece);
        deliver(choice, true);
        return;
    }
    output_text_release(choice->output, &choice->piece);
    deliver(choice, true);
    tool_parser_add(choice->parser, mark, strlen(mark));
}

void reply_finish(struct reply *reply, uint32_t index, enum reply_finish finish, struct text *out) {
    struct reply_choice *choice = &reply->choices[index];
    reply->out = out;
    choice->finish = finish;
    end_prompt(choice);
    output_text_end(choice->output, &choice->piece);
    deliver(choice, true);
    if (choice->parser != NULL && !tool_parser_end(choice->parser)) out->failed = true;
    struct reply_range due = take_due(choice, output_text_stopped_by(choice->output) < 0);
    choice->n_entries = choice->n_given; /* those behind a stop string are not the answer's */
    if (choice->is_open) choice->parts[choice->n_parts - 1].range.end = due.end;
    end_part(choice);
    if (reply->ask->is_streamed) reply->form->finish(choice, due, out);
}

/* --- end --- */

static double mean_logprob(const struct reply_choice *choice) {
    return choice->n_tokens > 0 ? choice->logprob_sum / choice->n_tokens : -HUGE_VAL;
}

/* The n best of every prompt's best_of, the best first; without best_of > n all in their order. */
static uint32_t pick_given(struct reply *reply) {
    uint32_t n = reply->ask->n, best_of = reply->ask->best_of, n_given = 0;
    for (uint32_t first = 0; first + best_of <= reply->opts.n_choices; first += best_of) {
        uint32_t *ranked = reply->given + n_given, n_ranked = 0;
        for (uint32_t i = 0; i < best_of; i++) {
            uint32_t at = n_ranked;
            double mean = mean_logprob(&reply->choices[first + i]);
            while (best_of > n && at > 0 && mean_logprob(&reply->choices[ranked[at - 1]]) < mean) at--;
            if (at == n) continue;
            n_ranked = n_ranked < n ? n_ranked + 1 : n;
            memmove(ranked + at + 1, ranked + at, (n_ranked - 1 - at) * sizeof *ranked);
            ranked[at] = first + i;
        }
        n_given += n_ranked;
    }
    return n_given;
}

void reply_end(struct reply *reply, const struct reply_usage *usage, struct text *out) {
    reply->out = out;
    if (reply->ask->is_streamed)
        reply->form->end(reply, usage, out);
    else
        reply->form->whole(reply, usage, reply->given, pick_given(reply), out);
}

void reply_fail(struct reply *reply, const struct api_error *error, struct text *out) {
    reply->out = out;
    if (reply->ask->is_streamed)
        reply->form->fail(reply, error, out);
    else
        api_error_write(error, reply->ask->api == ASK_MESSAGES, out);
}
