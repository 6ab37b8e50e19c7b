#include "server/tool_parser.h"

#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "server/json_scan.h"
#include "server/json_text.h"

enum { HELD_MAX = 1 << 20 }; /* bytes of a call that is not streamed */

enum parser_state {
    IN_TEXT,      /* held: white space, then the beginning of an opening mark */
    IN_OPEN,      /* behind the mark, before the object */
    IN_CALL,      /* within the object, which is held */
    IN_ARGUMENTS, /* of a forced call: they pass through */
    IN_TAIL,      /* of a forced call: what follows the arguments in the object is dropped */
    IN_AFTER, /* behind the object: what may close or continue is dropped; the beginning of a mark is held */
};

struct tool_parser {
    enum tool_format format;
    bool is_forced;
    struct tool_sink sink;
    const char *open, *close;
    enum parser_state state;
    struct text held;             /* nothing of it is given out yet */
    size_t n_mark;                /* bytes of a mark at the end of `held` */
    size_t call_at;               /* where the object begins in `held` */
    struct json_scan scan;        /* of the object */
    bool in_list;                 /* Mistral's */
    bool may_begin;               /* Llama's: nothing but calls so far */
    bool is_after_call;           /* nothing but white space since a call */
    struct text plain, arguments; /* of this add, not yet given to the sink */
    bool failed;
};

int tool_parser_open(struct tool_parser **parser, enum tool_format format, bool is_forced,
                     const struct tool_sink *sink) {
    static const char *const marks[][2] = {[TOOL_FORMAT_HERMES] = {"<tool_call>", "</tool_call>"},
                                           [TOOL_FORMAT_LLAMA] = {"", ""},
                                           [TOOL_FORMAT_MISTRAL] = {"[TOOL_CALLS]", ""}};
    struct tool_parser *opened = mem_alloc(1, sizeof *opened);
    *parser = opened;
    if (opened == NULL) return ERR_NO_MEMORY;
    opened->format = format;
    opened->is_forced = is_forced;
    opened->sink = *sink;
    opened->open = marks[format][0];
    opened->close = marks[format][1];
    opened->may_begin = true;
    return 0;
}

void tool_parser_close(struct tool_parser *parser) {
    if (parser == NULL) return;
    text_free(&parser->held);
    text_free(&parser->plain);
    text_free(&parser->arguments);
    mem_free(parser);
}

/* --- out --- */

static void give(struct tool_parser *parser, struct text *text,
                 void (*to)(void *user, const char *bytes, size_t length)) {
    if (text->length > 0) to(parser->sink.user, text->bytes, text->length);
    parser->failed |= text->failed;
    text_clear(text);
}

static void give_plain(struct tool_parser *parser) { give(parser, &parser->plain, parser->sink.text); }

static bool is_space(char byte) { return byte == ' ' || byte == '\n' || byte == '\t' || byte == '\r'; }

/* What is held is no call: it is text. */
static void give_up(struct tool_parser *parser) {
    size_t n_space = 0;
    const struct text *held = &parser->held;
    while (parser->is_after_call && n_space < held->length && is_space(held->bytes[n_space])) n_space++;
    if (held->length > n_space) {
        text_append(&parser->plain, held->bytes + n_space, held->length - n_space);
        parser->is_after_call = parser->may_begin = false;
    }
    parser->failed |= held->failed;
    text_clear(&parser->held);
    parser->n_mark = 0;
    parser->in_list = false;
    parser->state = IN_TEXT;
}

static void call_begins(struct tool_parser *parser, const json_t *name) {
    give_plain(parser);
    text_clear(&parser->held);
    parser->n_mark = 0;
    parser->sink.call(parser->sink.user, json_string_value(name));
}

static void call_ends(struct tool_parser *parser) {
    give(parser, &parser->arguments, parser->sink.arguments);
    parser->sink.end(parser->sink.user);
    parser->is_after_call = parser->may_begin = true;
    parser->state = IN_AFTER;
}

/* --- the object of a call --- */

/* Borrowed from the object, or a new one out of a string; NULL if there are no arguments. */
static json_t *arguments_of(const json_t *object, bool is_optional) {
    json_t *arguments = json_object_get(object, "arguments");
    if (arguments == NULL) arguments = json_object_get(object, "parameters");
    if (arguments == NULL && is_optional) return json_object();
    if (json_is_string(arguments)) return json_loads(json_string_value(arguments), 0, NULL);
    return json_incref(arguments);
}

static bool is_name(const json_t *name) { return json_is_string(name) && json_string_length(name) > 0; }

/* The whole object is held. */
static void take_call(struct tool_parser *parser) {
    const struct text *held = &parser->held;
    json_t *object = held->failed
                         ? NULL
                         : json_loadb(held->bytes + parser->call_at, held->length - parser->call_at, 0, NULL);
    json_t *name = json_object_get(object, "name");
    json_t *arguments = arguments_of(object, object != NULL && parser->format != TOOL_FORMAT_LLAMA);
    if (is_name(name) && json_is_object(arguments)) {
        call_begins(parser, name);
        json_text_value(&parser->arguments, arguments);
        call_ends(parser);
    } else {
        give_up(parser);
    }
    json_decref(arguments);
    json_decref(object);
}

/* Forced: does what is held end where the arguments' object begins? Then the call begins too. */
static void begin_arguments(struct tool_parser *parser) {
    struct text closed = {0};
    text_append(&closed, parser->held.bytes + parser->call_at, parser->held.length - parser->call_at);
    text_append_string(&closed, "}}");
    json_t *object = closed.failed ? NULL : json_loadb(closed.bytes, closed.length, 0, NULL);
    json_t *name = json_object_get(object, "name"), *arguments = arguments_of(object, false);
    if (is_name(name) && json_is_object(arguments) && json_object_size(object) == 2) {
        call_begins(parser, name);
        text_append(&parser->arguments, "{", 1);
        parser->state = IN_ARGUMENTS;
    }
    json_decref(arguments);
    json_decref(object);
    text_free(&closed);
}

