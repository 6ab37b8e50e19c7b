/* Bodies and queries of the /v1/kv routes: what they become, and what is refused. Bodies are written with '
 * for ". */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/fault.h"
#include "server/kv_ask.h"

#include "quoted_json.h"

static const struct ask_limits limits = {
    .max_choices = 8, .max_stops = 16, .max_top_logprobs = 20, .n_vocab = 1000};
static struct api_error error;
static struct kv_ask ask;

static int parse(enum kv_ask_kind kind, const char *body) {
    char *copy = quoted(body);
    int result = kv_ask_parse(kind, copy, strlen(copy), &limits, &ask, &error);
    free(copy);
    return result;
}

static void assert_accepted(enum kv_ask_kind kind, const char *body) {
    if (parse(kind, body) != 0) fail_msg("%s\nrefused: %s", body, error.message);
}

static void assert_refused(enum kv_ask_kind kind, const char *body, const char *words) {
    if (parse(kind, body) >= 0) fail_msg("accepted: %s", body);
    kv_ask_free(&ask);
    assert_int_equal(error.status, 400);
    if (strstr(error.message, words) == NULL) fail_msg("%s\nsays: %s", body, error.message);
}

static void pins(void **state) {
    (void)state;
    assert_accepted(KV_ASK_PIN, "{'prompt':'abc'}");
    assert_string_equal(ask.ask->prompts[0].text, "abc");
    assert_string_equal(ask.model, "");
    assert_null(ask.cache_salt);
    assert_int_equal(ask.ttl_seconds, 3600);
    assert_int_equal(ask.priority, 0);
    kv_ask_free(&ask);
    assert_accepted(KV_ASK_PIN,
                    "{'tokens':[0,999,5],'ttl_seconds':1,'priority':255,'cache_salt':'s','model':'m'}");
    assert_null(ask.ask);
    assert_int_equal(ask.n_ids, 3);
    assert_int_equal(ask.ids[1], 999);
    assert_int_equal(ask.ttl_seconds, 1);
    assert_int_equal(ask.priority, 255);
    assert_string_equal(ask.cache_salt, "s");
    assert_string_equal(ask.model, "m");
    kv_ask_free(&ask);
    assert_accepted(KV_ASK_PIN, "{'messages':[{'role':'user','content':'hi'}],'max_tokens':5,'stream':true}");
    assert_int_equal(json_array_size(ask.ask->messages), 1);
    kv_ask_free(&ask);
    assert_accepted(KV_ASK_PIN, "{'prompt':[1,2],'tokens':null,'messages':null}");
    assert_int_equal(ask.ask->prompts[0].n_ids, 2);
    kv_ask_free(&ask);
}

static void drops(void **state) {
    (void)state;
    assert_int_equal(kv_ask_parse(KV_ASK_DROP, "", 0, &limits, &ask, &error), 0);
    assert_true(ask.ask == NULL && ask.ids == NULL && ask.label == NULL && ask.cache_salt == NULL);
    kv_ask_free(&ask);
    assert_accepted(KV_ASK_DROP, "{'salt':'00ff','prompt':'abc'}");
    assert_string_equal(ask.label, "00ff");
    assert_string_equal(ask.ask->prompts[0].text, "abc");
    kv_ask_free(&ask);
}

static void plans(void **state) {
    (void)state;
    assert_accepted(KV_ASK_PLAN, "{'tokens':[1,2],'max_tokens':7}");
    assert_int_equal(ask.max_tokens, 7);
    kv_ask_free(&ask);
    assert_accepted(KV_ASK_PLAN, "{'tokens':[1,2]}");
    assert_true(ask.max_tokens == UINT32_MAX);
    kv_ask_free(&ask);
    assert_accepted(KV_ASK_PLAN, "{'messages':[{'role':'user','content':'hi'}],'max_tokens':5}");
    assert_int_equal(ask.ask->max_tokens, 5);
    kv_ask_free(&ask);
    assert_refused(KV_ASK_PLAN, "{'tokens':[1,2],'max_tokens':0}", "max_tokens is 0");
    assert_refused(KV_ASK_PLAN, "{'messages':[{'role':'user','content':'hi'}],'max_tokens':'5'}",
                   "max_tokens");
    assert_refused(KV_ASK_PLAN, "{}", "prefix is missing");
}

