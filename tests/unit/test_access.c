/* Who may ask: keys from files, what is compared, and which Host and Origin are let in without keys. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/err.h"
#include "server/access.h"

/* ---- keys ---- */

static int read_keys(struct access_keys *keys, const char *content, size_t length) {
    char path[] = "/tmp/cabinet-keys-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, content, length), length);
    close(fd);
    int result = access_keys_read(keys, path);
    unlink(path);
    return result;
}

static void keys_of_a_file(void **state) {
    (void)state;
    static const char content[] = "# staff\n  first-key \t\r\n\nsecond\n#third\nlast";
    struct access_keys keys = {0};
    assert_int_equal(read_keys(&keys, content, sizeof content - 1), 0);
    assert_int_equal(keys.n, 3);
    assert_string_equal(keys.keys[0].bytes, "first-key");
    assert_string_equal(keys.keys[1].bytes, "second");
    assert_string_equal(keys.keys[2].bytes, "last");
    access_keys_free(&keys);
    assert_int_equal(keys.n, 0);
}

static void assert_no_keys(const char *content, int error, const char *says) {
    struct access_keys keys = {0};
    assert_int_equal(read_keys(&keys, content, strlen(content)), error);
    assert_non_null(strstr(err_message(), says));
    assert_null(strstr(err_message(), "secret")); /* no message tells a key */
    access_keys_free(&keys);
}

static void files_without_keys(void **state) {
    (void)state;
    char long_key[300] = {0};
    struct access_keys keys = {0};
    memset(long_key, 's', sizeof long_key - 1);
    assert_no_keys("", ERR_INVALID, "holds no key");
    assert_no_keys("# nothing\n\n", ERR_INVALID, "holds no key");
    assert_no_keys("good\nsecret with space\n", ERR_INVALID, "line 2");
    assert_no_keys("secret\x01key\n", ERR_INVALID, "line 1");
    assert_no_keys(long_key, ERR_INVALID, "line 1");
    assert_int_equal(access_keys_read(&keys, "/nowhere/keys"), ERR_NOT_FOUND);
    assert_int_equal(access_keys_add(&keys, ""), ERR_INVALID);
    long_key[ACCESS_KEY_MAX] = '\0';
    assert_int_equal(access_keys_add(&keys, long_key), ERR_TOO_LARGE);
    long_key[ACCESS_KEY_MAX - 1] = '\0';
    assert_int_equal(access_keys_add(&keys, long_key), 0);
    access_keys_free(&keys);
}

static void add(struct access_keys *keys, const char *key) {
    assert_int_equal(access_keys_add(keys, key), 0);
}

/* The status that `request` gets; 0: let in. */
static int status_of(const struct access_policy *policy, enum access_need need, struct access_request request,
                     struct caller *caller) {
    struct api_error error = {0};
    int result = access_check(policy, need, &request, caller, &error);
    assert_int_equal(result < 0, error.status != 0);
    return error.status;
}

