/* Separates an answer's text from the tool calls in it, as it streams.
 *
 * Text is held back only while it may begin a call. A call whose JSON is broken or never ends is text after
 * all. White space around calls is dropped. */
#ifndef CABINET_SERVER_TOOL_PARSER_H
#define CABINET_SERVER_TOOL_PARSER_H

#include "server/tool_format.h"

/* What comes out; strings are borrowed for the call. */
struct tool_sink {
    void (*text)(void *user, const char *bytes, size_t length);      /* whole characters if the input was */
    void (*call)(void *user, const char *name);                      /* a call begins */
    void (*arguments)(void *user, const char *bytes, size_t length); /* JSON text of an object, in pieces */
    void (*end)(void *user);                                         /* of the call */
    void *user;
};

struct tool_parser;

/* With is_forced the text obeys the grammar of tool_format_grammar: then arguments come as they are written,
 * and a call that is cut off ends in the middle. Without it a call comes whole, once it is known to be one.
 */
int tool_parser_open(struct tool_parser **parser, enum tool_format format, bool is_forced,
                     const struct tool_sink *sink);
void tool_parser_close(struct tool_parser *parser);
void tool_parser_add(struct tool_parser *parser, const char *bytes, size_t length);
/* The answer is over. False if there was no memory for what had to be held at some time. */
bool tool_parser_end(struct tool_parser *parser);

#endif
