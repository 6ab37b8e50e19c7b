#include "cli/top_view.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"

/* ---- reading ---- */

/* The sample's value if a line is one of the metric, with the label. */
static double sample(const char *line, const char *name, const char *label) {
    size_t length = strlen(name);
    if (strncmp(line, name, length) != 0 || (line[length] != '{' && line[length] != ' ')) return 0;
    if (label != NULL && strstr(line, label) == NULL) return 0;
    const char *value = strrchr(line, ' ');
    return value == NULL ? 0 : strtod(value + 1, NULL);
}

double top_metric(const struct text *metrics, const char *name, const char *label) {
    double sum = 0;
    char line[1024];
    const char *at = metrics->bytes, *end = at + metrics->length;
    while (at < end) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        size_t length = (size_t)((newline == NULL ? end : newline) - at);
        if (length < sizeof line) { /* of longer ones there are none */
            memcpy(line, at, length);
            line[length] = '\0';
            sum += sample(line, name, label);
        }
        at += length + 1;
    }
    return sum;
}

int top_look_read(struct top_look *look, const char *url, const struct text *live,
                  const struct text *metrics) {
    *look = (struct top_look){.url = url};
    if (live->length > 0) look->live = json_loadb(live->bytes, live->length, 0, NULL);
    if (!json_is_integer(json_object_get(look->live, "arena_bytes")) || metrics->length == 0)
        return ERR(INVALID, "%.200s answers as no Cabinet server does", url);
    look->waste_bytes = top_metric(metrics, "cabinet_kv_bytes", "use=\"waste\"");
    look->slot_fragmentation = top_metric(metrics, "cabinet_kv_fragmentation_ratio", "of=\"slots\"");
    look->slab_fragmentation = top_metric(metrics, "cabinet_kv_fragmentation_ratio", "of=\"slabs\"");
    look->queried_tokens = top_metric(metrics, "vllm:prefix_cache_queries_total", NULL);
    look->hit_tokens = top_metric(metrics, "vllm:prefix_cache_hits_total", NULL);
    look->n_demotions = top_metric(metrics, "cabinet_kv_demotions_total", NULL);
    look->n_evictions = top_metric(metrics, "cabinet_kv_evictions_total", NULL);
    return 0;
}

void top_look_free(struct top_look *look) {
    json_decref(look->live);
    look->live = NULL;
}

static double number(const json_t *object, const char *name) {
    return json_number_value(json_object_get(object, name));
}

static double part_of(double part, double all) { return all > 0 ? part / all : 0; }

/* ---- as text ---- */

enum { BAR_WIDTH = 40, WORD_LENGTH = 40 };

/* A server's word, without what a terminal could take for a command. */
static const char *word(char buffer[WORD_LENGTH], const json_t *object, const char *name) {
    const char *from = json_string_value(json_object_get(object, name));
    size_t n = 0;
    for (; from != NULL && from[n] != '\0' && n + 1 < WORD_LENGTH; n++)
        buffer[n] = from[n] > ' ' && from[n] < 127 ? from[n] : '?';
    buffer[n] = '\0';
    return buffer;
}

static const char *count(char buffer[CLI_BYTES_LENGTH], double value) {
    return cli_format_count(buffer, value > 0 && value < 0x1p63 ? (uint64_t)value : 0);
}

static void print_pool(const struct top_look *look, FILE *stream) {
    double all = number(look->live, "arena_bytes"), held = number(look->live, "held_bytes");
    double idle = number(look->live, "idle_bytes");
    char bar[BAR_WIDTH + 1], total[CLI_BYTES_LENGTH], used[CLI_BYTES_LENGTH], kept[CLI_BYTES_LENGTH];
    for (int i = 0; i < BAR_WIDTH; i++) {
        double begin = (double)i / BAR_WIDTH * all;
        bar[i] = begin < held ? '#' : begin < held + idle ? '=' : '.';
    }
    bar[BAR_WIDTH] = '\0';
    fprintf(stream, "KV memory  [%s] %s: %s (%.0f %%) held #, %s (%.0f %%) idle =\n", bar,
            cli_format_bytes(total, all), cli_format_bytes(used, held), 100 * part_of(held, all),
            cli_format_bytes(kept, idle), 100 * part_of(idle, all));
    fprintf(stream, "           unused: %.1f %% of slots handed out, %.1f %% of slabs in use\n",
            100 * look->slot_fragmentation, 100 * look->slab_fragmentation);
}

