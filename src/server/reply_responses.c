/* OpenAI's response and its events. Every run of text is a message item of its own. */
#include <string.h>

#include "server/json_text.h"
#include "server/reply_shapes.h"

static const char in_progress[] = "in_progress";

/* --- items --- */

static void write_call_item(const struct reply_part *part, const char *status, bool is_begun,
                            struct text *out) {
    text_printf(out,
                "{\"type\":\"function_call\",\"id\":\"fc_%s\",\"status\":\"%s\",\"call_id\":\"%s\",\"name\":",
                part->id, status, part->id);
    json_text_string(out, part->name);
    text_append_string(out, ",\"arguments\":");
    json_text_bytes(out, part->text.bytes, is_begun ? 0 : part->text.length);
    text_append_string(out, "}");
}

static void write_content(const struct reply_choice *choice, const struct reply_part *part, bool is_begun,
                          struct text *out) {
    text_append_string(out, "{\"type\":\"output_text\",\"text\":");
    json_text_bytes(out, part->text.bytes, is_begun ? 0 : part->text.length);
    text_append_string(out, ",\"annotations\":[],\"logprobs\":");
    reply_write_entries(choice, is_begun ? (struct reply_range){0, 0} : part->range, out);
    text_append_string(out, "}");
}

/* With is_begun as it is before its first text. */
static void write_item(const struct reply_choice *choice, const struct reply_part *part, const char *status,
                       bool is_begun, struct text *out) {
    if (part->is_call) {
        write_call_item(part, status, is_begun, out);
        return;
    }
    text_printf(out,
                "{\"type\":\"message\",\"id\":\"%s\",\"status\":\"%s\",\"role\":\"assistant\",\"content\":[",
                part->id, status);
    if (!is_begun) write_content(choice, part, false, out);
    text_append_string(out, "]}");
}

/* --- the response --- */

static void write_tools(const json_t *tools, struct text *out) {
    text_append_string(out, "[");
    for (size_t i = 0; i < json_array_size(tools); i++) {
        const json_t *function = json_object_get(json_array_get(tools, i), "function");
        text_append_string(out, i > 0 ? ",{\"type\":\"function\"" : "{\"type\":\"function\"");
        static const char *const keys[] = {"name", "description", "parameters"};
        for (size_t key = 0; key < sizeof keys / sizeof *keys; key++) {
            text_printf(out, ",\"%s\":", keys[key]);
            json_text_value(out, json_object_get(function, keys[key]));
        }
        text_printf(out, ",\"strict\":%s}",
                    json_is_true(json_object_get(function, "strict")) ? "true" : "false");
    }
    text_append_string(out, "]");
}

static void write_format(const struct ask *ask, struct text *out) {
    if (ask->format == ASK_JSON_SCHEMA) {
        text_append_string(out, "{\"type\":\"json_schema\",\"name\":");
        json_text_string(out, ask->schema_name);
        text_append_string(out, ",\"schema\":");
        text_append_string(out, ask->schema);
        text_append_string(out, ",\"strict\":true}");
    } else {
        text_append_string(out,
                           ask->format == ASK_TEXT ? "{\"type\":\"text\"}" : "{\"type\":\"json_object\"}");
    }
}

static void write_tool_choice(const struct ask *ask, struct text *out) {
    static const char *const words[] = {
        [ASK_TOOLS_NONE] = "\"none\"", [ASK_TOOLS_AUTO] = "\"auto\"", [ASK_TOOLS_REQUIRED] = "\"required\""};
    if (ask->tool_choice == ASK_TOOLS_NAMED) {
        text_append_string(out, "{\"type\":\"function\",\"name\":");
        json_text_string(out, ask->tool_name);
        text_append_string(out, "}");
    } else {
        /* Without tools there is nothing to choose; the API's default says so. */
        text_append_string(out, words[ask->tools == NULL ? ASK_TOOLS_AUTO : ask->tool_choice]);
    }
}

