/* Names, paths and choices of the hub's models. What a server does to a download is tests/e2e/test_pull.py's.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "hub/choose.h"
#include "hub/name.h"
#include "hub/sha256.h"

static const char endpoint[] = "https://hub.example/prefix";

static void safe_paths(void **state) {
    (void)state;
    static const char *const safe[] = {"a.gguf", "a/b/c.gguf", "a b(1)~.gguf", "a..b", "a./b", "-", "@"};
    static const char *const unsafe[] = {"",     "/a",   "a/",     "a//b", ".",       "..",
                                         "../a", "a/..", "a/../b", "./a",  ".a",      "a/.b",
                                         "a\\b", "a\nb", "\x1b",   "\x7f", "\xc3\xa9"};
    for (size_t i = 0; i < sizeof safe / sizeof *safe; i++)
        assert_true(file_path_is_safe(safe[i], strlen(safe[i])));
    for (size_t i = 0; i < sizeof unsafe / sizeof *unsafe; i++)
        assert_false(file_path_is_safe(unsafe[i], strlen(unsafe[i])));
    assert_false(file_path_is_safe("a\0b", 3));
    char text[FILE_PATH_LENGTH + 1];
    memset(text, 'a', sizeof text);
    assert_true(file_path_is_safe(text, FILE_PATH_COMPONENT));
    assert_false(file_path_is_safe(text, FILE_PATH_COMPONENT + 1));
    for (size_t i = 99; i < sizeof text; i += 100) text[i] = '/';
    assert_true(file_path_is_safe(text, FILE_PATH_LENGTH - 1));
    assert_false(file_path_is_safe(text, FILE_PATH_LENGTH));
}

static void splits(void **state) {
    (void)state;
    struct file_split split;
    char part[FILE_PATH_LENGTH];
    assert_true(file_path_split("d/m-00002-of-00123.gguf", &split));
    assert_int_equal(split.index, 2);
    assert_int_equal(split.count, 123);
    assert_true(file_path_of_part(part, sizeof part, "d/m-00002-of-00123.gguf", &split, 45));
    assert_string_equal(part, "d/m-00045-of-00123.gguf");
    assert_false(file_path_of_part(part, 10, "d/m-00002-of-00123.gguf", &split, 45));
    static const char *const whole[] = {"m.gguf",
                                        "m-00000-of-00003.gguf",
                                        "m-00004-of-00003.gguf",
                                        "m-0001-of-00003.gguf",
                                        "m-00001-of-0000x.gguf",
                                        "m-00001_of_00003.gguf",
                                        "m+00001-of-00003.gguf",
                                        "m-00001-of-00003.bin",
                                        "-00001-of-00003.gguf"};
    for (size_t i = 0; i < sizeof whole / sizeof *whole; i++) assert_false(file_path_split(whole[i], &split));
}

static void tags(void **state) {
    (void)state;
    static const struct {
        const char *path, *tag;
        bool has;
    } cases[] = {
        {"model-Q4_K_M.gguf", "q4_k_m", true},
        {"model.Q4_K_M.gguf", "Q4_K_M", true},
        {"model_q4_k_m.gguf", "Q4_K_M", true},
        {"Q4_K_M.gguf", "Q4_K_M", true},
        {"m-Q4_K_M-00001-of-00002.gguf", "Q4_K_M", true},
        {"model-Q4_K_M.gguf", "Q4_K", false},
        {"model-IQ4_XS.gguf", "Q4_XS", false},
        {"Q4_0/model-Q8_0.gguf", "Q4_0", false},
        {"model-Q4_0_4_4.gguf", "Q4_0", false},
        {"model-Q8_0.gguf", "", false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_int_equal(file_path_has_tag(cases[i].path, cases[i].tag), cases[i].has);
}

static struct hub_name parsed(const char *text) {
    struct hub_name name;
    if (hub_name_parse(&name, text, endpoint) < 0) fail_msg("%s: %s", text, err_message());
    return name;
}

static void names(void **state) {
    (void)state;
    struct hub_name name = parsed("own-er/re.po_1");
    assert_string_equal(name.repository, "own-er/re.po_1");
    assert_string_equal(name.revision, "main");
    assert_string_equal(name.folder, "own-er/re.po_1");
    assert_string_equal(name.file, "");
    name = parsed("o/r@v1.2:sub/m.gguf");
    assert_string_equal(name.revision, "v1.2");
    assert_string_equal(name.folder, "o/r@v1.2");
    assert_string_equal(name.file, "sub/m.gguf");
    assert_string_equal(parsed("o/r@main:Q8_0").folder, "o/r");
    name = parsed("https://hub.example/prefix/o/r/resolve/dev/a/m.gguf?download=true");
    assert_string_equal(name.folder, "o/r@dev");
    assert_string_equal(name.file, "a/m.gguf");
    assert_string_equal(name.url, "");
    name = parsed("https://hub.example:444/a/m.gguf?k=v");
    assert_string_equal(name.repository, "");
    assert_string_equal(name.folder, "https@hub.example:444/a");
    assert_string_equal(name.file, "m.gguf");
    assert_string_equal(name.url, "https://hub.example:444/a/m.gguf?k=v");
    /* the endpoint's text is a beginning of this one, the host is another */
    assert_string_equal(parsed("https://hub.example/prefix2/o/r/m.gguf").repository, "");
}