static void print_load(const struct top_look *look, const struct top_look *before, FILE *stream) {
    char hits[CLI_BYTES_LENGTH], queried[CLI_BYTES_LENGTH], evicted[CLI_BYTES_LENGTH],
        demoted[CLI_BYTES_LENGTH];
    fprintf(stream,
            "Requests   %.0f running, %.0f waiting, %.0f preemptions; prefill %.0f, decode %.1f tokens/s\n",
            number(look->live, "running"), number(look->live, "waiting"), number(look->live, "preemptions"),
            number(look->live, "prefill_tokens_per_second"), number(look->live, "decode_tokens_per_second"));
    fprintf(stream, "Prefixes   hit rate %.1f %%: %s of %s tokens",
            100 * part_of(look->hit_tokens, look->queried_tokens), count(hits, look->hit_tokens),
            count(queried, look->queried_tokens));
    if (before != NULL && look->queried_tokens > before->queried_tokens)
        fprintf(stream, ", %.1f %% lately",
                100 * part_of(look->hit_tokens - before->hit_tokens,
                              look->queried_tokens - before->queried_tokens));
    if (look->n_demotions > 0)
        fprintf(stream, "; %s blocks demoted, %s evicted\n", count(demoted, look->n_demotions),
                count(evicted, look->n_evictions));
    else
        fprintf(stream, "; %s blocks evicted\n", count(evicted, look->n_evictions));
}

static void print_sequence(const json_t *sequence, FILE *stream) {
    char id[WORD_LENGTH], state[WORD_LENGTH], bytes[CLI_BYTES_LENGTH], prompt[CLI_BYTES_LENGTH],
        cached[CLI_BYTES_LENGTH], output[CLI_BYTES_LENGTH], blocks[CLI_BYTES_LENGTH],
        shared[CLI_BYTES_LENGTH];
    fprintf(stream, "%-28s  %-7s  %8s  %8s  %8s  %7s  %7s  %9s  %8.1f\n", word(id, sequence, "id"),
            word(state, sequence, "state"), count(prompt, number(sequence, "prompt_tokens")),
            count(cached, number(sequence, "cached_tokens")),
            count(output, number(sequence, "output_tokens")), count(blocks, number(sequence, "blocks")),
            count(shared, number(sequence, "shared_blocks")),
            cli_format_bytes(bytes, number(sequence, "kv_bytes")), number(sequence, "tokens_per_second"));
}

void top_print(const struct top_look *look, const struct top_look *before, size_t max_rows, FILE *stream) {
    const json_t *sequences = json_object_get(look->live, "sequences");
    size_t n = json_array_size(sequences);
    fprintf(stream, "Cabinet at %s\n", look->url);
    print_pool(look, stream);
    print_load(look, before, stream);
    if (n == 0) return;
    fprintf(stream, "\n%-28s  %-7s  %8s  %8s  %8s  %7s  %7s  %9s  %8s\n", "ID", "STATE", "PROMPT", "CACHED",
            "OUTPUT", "BLOCKS", "SHARED", "KV", "TOKENS/S");
    for (size_t i = 0; i < n && i < max_rows; i++) print_sequence(json_array_get(sequences, i), stream);
    if (n > max_rows) fprintf(stream, "... and %zu more\n", n - max_rows);
}

/* ---- as JSON ---- */

void top_print_json(const struct top_look *look, FILE *stream) {
    const json_t *live = look->live;
    double all = number(live, "arena_bytes"), held = number(live, "held_bytes"),
           idle = number(live, "idle_bytes");
    json_t *sequences = json_object_get(live, "sequences");
    json_t *object = json_pack(
        "{s:s, s:{s:I, s:I, s:I, s:I, s:f, s:f, s:f}, s:I, s:I, s:I, s:f, s:f, s:{s:I, s:I, s:f}, s:I, s:I, "
        "s:O}",
        "server", look->url, "kv", "arena_bytes", (json_int_t)all, "held_bytes", (json_int_t)held,
        "idle_bytes", (json_int_t)idle, "waste_bytes", (json_int_t)look->waste_bytes, "held_share",
        part_of(held, all), "unused_slots_share", look->slot_fragmentation, "unused_slabs_share",
        look->slab_fragmentation, "running", (json_int_t)number(live, "running"), "waiting",
        (json_int_t)number(live, "waiting"), "preemptions", (json_int_t)number(live, "preemptions"),
        "prefill_tokens_per_second", number(live, "prefill_tokens_per_second"), "decode_tokens_per_second",
        number(live, "decode_tokens_per_second"), "prefixes", "queried_tokens",
        (json_int_t)look->queried_tokens, "hit_tokens", (json_int_t)look->hit_tokens, "hit_share",
        part_of(look->hit_tokens, look->queried_tokens), "demoted_blocks", (json_int_t)look->n_demotions,
        "evicted_blocks", (json_int_t)look->n_evictions, "sequences",
        json_is_array(sequences) ? sequences : json_null());
    if (object != NULL) json_dumpf(object, stream, JSON_COMPACT);
    fputc('\n', stream);
    json_decref(object);
}
