/* Which built-in chat template fits a model, and what each of them says. The expected texts are the models'
 * published formats, written by hand. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "model/builtin_template.h"
#include "model/byte_alphabet.h"
#include "model/chat_template.h"

#include "gguf_writer.h"

#include "../support/render_messages.h"

enum { N_BYTES = 256, MARKERS_MAX = 8, CONTROL = 3, NORMAL = 1 };

/* A vocabulary of the bytes and of these tokens, all of one kind. */
static void put_vocabulary(struct gguf_writer *writer, const char *const *markers, size_t n, uint32_t kind) {
    put_header(writer, 3, 0, 5);
    put_string_value(writer, "tokenizer.ggml.model", "gpt2");
    put_string_value(writer, "tokenizer.ggml.pre", "gpt-2");
    put_array(writer, "tokenizer.ggml.tokens", 8, N_BYTES + n);
    for (int byte = 0; byte < N_BYTES; byte++) {
        char spelled[8] = {0};
        (void)byte_alphabet_spell(&(uint8_t){(uint8_t)byte}, 1, spelled);
        put_string(writer, spelled);
    }
    for (size_t i = 0; i < n; i++) put_string(writer, markers[i]);
    put_array(writer, "tokenizer.ggml.token_type", 5, N_BYTES + n);
    for (size_t i = 0; i < N_BYTES + n; i++) put_u32(writer, i < N_BYTES ? NORMAL : kind);
    put_array(writer, "tokenizer.ggml.merges", 8, 1);
    put_string(writer, "a b");
}

/* The name of the template for an architecture and a vocabulary with these tokens (separated by blanks). */
static const char *chosen(const char *architecture, const char *tokens, uint32_t kind) {
    static struct gguf_writer writer;
    char words[200];
    const char *markers[MARKERS_MAX] = {"ab"};
    size_t n = 1;
    (void)snprintf(words, sizeof words, "%s", tokens);
    for (char *word = strtok(words, " "); word != NULL; word = strtok(NULL, " ")) markers[n++] = word;
    writer.length = 0;
    put_vocabulary(&writer, markers, n, kind);
    struct gguf *file;
    struct tokenizer *tokenizer;
    if (gguf_open_bytes(&file, writer.bytes, writer.length, "markers.gguf") < 0)
        fail_msg("%s", err_message());
    if (tokenizer_open(&tokenizer, file) < 0) fail_msg("%s", err_message());
    const struct builtin_template *template = builtin_template_for(architecture, tokenizer);
    tokenizer_close(tokenizer);
    gguf_close(file);
    return template == NULL ? "none" : template->name;
}

