#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/fault.h"
#include "base/mem.h"
#include "cli/config_file.h"

/* ---- a verb with options of every kind, some of them a child's ---- */

struct parsed {
    const char *port, *name, *threads, *config, *model;
    int n_debug, n_ports;
};

enum { KEY_PORT = 256, KEY_NAME, KEY_DEBUG, KEY_CONFIG, KEY_THREADS };

static error_t parse_child(int key, char *argument, struct argp_state *state) {
    struct parsed *parsed = state->input;
    if (key != KEY_THREADS) return ARGP_ERR_UNKNOWN;
    parsed->threads = argument;
    return 0;
}

static error_t parse(int key, char *argument, struct argp_state *state) {
    struct parsed *parsed = state->input;
    switch (key) {
    case ARGP_KEY_INIT: state->child_inputs[0] = parsed; return 0;
    case KEY_PORT: parsed->port = argument, parsed->n_ports++; return 0;
    case KEY_NAME: parsed->name = argument; return 0;
    case KEY_DEBUG: parsed->n_debug++; return 0;
    case KEY_CONFIG: parsed->config = argument; return 0;
    case ARGP_KEY_ARG: parsed->model = argument; return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_option child_options[] = {{"threads", KEY_THREADS, "T", 0, "threads", 0}, {0}};
static const struct argp child = {child_options, parse_child, NULL, NULL, NULL, NULL, NULL};
static const struct argp_child children[] = {{&child, 0, NULL, 1}, {0}};
static const struct argp_option options[] = {
    {NULL, 0, NULL, 0, "a heading", 1},
    {"port", KEY_PORT, "N", 0, "port", 1},
    {"model-name", KEY_NAME, "NAME", 0, "name", 1},
    {"debug", KEY_DEBUG, NULL, 0, "debug", 1},
    {"config", KEY_CONFIG, "FILE", 0, "configuration", 1},
    {0},
};
static const struct argp argp = {options, parse, "MODEL", NULL, children, NULL, NULL};

/* ---- files ---- */

static char path[64];

static int read_bytes(struct config_file *config, const char *bytes, size_t length) {
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, length, file), length);
    fclose(file);
    return config_file_read(config, path, &argp, "config");
}

static int read_string(struct config_file *config, const char *text) {
    return read_bytes(config, text, strlen(text));
}

static int make_path(void **state) {
    (void)state;
    snprintf(path, sizeof path, "config-%ld.conf", (long)getpid());
    return 0;
}

static int remove_path(void **state) {
    (void)state;
    return unlink(path) != 0 && errno != ENOENT;
}

/* ---- tests ---- */

static void lines_become_words(void **state) {
    (void)state;
    struct config_file config;
    assert_int_equal(read_string(&config, "\xef\xbb\xbf# the server\r\n"
                                          "\n"
                                          "port = 8080\r\n"
                                          "  model-name=\"my \\\"model\\\" # \\\\1\"   # quoted\n"
                                          "debug = true\n"
                                          "\tthreads\t=\t4#2\t# a '#' apart begins a comment"),
                     0);
    assert_int_equal(config.n_words, 4);
    assert_string_equal(config.words[0], "--port=8080");
    assert_string_equal(config.words[1], "--model-name=my \"model\" # \\1");
    assert_string_equal(config.words[2], "--debug");
    assert_string_equal(config.words[3], "--threads=4#2");
    config_file_free(&config);
    assert_int_equal(read_string(&config, "debug = false\nmodel-name = \"\"\n"), 0);
    assert_int_equal(config.n_words, 1);
    assert_string_equal(config.words[0], "--model-name=");
    config_file_free(&config);
    assert_int_equal(read_string(&config, ""), 0);
    assert_int_equal(config.n_words, 0);
    config_file_free(&config);
}

static void the_command_line_wins(void **state) {
    (void)state;
    struct config_file config;
    assert_int_equal(read_string(&config, "port = 1\nthreads = 2\ndebug = true\n"), 0);
    char *words[] = {"serve", "model.gguf", "--config", path, "--port=3", NULL};
    int argc = 5;
    assert_string_equal(config_file_path(argc, words, "config"), path);
    char **argv = config_file_argv(&config, &argc, words);
    assert_non_null(argv);
    assert_int_equal(argc, 8);
    assert_string_equal(argv[0], "serve");
    assert_null(argv[argc]);
    struct parsed parsed = {0};
    assert_int_equal(argp_parse(&argp, argc, argv, ARGP_NO_EXIT, NULL, &parsed), 0);
    assert_string_equal(parsed.port, "3");
    assert_int_equal(parsed.n_ports, 2);
    assert_string_equal(parsed.threads, "2");
    assert_int_equal(parsed.n_debug, 1);
    assert_string_equal(parsed.model, "model.gguf");
    config_file_free(&config);
}

static void the_path_is_found_as_getopt_would(void **state) {
    (void)state;
    char *words[] = {"serve", "--config=a", "--configure", "--", "--config=b", NULL};
    assert_string_equal(config_file_path(5, words, "config"), "a");
    assert_null(config_file_path(1, words, "config"));
    char *last[] = {"serve", "--config", "a", "--config", "b", "--config", NULL};
    assert_string_equal(config_file_path(6, last, "config"), "b");
}

