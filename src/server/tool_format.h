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

/* For a template that knows no tools: what a system message says about them (Hermes). `tools` as in ask.h. */
void tool_format_system(const json_t *tools, struct text *out);
/* And a whole conversation, as in ask.h, told to such a template: tools (NULL: none) in the system message,
 * calls as text of the assistant, results as messages of the user. A new reference; NULL if there is no
 * memory. */
json_t *tool_format_messages(const json_t *messages, const json_t *tools);

/* A grammar in llguidance's Lark that lets the model write nothing but calls of `tools`: of the one called
 * `name`, or of any if it is NULL; with `parallel` one or more. The layout is fixed, so that arguments can be
 * streamed (tool_parser.h). A mark that is a control token is named by its id, all else is text. NO_MEMORY.
 */
int tool_format_grammar(enum tool_format format, const struct tokenizer *tokenizer, const json_t *tools,
                        const char *name, bool parallel, struct text *lark);

#endif