static void what_is_refused(void **state) {
    (void)state;
    assert_refused(KV_ASK_PIN, "{}", "prefix is missing");
    assert_refused(KV_ASK_UNPIN, "{'cache_salt':'a'}", "prefix is missing");
    assert_refused(KV_ASK_PIN, "{'prompt':'a','tokens':[1]}", "another prefix");
    assert_refused(KV_ASK_PIN, "{'prompt':'a','messages':[]}", "another prefix");
    assert_refused(KV_ASK_DROP, "{'messages':[]}", "messages is empty");
    assert_refused(KV_ASK_PIN, "{'prompt':['a','b']}", "a prefix is one");
    assert_refused(KV_ASK_PIN, "{'prompt':5}", "prompt");
    assert_refused(KV_ASK_PIN, "{'tokens':[]}", "0 token ids");
    assert_refused(KV_ASK_PIN, "{'tokens':[1,1000]}", "at 1");
    assert_refused(KV_ASK_PIN, "{'tokens':[-1]}", "between 0 and 999");
    assert_refused(KV_ASK_PIN, "{'tokens':[1.0]}", "at 0");
    assert_refused(KV_ASK_PIN, "{'tokens':'abc'}", "must be an array");
    assert_refused(KV_ASK_PIN, "{'prompt':'a','ttl_seconds':0}", "ttl_seconds is 0");
    assert_refused(KV_ASK_PIN, "{'prompt':'a','ttl_seconds':99999999}", "outside 1 .. ");
    assert_refused(KV_ASK_PIN, "{'prompt':'a','ttl_seconds':'1'}", "must be an integer");
    assert_refused(KV_ASK_PIN, "{'prompt':'a','priority':256}", "outside 0 .. 255");
    assert_refused(KV_ASK_PIN, "{'prompt':'a','priority':-1}", "outside 0 .. 255");
    assert_refused(KV_ASK_PIN, "{'prompt':'a','cache_salt':7}",
                   "cache_salt must be a string, not an integer");
    assert_refused(KV_ASK_PIN, "{'prompt':'a','cache_salt':''}", "cache_salt has 0 bytes");
    assert_refused(KV_ASK_DROP, "{'salt':7}", "salt must be a string");
    assert_refused(KV_ASK_DROP, "{'salt':'a','cache_salt':'b'}", "exclude each other");
    assert_refused(KV_ASK_DROP, "{'model':7}", "model must be a string");
    assert_refused(KV_ASK_DROP, "[]", "must be a JSON object");
    assert_refused(KV_ASK_DROP, "{", "ends too early");
}

static void assert_query(const char *query, const char *cache_salt) {
    int result = kv_ask_parse_query(query, &ask, &error);
    assert_true(result < 0 || result == 0);
    if (result < 0 && cache_salt != NULL) fail_msg("%s refused: %s", query, error.message);
    if (result == 0 && cache_salt == NULL) fail_msg("%s accepted", query);
    if (result < 0) assert_int_equal(error.status, 400);
    if (cache_salt != NULL) assert_string_equal(ask.cache_salt, cache_salt);
    kv_ask_free(&ask);
}

static void queries(void **state) {
    (void)state;
    assert_int_equal(kv_ask_parse_query("", &ask, &error), 0);
    assert_null(ask.cache_salt);
    assert_query("cache_salt=abc", "abc");
    assert_query("cache_salt=a%20b+c%3D%c3%A4", "a b c=\xc3\xa4");
    assert_query("cache_salt=%26", "&");
    assert_query("cache_salt=", NULL);
    assert_query("cache_salt=%00", NULL);
    assert_query("cache_salt=a%", NULL);
    assert_query("cache_salt=a%2", NULL);
    assert_query("cache_salt=%zz", NULL);
    assert_query("cache_salt=%ff", NULL);
    assert_query("cache_salt=a&cache_salt=b", NULL);
    assert_query("salt=a", NULL);
    assert_query("cache_salt", NULL);
    char longest[11 + CACHE_SALT_BYTES + 2] = "cache_salt=";
    memset(longest + 11, 'x', CACHE_SALT_BYTES);
    assert_query(longest, longest + 11);
    longest[11 + CACHE_SALT_BYTES] = 'x';
    assert_query(longest, NULL);
}

/* Each allocation of our own fails once: 503, and nothing is left. */
static void memory_fails(void **state) {
    (void)state;
    static const char body[] = "{'prompt':'abc','cache_salt':'s','salt':null,'model':'m'}";
    char *copy = quoted(body);
    unsigned n_failures = 0;
    for (uint64_t n = 1; n < 100; n++) {
        fault_arm(FAULT_ONCE, n);
        int result = kv_ask_parse(KV_ASK_PIN, copy, strlen(copy), &limits, &ask, &error);
        fault_disarm();
        kv_ask_free(&ask);
        if (!fault_delivered()) break;
        assert_true(result < 0);
        assert_int_equal(error.status, 503);
        n_failures++;
    }
    free(copy);
    assert_true(n_failures >= 4);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pins),    cmocka_unit_test(drops),
        cmocka_unit_test(plans),   cmocka_unit_test(what_is_refused),
        cmocka_unit_test(queries), cmocka_unit_test(memory_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
