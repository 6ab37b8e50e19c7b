/* Token ids to the text a client sees: whole characters only, and nothing of a stop string.
 *
 * Text that may yet turn out to begin a stop string is held back. The result depends on the ids alone, so two
 * of them that are fed the same ids agree: one on the engine's thread says when to stop, one on the event
 * thread makes the text. Allocates nothing after output_text_open. */
#ifndef CABINET_SERVER_OUTPUT_TEXT_H
#define CABINET_SERVER_OUTPUT_TEXT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/text.h"
#include "model/tokenizer.h"

struct output_text;

/* The stops stay the caller's and valid. */
int output_text_open(struct output_text **output, const struct tokenizer *tokenizer, char *const *stops,
                     uint32_t n_stops);
void output_text_close(struct output_text *output);
/* Adds a token; appends what became certain to `out` (NULL: nowhere). True once a stop string is complete:
 * the text ends before it, and later tokens are not looked at. The first to be complete counts; of several
 * that end at the same byte, the longest. */
bool output_text_add(struct output_text *output, token_id token, struct text *out);
/* The end without a stop string: what was held back is text after all. */
void output_text_end(struct output_text *output, struct text *out);
/* What is held back is text after all, while tokens may yet come: no stop string goes on across this point.
 */
void output_text_release(struct output_text *output, struct text *out);

/* What is held back now: its length, and the bytes, valid until the next call. */
size_t output_text_held(const struct output_text *output, const char **held);
/* The index of the stop string that ended the text, or -1. */
int output_text_stopped_by(const struct output_text *output);

#endif
