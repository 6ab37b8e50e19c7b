/* Constrained answers over real vocabularies of every kind: whatever allowed tokens are drawn, their bytes
 * are JSON of the schema, as jansson reads it. The files are those of test_vocab.c; one that is missing is a
 * failure, not a skip. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "base/err.h"
#include "base/rng.h"
#include "model/constraint.h"

static const char schema[] =
    "{\"type\": \"object\", \"properties\": {\"name\": {\"type\": \"string\", \"maxLength\": 12}, \"n\": "
    "{\"type\":"
    " \"integer\", \"minimum\": 0, \"maximum\": 999}, \"colour\": {\"enum\": [\"red\", \"gr\xc3\xbcn\"]}},"
    " \"required\": [\"name\", \"n\", \"colour\"], \"additionalProperties\": false}";

static bool satisfies(const char *text, size_t length) {
    json_t *value = json_loadb(text, length, 0, NULL);
    const char *name = json_string_value(json_object_get(value, "name"));
    const char *colour = json_string_value(json_object_get(value, "colour"));
    const json_t *n = json_object_get(value, "n");
    bool is = json_object_size(value) == 3 && name != NULL && strlen(name) <= 12 * 4 && colour != NULL &&
              (strcmp(colour, "red") == 0 || strcmp(colour, "gr\xc3\xbcn") == 0) && json_is_integer(n) &&
              json_integer_value(n) >= 0 && json_integer_value(n) <= 999;
    json_decref(value);
    return is;
}

static token_id draw(const uint32_t *mask, uint32_t n_words, uint64_t random) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < n_words; i++) n += (uint32_t)__builtin_popcount(mask[i]);
    assert_true(n > 0);
    uint32_t left = (uint32_t)(random % n);
    for (token_id id = 0;; id++)
        if ((mask[id / 32] >> (id % 32) & 1) != 0 && left-- == 0) return id;
}

static void answer(const struct tokenizer *tokenizer, struct constraint *constraint, uint32_t *mask,
                   uint32_t n_words, uint64_t seed) {
    char text[1024];
    size_t length = 0;
    for (uint64_t step = 0;; step++) {
        if (constraint_mask(constraint, mask) < 0) fail_msg("%s", err_message());
        token_id id = draw(mask, n_words, rng_u64(seed, step));
        if (constraint_accept(constraint, id) < 0) fail_msg("%s", err_message());
        if (tokenizer_is_end(tokenizer, id)) break;
        assert_int_not_equal(tokenizer_kind(tokenizer, id), TOKEN_CONTROL);
        struct gguf_string bytes = tokenizer_bytes(tokenizer, id);
        assert_true(length + bytes.length < sizeof text);
        memcpy(text + length, bytes.bytes, bytes.length);
        length += bytes.length;
    }
    if (!satisfies(text, length)) fail_msg("%.*s", (int)length, text);
}

static void answers_of_a_vocabulary(void **state) {
    const char *data = getenv("CABINET_TEST_DATA");
    char path[4352];
    snprintf(path, sizeof path, "%s/vocab/ggml-vocab-%s.gguf", data == NULL ? "." : data,
             (const char *)*state);
    struct gguf *file;
    struct tokenizer *tokenizer = NULL;
    struct constraint_vocabulary *vocabulary = NULL;
    struct constraint *constraint = NULL;
    if (gguf_open(&file, path) < 0 || tokenizer_open(&tokenizer, file) < 0 ||
        constraint_vocabulary_open(&vocabulary, tokenizer) < 0 ||
        constraint_open(&constraint, vocabulary, CONSTRAINT_JSON_SCHEMA, schema, sizeof schema - 1) < 0)
        fail_msg("%s", err_message());
    uint32_t n_words = constraint_mask_words(vocabulary);
    uint32_t *mask = calloc(n_words, sizeof *mask);
    for (uint64_t seed = 0; seed < 20; seed++) {
        struct constraint *fork;
        assert_int_equal(constraint_fork(&fork, constraint), 0);
        answer(tokenizer, fork, mask, n_words, seed);
        constraint_close(fork);
    }
    free(mask);
    constraint_close(constraint);
    constraint_vocabulary_close(vocabulary);
    tokenizer_close(tokenizer);
    gguf_close(file);
}

#define VOCABULARY(name) {#name, answers_of_a_vocabulary, NULL, NULL, (void *)(uintptr_t)name}

int main(void) {
    const struct CMUnitTest tests[] = {
        VOCABULARY("gpt-2"), VOCABULARY("llama-spm"), VOCABULARY("phi-3"),
        VOCABULARY("qwen2"), VOCABULARY("gemma-4"),   VOCABULARY("command-r"),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
