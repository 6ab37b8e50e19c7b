#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "server/ask_form.h"
#include "server/json_text.h"

enum { STOP_BYTES_MAX = 256, BIASES_MAX = 1024 };

/* A token id spelled as an object's key: digits, no leading zero, or -1. */
static int64_t id_of_key(const char *key, uint32_t n_vocab) {
    int64_t id = 0;
    if (key[0] == '\0' || (key[0] == '0' && key[1] != '\0')) return -1;
    for (; *key != '\0'; key++) {
        if (*key < '0' || *key > '9') return -1;
        id = id * 10 + (*key - '0');
        if (id >= n_vocab) return -1;
    }
    return id;
}

static int read_biases(struct ask_reading *reading) {
    struct ask *ask = reading->ask;
    json_t *object, *value;
    const char *key;
    int found = field_object(reading->body, "logit_bias", &object, &reading->top);
    if (found <= 0) return found;
    size_t n = json_object_size(object);
    if (n > BIASES_MAX)
        return place_refuse(&reading->top, "logit_bias", "has %zu entries; %d are the limit", n, BIASES_MAX);
    ask->biases = mem_alloc(n, sizeof *ask->biases);
    if (ask->biases == NULL) return place_no_memory(&reading->top);
    size_t i = 0;
    json_object_foreach(object, key, value) {
        int64_t id = id_of_key(key, reading->limits->n_vocab);
        if (id < 0)
            return place_refuse(&reading->top, "logit_bias", "has a key that is no token id between 0 and %u",
                                reading->limits->n_vocab - 1);
        double bias = json_number_value(value);
        if (!json_is_number(value) || bias < -100 || bias > 100)
            return place_refuse(&reading->top, "logit_bias", "must have numbers between -100 and 100");
        ask->biases[i++] = (struct logit_bias){(int32_t)id, (float)bias};
    }
    ask->sampling.biases = ask->biases;
    ask->sampling.n_biases = n;
    return 0;
}

static int read_sampling(struct ask_reading *reading) {
    struct sampler_opts *sampling = &reading->ask->sampling;
    const json_t *body = reading->body;
    const struct place *top = &reading->top;
    int64_t integer = 0;
    TRY(field_float(body, "temperature", 0, 2, &sampling->temperature, top));
    TRY(field_float(body, "top_p", 0, 1, &sampling->top_p, top));
    TRY(field_float(body, "min_p", 0, 1, &sampling->min_p, top));
    TRY(field_float(body, "presence_penalty", -2, 2, &sampling->presence_penalty, top));
    TRY(field_float(body, "frequency_penalty", -2, 2, &sampling->frequency_penalty, top));
    TRY(field_float(body, "repetition_penalty", 0.01, 100, &sampling->repeat_penalty, top));
    int found = field_integer(body, "top_k", -1, INT32_MAX, &integer, top);
    if (found < 0) return found;
    /* -1 and 0 both keep all, as in vLLM */
    if (found > 0) sampling->top_k = integer < 0 ? 0 : (uint32_t)integer;
    found = field_integer(body, "seed", INT64_MIN, INT64_MAX, &integer, top);
    if (found < 0) return found;
    reading->ask->has_seed = found > 0;
    if (found > 0) sampling->seed = (uint64_t)integer;
    return read_biases(reading);
}

int ask_read_cache_salt(const json_t *object, char **copy, const struct place *place) {
    const char *salt;
    int found = field_string(object, "cache_salt", &salt, place);
    if (found <= 0) return found;
    size_t length = strlen(salt);
    if (length == 0 || length > CACHE_SALT_BYTES)
        return place_refuse(place, "cache_salt", "has %zu bytes; 1 to %d are possible", length,
                            CACHE_SALT_BYTES);
    return place_copy(place, salt, copy);
}

int ask_read_options(struct ask_reading *reading) {
    struct ask *ask = reading->ask;
    const struct place *top = &reading->top;
    const char *model = "";
    int64_t priority = 0;
    TRY(field_string(reading->body, "model", &model, top));
    TRY(place_copy(top, model, &ask->model));
    TRY(field_bool(reading->body, "stream", &ask->is_streamed, top));
    TRY(field_bool(reading->body, "ignore_eos", &ask->ignores_end, top));
    TRY(field_uint32(reading->body, "min_tokens", 0, INT32_MAX, &ask->min_tokens, top));
    TRY(field_integer(reading->body, "priority", INT32_MIN, INT32_MAX, &priority, top));
    ask->priority = (int32_t)priority;
    TRY(ask_read_cache_salt(reading->body, &ask->cache_salt, top));
    return read_sampling(reading);
}

