/* Anthropic's message and its events. */
#include "server/json_text.h"
#include "server/reply_shapes.h"

static void begin_event(const char *type, struct text *out) {
    text_printf(out, "event: %s\ndata: {\"type\":\"%s\"", type, type);
}

static void end_event(struct text *out) { text_append_string(out, "}\n\n"); }

/* Tokens found in the cache are not among the input tokens there. */
static void write_usage(const struct reply_usage *usage, struct text *out) {
    text_printf(out,
                "{\"input_tokens\":%u,\"cache_creation_input_tokens\":0,\"cache_read_input_tokens\":%u,"
                "\"output_tokens\":%u",
                usage->prompt_tokens - usage->cached_tokens, usage->cached_tokens, usage->output_tokens);
    reply_write_kv(usage, out);
    text_append_string(out, "}");
}

static void write_reason(const struct reply_choice *choice, struct text *out) {
    int stop = output_text_stopped_by(choice->output);
    const char *reason = choice->finish != REPLY_STOP ? "max_tokens"
                         : stop >= 0                  ? "stop_sequence"
                         : reply_has_calls(choice)    ? "tool_use"
                                                      : "end_turn";
    bool is_named = choice->finish == REPLY_STOP && stop >= 0;
    text_printf(out, "\"stop_reason\":\"%s\",\"stop_sequence\":", reason);
    json_text_string(out, is_named ? choice->reply->ask->stops[stop] : NULL);
}

static void write_beginning(const struct reply *reply, struct text *out) {
    text_printf(out, "{\"id\":\"msg_%016llx\",\"type\":\"message\",\"role\":\"assistant\",\"model\":",
                (unsigned long long)reply->opts.id);
    json_text_string(out, reply->model);
}

static void start(struct reply *reply, struct text *out) {
    begin_event("message_start", out);
    text_append_string(out, ",\"message\":");
    write_beginning(reply, out);
    text_append_string(out, ",\"content\":[],\"stop_reason\":null,\"stop_sequence\":null,\"usage\":");
    write_usage(&reply->started, out);
    text_append_string(out, "}");
    end_event(out);
}

static void begin_indexed(const char *type, const struct reply_choice *choice, const struct reply_part *part,
                          struct text *out) {
    begin_event(type, out);
    text_printf(out, ",\"index\":%u", reply_part_index(choice, part));
}

static void text(struct reply_choice *choice, struct reply_part *part, bool is_new, const char *bytes,
                 size_t length, struct reply_range due, struct text *out) {
    (void)due;
    if (is_new) {
        begin_indexed("content_block_start", choice, part, out);
        text_append_string(out, ",\"content_block\":{\"type\":\"text\",\"text\":\"\"}");
        end_event(out);
    }
    begin_indexed("content_block_delta", choice, part, out);
    text_append_string(out, ",\"delta\":{\"type\":\"text_delta\",\"text\":");
    json_text_bytes(out, bytes, length);
    text_append_string(out, "}");
    end_event(out);
}

static void call(struct reply_choice *choice, struct reply_part *part, struct text *out) {
    begin_indexed("content_block_start", choice, part, out);
    text_printf(out, ",\"content_block\":{\"type\":\"tool_use\",\"id\":\"%s\",\"name\":", part->id);
    json_text_string(out, part->name);
    text_append_string(out, ",\"input\":{}}");
    end_event(out);
}

static void arguments(struct reply_choice *choice, struct reply_part *part, const char *bytes, size_t length,
                      struct text *out) {
    begin_indexed("content_block_delta", choice, part, out);
    text_append_string(out, ",\"delta\":{\"type\":\"input_json_delta\",\"partial_json\":");
    json_text_bytes(out, bytes, length);
    text_append_string(out, "}");
    end_event(out);
}

static void part_end(struct reply_choice *choice, struct reply_part *part, struct text *out) {
    begin_indexed("content_block_stop", choice, part, out);
    end_event(out);
}

static void finish(struct reply_choice *choice, struct reply_range due, struct text *out) {
    (void)choice;
    (void)due;
    (void)out;
}

static void end(struct reply *reply, const struct reply_usage *usage, struct text *out) {
    begin_event("message_delta", out);
    text_append_string(out, ",\"delta\":{");
    write_reason(&reply->choices[0], out);
    text_append_string(out, "},\"usage\":");
    write_usage(usage, out);
    end_event(out);
    begin_event("message_stop", out);
    end_event(out);
}

static void fail(struct reply *reply, const struct api_error *error, struct text *out) {
    (void)reply;
    text_append_string(out, "event: error\ndata: ");
    api_error_write(error, true, out);
    text_append_string(out, "\n\n");
}

/* The input is an object: a call that was cut off has an empty one. */
static void write_input(const struct reply_part *part, struct text *out) {
    json_t *input = json_loadb(part->text.length > 0 ? part->text.bytes : "", part->text.length, 0, NULL);
    if (input == NULL)
        text_append_string(out, "{}");
    else
        json_text_value(out, input);
    json_decref(input);
}

static void whole(struct reply *reply, const struct reply_usage *usage, const uint32_t *given,
                  uint32_t n_given, struct text *out) {
    (void)n_given; /* 1: the API has no n */
    const struct reply_choice *choice = &reply->choices[given[0]];
    write_beginning(reply, out);
    text_append_string(out, ",\"content\":[");
    for (uint32_t i = 0; i < choice->n_parts; i++) {
        const struct reply_part *part = &choice->parts[i];
        if (i > 0) text_append_string(out, ",");
        if (part->is_call) {
            text_printf(out, "{\"type\":\"tool_use\",\"id\":\"%s\",\"name\":", part->id);
            json_text_string(out, part->name);
            text_append_string(out, ",\"input\":");
            write_input(part, out);
        } else {
            text_append_string(out, "{\"type\":\"text\",\"text\":");
            json_text_bytes(out, part->text.bytes, part->text.length);
        }
        text_append_string(out, "}");
    }
    text_append_string(out, "],");
    write_reason(choice, out);
    text_append_string(out, ",\"usage\":");
    write_usage(usage, out);
    text_append_string(out, "}");
}

const struct reply_form reply_form_messages = {
    .name = "messages",
    .start = start,
    .text = text,
    .call = call,
    .arguments = arguments,
    .part_end = part_end,
    .finish = finish,
    .end = end,
    .fail = fail,
    .whole = whole,
};
