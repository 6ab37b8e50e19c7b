#include "cli/config_file.h"

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/text.h"

/* ---- the command line ---- */

const char *config_file_path(int argc, char **argv, const char *option) {
    size_t length = strlen(option);
    const char *path = NULL;
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
        if (strncmp(argv[i], "--", 2) != 0 || strncmp(argv[i] + 2, option, length) != 0) continue;
        if (argv[i][2 + length] == '=')
            path = argv[i] + 2 + length + 1;
        else if (argv[i][2 + length] == '\0' && i + 1 < argc)
            path = argv[++i];
    }
    return path;
}

char **config_file_argv(struct config_file *config, int *argc, char **argv) {
    mem_free(config->argv);
    config->argv = mem_alloc((size_t)*argc + (size_t)config->n_words + 1, sizeof *config->argv);
    if (config->argv == NULL) return NULL;
    int n = 0;
    if (*argc > 0) config->argv[n++] = argv[0];
    for (int i = 0; i < config->n_words; i++) config->argv[n++] = config->words[i];
    for (int i = 1; i < *argc; i++) config->argv[n++] = argv[i];
    *argc = n;
    return config->argv;
}

void config_file_free(struct config_file *config) {
    for (int i = 0; i < config->n_words; i++) mem_free(config->words[i]);
    mem_free(config->words);
    mem_free(config->argv);
    *config = (struct config_file){0};
}

/* ---- one line ---- */

/* Where the reader is, for its messages. */
struct place {
    const char *path;
    unsigned line;
};

/* INVALID, with file:line before the message. */
static int fail(const struct place *place, const char *format, ...) __attribute__((format(printf, 2, 3)));
static int fail(const struct place *place, const char *format, ...) {
    char message[256];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    return ERR(INVALID, "%s:%u: %s", place->path, place->line, message);
}

static bool is_blank(char c) { return c == ' ' || c == '\t'; }

static const char *skip_blanks(const char *at) {
    while (is_blank(*at)) at++;
    return at;
}

/* A value in quotes, from behind the first one; *end is behind the last. */
static int read_quoted(const struct place *place, const char *at, struct text *value, const char **end) {
    for (; *at != '"'; at++) {
        if (*at == '\0') return fail(place, "the quotes have no end");
        if (*at == '\\') {
            at++;
            if (*at != '"' && *at != '\\') return fail(place, "in quotes a \\ stands before \" or \\ only");
        }
        text_append(value, at, 1);
    }
    *end = at + 1;
    return 0;
}

/* What is left of a line, from behind the '=': one value and perhaps a comment. */
static int read_value(const struct place *place, const char *name, const char *at, struct text *value) {
    at = skip_blanks(at);
    if (*at == '\0' || *at == '#') return fail(place, "'%s' has no value (\"\" is an empty one)", name);
    text_append(value, "", 0);
    if (*at == '"') {
        TRY(read_quoted(place, at + 1, value, &at));
    } else {
        size_t length = strcspn(at, " \t");
        if (memchr(at, '"', length) != NULL)
            return fail(place, "quotes go around the whole value of '%s'", name);
        text_append(value, at, length);
        at += length;
    }
    bool is_apart = is_blank(*at);
    at = skip_blanks(at);
    if (*at == '#' && is_apart) return 0;
    if (*at != '\0') return fail(place, "'%s' has more than one value; one with spaces needs quotes", name);
    return 0;
}

/* ---- the verb's options ---- */

static const struct argp_option *find_option(const struct argp *argp, const char *name) {
    for (const struct argp_option *option = argp->options;
         option != NULL && (option->name != NULL || option->key != 0 || option->doc != NULL); option++)
        if (option->name != NULL && (option->flags & OPTION_DOC) == 0 && strcmp(option->name, name) == 0)
            return option;
    for (const struct argp_child *child = argp->children; child != NULL && child->argp != NULL; child++) {
        const struct argp_option *option = find_option(child->argp, name);
        if (option != NULL) return option;
    }
    return NULL;
}

/* The value of an option that takes none: whether it is there. */
static int read_switch(const struct place *place, const char *name, const char *value, bool *is_on) {
    *is_on = strcmp(value, "true") == 0;
    if (*is_on || strcmp(value, "false") == 0) return 0;
    return fail(place, "'%s' is true or false, not '%s'", name, value);
}

/* ---- the file ---- */

struct reader {
    struct place place;
    const struct argp *argp;
    const char *option; /* names the file itself */
    struct config_file *config;
    struct text names; /* "\nport=3\n": those seen, and the lines where */
};