static void only_whole_keys_open(void **state) {
    (void)state;
    struct access_policy policy = {0};
    struct caller caller;
    char longer[300] = "first-key";
    memset(longer + strlen(longer), 'x', sizeof longer - strlen(longer) - 1);
    add(&policy.keys, "first-key");
    add(&policy.keys, "second");
    add(&policy.admin_keys, "master");
    static const struct {
        const char *authorization, *x_api_key;
        uint32_t key; /* 0: refused */
    } cases[] = {
        {"Bearer first-key", NULL, 1},
        {"bearer second", NULL, 2},
        {NULL, "first-key", 1},
        {"Basic abc", "second", 2},
        {"Bearer master", NULL, 3},
        {NULL, "master", 3},
        {NULL, NULL, 0},
        {"", "", 0},
        {"Bearer ", NULL, 0},
        {"Bearer", NULL, 0},
        {"first-key", NULL, 0},
        {"Bearer first-ke", NULL, 0},
        {"Bearer first-keys", NULL, 0},
        {"Bearer First-key", NULL, 0},
        {"Bearer  first-key", NULL, 0},
        {"Bearer first-key ", NULL, 0},
        {"Bearer wrong", "first-key", 0}, /* the header that OpenAI's clients send is the one that counts */
        {"Bearer first-key,second", NULL, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct access_request request = {.authorization = cases[i].authorization,
                                         .x_api_key = cases[i].x_api_key,
                                         .host = "anywhere.example"};
        assert_int_equal(status_of(&policy, ACCESS_CALLER, request, &caller), cases[i].key != 0 ? 0 : 401);
        assert_int_equal(caller.key, cases[i].key);
        assert_int_equal(caller.is_admin, cases[i].key == 3);
        assert_int_equal(status_of(&policy, ACCESS_ADMIN, request, &caller), cases[i].key == 0   ? 401
                                                                             : cases[i].key == 3 ? 0
                                                                                                 : 403);
        assert_int_equal(status_of(&policy, ACCESS_ANYBODY, request, &caller), 0);
    }
    assert_int_equal(status_of(&policy, ACCESS_CALLER, (struct access_request){.x_api_key = longer}, &caller),
                     401);
    access_keys_free(&policy.keys);
    access_keys_free(&policy.admin_keys);
}

/* A key is equal or not, wherever it differs and whichever it is of many. */
static void every_byte_of_every_key_counts(void **state) {
    (void)state;
    enum { N = 40 };
    struct access_policy policy = {0};
    struct caller caller;
    char key[ACCESS_KEY_MAX];
    for (int i = 0; i < N; i++) {
        memset(key, 'a' + i % 26, sizeof key);
        key[100 + i] = '\0';
        key[50] = (char)('0' + i / 26);
        add(&policy.keys, key);
        assert_int_equal(
            status_of(&policy, ACCESS_CALLER, (struct access_request){.x_api_key = key}, &caller), 0);
        assert_int_equal(caller.key, i + 1);
        for (int b = 0; b < 100 + i; b++) {
            key[b] ^= 1;
            assert_int_equal(
                status_of(&policy, ACCESS_CALLER, (struct access_request){.x_api_key = key}, &caller), 401);
            key[b] ^= 1;
        }
    }
    access_keys_free(&policy.keys);
}

/* ---- without keys ---- */

static void names_of_this_machine(void **state) {
    (void)state;
    static const char *const loopback[] = {"localhost", "LocalHost:8080", "127.0.0.1",     "127.1.2.3:80",
                                           "[::1]",     "[::1]:8080",     "[0:0::1]:8080", "::1"};
    static const char *const others[] = {"",
                                         "example.com",
                                         "localhost.example.com",
                                         "127.0.0.1.example.com",
                                         "127.0.0.1.example.com:80",
                                         "128.0.0.1",
                                         "0.0.0.0",
                                         "192.168.0.1",
                                         "localhost:80@example.com",
                                         "localhost:example.com",
                                         "localhost/",
                                         "127.1",
                                         "2130706433",
                                         "0x7f.0.0.1",
                                         "[::1]example.com",
                                         "[::1].example.com:80",
                                         "[::1",
                                         "::1.example.com",
                                         "[::2]",
                                         "::",
                                         "[127.0.0.1]",
                                         "[localhost]"};
    for (size_t i = 0; i < sizeof loopback / sizeof *loopback; i++)
        if (!access_is_loopback(loopback[i])) fail_msg("%s is loopback", loopback[i]);
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (access_is_loopback(others[i])) fail_msg("%s is not loopback", others[i]);
}

static void pages_of_strangers(void **state) {
    (void)state;
    static const struct {
        const char *host, *origin;
        bool is_let_in, is_let_in_open; /* by default, and with --insecure */
    } cases[] = {
        {"localhost:8080", NULL, true, true},
        {"[::1]:8080", NULL, true, true},
        {NULL, NULL, false, true},
        {"rebound.example:8080", NULL, false, true},
        {"rebound.example", "http://rebound.example", false, true},
        {"localhost:8080", "http://localhost:8080", true, true},
        {"localhost:8080", "http://127.0.0.1:3000", true, false},
        {"localhost:8080", "https://localhost", true, false},
        {"localhost:8080", "http://example.com", false, false},
        {"localhost:8080", "http://localhost.example.com", false, false},
        {"localhost:8080", "null", false, false},
        {"localhost:8080", "", false, false},
        {"localhost:8080", "file://", false, false},
        {"localhost:8080", "http://", false, false},
        {"localhost:8080", "ftp://localhost:8080", false, false},
        {"", "http://", false, true},
        {"box.lan", "http://box.lan", false, true},
        {"box.lan", "http://other.lan", false, false},
    };
    struct access_policy closed = {0}, open = {.is_open_to_all = true};
    struct caller caller;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct access_request request = {.host = cases[i].host, .origin = cases[i].origin};
        for (int need = ACCESS_ANYBODY; need <= ACCESS_ADMIN; need++) {
            if (status_of(&closed, (enum access_need)need, request, &caller) !=
                (cases[i].is_let_in ? 0 : 403))
                fail_msg("host %s, origin %s", cases[i].host, cases[i].origin);
            if (status_of(&open, (enum access_need)need, request, &caller) !=
                (cases[i].is_let_in_open ? 0 : 403))
                fail_msg("open: host %s, origin %s", cases[i].host, cases[i].origin);
        }
        assert_true(cases[i].is_let_in_open ? caller.is_admin && caller.key == 0 : true);
    }
}

/* With nothing but admin keys everybody may ask, and only they see the others. */
static void admin_keys_alone(void **state) {
    (void)state;
    struct access_policy policy = {0};
    struct caller caller;
    add(&policy.admin_keys, "master");
    struct access_request request = {.host = "localhost"};
    assert_int_equal(status_of(&policy, ACCESS_CALLER, request, &caller), 0);
    assert_false(caller.is_admin);
    assert_int_equal(status_of(&policy, ACCESS_ADMIN, request, &caller), 403);
    request.x_api_key = "master";
    assert_int_equal(status_of(&policy, ACCESS_ADMIN, request, &caller), 0);
    assert_true(caller.is_admin);
    request.host = "rebound.example";
    assert_int_equal(status_of(&policy, ACCESS_CALLER, request, &caller), 403);
    access_keys_free(&policy.admin_keys);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_of_a_file),        cmocka_unit_test(files_without_keys),
        cmocka_unit_test(only_whole_keys_open),  cmocka_unit_test(every_byte_of_every_key_counts),
        cmocka_unit_test(names_of_this_machine), cmocka_unit_test(pages_of_strangers),
        cmocka_unit_test(admin_keys_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