static int add_stop(struct ask_reading *reading, const char *name, const json_t *stop) {
    struct ask *ask = reading->ask;
    size_t length = json_string_length(stop);
    if (!json_is_string(stop))
        return place_refuse(&reading->top, name, "must be a string or an array of strings");
    if (length == 0 || length > STOP_BYTES_MAX)
        return place_refuse(&reading->top, name, "has a string of %zu bytes; 1 to %d are possible", length,
                            STOP_BYTES_MAX);
    TRY(place_copy(&reading->top, json_string_value(stop), &ask->stops[ask->n_stops]));
    ask->n_stops++;
    return 0;
}

int ask_read_stops(struct ask_reading *reading, const char *name) {
    json_t *stops;
    if (!field_any(reading->body, name, &stops)) return 0;
    size_t n = json_is_array(stops) ? json_array_size(stops) : 1;
    if (n > reading->limits->max_stops)
        return place_refuse(&reading->top, name, "has %zu strings; %u are the limit", n,
                            reading->limits->max_stops);
    reading->ask->stops = mem_alloc(n, sizeof *reading->ask->stops);
    if (reading->ask->stops == NULL) return place_no_memory(&reading->top);
    for (size_t i = 0; i < n; i++)
        TRY(add_stop(reading, name, json_is_array(stops) ? json_array_get(stops, i) : stops));
    return 0;
}

static int read_stream_options(struct ask_reading *reading) {
    json_t *options;
    int found = field_object(reading->body, "stream_options", &options, &reading->top);
    if (found <= 0) return found;
    if (!reading->ask->is_streamed)
        return place_refuse(&reading->top, "stream_options", "needs stream to be true");
    struct place within = place_within(&reading->top, "stream_options", -1);
    TRY(field_bool(options, "include_usage", &reading->ask->includes_usage, &within));
    return 0;
}

int ask_read_choices(struct ask_reading *reading) {
    struct ask *ask = reading->ask;
    const struct place *top = &reading->top;
    const char *user = "";
    TRY(field_uint32(reading->body, "n", 1, reading->limits->max_choices, &ask->n, top));
    ask->best_of = ask->n;
    TRY(field_uint32(reading->body, "best_of", 1, reading->limits->max_choices, &ask->best_of, top));
    TRY(field_string(reading->body, "user", &user, top));
    TRY(place_copy(top, user, &ask->user));
    TRY(ask_read_stops(reading, "stop"));
    return read_stream_options(reading);
}

static int read_schema(struct ask_reading *reading, const json_t *object, const struct place *place) {
    struct ask *ask = reading->ask;
    json_t *schema;
    const char *name = "";
    TRY(field_string(object, "name", &name, place));
    TRY(field_required_object(object, "schema", &schema, place));
    TRY(place_copy(place, name, &ask->schema_name));
    struct text text = {0};
    json_text_value(&text, schema);
    if (text.failed) {
        text_free(&text);
        return place_no_memory(place);
    }
    ask->schema = text.bytes;
    ask->format = ASK_JSON_SCHEMA;
    return 0;
}

int ask_read_format(struct ask_reading *reading, const json_t *format, const char *schema_key,
                    const struct place *place) {
    const char *type;
    json_t *object;
    TRY(field_required_string(format, "type", &type, place));
    if (strcmp(type, "text") == 0) return 0;
    if (strcmp(type, "json_object") == 0) {
        reading->ask->format = ASK_JSON_OBJECT;
        return 0;
    }
    if (strcmp(type, "json_schema") != 0)
        return place_refuse(place, "type", "must be \"text\", \"json_object\" or \"json_schema\"");
    if (schema_key == NULL) return read_schema(reading, format, place);
    TRY(field_required_object(format, schema_key, &object, place));
    struct place within = place_within(place, schema_key, -1);
    return read_schema(reading, object, &within);
}

int ask_refuse_field(struct ask_reading *reading, const char *name, const char *reason) {
    json_t *value;
    return field_any(reading->body, name, &value) ? place_refuse(&reading->top, name, "%s", reason) : 0;
}
