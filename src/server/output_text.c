/* Each stop string is followed by the automaton of Knuth, Morris and Pratt (SIAM J. Comput. 1977): how many
 * of its bytes the text ends with. What is held back is the longest of these, so it need not be stored: it
 * is the beginning of that stop string. */
#include "server/output_text.h"

#include <string.h>

#include "base/err.h"
#include "base/mem.h"

struct stop {
    const char *bytes;
    uint32_t length, matched; /* matched: this many bytes, which the text ends with */
    uint32_t *borders; /* (length) of the first i + 1 bytes: their longest proper prefix that ends them */
};

struct output_text {
    const struct tokenizer *tokenizer;
    struct tokenizer_stream stream;
    struct stop *stops; /* (n_stops) */
    uint32_t n_stops;
    uint32_t *borders; /* of all stops, one behind the other */
    const char *held;
    size_t n_held;
    int stopped_by; /* -1: not stopped */
};

static void find_borders(struct stop *stop) {
    uint32_t border = 0;
    for (uint32_t i = 1; i < stop->length; i++) {
        while (border > 0 && stop->bytes[border] != stop->bytes[i]) border = stop->borders[border - 1];
        if (stop->bytes[border] == stop->bytes[i]) border++;
        stop->borders[i] = border;
    }
}

static int open_stops(struct output_text *output, char *const *stops, uint32_t n_stops) {
    size_t n_bytes = 0;
    for (uint32_t i = 0; i < n_stops; i++) n_bytes += strlen(stops[i]);
    output->stops = mem_alloc(n_stops, sizeof *output->stops);
    output->borders = mem_alloc(n_bytes, sizeof *output->borders);
    if (output->stops == NULL || output->borders == NULL) return ERR_NO_MEMORY;
    uint32_t *borders = output->borders;
    for (uint32_t i = 0; i < n_stops; i++) {
        ASSERT(stops[i][0] != '\0'); /* ask refuses them */
        struct stop *stop = &output->stops[output->n_stops++];
        *stop = (struct stop){.bytes = stops[i], .length = (uint32_t)strlen(stops[i]), .borders = borders};
        find_borders(stop);
        borders += stop->length;
    }
    return 0;
}

int output_text_open(struct output_text **output, const struct tokenizer *tokenizer, char *const *stops,
                     uint32_t n_stops) {
    *output = NULL;
    struct output_text *opened = mem_alloc(1, sizeof *opened);
    if (opened == NULL) return ERR_NO_MEMORY;
    opened->tokenizer = tokenizer;
    opened->held = "";
    opened->stopped_by = -1;
    int result = open_stops(opened, stops, n_stops);
    if (result < 0) {
        output_text_close(opened);
        return result;
    }
    *output = opened;
    return 0;
}

void output_text_close(struct output_text *output) {
    if (output == NULL) return;
    mem_free(output->stops);
    mem_free(output->borders);
    mem_free(output);
}

/* The longest stop string that is complete with this byte (its index, or -1), and the longest one begun. */
static int follow(struct output_text *output, char byte, const char **begun, size_t *n_begun) {
    int complete = -1;
    *n_begun = 0;
    for (uint32_t i = 0; i < output->n_stops; i++) {
        struct stop *stop = &output->stops[i];
        while (stop->matched > 0 && stop->bytes[stop->matched] != byte)
            stop->matched = stop->borders[stop->matched - 1];
        if (stop->bytes[stop->matched] == byte) stop->matched++;
        if (stop->matched == stop->length) {
            if (complete < 0 || stop->length > output->stops[complete].length) complete = (int)i;
        } else if (stop->matched > *n_begun) {
            *begun = stop->bytes;
            *n_begun = stop->matched;
        }
    }
    return complete;
}

/* Appends the first `n` bytes of what was held and `text` after it. */
static void release(const struct output_text *output, const char *text, size_t n, struct text *out) {
    if (out == NULL) return;
    size_t n_old = n < output->n_held ? n : output->n_held;
    text_append(out, output->held, n_old);
    text_append(out, text, n - n_old);
}

static void add_text(struct output_text *output, const char *text, size_t length, struct text *out) {
    const char *begun = output->held;
    size_t n_begun = output->n_held;
    for (size_t i = 0; i < length; i++) {
        int complete = follow(output, text[i], &begun, &n_begun);
        if (complete < 0) continue;
        release(output, text, output->n_held + i + 1 - output->stops[complete].length, out);
        output->stopped_by = complete;
        output->n_held = 0;
        return;
    }
    release(output, text, output->n_held + length - n_begun, out);
    output->held = begun;
    output->n_held = n_begun;
}

bool output_text_add(struct output_text *output, token_id token, struct text *out) {
    if (output->stopped_by >= 0) return true;
    char text[TOKENIZER_STEP_MAX];
    size_t length = tokenizer_decode_step(output->tokenizer, &output->stream, token, text);
    add_text(output, text, length, out);
    return output->stopped_by >= 0;
}

void output_text_end(struct output_text *output, struct text *out) {
    if (output->stopped_by >= 0) return;
    char text[TOKENIZER_STEP_MAX];
    size_t length = tokenizer_decode_end(&output->stream, text);
    add_text(output, text, length, out);
    output_text_release(output, out);
}

void output_text_release(struct output_text *output, struct text *out) {
    release(output, "", output->n_held, out);
    output->n_held = 0;
    for (uint32_t i = 0; i < output->n_stops; i++) output->stops[i].matched = 0;
}

size_t output_text_held(const struct output_text *output, const char **held) {
    *held = output->held;
    return output->n_held;
}

int output_text_stopped_by(const struct output_text *output) { return output->stopped_by; }
