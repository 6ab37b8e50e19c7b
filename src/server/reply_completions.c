/* OpenAI's text_completion. Its logprobs are columns: tokens, their logprobs, dictionaries of the most
 * likely, offsets in characters. */
#include "base/err.h"
#include "server/json_text.h"
#include "server/reply_shapes.h"

static void write_top(const struct reply_choice *choice, const struct reply_entry *entry, struct text *out) {
    const struct tokenizer *tokenizer = choice->reply->opts.tokenizer;
    bool has_own = false;
    text_append_string(out, "{");
    for (uint32_t j = 0; j < entry->n_top; j++) {
        const struct token_logprob *top = &choice->tops[entry->top_at + j];
        has_own |= top->token == entry->token;
        reply_write_token(tokenizer, top->token, out);
        text_append_string(out, ":");
        json_text_float(out, top->logprob);
        if (j + 1 < entry->n_top) text_append_string(out, ",");
    }
    if (!has_own) {
        if (entry->n_top > 0) text_append_string(out, ",");
        reply_write_token(tokenizer, entry->token, out);
        text_append_string(out, ":");
        json_text_float(out, entry->logprob);
    }
    text_append_string(out, "}");
}

static void write_logprobs(const struct reply_choice *choice, struct reply_range range, struct text *out) {
    static const char *const columns[] = {"{\"tokens\":[", "],\"token_logprobs\":[", "],\"top_logprobs\":[",
                                          "],\"text_offset\":["};
    for (int column = 0; column < 4; column++) {
        text_append_string(out, columns[column]);
        for (size_t i = range.begin; i < range.end; i++) {
            const struct reply_entry *entry = &choice->entries[i];
            if (i > range.begin) text_append_string(out, ",");
            if (column == 0)
                reply_write_token(choice->reply->opts.tokenizer, entry->token, out);
            else if (column == 1)
                json_text_float(out, entry->logprob);
            else if (column == 3)
                text_printf(out, "%zu", entry->start_characters);
            else if (entry->logprob == entry->logprob)
                write_top(choice, entry, out);
            else
                text_append_string(out, "null"); /* of a prompt's first token nothing is known */
        }
    }
    text_append_string(out, "]}");
}

static void write_rest(const struct reply_choice *choice, struct reply_range range, const char *finish_reason,
                       struct text *out) {
    text_append_string(out, ",\"logprobs\":");
    if (choice->reply->ask->wants_logprobs && (range.end > range.begin || !choice->reply->ask->is_streamed))
        write_logprobs(choice, range, out);
    else
        text_append_string(out, "null");
    text_append_string(out, ",\"finish_reason\":");
    json_text_string(out, finish_reason);
    text_append_string(out, "}");
}

static void chunk(const struct reply_choice *choice, const char *bytes, size_t length, struct reply_range due,
                  const char *finish_reason, struct text *out) {
    text_append(out, choice->reply->head.bytes, choice->reply->head.length);
    text_printf(out, "{\"index\":%u,\"text\":", choice->index);
    json_text_bytes(out, bytes, length);
    write_rest(choice, due, finish_reason, out);
    text_append_string(out, "]");
    reply_end_chunk(choice->reply, out);
}

static void start(struct reply *reply, struct text *out) {
    text_append_string(&reply->head, "data: ");
    reply_write_head(reply, "cmpl-", "text_completion", &reply->head);
    text_append_string(&reply->head, ",\"choices\":[");
    out->failed |= reply->head.failed;
}

static void text(struct reply_choice *choice, struct reply_part *part, bool is_new, const char *bytes,
                 size_t length, struct reply_range due, struct text *out) {
    (void)part;
    (void)is_new;
    chunk(choice, bytes, length, due, NULL, out);
}

static void part_end(struct reply_choice *choice, struct reply_part *part, struct text *out) {
    (void)choice;
    (void)part;
    (void)out;
}

static void finish(struct reply_choice *choice, struct reply_range due, struct text *out) {
    chunk(choice, "", 0, due, reply_finish_reason(choice), out);
}

static void whole(struct reply *reply, const struct reply_usage *usage, const uint32_t *given,
                  uint32_t n_given, struct text *out) {
    reply_write_head(reply, "cmpl-", "text_completion", out);
    text_append_string(out, ",\"choices\":[");
    for (uint32_t i = 0; i < n_given; i++) {
        const struct reply_choice *choice = &reply->choices[given[i]];
        text_printf(out, "%s{\"index\":%u,\"text\":", i > 0 ? "," : "", i);
        reply_write_text(choice, out);
        write_rest(choice, (struct reply_range){0, choice->n_entries}, reply_finish_reason(choice), out);
    }
    text_append_string(out, "],\"usage\":");
    reply_write_usage(usage, out);
    text_append_string(out, "}");
}

/* Calls are not looked for: this API has no tools. */
const struct reply_form reply_form_completions = {
    .name = "completions",
    .start = start,
    .text = text,
    .part_end = part_end,
    .finish = finish,
    .end = reply_end_stream,
    .fail = reply_fail_stream,
    .whole = whole,
};
