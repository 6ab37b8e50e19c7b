/* Arbitrary bytes as a chat template: refused, or rendered for two conversations, each into a text or one
 * line of error.
 *
 * Fuzz it with ASAN_OPTIONS=detect_leaks=0 and -rss_limit_mb=0: a namespace that holds itself is a cycle that
 * Rust does not free, and a template beyond its bounds leaves a sleeping thread behind. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/err.h"
#include "model/chat_template.h"

#include "../support/render_messages.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

static const struct chat_message talk[] = {
    {"system", "Be brief."}, {"user", " Hi \"you\" <b> \xc3\xa9\n"}, {"assistant", "{{ x }}"}, {"user", ""}};

static void check_error(int code) {
    ASSERT(code == ERR_CORRUPT || code == ERR_INVALID);
    ASSERT(strlen(err_message()) > 0 && strchr(err_message(), '\n') == NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length) {
    struct chat_template *chat;
    int code = chat_template_open(&chat, (const char *)bytes, length, "<s>", "</s>");
    if (code < 0) {
        check_error(code);
        return 0;
    }
    for (size_t n_messages = 1; n_messages <= 4; n_messages += 3) {
        char *text;
        size_t text_length;
        code = render_messages(chat, talk, n_messages, n_messages == 4, 0, &text, &text_length);
        if (code < 0) {
            check_error(code);
            continue;
        }
        ASSERT(text[text_length] == 0);
        chat_template_text_free(text, text_length);
    }
    chat_template_close(chat);
    return 0;
}