/* Refuses a name for the second time. */
static int note_name(struct reader *reader, const char *name) {
    char wanted[128];
    snprintf(wanted, sizeof wanted, "\n%s=", name);
    if (reader->names.bytes == NULL) text_append_string(&reader->names, "\n");
    const char *seen = reader->names.failed ? NULL : strstr(reader->names.bytes, wanted);
    if (seen != NULL)
        return fail(&reader->place, "'%s' stands on line %d already", name, atoi(seen + strlen(wanted)));
    text_printf(&reader->names, "%s=%u\n", name, reader->place.line);
    return reader->names.failed ? ERR_NO_MEMORY : 0;
}

static int add_word(struct config_file *config, const char *name, const char *value) {
    struct text word = {0};
    text_printf(&word, value == NULL ? "--%s" : "--%s=%s", name, value);
    char **words =
        word.failed ? NULL : mem_realloc(config->words, (size_t)config->n_words + 1, sizeof *words);
    if (words == NULL) {
        text_free(&word);
        return ERR_NO_MEMORY;
    }
    config->words = words;
    config->words[config->n_words++] = word.bytes;
    return 0;
}

static int add_option(struct reader *reader, const char *name, const char *value) {
    const struct argp_option *option = find_option(reader->argp, name);
    if (option->arg != NULL) return add_word(reader->config, name, value);
    bool is_on;
    TRY(read_switch(&reader->place, name, value, &is_on));
    return is_on ? add_word(reader->config, name, NULL) : 0;
}

static int read_line(struct reader *reader, const char *line) {
    const char *at = skip_blanks(line);
    if (*at == '\0' || *at == '#') return 0;
    char name[64];
    size_t length = strcspn(at, " \t=\"#");
    if (length == 0) return fail(&reader->place, "a line is: name = value");
    snprintf(name, sizeof name, "%.*s", (int)(length < sizeof name ? length : sizeof name - 1), at);
    if (length >= sizeof name || find_option(reader->argp, name) == NULL)
        return fail(&reader->place, "there is no option '%s'", name);
    if (strcmp(name, reader->option) == 0)
        return fail(&reader->place, "'%s' cannot stand in the file that it names", name);
    at = skip_blanks(at + length);
    if (*at != '=') return fail(&reader->place, "'%s' lacks its '= value'", name);
    TRY(note_name(reader, name));
    struct text value = {0};
    int result = read_value(&reader->place, name, at + 1, &value);
    if (result == 0 && value.failed) result = ERR_NO_MEMORY;
    if (result == 0) result = add_option(reader, name, value.bytes);
    text_free(&value);
    return result;
}

/* Cuts the file into lines, in place; text[length] is writable. */
static int read_lines(struct reader *reader, char *text, size_t length) {
    char *end = text + length;
    if (length >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0) text += 3; /* a byte order mark */
    while (text < end) {
        char *newline = memchr(text, '\n', (size_t)(end - text));
        char *next = newline == NULL ? end : newline + 1, *stop = newline == NULL ? end : newline;
        if (stop > text && stop[-1] == '\r') stop--;
        *stop = '\0';
        reader->place.line++;
        for (const char *at = text; at < stop; at++)
            if (((unsigned char)*at < ' ' && *at != '\t') || *at == 0x7f)
                return fail(&reader->place, "a control character (0x%02x)", (unsigned)*at);
        TRY(read_line(reader, text));
        text = next;
    }
    return 0;
}

/* The whole file and a NUL; *text is allocated. */
static int read_file(const char *path, char **text, size_t *length) {
    FILE *file = fopen(path, "r");
    if (file == NULL) return ERR(NOT_FOUND, "%s: %s", path, strerror(errno));
    *text = mem_alloc(CONFIG_FILE_BYTES + 2, 1);
    int result = *text == NULL ? ERR_NO_MEMORY : 0;
    if (result == 0) {
        *length = fread(*text, 1, CONFIG_FILE_BYTES + 1, file);
        if (ferror(file)) result = ERR(IO, "%s: %s", path, strerror(errno));
        if (result == 0 && *length > CONFIG_FILE_BYTES)
            result = ERR(TOO_LARGE, "%s: a configuration has at most %d bytes", path, CONFIG_FILE_BYTES);
        if (result == 0) (*text)[*length] = '\0';
    }
    fclose(file);
    return result;
}

int config_file_read(struct config_file *config, const char *path, const struct argp *argp,
                     const char *option) {
    *config = (struct config_file){0};
    struct reader reader = {.place = {.path = path}, .argp = argp, .option = option, .config = config};
    char *text = NULL;
    size_t length = 0;
    int result = read_file(path, &text, &length);
    if (result == 0) result = read_lines(&reader, text, length);
    mem_free(text);
    text_free(&reader.names);
    if (result < 0) config_file_free(config);
    return result;
}
