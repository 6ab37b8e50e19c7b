/* Replies that follow a script, whole or as a stream, and a naive reader of server-sent events. Comes after
 * cmocka.h. */
#ifndef CABINET_TESTS_REPLY_SCRIPT_H
#define CABINET_TESTS_REPLY_SCRIPT_H

#include <math.h>
#include <stdio.h>

#include "server/reply.h"
#include "server/tool_format.h"

#include "quoted_json.h"
#include "tiny_tokenizer.h"
#include "tiny_vocabulary.h"

/* --- a reply from a script --- */

enum { CHOICES_MAX = 4 };

struct script {
    enum ask_api api;
    const char *fields;             /* of the body, behind what every ask of the API needs */
    const char *texts[CHOICES_MAX]; /* one token a byte, but for those of the tiny vocabulary */
    uint32_t n_choices;
    enum reply_finish finish;
    bool parses_tools;
    const char *prompt; /* echoed */
    float logprobs[CHOICES_MAX];
    enum tool_format format;
};

static const struct reply_usage started = {.prompt_tokens = 7};
static const struct reply_usage usage = {.prompt_tokens = 7, .cached_tokens = 3, .output_tokens = 5};

static inline struct ask *ask_for(const struct script *script, bool is_streamed) {
    static const char *const needed[] = {
        [ASK_CHAT] = "'messages':[{'role':'user','content':'x'},{'role':'assistant','content':'so'}]",
        [ASK_COMPLETIONS] = "'prompt':'x'",
        [ASK_RESPONSES] = "'input':'x'",
        [ASK_MESSAGES] = "'max_tokens':9,'messages':[{'role':'user','content':'x'}]"};
    const struct ask_limits limits = {
        .max_choices = CHOICES_MAX, .max_stops = 4, .max_top_logprobs = 5, .n_vocab = 1000};
    char body[2000];
    struct ask *ask;
    struct api_error error;
    (void)snprintf(body, sizeof body, "{'stream':%s,%s%s%s}", is_streamed ? "true" : "false",
                   needed[script->api], script->fields[0] != '\0' ? "," : "", script->fields);
    char *copy = quoted(body);
    if (ask_parse(script->api, copy, strlen(copy), &limits, &ask, &error) < 0) fail_msg("%s", error.message);
    free(copy);
    return ask;
}

static inline struct reply *reply_for(const struct script *script, const struct ask *ask) {
    const struct reply_opts opts = {.ask = ask,
                                    .tokenizer = tokenizer,
                                    .model = "tiny",
                                    .fingerprint = "fp_1",
                                    .id = 0x1234,
                                    .created_s = 99,
                                    .parses_tools = script->parses_tools,
                                    .tool_format = (int)script->format,
                                    .n_choices = script->n_choices};
    struct reply *reply;
    if (reply_open(&reply, &opts) < 0) fail_msg("%s", err_message());
    return reply;
}

/* "~" stands for the control token <tool_call> of this test's vocabulary. */
static inline token_id next_token(const char **text) {
    static const struct {
        const char *piece;
        token_id id;
    } pieces[] = {{"bcd", TINY_BCD}, {"ab", TINY_AB}, {"~", TINY_HOLE}};
    for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++)
        if (strncmp(*text, pieces[i].piece, strlen(pieces[i].piece)) == 0) {
            *text += strlen(pieces[i].piece);
            return pieces[i].id;
        }
    return (uint8_t)*(*text)++;
}

static inline struct reply_token token_of(token_id id, float logprob, struct token_logprob top[2]) {
    top[0] = (struct token_logprob){'t', -0.25f};
    top[1] = (struct token_logprob){id, logprob};
    return (struct reply_token){.token = id, .logprob = logprob, .n_top = isnan(logprob) ? 0 : 2, .top = top};
}

