#include "model/byte_alphabet.h"

#include <stdbool.h>

enum { FIRST_MOVED = 0x100, N_MOVED = 68 };

/* The 68 bytes that do not stand for themselves lie in three runs; their characters follow the same order:
 * 00..20 -> U+0100.., 7f..a0 -> U+0121.., ad -> U+0143. */
static unsigned character_of(uint8_t byte) {
    if (byte <= 0x20) return FIRST_MOVED + byte;
    if (byte >= 0x7f && byte <= 0xa0) return FIRST_MOVED + 0x21u + (byte - 0x7fu);
    if (byte == 0xad) return FIRST_MOVED + N_MOVED - 1;
    return byte;
}

static bool byte_of(unsigned character, uint8_t *byte) {
    unsigned moved = character - FIRST_MOVED;
    if (character < FIRST_MOVED)
        *byte = (uint8_t)character;
    else if (moved <= 0x20)
        *byte = (uint8_t)moved;
    else if (moved < N_MOVED - 1)
        *byte = (uint8_t)(moved - 0x21 + 0x7f);
    else
        *byte = 0xad;
    return moved < N_MOVED || (character < FIRST_MOVED && character_of(*byte) == character);
}

size_t byte_alphabet_spell(const uint8_t *bytes, size_t n, char *spelled) {
    size_t length = 0;
    for (size_t i = 0; i < n; i++) {
        unsigned character = character_of(bytes[i]);
        if (character < 0x80) {
            spelled[length++] = (char)character;
        } else {
            spelled[length++] = (char)(0xc0 | character >> 6);
            spelled[length++] = (char)(0x80 | (character & 0x3f));
        }
    }
    return length;
}

size_t byte_alphabet_read(const char *spelled, size_t length, uint8_t *bytes) {
    size_t n = 0;
    for (size_t i = 0; i < length; i++) {
        unsigned character = (uint8_t)spelled[i];
        if (character >= 0x80) {
            unsigned low = i + 1 < length ? (uint8_t)spelled[i + 1] : 0;
            /* no character of the alphabet is longer than two bytes */
            if (character < 0xc2 || character > 0xdf || (low & 0xc0) != 0x80) return SIZE_MAX;
            character = (character & 0x1f) << 6 | (low & 0x3f);
            i++;
        }
        if (!byte_of(character, &bytes[n])) return SIZE_MAX;
        n++;
    }
    return n;
}