static void urls_of_names(void **state) {
    (void)state;
    char url[NAME_URL_LENGTH];
    struct hub_name name = parsed("o/r@v1");
    assert_int_equal(hub_name_listing_url(&name, endpoint, url, sizeof url), 0);
    assert_string_equal(url, "https://hub.example/prefix/api/models/o/r/revision/v1?blobs=true");
    assert_int_equal(hub_name_file_url(&name, endpoint, "a/b c?#%.gguf", url, sizeof url), 0);
    assert_string_equal(url, "https://hub.example/prefix/o/r/resolve/v1/a/b%20c%3F%23%25.gguf");
    for (size_t size = 1; size < 60; size++)
        assert_int_equal(hub_name_file_url(&name, endpoint, "a/b c?#%.gguf", url, size), ERR_TOO_LARGE);
    assert_int_equal(hub_name_listing_url(&name, endpoint, url, 20), ERR_TOO_LARGE);
}

/* What `list` shows is what `run` takes. */
static void names_of_paths(void **state) {
    (void)state;
    static const char *const typed[] = {"o/r:m.gguf", "o/r@v1:sub/m.gguf", "https://h:1/a/m.gguf",
                                        "http://h/m.gguf"};
    for (size_t i = 0; i < sizeof typed / sizeof *typed; i++) {
        struct hub_name name = parsed(typed[i]);
        char path[2 * FILE_PATH_LENGTH], text[NAME_URL_LENGTH];
        snprintf(path, sizeof path, "%s/%s", name.folder, name.file);
        hub_name_of_path(text, sizeof text, path);
        assert_string_equal(text, typed[i]);
    }
    char text[64];
    hub_name_of_path(text, sizeof text, "m@1.gguf");
    assert_string_equal(text, "m@1.gguf");
}

/* Two listings of one repository, one with the other's files in reverse, are the same. */
static void listings_are_sorted(void **state) {
    (void)state;
    static const char json[] =
        "{\"siblings\": [{\"rfilename\": \"b.gguf\", \"size\": 7, \"lfs\": {\"size\": 7, \"sha256\": "
        "\"ABCDEF0123456789abcdef0123456789abcdef0123456789abcdef0123456789\"}}, {\"rfilename\": "
        "\"README.md\"},"
        "{\"rfilename\": \"a.gguf\", \"size\": null, \"lfs\": null}]}";
    struct listing listing;
    assert_int_equal(listing_parse(&listing, json, sizeof json - 1), 0);
    assert_int_equal(listing.n_files, 2);
    assert_string_equal(listing.files[0].path, "a.gguf");
    assert_true(listing.files[0].bytes == HUB_BYTES_UNKNOWN);
    assert_string_equal(listing.files[0].sha256, "");
    const struct listing_file *b = listing_find(&listing, "b.gguf");
    assert_int_equal(b->bytes, 7);
    assert_string_equal(b->sha256, "abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789");
    assert_null(listing_find(&listing, "README.md"));
    listing_free(&listing);
}

static void listings_are_bounded(void **state) {
    (void)state;
    struct listing listing = {0};
    char path[32];
    for (int i = 0; i < LISTING_MAX_FILES; i++) {
        int n = snprintf(path, sizeof path, "%d.gguf", i);
        assert_int_equal(listing_add(&listing, path, (size_t)n, 1, ""), 0);
    }
    assert_int_equal(listing_add(&listing, "one.gguf", 8, 1, ""), ERR_TOO_LARGE);
    listing_free(&listing);
}

/* FIPS 180-2, appendix B. */
static void sha256_of_a_million(void **state) {
    (void)state;
    struct sha256 *digest;
    char hex[SHA256_HEX + 1], letters[1000];
    memset(letters, 'a', sizeof letters);
    assert_int_equal(sha256_open(&digest), 0);
    for (int i = 0; i < 1000; i++) assert_int_equal(sha256_add(digest, letters, sizeof letters), 0);
    assert_int_equal(sha256_finish(digest, hex), 0);
    assert_string_equal(hex, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
    assert_int_equal(sha256_restart(digest), 0);
    assert_int_equal(sha256_add(digest, "abc", 3), 0);
    assert_int_equal(sha256_finish(digest, hex), 0);
    assert_string_equal(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    sha256_close(digest);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(safe_paths),
        cmocka_unit_test(splits),
        cmocka_unit_test(tags),
        cmocka_unit_test(names),
        cmocka_unit_test(urls_of_names),
        cmocka_unit_test(names_of_paths),
        cmocka_unit_test(listings_are_sorted),
        cmocka_unit_test(listings_are_bounded),
        cmocka_unit_test(sha256_of_a_million),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
