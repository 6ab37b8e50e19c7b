/* The byte alphabet of byte-level BPE: every byte written as one visible character, so that a vocabulary is
 * text.
 *
 * Printable Latin-1 stands for itself; the other 68 bytes, in order, are U+0100 .. U+0143 (a space is "Ġ").
 * The mapping is GPT-2's bytes_to_unicode (openai/gpt-2, encoder.py). Each character takes one or two bytes
 * of UTF-8. */
#ifndef CABINET_MODEL_BYTE_ALPHABET_H
#define CABINET_MODEL_BYTE_ALPHABET_H

#include <stddef.h>
#include <stdint.h>

/* Writes `n` bytes in the alphabet to `spelled` (room for 2 * n) and returns its length. */
size_t byte_alphabet_spell(const uint8_t *bytes, size_t n, char *spelled);

/* The bytes that `spelled` stands for: at most `length` of them, written to `bytes`. Returns how many, or
 * SIZE_MAX if `spelled` has a character outside the alphabet. */
size_t byte_alphabet_read(const char *spelled, size_t length, uint8_t *bytes);

#endif
