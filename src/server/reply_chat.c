/* OpenAI's chat.completion and chat.completion.chunk. */
#include "server/json_text.h"
#include "server/reply_shapes.h"

/* Up to the delta's fields. */
static void begin_chunk(const struct reply_choice *choice, struct text *out) {
    text_append(out, choice->reply->head.bytes, choice->reply->head.length);
    text_printf(out, "{\"index\":%u,\"delta\":{", choice->index);
}

static void end_chunk(const struct reply_choice *choice, struct reply_range due, const char *finish_reason,
                      struct text *out) {
    if (choice->reply->ask->wants_logprobs && due.end > due.begin) {
        text_append_string(out, "},\"logprobs\":{\"content\":");
        reply_write_entries(choice, due, out);
        text_append_string(out, ",\"refusal\":null},\"finish_reason\":");
    } else {
        text_append_string(out, "},\"logprobs\":null,\"finish_reason\":");
    }
    json_text_string(out, finish_reason);
    text_append_string(out, "}]");
    reply_end_chunk(choice->reply, out);
}

static const struct reply_range none;

static void start(struct reply *reply, struct text *out) {
    text_append_string(&reply->head, "data: ");
    reply_write_head(reply, "chatcmpl-", "chat.completion.chunk", &reply->head);
    text_append_string(&reply->head, ",\"choices\":[");
    out->failed |= reply->head.failed;
    for (uint32_t i = 0; i < reply->opts.n_choices; i++) {
        begin_chunk(&reply->choices[i], out);
        text_append_string(out, "\"role\":\"assistant\",\"content\":\"\",\"refusal\":null");
        end_chunk(&reply->choices[i], none, NULL, out);
    }
}

static void text(struct reply_choice *choice, struct reply_part *part, bool is_new, const char *bytes,
                 size_t length, struct reply_range due, struct text *out) {
    (void)part;
    (void)is_new;
    begin_chunk(choice, out);
    text_append_string(out, "\"content\":");
    json_text_bytes(out, bytes, length);
    end_chunk(choice, due, NULL, out);
}

static void call(struct reply_choice *choice, struct reply_part *part, struct text *out) {
    begin_chunk(choice, out);
    text_printf(out,
                "\"tool_calls\":[{\"index\":%u,\"id\":\"%s\",\"type\":\"function\",\"function\":{\"name\":",
                reply_call_index(choice, part), part->id);
    json_text_string(out, part->name);
    text_append_string(out, ",\"arguments\":\"\"}}]");
    end_chunk(choice, none, NULL, out);
}

static void arguments(struct reply_choice *choice, struct reply_part *part, const char *bytes, size_t length,
                      struct text *out) {
    begin_chunk(choice, out);
    text_printf(out,
                "\"tool_calls\":[{\"index\":%u,\"function\":{\"arguments\":", reply_call_index(choice, part));
    json_text_bytes(out, bytes, length);
    text_append_string(out, "}}]");
    end_chunk(choice, none, NULL, out);
}

static void part_end(struct reply_choice *choice, struct reply_part *part, struct text *out) {
    (void)choice;
    (void)part;
    (void)out;
}

static void finish(struct reply_choice *choice, struct reply_range due, struct text *out) {
    begin_chunk(choice, out);
    end_chunk(choice, due, reply_finish_reason(choice), out);
}

static void write_calls(const struct reply_choice *choice, struct text *out) {
    bool is_first = true;
    for (uint32_t i = 0; i < choice->n_parts; i++) {
        const struct reply_part *part = &choice->parts[i];
        if (!part->is_call) continue;
        text_printf(out,
                    "%s{\"id\":\"%s\",\"type\":\"function\",\"function\":{\"name\":", is_first ? "" : ",",
                    part->id);
        json_text_string(out, part->name);
        text_append_string(out, ",\"arguments\":");
        json_text_bytes(out, part->text.bytes, part->text.length);
        text_append_string(out, "}}");
        is_first = false;
    }
}

static void write_choice(const struct reply_choice *choice, uint32_t index, struct text *out) {
    bool has_calls = reply_has_calls(choice);
    text_printf(out, "{\"index\":%u,\"message\":{\"role\":\"assistant\",\"content\":", index);
    if (has_calls && !reply_has_text(choice))
        text_append_string(out, "null");
    else
        reply_write_text(choice, out);
    text_append_string(out, ",\"refusal\":null");
    if (has_calls) {
        text_append_string(out, ",\"tool_calls\":[");
        write_calls(choice, out);
        text_append_string(out, "]");
    }
    text_append_string(out, "},\"logprobs\":");
    if (choice->reply->ask->wants_logprobs) {
        text_append_string(out, "{\"content\":");
        reply_write_entries(choice, (struct reply_range){0, choice->n_entries}, out);
        text_append_string(out, ",\"refusal\":null}");
    } else {
        text_append_string(out, "null");
    }
    text_printf(out, ",\"finish_reason\":\"%s\"}", reply_finish_reason(choice));
}

static void whole(struct reply *reply, const struct reply_usage *usage, const uint32_t *given,
                  uint32_t n_given, struct text *out) {
    reply_write_head(reply, "chatcmpl-", "chat.completion", out);
    text_append_string(out, ",\"choices\":[");
    for (uint32_t i = 0; i < n_given; i++) {
        if (i > 0) text_append_string(out, ",");
        write_choice(&reply->choices[given[i]], i, out);
    }
    text_append_string(out, "],\"usage\":");
    reply_write_usage(usage, out);
    text_append_string(out, "}");
}

const struct reply_form reply_form_chat = {
    .name = "chat",
    .start = start,
    .text = text,
    .call = call,
    .arguments = arguments,
    .part_end = part_end,
    .finish = finish,
    .end = reply_end_stream,
    .fail = reply_fail_stream,
    .whole = whole,
};
