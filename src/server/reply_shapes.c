#include <math.h>
#include <string.h>

#include "base/utf8.h"
#include "server/json_text.h"
#include "server/reply_shapes.h"

const char *reply_finish_reason(const struct reply_choice *choice) {
    if (choice->finish != REPLY_STOP) return "length";
    return reply_has_calls(choice) ? "tool_calls" : "stop";
}

void reply_write_kv(const struct reply_usage *usage, struct text *out) {
    const struct reply_kv *kv = &usage->kv;
    if (!kv->is_known) return;
    text_printf(out,
                ",\"kv\":{\"computed_tokens\":%llu,\"reused_tokens\":%u,\"written_bytes\":%llu,"
                "\"read_bytes\":%llu,\"peak_bytes\":%llu,\"byte_seconds\":%.15g,"
                "\"saved_by_sharing_bytes\":%llu,\"saved_by_codec_bytes\":%lld",
                (unsigned long long)kv->computed_tokens, usage->cached_tokens,
                (unsigned long long)kv->written_bytes, (unsigned long long)kv->read_bytes,
                (unsigned long long)kv->peak_bytes, kv->byte_seconds,
                (unsigned long long)kv->saved_by_sharing, (long long)kv->saved_by_codec);
    if (!isnan(kv->price)) text_printf(out, ",\"price\":%.9g", kv->price);
    text_append_string(out, "}");
}

void reply_write_usage(const struct reply_usage *usage, struct text *out) {
    text_printf(out,
                "{\"prompt_tokens\":%u,\"completion_tokens\":%u,\"total_tokens\":%llu,"
                "\"prompt_tokens_details\":{\"cached_tokens\":%u},"
                "\"completion_tokens_details\":{\"reasoning_tokens\":%u}",
                usage->prompt_tokens, usage->output_tokens,
                (unsigned long long)usage->prompt_tokens + usage->output_tokens, usage->cached_tokens,
                usage->reasoning_tokens);
    reply_write_kv(usage, out);
    text_append_string(out, "}");
}

void reply_write_token(const struct tokenizer *tokenizer, token_id token, struct text *out) {
    struct gguf_string bytes = tokenizer_bytes(tokenizer, token);
    if (bytes.length == 0) bytes = tokenizer_piece(tokenizer, token);
    if (utf8_valid_prefix(bytes.bytes, bytes.length) == bytes.length) {
        json_text_bytes(out, bytes.bytes, bytes.length);
        return;
    }
    text_append_string(out, "\"bytes:");
    for (size_t i = 0; i < bytes.length; i++)
        text_printf(out, "\\\\x%02x", (unsigned)(unsigned char)bytes.bytes[i]);
    text_append_string(out, "\"");
}

/* The fields of one token, without the braces. */
static void write_token_fields(const struct tokenizer *tokenizer, token_id token, float logprob,
                               struct text *out) {
    struct gguf_string bytes = tokenizer_bytes(tokenizer, token);
    text_append_string(out, "\"token\":");
    reply_write_token(tokenizer, token, out);
    text_append_string(out, bytes.length == 0 ? ",\"bytes\":null" : ",\"bytes\":[");
    for (size_t i = 0; i < bytes.length; i++)
        text_printf(out, "%s%u", i > 0 ? "," : "", (unsigned)(unsigned char)bytes.bytes[i]);
    text_append_string(out, bytes.length == 0 ? ",\"logprob\":" : "],\"logprob\":");
    json_text_float(out, logprob);
}

void reply_write_entries(const struct reply_choice *choice, struct reply_range range, struct text *out) {
    const struct tokenizer *tokenizer = choice->reply->opts.tokenizer;
    text_append_string(out, "[");
    for (size_t i = range.begin; i < range.end; i++) {
        const struct reply_entry *entry = &choice->entries[i];
        text_append_string(out, i > range.begin ? ",{" : "{");
        write_token_fields(tokenizer, entry->token, entry->logprob, out);
        text_append_string(out, ",\"top_logprobs\":[");
        for (uint32_t j = 0; j < entry->n_top; j++) {
            const struct token_logprob *top = &choice->tops[entry->top_at + j];
            text_append_string(out, j > 0 ? ",{" : "{");
            write_token_fields(tokenizer, top->token, top->logprob, out);
            text_append_string(out, "}");
        }
        text_append_string(out, "]}");
    }
    text_append_string(out, "]");
}

void reply_write_head(const struct reply *reply, const char *prefix, const char *object, struct text *out) {
    text_printf(out, "{\"id\":\"%s%016llx\",\"object\":\"%s\",\"created\":%lld,\"model\":", prefix,
                (unsigned long long)reply->opts.id, object, (long long)reply->opts.created_s);
    json_text_string(out, reply->model);
    text_append_string(out, ",\"system_fingerprint\":");
    json_text_string(out, reply->fingerprint);
}

void reply_write_text(const struct reply_choice *choice, struct text *out) {
    text_append_string(out, "\"");
    for (uint32_t i = 0; i < choice->n_parts; i++)
        if (!choice->parts[i].is_call)
            json_text_escape(out, choice->parts[i].text.bytes, choice->parts[i].text.length);
    text_append_string(out, "\"");
}

void reply_end_chunk(const struct reply *reply, struct text *out) {
    text_append_string(out, reply->ask->includes_usage ? ",\"usage\":null}\n\n" : "}\n\n");
}

void reply_end_stream(struct reply *reply, const struct reply_usage *usage, struct text *out) {
    if (reply->ask->includes_usage) {
        text_append(out, reply->head.bytes, reply->head.length);
        text_append_string(out, "],\"usage\":");
        reply_write_usage(usage, out);
        text_append_string(out, "}\n\n");
    }
    text_append_string(out, "data: [DONE]\n\n");
}

void reply_fail_stream(struct reply *reply, const struct api_error *error, struct text *out) {
    (void)reply;
    text_append_string(out, "data: ");
    api_error_write(error, false, out);
    text_append_string(out, "\n\ndata: [DONE]\n\n");
}
