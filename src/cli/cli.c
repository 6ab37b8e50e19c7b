#include "cli/cli.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

int cli_fail(void) {
    fprintf(stderr, "cabinet: %s\n", err_message());
    return EXIT_FAILURE;
}

void cli_parse(const struct argp *argp, int argc, char **argv, void *input) {
    char name[64];
    snprintf(name, sizeof name, "cabinet %s", argv[0]);
    argv[0] = name;
    argp_err_exit_status = EXIT_USAGE;
    argp_parse(argp, argc, argv, 0, NULL, input);
}

const char *cli_format_bytes(char *buffer, double bytes) {
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    size_t unit = 0;
    while (bytes >= 1024 && unit + 1 < sizeof units / sizeof *units) {
        bytes /= 1024;
        unit++;
    }
    int decimals = unit == 0 || bytes >= 100 ? 0 : 1;
    snprintf(buffer, CLI_BYTES_LENGTH, "%.*f %s", decimals, bytes, units[unit]);
    return buffer;
}

const char *cli_format_count(char *buffer, uint64_t count) {
    char digits[CLI_BYTES_LENGTH];
    int n = snprintf(digits, sizeof digits, "%" PRIu64, count);
    char *out = buffer;
    for (int i = 0; i < n; i++) {
        if (i > 0 && (n - i) % 3 == 0) *out++ = ',';
        *out++ = digits[i];
    }
    *out = '\0';
    return buffer;
}

uint64_t cli_parse_count(struct argp_state *state, const char *what, const char *text, uint64_t low,
                         uint64_t high) {
    char *end;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0' || !isdigit((unsigned char)*text) || value < low ||
        value > high)
        argp_failure(state, EXIT_USAGE, 0, "%s '%s' is no whole number from %" PRIu64 " to %" PRIu64, what,
                     text, low, high);
    return value;
}

float cli_parse_float(struct argp_state *state, const char *what, const char *text) {
    char *end;
    float value = strtof(text, &end);
    if (end == text || *end != '\0' || !isfinite(value))
        argp_failure(state, EXIT_USAGE, 0, "%s '%s' is no number", what, text);
    return value;
}

uint64_t cli_parse_memory(struct argp_state *state, const char *what, const char *text) {
    char *end;
    double value = strtod(text, &end);
    double unit = 1;
    const char *suffix = end;
    static const char letters[] = "KMGT";
    const char *letter = *suffix == '\0' ? NULL : strchr(letters, toupper((unsigned char)*suffix));
    if (*suffix == '%') {
        unit = (double)mem_available_bytes() / 100;
        suffix++;
    } else if (letter != NULL) {
        unit = exp2(10.0 * (double)(letter - letters + 1));
        suffix++;
        if (*suffix == 'i') suffix++;
        if (*suffix == 'B') suffix++;
    } else if (*suffix == 'B') {
        suffix++;
    }
    if (end == text || *suffix != '\0' || !(value > 0) || value * unit >= 0x1p60)
        argp_failure(state, EXIT_USAGE, 0, "%s '%s' is no size such as 512M, 4GiB or 50%%", what, text);
    return (uint64_t)(value * unit);
}

void cli_parse_kv(struct argp_state *state, const char *text, struct kv_rules *rules) {
    if (kv_rules_parse(rules, text) < 0) argp_failure(state, EXIT_USAGE, 0, "%s", err_message());
}

error_t cli_parse_model(int key, char *argument, struct argp_state *state, const char **model) {
    if (key == ARGP_KEY_ARG) {
        if (state->arg_num > 0) argp_error(state, "one MODEL is enough; '%s' is too much", argument);
        *model = argument;
        return 0;
    }
    if (key != ARGP_KEY_END) return ARGP_ERR_UNKNOWN;
    if (*model == NULL) argp_error(state, "MODEL is missing");
    return 0;
}

int cli_read_text(const char *path, char **text) {
    bool is_stdin = strcmp(path, "-") == 0;
    FILE *file = is_stdin ? stdin : fopen(path, "re");
    if (file == NULL) return ERR(NOT_FOUND, "cannot read %s: %s", path, strerror(errno));
    size_t length = 0, capacity = 0;
    *text = NULL;
    int result = 0;
    while (result == 0 && !feof(file) && !ferror(file)) {
        if (capacity - length < 65536) {
            char *grown = mem_realloc(*text, capacity * 2 + 65537, 1);
            if (grown == NULL) result = ERR_NO_MEMORY;
            if (grown == NULL) break;
            *text = grown;
            capacity = capacity * 2 + 65536;
        }
        length += fread(*text + length, 1, capacity - length, file);
    }
    if (result == 0 && ferror(file)) result = ERR(IO, "cannot read %s: %s", path, strerror(errno));
    if (!is_stdin) (void)fclose(file);
    if (result == 0 && memchr(*text, '\0', length) != NULL)
        result = ERR(INVALID, "%s holds NUL bytes: it is no text", path);
    if (result < 0) {
        mem_free(*text);
        return result;
    }
    (*text)[length] = '\0';
    return 0;
}