/* The bytes of the reply; the choices' tokens come in turn. */
static inline struct text play(const struct script *script, bool is_streamed) {
    struct ask *ask = ask_for(script, is_streamed);
    struct reply *reply = reply_for(script, ask);
    struct token_logprob top[2];
    struct text out = {0};
    const char *left[CHOICES_MAX];
    assert_string_equal(reply_content_type(reply), is_streamed ? "text/event-stream" : "application/json");
    reply_start(reply, &started, &out);
    for (uint32_t i = 0; i < script->n_choices; i++) {
        float logprob = NAN;
        for (left[i] = script->prompt; left[i] != NULL && *left[i] != '\0'; logprob = -2) {
            struct reply_token token = token_of(next_token(&left[i]), logprob, top);
            reply_prompt_token(reply, i, &token, &out);
        }
        left[i] = script->texts[i];
    }
    for (uint32_t n_left = script->n_choices; n_left > 0;)
        for (uint32_t i = 0; i < script->n_choices; i++) {
            if (left[i] == NULL) continue;
            if (*left[i] != '\0') {
                struct reply_token token = token_of(next_token(&left[i]), script->logprobs[i], top);
                reply_token(reply, i, &token, &out);
                continue;
            }
            reply_finish(reply, i, script->finish, &out);
            left[i] = NULL;
            n_left--;
        }
    reply_end(reply, &usage, &out);
    assert_false(out.failed);
    reply_close(reply);
    ask_free(ask);
    return out;
}

/* --- ids --- */

/* Ids of items and calls are compared by kind only. */
static inline void mask_ids(json_t *value) {
    static const char *const prefixes[] = {"call_", "toolu_", "fc_call_", "msg_"};
    const char *key;
    json_t *inner;
    size_t index;
    json_array_foreach(value, index, inner) mask_ids(inner);
    json_object_foreach(value, key, inner) {
        mask_ids(inner);
        for (size_t i = 0; i < 4 && json_is_string(inner); i++)
            if (strncmp(json_string_value(inner), prefixes[i], strlen(prefixes[i])) == 0 &&
                json_string_length(inner) > 22)
                json_string_set(inner, prefixes[i]);
    }
}

static inline json_t *whole_of(const struct script *script) {
    struct text out = play(script, false);
    json_error_t where;
    json_t *whole = json_loadb(out.bytes, out.length, 0, &where);
    if (whole == NULL) fail_msg("%s: %s", where.text, out.bytes);
    text_free(&out);
    return whole;
}

static inline void assert_whole(const struct script *script, const char *expected) {
    json_t *whole = whole_of(script);
    mask_ids(whole);
    assert_json(whole, expected);
    json_decref(whole);
}

/* --- a naive reader of server-sent events --- */

struct event {
    char name[64]; /* "" without one */
    json_t *data;  /* NULL: [DONE] */
};

static inline size_t read_events(struct text *stream, struct event *events, size_t most) {
    size_t n = 0;
    for (char *frame = stream->bytes, *end; *frame != '\0'; frame = end + 2) {
        end = strstr(frame, "\n\n");
        assert_non_null(end);
        *end = '\0';
        assert_true(n < most);
        struct event *event = &events[n++];
        *event = (struct event){0};
        if (sscanf(frame, "event: %63s\n", event->name) == 1) frame = strchr(frame, '\n') + 1;
        assert_true(strncmp(frame, "data: ", 6) == 0);
        assert_null(strchr(frame, '\n'));
        if (strcmp(frame + 6, "[DONE]") == 0) continue;
        event->data = json_loads(frame + 6, 0, NULL);
        if (event->data == NULL) fail_msg("no JSON: %s", frame);
        const char *type = json_string_value(json_object_get(event->data, "type"));
        assert_string_equal(event->name, type != NULL ? type : "");
    }
    return n;
}

enum { EVENTS_MAX = 400 };
static struct event events[EVENTS_MAX];
static size_t n_events;

static inline void stream(const struct script *script) {
    struct text out = play(script, true);
    n_events = read_events(&out, events, EVENTS_MAX);
    text_free(&out);
}

static inline void close_events(void) {
    for (size_t i = 0; i < n_events; i++) json_decref(events[i].data);
    n_events = 0;
}

/* The path of keys, a number being an index. */
static inline json_t *at(const json_t *value, const char *path) {
    char copy[100];
    (void)snprintf(copy, sizeof copy, "%s", path);
    json_t *found = (json_t *)(uintptr_t)value;
    for (char *key = strtok(copy, "."); key != NULL; key = strtok(NULL, "."))
        found = key[0] >= '0' && key[0] <= '9' ? json_array_get(found, strtoul(key, NULL, 10))
                                               : json_object_get(found, key);
    return found;
}

static inline const char *text_at(const json_t *value, const char *path) {
    return json_string_value(at(value, path));
}

/* Appends to the string at `key`. */
static inline void join(json_t *object, const char *key, const char *more) {
    const char *before = json_string_value(json_object_get(object, key));
    json_object_set_new(object, key, json_sprintf("%s%s", before != NULL ? before : "", more));
}

#endif