static void vocabulary_and_architecture_choose(void **state) {
    (void)state;
    static const struct {
        const char *architecture, *tokens, *expected;
    } cases[] = {
        {"gemma2", "<start_of_turn> <end_of_turn>", "gemma"},
        {"gemma3", "<start_of_turn> <end_of_turn>", "gemma"},
        {"gemma3", "<start_of_turn>", "none"},
        {"phi3", "<|user|> <|assistant|> <|end|>", "phi3"},
        {"granite", "<|start_of_role|> <|end_of_role|> <|end_of_text|>", "granite"},
        {"olmo2", "<|endoftext|> <|im_start|> <|im_end|>", "olmo2"},
        {"qwen2", "<|endoftext|> <|im_start|> <|im_end|>", "chatml"},
        {"qwen3", "<|im_start|> <|im_end|>", "chatml"},
        {"smollm3", "<|im_start|> <|im_end|>", "chatml"},
        {"llama", "<|start_header_id|> <|end_header_id|> <|eot_id|>", "llama3"},
        {"llama", "<|start_header_id|> <|end_header_id|> <|eot_id|> <|im_start|> <|im_end|>", "chatml"},
        {"llama", "<s> </s> <0x0A> [INST] [/INST]", "mistral"},
        {"llama", "<s> </s> [INST] [/INST]", "mistral-tekken"},
        {"llama", "<s> </s> <0x0A>", "llama2"},
        {"qwen2", "<s> </s> <0x0A>", "none"},
        {"llama", "<|endoftext|>", "none"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *name = chosen(cases[i].architecture, cases[i].tokens, CONTROL);
        if (strcmp(name, cases[i].expected) != 0)
            fail_msg("%s with %s: %s, not %s", cases[i].architecture, cases[i].tokens, name,
                     cases[i].expected);
    }
    assert_string_equal(chosen("qwen3", "<|im_start|> <|im_end|>", NORMAL), "none");
}

static const struct chat_message talk[] = {
    {"system", "Be brief."}, {"user", "One?"}, {"assistant", "Two."}, {"user", "Three?"}};

static const struct {
    const char *name, *expected;
} formats[] = {
    {"gemma",
     "<s><start_of_turn>user\nBe brief.\n\nOne?<end_of_turn>\n<start_of_turn>model\nTwo.<end_of_turn>\n"
     "<start_of_turn>user\nThree?<end_of_turn>\n<start_of_turn>model\n"},
    {"phi3", "<|system|>\nBe brief.<|end|>\n<|user|>\nOne?<|end|>\n<|assistant|>\nTwo.<|end|>\n"
             "<|user|>\nThree?<|end|>\n<|assistant|>\n"},
    {"granite", "<|start_of_role|>system<|end_of_role|>Be brief.<|end_of_text|>\n"
                "<|start_of_role|>user<|end_of_role|>One?<|end_of_text|>\n"
                "<|start_of_role|>assistant<|end_of_role|>Two.<|end_of_text|>\n"
                "<|start_of_role|>user<|end_of_role|>Three?<|end_of_text|>\n"
                "<|start_of_role|>assistant<|end_of_role|>"},
    {"olmo2", "<s><|system|>\nBe brief.\n<|user|>\nOne?\n<|assistant|>\nTwo.</s>\n<|user|>\nThree?\n"
              "<|assistant|>\n"},
    {"chatml", "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nOne?<|im_end|>\n"
               "<|im_start|>assistant\nTwo.<|im_end|>\n<|im_start|>user\nThree?<|im_end|>\n"
               "<|im_start|>assistant\n"},
    {"llama3", "<s><|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|>"
               "<|start_header_id|>user<|end_header_id|>\n\nOne?<|eot_id|>"
               "<|start_header_id|>assistant<|end_header_id|>\n\nTwo.<|eot_id|>"
               "<|start_header_id|>user<|end_header_id|>\n\nThree?<|eot_id|>"
               "<|start_header_id|>assistant<|end_header_id|>\n\n"},
    {"mistral", "<s>[INST] Be brief.\n\nOne?[/INST] Two.</s>[INST] Three?[/INST]"},
    {"mistral-tekken", "<s>[INST]Be brief.\n\nOne?[/INST]Two.</s>[INST]Three?[/INST]"},
    {"llama2", "<s>[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\nOne? [/INST] Two. </s><s>[INST] Three? [/INST]"},
};

static void each_says_what_its_models_expect(void **state) {
    (void)state;
    assert_int_equal(sizeof formats / sizeof *formats, BUILTIN_TEMPLATES);
    for (int i = 0; i < BUILTIN_TEMPLATES; i++) {
        const struct builtin_template *template = &builtin_templates[i];
        struct chat_template *chat;
        char *text;
        size_t length;
        assert_string_equal(template->name, formats[i].name);
        assert_int_equal(chat_template_open(&chat, template->source, strlen(template->source), "<s>", "</s>"),
                         0);
        if (render_messages(chat, talk, 4, true, 0, &text, &length) < 0) fail_msg("%s", err_message());
        assert_string_equal(text, formats[i].expected);
        chat_template_text_free(text, length);
        chat_template_close(chat);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(vocabulary_and_architecture_choose),
        cmocka_unit_test(each_says_what_its_models_expect),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
