/* The vocabularies that llama.cpp tests itself with (models/ggml-vocab-*.gguf there, with .inp and .out):
 * every text must become exactly the listed ids. The directory with these files is the first argument, or
 * vocab/ in CABINET_TEST_DATA. A missing file is a failure, not a skip. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "model/tokenizer.h"

static char directory[4096];

/* The whole file and a NUL behind it. */
static char *read_text(const char *name, const char *extension) {
    char path[4352];
    snprintf(path, sizeof path, "%s/ggml-vocab-%s.gguf%s", directory, name, extension);
    FILE *file = fopen(path, "rb");
    if (file == NULL) fail_msg("%s is missing; the set-up of the tests fetches it", path);
    char *text = calloc(1, 1 << 16);
    size_t length = fread(text, 1, (1 << 16) - 1, file);
    assert_int_equal(text[length], '\0');
    fclose(file);
    return text;
}

static void check_text(const struct tokenizer *tokenizer, const char *text, size_t length, const char *ids) {
    struct token_list list = {0};
    assert_int_equal(tokenizer_encode(tokenizer, text, length, false, &list), 0);
    size_t n = 0;
    char *end;
    for (long id; id = strtol(ids, &end, 10), end != ids; ids = end, n++) {
        if (n >= list.n || list.ids[n] != id)
            fail_msg("'%.*s': id %zu is %d, not %ld", (int)length, text, n, n < list.n ? list.ids[n] : -1,
                     id);
    }
    assert_int_equal(n, list.n);
    token_list_free(&list);
}

static void check_vocabulary(void **state) {
    const char *name = *state;
    static const char separator[] = "\n__ggml_vocab_test__\n";
    char path[4352];
    snprintf(path, sizeof path, "%s/ggml-vocab-%s.gguf", directory, name);
    struct gguf *file;
    struct tokenizer *tokenizer = NULL;
    if (gguf_open(&file, path) < 0 || tokenizer_open(&tokenizer, file) < 0)
        fail_msg("%s: %s", path, err_message());
    char *texts = read_text(name, ".inp"), *ids = read_text(name, ".out");
    char *line = ids, *next;
    unsigned n_texts = 0;
    for (char *text = texts; *text != '\0' || text == texts; text = next, n_texts++) {
        char *end = strstr(text, separator);
        next = end == NULL ? text + strlen(text) : end + sizeof separator - 1;
        if (end == NULL) end = next;
        char *line_end = strchr(line, '\n');
        if (line_end == NULL) fail_msg("%s has more texts than lines of ids", name);
        *line_end = '\0';
        check_text(tokenizer, text, (size_t)(end - text), line);
        line = line_end + 1;
    }
    assert_true(n_texts > 40);
    assert_string_equal(line, ""); /* and no more lines than texts */
    free(texts);
    free(ids);
    tokenizer_close(tokenizer);
    gguf_close(file);
}

/* What lies beside these and is not here has another kind of tokenizer: see README.md. */
static const char *const names[] = {
    "command-r", "deepseek-coder", "deepseek-llm", "falcon", "gemma-4", "gpt-2",     "llama-bpe", "llama-spm",
    "mpt",       "phi-3",          "qwen2",        "qwen35", "refact",  "starcoder",
};
enum { N_NAMES = sizeof names / sizeof names[0] };

int main(int argc, char **argv) {
    const char *data = getenv("CABINET_TEST_DATA");
    if (argc > 1)
        snprintf(directory, sizeof directory, "%s", argv[1]);
    else
        snprintf(directory, sizeof directory, "%s/vocab", data == NULL ? "." : data);
    struct CMUnitTest tests[N_NAMES];
    for (unsigned i = 0; i < N_NAMES; i++)
        tests[i] = (struct CMUnitTest){
            .name = names[i], .test_func = check_vocabulary, .initial_state = (void *)(uintptr_t)names[i]};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