static void mistakes_are_told_with_their_place(void **state) {
    (void)state;
    const struct {
        const char *text, *message; /* behind "file:" */
    } mistakes[] = {
        {"port = 1\nprot = 2\n", "2: there is no option 'prot'"},
        {"a heading = 1", "1: there is no option 'a'"},
        {"port = 1\n\n\nport = 2", "4: 'port' stands on line 1 already"},
        {"threads = 1\ndebug = false\ndebug = true", "3: 'debug' stands on line 2 already"},
        {"port\n", "1: 'port' lacks its '= value'"},
        {"port 8080\n", "1: 'port' lacks its '= value'"},
        {"port =   \n", "1: 'port' has no value (\"\" is an empty one)"},
        {"port = # 8080\n", "1: 'port' has no value (\"\" is an empty one)"},
        {"= 8080\n", "1: a line is: name = value"},
        {"\"port\" = 8080\n", "1: a line is: name = value"},
        {"model-name = my model", "1: 'model-name' has more than one value; one with spaces needs quotes"},
        {"model-name = \"my model", "1: the quotes have no end"},
        {"model-name = \"my model\\\"", "1: the quotes have no end"},
        {"model-name = \"my\\nmodel\"", "1: in quotes a \\ stands before \" or \\ only"},
        {"model-name = \"a\"b", "1: 'model-name' has more than one value; one with spaces needs quotes"},
        {"model-name = \"a\"#b", "1: 'model-name' has more than one value; one with spaces needs quotes"},
        {"model-name = a\"b\"", "1: quotes go around the whole value of 'model-name'"},
        {"debug = yes", "1: 'debug' is true or false, not 'yes'"},
        {"debug", "1: 'debug' lacks its '= value'"},
        {"config = other.conf", "1: 'config' cannot stand in the file that it names"},
        {"port = 1\r2", "1: a control character (0x0d)"},
        {"port = \x1b[31m", "1: a control character (0x1b)"},
        {"--port = 1", "1: there is no option '--port'"},
        {"por = 1", "1: there is no option 'por'"}, /* no abbreviations */
    };
    struct config_file config;
    for (size_t i = 0; i < sizeof mistakes / sizeof mistakes[0]; i++) {
        char want[256];
        snprintf(want, sizeof want, "%s:%s", path, mistakes[i].message);
        assert_int_equal(read_string(&config, mistakes[i].text), ERR_INVALID);
        assert_string_equal(err_message(), want);
        assert_int_equal(config.n_words, 0);
    }
    assert_int_equal(read_bytes(&config, "port = 1\n\0\n", 11), ERR_INVALID);
    assert_non_null(strstr(err_message(), ":2: a control character (0x00)"));
}

static void bounds_hold(void **state) {
    (void)state;
    struct config_file config;
    static char text[CONFIG_FILE_BYTES + 1];
    memset(text, '#', sizeof text);
    assert_int_equal(read_bytes(&config, text, CONFIG_FILE_BYTES), 0);
    config_file_free(&config);
    assert_int_equal(read_bytes(&config, text, CONFIG_FILE_BYTES + 1), ERR_TOO_LARGE);
    memset(text, 'x', sizeof text);
    assert_int_equal(read_bytes(&config, text, CONFIG_FILE_BYTES), ERR_INVALID);
    memcpy(text, "model-name=", 11);
    assert_int_equal(read_bytes(&config, text, CONFIG_FILE_BYTES), 0);
    assert_int_equal(strlen(config.words[0]), CONFIG_FILE_BYTES + 2);
    config_file_free(&config);
    assert_int_equal(config_file_read(&config, "no-such-file.conf", &argp, "config"), ERR_NOT_FOUND);
    assert_string_equal(err_message(), "no-such-file.conf: No such file or directory");
    assert_int_equal(config_file_read(&config, ".", &argp, "config"), ERR_IO);
}

static void memory_that_is_not_there_is_an_error(void **state) {
    (void)state;
    struct config_file config;
    uint64_t held = mem_held_bytes();
    int result = -1;
    uint64_t n = 0;
    while (result < 0) {
        assert_true(++n < 100);
        fault_arm(FAULT_ONCE, n);
        result = read_string(&config, "port = 1\nmodel-name = \"a b\"\ndebug = true\n");
        fault_disarm();
        assert_true(result == 0 || result == ERR_NO_MEMORY);
        if (result < 0) assert_int_equal(mem_held_bytes(), held);
    }
    assert_true(n > 5);
    char *words[] = {"serve", NULL};
    int argc = 1;
    fault_arm(FAULT_ONCE, 1);
    assert_null(config_file_argv(&config, &argc, words));
    fault_disarm();
    assert_int_equal(argc, 1);
    config_file_free(&config);
    assert_int_equal(mem_held_bytes(), held);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_become_words),
        cmocka_unit_test(the_command_line_wins),
        cmocka_unit_test(the_path_is_found_as_getopt_would),
        cmocka_unit_test(mistakes_are_told_with_their_place),
        cmocka_unit_test(bounds_hold),
        cmocka_unit_test(memory_that_is_not_there_is_an_error),
    };
    return cmocka_run_group_tests(tests, make_path, remove_path);
}
