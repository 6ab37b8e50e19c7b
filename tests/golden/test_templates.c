/* Real chat templates render as Hugging Face's Jinja2 renders them, and so does a list of one-liners that use
 * the language's corners: templates.json, by make_templates.py, which says what its entries are.
 *
 * The first argument is templates.json; the templates are templates/ in CABINET_TEST_DATA. A missing file is
 * a failure, not a skip. */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>
#include <jansson.h>
#include <xxhash.h>

#include "base/err.h"
#include "base/mem.h"
#include "model/chat_template.h"

#include "../support/render_messages.h"

enum { N_TEMPLATES = 70, MESSAGES_MAX = 8, SOURCE_MAX = 1 << 16, ENTRY_MAX = 100 };

/* Python cannot run these without tools: it refuses to loop over None, minijinja takes that for an empty
 * list. */
static const char *const python_refuses[] = {"CohereForAI-c4ai-command-r-plus-tool_use.jinja",
                                             "NousResearch-Hermes-2-Pro-Llama-3-8B-tool_use.jinja",
                                             "NousResearch-Hermes-3-Llama-3.1-8B-tool_use.jinja"};
/* And this one not without a list of functions, nor do we. */
static const char needs_functions[] = "fireworks-ai-llama-3-firefunction-v2.jinja";

static const char *golden_path;
static json_t *golden;

struct conversation {
    const char *name;
    struct chat_message messages[MESSAGES_MAX];
    size_t n_messages;
};

static struct conversation conversation_named(const char *name) {
    struct conversation conversation = {.name = name};
    json_t *messages = json_object_get(json_object_get(golden, "conversations"), name), *message;
    size_t i;
    assert_in_range(json_array_size(messages), 1, MESSAGES_MAX);
    json_array_foreach(messages, i, message) {
        conversation.messages[i] =
            (struct chat_message){json_string_value(json_object_get(message, "role")),
                                  json_string_value(json_object_get(message, "content"))};
    }
    conversation.n_messages = json_array_size(messages);
    return conversation;
}

/* The text, or on failure the one line of error; freed by the caller. */
struct outcome {
    int code;
    char *text;
    size_t length;
};

static struct outcome render(const char *source, size_t length, const struct conversation *conversation) {
    struct outcome outcome = {0};
    struct chat_template *chat = NULL;
    char *text = NULL;
    bool prompt = strcmp(conversation->name, "answered") != 0;
    outcome.code = chat_template_open(&chat, source, length, "<s>", "</s>");
    if (outcome.code == 0)
        outcome.code =
            render_messages(chat, conversation->messages, conversation->n_messages, prompt,
                            json_integer_value(json_object_get(golden, "now")), &text, &outcome.length);
    if (outcome.code < 0) outcome.length = strlen(err_message());
    outcome.text = mem_strndup(outcome.code < 0 ? err_message() : text, outcome.length);
    assert_non_null(outcome.text);
    if (outcome.code == 0) chat_template_text_free(text, outcome.length);
    chat_template_close(chat);
    return outcome;
}

/* An error without what we put around the template's message. */
static void keep_message(struct outcome *outcome) {
    static const char prefix[] = "chat template: ";
    assert_memory_equal(outcome->text, prefix, strlen(prefix));
    outcome->length -= strlen(prefix);
    memmove(outcome->text, outcome->text + strlen(prefix), outcome->length + 1);
    char *line = strstr(outcome->text, " (line ");
    assert_non_null(line);
    *line = '\0';
    outcome->length = (size_t)(line - outcome->text);
}

static void describe(const char *kind, const struct outcome *outcome, char entry[ENTRY_MAX]) {
    XXH128_hash_t hash = XXH3_128bits(outcome->text, outcome->length);
    (void)snprintf(entry, ENTRY_MAX, "%s %zu %016" PRIx64 "%016" PRIx64, kind, outcome->length, hash.high64,
                   hash.low64);
}

