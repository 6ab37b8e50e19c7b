/* A tokenizer opened from a file that a test has written, and the ids that it must give. Comes after
 * cmocka.h. */
#ifndef CABINET_TESTS_TINY_TOKENIZER_H
#define CABINET_TESTS_TINY_TOKENIZER_H

#include "base/err.h"
#include "gguf_writer.h"
#include "model/tokenizer.h"

static struct gguf_writer written;
static struct gguf *file;
static struct tokenizer *tokenizer;

/* Opens what was put into `written`. */
static inline void open_written(void) {
    if (gguf_open_bytes(&file, written.bytes, written.length, "tiny.gguf") < 0) fail_msg("%s", err_message());
    if (tokenizer_open(&tokenizer, file) < 0) fail_msg("%s", err_message());
}

static inline void close_tiny(void) {
    tokenizer_close(tokenizer);
    gguf_close(file);
}

/* A list that has just enough room takes all n ids; one that has less takes none. */
static inline void assert_limit(const char *text, bool parse_special, size_t n) {
    struct token_list enough = {.most = n}, less = {.most = n - 1};
    if (n == 0) return; /* a limit of 0 is none */
    if (tokenizer_encode(tokenizer, text, strlen(text), parse_special, &enough) < 0)
        fail_msg("'%s': %s", text, err_message());
    assert_int_equal(enough.n, n);
    if (n > 1) {
        assert_int_equal(tokenizer_encode(tokenizer, text, strlen(text), parse_special, &less),
                         ERR_TOO_LARGE);
        assert_int_equal(less.n, 0);
    }
    token_list_free(&enough);
    token_list_free(&less);
}

static inline void assert_ids(const char *text, bool parse_special, const token_id *ids, size_t n) {
    struct token_list list = {0};
    if (tokenizer_encode(tokenizer, text, strlen(text), parse_special, &list) < 0)
        fail_msg("%s", err_message());
    for (size_t i = 0; i < n && i < list.n; i++)
        if (list.ids[i] != ids[i]) fail_msg("'%s': id %zu is %d, not %d", text, i, list.ids[i], ids[i]);
    if (list.n != n) fail_msg("'%s': %zu ids, not %zu", text, list.n, n);
    token_list_free(&list);
    assert_limit(text, parse_special, n);
}

#define IDS(text, parse_special, ...)                                                                        \
    do {                                                                                                     \
        const token_id ids_[] = {__VA_ARGS__};                                                               \
        assert_ids(text, parse_special, ids_, sizeof ids_ / sizeof ids_[0]);                                 \
    } while (0)

#endif
