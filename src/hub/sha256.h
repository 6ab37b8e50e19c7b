/* SHA-256 of bytes that arrive piece by piece. */
#ifndef CABINET_HUB_SHA256_H
#define CABINET_HUB_SHA256_H

#include <stddef.h>

struct sha256;

/* A digest of nothing yet. NO_MEMORY, INTERNAL. */
int sha256_open(struct sha256 **digest);
void sha256_close(struct sha256 *digest);
/* Forgets what was added. */
int sha256_restart(struct sha256 *digest);
int sha256_add(struct sha256 *digest, const void *bytes, size_t n);
/* Lower-case hexadecimal, 64 digits and a NUL. Nothing can be added afterwards but by sha256_restart. */
int sha256_finish(struct sha256 *digest, char *hex);

#endif