/* What the client asked, said again. */
static void write_asked(const struct ask *ask, struct text *out) {
    text_append_string(out, ",\"instructions\":");
    json_text_value(out, ask->instructions);
    text_append_string(out, ",\"max_output_tokens\":");
    if (ask->max_tokens == UINT32_MAX)
        text_append_string(out, "null");
    else
        text_printf(out, "%u", ask->max_tokens);
    text_append_string(out, ",\"metadata\":");
    if (ask->metadata == NULL)
        text_append_string(out, "{}");
    else
        json_text_value(out, ask->metadata);
    text_printf(out,
                ",\"parallel_tool_calls\":%s,\"temperature\":", ask->parallel_tool_calls ? "true" : "false");
    json_text_float(out, ask->sampling.temperature);
    text_append_string(out, ",\"top_p\":");
    json_text_float(out, ask->sampling.top_p);
    text_append_string(out, ",\"text\":{\"format\":");
    write_format(ask, out);
    text_append_string(out, "},\"tool_choice\":");
    write_tool_choice(ask, out);
    text_append_string(out, ",\"tools\":");
    write_tools(ask->tools, out);
    text_printf(out,
                ",\"top_logprobs\":%u,\"truncation\":\"disabled\",\"store\":false,\"background\":false,"
                "\"previous_response_id\":null,\"reasoning\":{\"effort\":null,\"summary\":null},\"user\":",
                ask->n_top_logprobs);
    json_text_string(out, ask->user[0] != '\0' ? ask->user : NULL);
}

static void write_usage(const struct reply_usage *usage, struct text *out) {
    if (usage == NULL) {
        text_append_string(out, "null");
        return;
    }
    text_printf(out,
                "{\"input_tokens\":%u,\"input_tokens_details\":{\"cached_tokens\":%u},\"output_tokens\":%u,"
                "\"output_tokens_details\":{\"reasoning_tokens\":%u},\"total_tokens\":%llu",
                usage->prompt_tokens, usage->cached_tokens, usage->output_tokens, usage->reasoning_tokens,
                (unsigned long long)usage->prompt_tokens + usage->output_tokens);
    reply_write_kv(usage, out);
    text_append_string(out, "}");
}

static const char *item_status(const struct reply_part *part) {
    return part->is_cut ? "incomplete" : "completed";
}

/* A failure may leave the last item open. */
static void write_output(const struct reply_choice *choice, struct text *out) {
    text_append_string(out, "[");
    for (uint32_t i = 0; i < choice->n_parts; i++) {
        const struct reply_part *part = &choice->parts[i];
        bool is_open = choice->is_open && i + 1 == choice->n_parts;
        if (i > 0) text_append_string(out, ",");
        write_item(choice, part, is_open ? "incomplete" : item_status(part), false, out);
    }
    text_append_string(out, "]");
}

static void write_response(const struct reply *reply, const char *status, const struct reply_usage *usage,
                           const struct api_error *error, struct text *out) {
    const struct reply_choice *choice = &reply->choices[0];
    bool is_cut = strcmp(status, "incomplete") == 0;
    text_printf(
        out,
        "{\"id\":\"resp_%016llx\",\"object\":\"response\",\"created_at\":%lld,\"status\":\"%s\",\"model\":",
        (unsigned long long)reply->opts.id, (long long)reply->opts.created_s, status);
    json_text_string(out, reply->model);
    text_append_string(out, ",\"error\":");
    if (error != NULL) {
        text_append_string(out, "{\"code\":\"server_error\",\"message\":");
        json_text_string(out, error->message);
        text_append_string(out, "}");
    } else {
        text_append_string(out, "null");
    }
    text_append_string(out, is_cut ? ",\"incomplete_details\":{\"reason\":\"max_output_tokens\"}"
                                   : ",\"incomplete_details\":null");
    write_asked(reply->ask, out);
    text_append_string(out, ",\"output\":");
    if (strcmp(status, in_progress) == 0)
        text_append_string(out, "[]");
    else
        write_output(choice, out);
    text_append_string(out, ",\"usage\":");
    write_usage(usage, out);
    text_append_string(out, "}");
}

static const char *final_status(const struct reply *reply) {
    return reply->choices[0].finish == REPLY_STOP ? "completed" : "incomplete";
}

/* --- events --- */

static void begin_event(struct reply *reply, const char *type, struct text *out) {
    text_printf(out, "event: %s\ndata: {\"type\":\"%s\",\"sequence_number\":%llu", type, type,
                (unsigned long long)reply->n_events++);
}

static void end_event(struct text *out) { text_append_string(out, "}\n\n"); }

