#include "model/quote.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <utf8proc.h>

static bool is_printable(utf8proc_int32_t c) {
    switch (utf8proc_category(c)) {
    case UTF8PROC_CATEGORY_CC: /* control */
    case UTF8PROC_CATEGORY_CF: /* format: direction overrides among them */
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_ZL: /* line and paragraph separators */
    case UTF8PROC_CATEGORY_ZP: return false;
    default: return true;
    }
}

bool quote_printable(char *line, size_t room, struct gguf_string text) {
    static const char cut[] = "...";
    size_t in = 0, out = 0, last_fit = 0;
    while (in < text.length) {
        utf8proc_int32_t c = 0;
        /* a code point has at most 4 bytes */
        size_t left = text.length - in < 4 ? text.length - in : 4;
        utf8proc_ssize_t n =
            utf8proc_iterate((const utf8proc_uint8_t *)text.bytes + in, (utf8proc_ssize_t)left, &c);
        bool plain = n > 0 && is_printable(c);
        size_t n_in = plain ? (size_t)n : 1, n_out = plain ? n_in : 4;
        if (out + n_out >= room) {
            memcpy(line + last_fit, cut, sizeof cut);
            return false;
        }
        if (plain)
            memcpy(line + out, text.bytes + in, n_in);
        else
            (void)snprintf(line + out, 5, "\\x%02x", (unsigned)(uint8_t)text.bytes[in]);
        in += n_in;
        out += n_out;
        if (out + sizeof cut <= room) last_fit = out;
    }
    line[out] = '\0';
    return true;
}

struct quoted quote_text(struct gguf_string text) {
    struct quoted result;
    (void)quote_printable(result.text, sizeof result.text, text);
    return result;
}