static bool is_among_the_refused(const char *file) {
    for (size_t i = 0; i < sizeof python_refuses / sizeof *python_refuses; i++)
        if (strcmp(file, python_refuses[i]) == 0) return true;
    return false;
}

/* What the golden file would say of our rendering. */
static void renders_as(const char *file, const char *source, size_t length, const char *name,
                       const char *expected) {
    struct conversation conversation = conversation_named(name);
    struct outcome outcome = render(source, length, &conversation);
    const char *complaint = outcome.code < 0 ? outcome.text : "";
    char entry[ENTRY_MAX] = "fails";
    if (outcome.code == 0) {
        describe(is_among_the_refused(file) ? "fails but" : "renders", &outcome, entry);
    } else if (strncmp(expected, "raises", 6) == 0) {
        keep_message(&outcome);
        describe("raises", &outcome, entry);
    }
    if (strcmp(entry, expected) != 0)
        fail_msg("%s, conversation \"%s\":\n  jinja2: %s\n  ours:   %s %s", file, name, expected, entry,
                 complaint);
    if (strcmp(entry, "fails") == 0) assert_string_equal(file, needs_functions);
    mem_free(outcome.text);
}

static size_t read_template(const char *file, char source[SOURCE_MAX]) {
    char path[4096];
    const char *data = getenv("CABINET_TEST_DATA");
    (void)snprintf(path, sizeof path, "%s/templates/%s", data == NULL ? "." : data, file);
    FILE *stream = fopen(path, "rb");
    if (stream == NULL) fail_msg("%s is missing: tools/fetch.py templates --link BUILD_FOLDER", path);
    size_t length = fread(source, 1, SOURCE_MAX, stream);
    fclose(stream);
    assert_in_range(length, 1, SOURCE_MAX - 1);
    return length;
}

static void real_templates_render_as_under_jinja2(void **state) {
    (void)state;
    static char source[SOURCE_MAX];
    json_t *templates = json_object_get(golden, "templates"), *entries, *entry;
    const char *file, *name;
    assert_int_equal(json_object_size(templates), N_TEMPLATES);
    json_object_foreach(templates, file, entries) {
        size_t length = read_template(file, source);
        assert_int_equal(json_object_size(entries),
                         json_object_size(json_object_get(golden, "conversations")));
        json_object_foreach(entries, name, entry) {
            renders_as(file, source, length, name, json_string_value(entry));
        }
    }
}

static void the_language_is_jinja2s(void **state) {
    (void)state;
    json_t *entries = json_object_get(golden, "language"), *entry;
    size_t i, n_wrong = 0;
    struct conversation turns = conversation_named("turns");
    assert_in_range(json_array_size(entries), 50, 1000);
    json_array_foreach(entries, i, entry) {
        const char *source = json_string_value(json_object_get(entry, "source"));
        const char *expected = json_string_value(json_object_get(entry, "renders"));
        struct outcome outcome = render(source, strlen(source), &turns);
        bool same =
            expected == NULL ? outcome.code < 0 : outcome.code == 0 && strcmp(outcome.text, expected) == 0;
        if (!same)
            print_error("%s\n  jinja2: %s\n  ours:   %s\n", source, expected == NULL ? "fails" : expected,
                        outcome.text);
        n_wrong += !same;
        mem_free(outcome.text);
    }
    assert_int_equal(n_wrong, 0);
}

static int open_golden(void **state) {
    (void)state;
    json_error_t error;
    golden = json_load_file(golden_path, 0, &error);
    if (golden == NULL) print_error("%s: %s\n", golden_path, error.text);
    setenv("TZ", "UTC0", 1);
    tzset();
    return golden == NULL ? -1 : 0;
}

static int close_golden(void **state) {
    (void)state;
    json_decref(golden);
    return 0;
}

int main(int argc, char **argv) {
    golden_path = argc > 1 ? argv[1] : "tests/golden/templates.json";
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(real_templates_render_as_under_jinja2),
        cmocka_unit_test(the_language_is_jinja2s),
    };
    return cmocka_run_group_tests(tests, open_golden, close_golden);
}