static void response_event(struct reply *reply, const char *type, const char *status,
                           const struct reply_usage *usage, const struct api_error *error, struct text *out) {
    begin_event(reply, type, out);
    text_append_string(out, ",\"response\":");
    write_response(reply, status, usage, error, out);
    end_event(out);
}

static void start(struct reply *reply, struct text *out) {
    response_event(reply, "response.created", in_progress, NULL, NULL, out);
    response_event(reply, "response.in_progress", in_progress, NULL, NULL, out);
}

static void item_event(struct reply_choice *choice, const struct reply_part *part, const char *type,
                       const char *status, struct text *out) {
    begin_event(choice->reply, type, out);
    text_printf(out, ",\"output_index\":%u,\"item\":", reply_part_index(choice, part));
    write_item(choice, part, status, strcmp(status, in_progress) == 0, out);
    end_event(out);
}

static void begin_part_event(struct reply_choice *choice, const struct reply_part *part, const char *type,
                             struct text *out) {
    begin_event(choice->reply, type, out);
    text_printf(out, ",\"item_id\":\"%s%s\",\"output_index\":%u", part->is_call ? "fc_" : "", part->id,
                reply_part_index(choice, part));
    if (!part->is_call) text_append_string(out, ",\"content_index\":0");
}

static void content_event(struct reply_choice *choice, const struct reply_part *part, const char *type,
                          bool is_begun, struct text *out) {
    begin_part_event(choice, part, type, out);
    text_append_string(out, ",\"part\":");
    write_content(choice, part, is_begun, out);
    end_event(out);
}

static void text(struct reply_choice *choice, struct reply_part *part, bool is_new, const char *bytes,
                 size_t length, struct reply_range due, struct text *out) {
    if (is_new) {
        item_event(choice, part, "response.output_item.added", in_progress, out);
        content_event(choice, part, "response.content_part.added", true, out);
    }
    begin_part_event(choice, part, "response.output_text.delta", out);
    text_append_string(out, ",\"delta\":");
    json_text_bytes(out, bytes, length);
    text_append_string(out, ",\"logprobs\":");
    reply_write_entries(choice, due, out);
    end_event(out);
}

static void call(struct reply_choice *choice, struct reply_part *part, struct text *out) {
    item_event(choice, part, "response.output_item.added", in_progress, out);
}

static void arguments(struct reply_choice *choice, struct reply_part *part, const char *bytes, size_t length,
                      struct text *out) {
    begin_part_event(choice, part, "response.function_call_arguments.delta", out);
    text_append_string(out, ",\"delta\":");
    json_text_bytes(out, bytes, length);
    end_event(out);
}

static void part_end(struct reply_choice *choice, struct reply_part *part, struct text *out) {
    if (part->is_call) {
        begin_part_event(choice, part, "response.function_call_arguments.done", out);
        text_append_string(out, ",\"name\":");
        json_text_string(out, part->name);
        text_append_string(out, ",\"arguments\":");
        json_text_bytes(out, part->text.bytes, part->text.length);
        end_event(out);
    } else {
        begin_part_event(choice, part, "response.output_text.done", out);
        text_append_string(out, ",\"text\":");
        json_text_bytes(out, part->text.bytes, part->text.length);
        text_append_string(out, ",\"logprobs\":");
        reply_write_entries(choice, part->range, out);
        end_event(out);
        content_event(choice, part, "response.content_part.done", false, out);
    }
    item_event(choice, part, "response.output_item.done", item_status(part), out);
}

static void finish(struct reply_choice *choice, struct reply_range due, struct text *out) {
    (void)choice;
    (void)due;
    (void)out;
}

static void end(struct reply *reply, const struct reply_usage *usage, struct text *out) {
    const char *status = final_status(reply);
    bool is_complete = strcmp(status, "completed") == 0;
    response_event(reply, is_complete ? "response.completed" : "response.incomplete", status, usage, NULL,
                   out);
}

static void fail(struct reply *reply, const struct api_error *error, struct text *out) {
    response_event(reply, "response.failed", "failed", NULL, error, out);
}

static void whole(struct reply *reply, const struct reply_usage *usage, const uint32_t *given,
                  uint32_t n_given, struct text *out) {
    (void)given; /* one choice: the API has no n */
    (void)n_given;
    write_response(reply, final_status(reply), usage, NULL, out);
}

const struct reply_form reply_form_responses = {
    .name = "responses",
    .keeps_text = true,
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
