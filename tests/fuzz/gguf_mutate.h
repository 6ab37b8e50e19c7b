/* Damages a GGUF file in ways that a seed chooses: from flipped bits to well-formed files whose metadata,
 * shapes or weights cannot be right. */
#ifndef CABINET_TESTS_GGUF_MUTATE_H
#define CABINET_TESTS_GGUF_MUTATE_H

#include <stddef.h>
#include <stdint.h>

#include "model/gguf.h"

/* A damaged copy of the file `bytes`, which `file` was opened from; *length becomes its length. The copy is a
 * malloc'd block of exactly that length. */
uint8_t *gguf_mutate(const struct gguf *file, const uint8_t *bytes, size_t *length, uint64_t seed);

#endif