/* Can an object that begins like this be a call of Llama's kind, which has no mark? Its first key tells. */
static bool may_be_call(const char *bytes, size_t length) {
    static const char *const keys[] = {"\"name\"", "\"parameters\"", "\"arguments\"", "\"type\""};
    size_t at = 1;
    while (at < length && is_space(bytes[at])) at++;
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        size_t n = strlen(keys[i]) < length - at ? strlen(keys[i]) : length - at;
        if (memcmp(bytes + at, keys[i], n) == 0) return true;
    }
    return false;
}

static void begin_call(struct tool_parser *parser) {
    parser->call_at = parser->held.length;
    text_append(&parser->held, "{", 1);
    parser->scan = (struct json_scan){0};
    (void)json_scan_add(&parser->scan, '{');
    parser->state = IN_CALL;
}

/* --- byte by byte: each returns true if the byte is done with, false if the new state is to look at it ---
 */

static bool in_text(struct tool_parser *parser, char byte) {
    if (parser->n_mark > 0 && parser->open[parser->n_mark] != byte) give_up(parser);
    if (parser->n_mark > 0 || (parser->open[0] == byte && byte != '\0')) {
        text_append(&parser->held, &byte, 1);
        if (parser->open[++parser->n_mark] == '\0') parser->state = IN_OPEN;
    } else if (is_space(byte)) {
        text_append(&parser->held, &byte, 1);
    } else if (byte == '{' && parser->format == TOOL_FORMAT_LLAMA && parser->may_begin) {
        begin_call(parser);
    } else {
        give_up(parser);
        text_append(&parser->plain, &byte, 1);
        parser->is_after_call = parser->may_begin = false;
    }
    return true;
}

static bool in_open(struct tool_parser *parser, char byte) {
    bool opens_list = byte == '[' && parser->format == TOOL_FORMAT_MISTRAL && !parser->in_list;
    if (byte == '{') {
        begin_call(parser);
    } else if (is_space(byte) || opens_list) {
        text_append(&parser->held, &byte, 1);
        parser->in_list |= opens_list;
    } else {
        give_up(parser);
        return false;
    }
    return true;
}

static bool in_call(struct tool_parser *parser, char byte) {
    enum json_scan_state state = json_scan_add(&parser->scan, byte);
    if (state == JSON_SCAN_BAD || parser->held.length >= HELD_MAX) {
        give_up(parser);
        return false;
    }
    text_append(&parser->held, &byte, 1);
    size_t length = parser->held.length - parser->call_at;
    if (state == JSON_SCAN_DONE)
        take_call(parser);
    else if (parser->held.failed)
        give_up(parser);
    else if (parser->is_forced && byte == '{' && parser->scan.depth == 2)
        begin_arguments(parser);
    else if (parser->format == TOOL_FORMAT_LLAMA &&
             !may_be_call(parser->held.bytes + parser->call_at, length))
        give_up(parser);
    return true;
}

static bool in_forced(struct tool_parser *parser, char byte) {
    enum json_scan_state state = json_scan_add(&parser->scan, byte);
    if (state == JSON_SCAN_BAD) {
        call_ends(parser);
        return false;
    }
    if (parser->state == IN_ARGUMENTS) text_append(&parser->arguments, &byte, 1);
    if (parser->scan.depth == 1) parser->state = IN_TAIL;
    if (state == JSON_SCAN_DONE) call_ends(parser);
    return true;
}

static bool in_after(struct tool_parser *parser, char byte) {
    if (parser->format == TOOL_FORMAT_HERMES) {
        if (is_space(byte) && parser->n_mark == 0) return true;
        if (parser->close[parser->n_mark] != byte) {
            /* Not closed, but perhaps another mark that begins the same way: text looks at it again. */
            size_t n_again = parser->n_mark;
            parser->state = IN_TEXT;
            parser->n_mark = 0;
            for (size_t i = 0; i < n_again; i++) (void)in_text(parser, parser->close[i]);
            return false;
        }
        if (parser->close[++parser->n_mark] != '\0') return true;
        parser->n_mark = 0;
    } else if (is_space(byte)) {
        return true;
    } else if (parser->in_list && byte == ',') {
        parser->state = IN_OPEN;
        return true;
    } else if (parser->in_list && byte == ']') {
        parser->in_list = false;
    } else if (parser->format != TOOL_FORMAT_LLAMA || (byte != ';' && byte != ',')) {
        parser->in_list = false;
        parser->state = IN_TEXT;
        return false;
    }
    parser->state = IN_TEXT;
    return true;
}

static bool (*const steps[])(struct tool_parser *, char) = {
    [IN_TEXT] = in_text,        [IN_OPEN] = in_open,   [IN_CALL] = in_call,
    [IN_ARGUMENTS] = in_forced, [IN_TAIL] = in_forced, [IN_AFTER] = in_after,
};

void tool_parser_add(struct tool_parser *parser, const char *bytes, size_t length) {
    for (size_t i = 0; i < length; i++)
        while (!steps[parser->state](parser, bytes[i])) continue;
    give_plain(parser);
    give(parser, &parser->arguments, parser->sink.arguments);
}

bool tool_parser_end(struct tool_parser *parser) {
    if (parser->state == IN_ARGUMENTS || parser->state == IN_TAIL)
        call_ends(parser);
    else if (parser->state == IN_AFTER)
        text_append(&parser->plain, parser->close, parser->n_mark);
    else
        give_up(parser);
    give_plain(parser);
    parser->state = IN_TEXT;
    return !parser->failed;
}
