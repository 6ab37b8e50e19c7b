/* Arbitrary bytes as a file of questions (`plan --batch`): for each line that is not blank one line of JSON
 * comes back: a prediction above 0, or a reason. */
#include "plan_use.h"

#include "plan/batch.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

static void check_answer(const json_t *answer) {
    const json_t *predicted = json_object_get(answer, "predicted");
    ASSERT(json_is_object(answer));
    if (json_object_get(answer, "error") != NULL) {
        ASSERT(json_is_string(json_object_get(answer, "error")));
        ASSERT(json_integer_value(json_object_get(answer, "line")) >= 1);
    } else if (json_is_true(json_object_get(answer, "in_scope"))) {
        ASSERT(json_number_value(predicted) > 0 && json_is_string(json_object_get(answer, "unit")));
    } else {
        ASSERT(json_is_null(predicted) && json_string_length(json_object_get(answer, "reason")) > 0);
    }
}

/* The number of answers. */
static size_t check_answers(const char *text, size_t length) {
    size_t n = 0;
    for (const char *end; length > 0; n++) {
        end = memchr(text, '\n', length);
        ASSERT(end != NULL);
        json_t *answer = json_loadb(text, (size_t)(end - text), 0, NULL);
        check_answer(answer);
        json_decref(answer);
        length -= (size_t)(end + 1 - text);
        text = end + 1;
    }
    return n;
}

static size_t count_lines(const uint8_t *bytes, size_t length) {
    size_t n = 0;
    bool is_blank = true;
    for (size_t i = 0; i < length; i++) {
        n += bytes[i] == '\n' && !is_blank;
        is_blank = bytes[i] == '\n' || (is_blank && strchr(" \t\r", bytes[i]) != NULL && bytes[i] != '\0');
    }
    return n + !is_blank;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length) {
    struct plan_batch_counts counts;
    char *text = NULL;
    size_t written = 0;
    struct held_file file;
    hold_file(&file, bytes, length);
    FILE *in = fopen(file.path, "r"), *out = open_memstream(&text, &written);
    ASSERT(in != NULL && out != NULL);
    ASSERT(plan_batch_run(builtin_catalog(), in, out, &counts) == 0);
    fclose(in);
    fclose(out);
    const size_t n = check_answers(text, written);
    ASSERT(n == count_lines(bytes, length) && counts.n_lines >= n &&
           n >= counts.n_in_scope + counts.n_errors);
    free(text);
    drop_file(&file);
    return 0;
}
