#include "base/utf8.h"

#include <string.h>

size_t utf8_length(uint8_t lead) {
    if (lead < 0x80) return 1;
    if (lead < 0xc2) return 0; /* a continuation byte, or an overlong form */
    if (lead < 0xe0) return 2;
    if (lead < 0xf0) return 3;
    return lead < 0xf5 ? 4 : 0;
}

/* Some leads narrow the second byte: e0 and f0 would be overlong below, ed a surrogate, f4 past U+10FFFF
 * above. */
static enum utf8_state second_byte(uint8_t lead, uint8_t second) {
    uint8_t low = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
    uint8_t high = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
    return second >= low && second <= high ? UTF8_UNFINISHED : UTF8_BAD;
}

enum utf8_state utf8_state(const uint8_t *bytes, size_t n) {
    size_t length = utf8_length(bytes[0]);
    if (length == 0) return UTF8_BAD;
    if (n == 2 && second_byte(bytes[0], bytes[1]) == UTF8_BAD) return UTF8_BAD;
    if (n > 2 && (bytes[n - 1] & 0xc0) != 0x80) return UTF8_BAD;
    return n == length ? UTF8_COMPLETE : UTF8_UNFINISHED;
}

size_t utf8_valid_prefix(const char *text, size_t length) {
    const uint8_t *bytes = (const uint8_t *)text;
    size_t at = 0;
    while (at < length) {
        uint64_t eight;
        if (length - at >= sizeof eight) {
            memcpy(&eight, bytes + at, sizeof eight);
            if ((eight & 0x8080808080808080u) == 0) {
                at += sizeof eight;
                continue;
            }
        }
        enum utf8_state state = UTF8_UNFINISHED;
        size_t n = 0;
        while (state == UTF8_UNFINISHED && at + n < length) state = utf8_state(bytes + at, ++n);
        if (state != UTF8_COMPLETE) return at;
        at += n;
    }
    return at;
}
