/* What `cabinet top` makes of a server's answers, also of a hostile one's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "cli/top_view.h"

static struct text text_of(const char *string) {
    return (struct text){.bytes = (char *)string, .length = strlen(string)};
}

static const char samples[] = "# HELP cabinet_kv_bytes use=\"waste\" 9\n"
                              "cabinet_kv_bytes_per_token{model_name=\"m\"} 512\n"
                              "cabinet_kv_bytes{model_name=\"m\",use=\"held\"} 1000\n"
                              "cabinet_kv_bytes{model_name=\"m\",use=\"waste\"} 24\n"
                              "vllm:prefix_cache_queries_total{model_name=\"m x\"} 400\n"
                              "vllm:prefix_cache_hits_total{model_name=\"m x\"} 300\n"
                              "plain 7\nplain_total 8";

static void metrics_are_found(void **state) {
    (void)state;
    struct text text = text_of(samples), empty = text_of("");
    assert_true(top_metric(&text, "cabinet_kv_bytes", "use=\"waste\"") == 24);
    assert_true(top_metric(&text, "cabinet_kv_bytes", NULL) == 1024);
    assert_true(top_metric(&text, "cabinet_kv_bytes_per_token", NULL) == 512);
    assert_true(top_metric(&text, "vllm:prefix_cache_hits_total", NULL) == 300);
    assert_true(top_metric(&text, "plain", NULL) == 7);
    assert_true(top_metric(&text, "plain_total", NULL) == 8);
    assert_true(top_metric(&text, "absent", NULL) == 0);
    assert_true(top_metric(&empty, "plain", NULL) == 0);
}

/* What is printed of a look at these answers; static. */
static const char *printed(const char *live, const struct top_look *before, size_t max_rows, bool is_json) {
    static char buffer[8192];
    struct text answer = text_of(live), metrics = text_of(samples);
    struct top_look look;
    assert_int_equal(top_look_read(&look, "http://h", &answer, &metrics), 0);
    memset(buffer, 0, sizeof buffer);
    FILE *stream = fmemopen(buffer, sizeof buffer - 1, "w");
    assert_non_null(stream);
    if (is_json)
        top_print_json(&look, stream);
    else
        top_print(&look, before, max_rows, stream);
    fclose(stream);
    top_look_free(&look);
    return buffer;
}

static const char live[] =
    "{\"arena_bytes\":4096,\"held_bytes\":2048,\"idle_bytes\":1024,\"running\":2,\"waiting\":1,"
    "\"sequences\":[{\"id\":\"a\\u001b[2J\\u00e9\\n\",\"state\":\"decode\",\"prompt_tokens\":1234,"
    "\"blocks\":40,\"shared_blocks\":38,\"kv_bytes\":1024,\"tokens_per_second\":9.5},{\"id\":7},3]}";

static void a_look_is_shown(void **state) {
    (void)state;
    const char *text = printed(live, NULL, 9, false);
    assert_non_null(
        strstr(text, "[####################==========..........] 4.0 KiB: 2.0 KiB (50 %) held #"));
    assert_non_null(strstr(text, "2 running, 1 waiting"));
    assert_non_null(strstr(text, "hit rate 75.0 %: 300 of 400 tokens; 0 blocks evicted"));
    assert_non_null(strstr(text, "1,234"));
    assert_null(strchr(text, '\033')); /* a server's words are no commands to the terminal */
    assert_non_null(strstr(text, "a?[2J"));
    text = printed(live, NULL, 1, false);
    assert_non_null(strstr(text, "... and 2 more\n"));
    const struct top_look before = {.queried_tokens = 300, .hit_tokens = 290};
    assert_non_null(strstr(printed(live, &before, 1, false), ", 10.0 % lately;"));
}

static void a_look_is_json(void **state) {
    (void)state;
    json_t *object = json_loads(printed(live, NULL, 1, true), 0, NULL);
    assert_non_null(object);
    json_t *kv = json_object_get(object, "kv"), *prefixes = json_object_get(object, "prefixes");
    assert_int_equal(json_integer_value(json_object_get(kv, "waste_bytes")), 24);
    assert_true(json_real_value(json_object_get(kv, "held_share")) == 0.5);
    assert_true(json_real_value(json_object_get(prefixes, "hit_share")) == 0.75);
    assert_int_equal(json_array_size(json_object_get(object, "sequences")), 3);
    json_decref(object);
    object = json_loads(printed("{\"arena_bytes\":0}", NULL, 1, true), 0, NULL);
    assert_true(json_is_null(json_object_get(object, "sequences")));
    json_decref(object);
}

static void others_are_refused(void **state) {
    (void)state;
    static const char *const answers[] = {"", "[]", "{}", "{\"arena_bytes\":\"1\"}", "<html>", "null"};
    struct text metrics = text_of(samples), nothing = text_of(""), good = text_of(live);
    struct top_look look;
    for (size_t i = 0; i < sizeof answers / sizeof *answers; i++) {
        struct text answer = text_of(answers[i]);
        assert_int_equal(top_look_read(&look, "http://h", &answer, &metrics), ERR_INVALID);
        top_look_free(&look);
    }
    assert_int_equal(top_look_read(&look, "http://h", &good, &nothing), ERR_INVALID);
    top_look_free(&look);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(metrics_are_found),
        cmocka_unit_test(a_look_is_shown),
        cmocka_unit_test(a_look_is_json),
        cmocka_unit_test(others_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
