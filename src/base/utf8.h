/* UTF-8, checked strictly: no overlong forms, no surrogates, nothing past U+10FFFF (RFC 3629). */
#ifndef CABINET_BASE_UTF8_H
#define CABINET_BASE_UTF8_H

#include <stddef.h>
#include <stdint.h>

enum { UTF8_MAX = 4 }; /* bytes of the longest character */

enum utf8_state { UTF8_COMPLETE, UTF8_UNFINISHED, UTF8_BAD };

/* What the first `n` bytes of one character (1 <= n <= UTF8_MAX) are. They must be UNFINISHED without the
 * last. */
enum utf8_state utf8_state(const uint8_t *bytes, size_t n);

/* The length of a character by its first byte; 0 if none begins so. */
size_t utf8_length(uint8_t lead);

/* The length of the longest valid prefix: `length` itself if all of it is UTF-8. */
size_t utf8_valid_prefix(const char *text, size_t length);

#endif
