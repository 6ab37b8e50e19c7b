/* How a model writes a call of a tool into its text. Models differ; the chat template tells which way. */
#ifndef CABINET_SERVER_TOOL_FORMAT_H
#define CABINET_SERVER_TOOL_FORMAT_H

#include <jansson.h>
#include <stdbool.h>

#include "base/text.h"
#include "model/tokenizer.h"
#include "server/ask.h"

enum tool_format {
    TOOL_FORMAT_HERMES,  /* <tool_call>{"name": "f", "arguments": {...}}</tool_call>, one a call */
    TOOL_FORMAT_LLAMA,   /* {"name": "f", "parameters": {...}} as the whole answer */
    TOOL_FORMAT_MISTRAL, /* [TOOL_CALLS][{"name": "f", "arguments": {...}}, ...] */
};

/* The marks around calls, "" where a form has none. */
struct tool_marks {
    const char *open, *close;
    token_id open_token, close_token; /* where the vocabulary has one as a control token, which has no text;
                                         else -1: the mark is text */
};

/* Which of them a template (NUL-terminated Jinja) speaks; Hermes if none or no template (NULL). */
enum tool_format tool_format_of(const char *template_source);
/* Does a template write tools into the prompt by itself? */
bool tool_format_is_native(const char *template_source);
struct tool_marks tool_format_marks(enum tool_format format, const struct tokenizer *tokenizer);

/* For a template that knows no tools: what a system message must say about them (Hermes). `tools` as in
 * ask.h. Comes behind the client's own system text, if any, and two line breaks. */
void tool_format_system(const json_t *tools, struct text *out);
/* And how a past call and a result are written into messages that such a template takes: the text of an
 * assistant's message with its tool_calls, and of a tool's. */
void tool_format_call_text(const json_t *message, struct text *out);
void tool_format_result_text(const json_t *message, struct text *out);

/* A grammar in llguidance's Lark that lets the model write nothing but calls of `tools`: of the one called
 * `name`, or of any if it is NULL; with `parallel` one or more. The layout is fixed, so that arguments can be
 * streamed (tool_parser.h). */
void tool_format_grammar(enum tool_format format, const struct tool_marks *marks, const json_t *tools,
                         const char *name, bool parallel, struct text *lark);

#endif
