#include "model/description_read.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "model/quote.h"

/* Bounds far above any real model, so that products of sizes cannot overflow. */
enum { MAX_WIDTH = 1 << 20, MAX_HEADS = 4096, MAX_CONTEXT = 1 << 27 };
/* Queries and FFN may be so many times as wide as the embedding. The workspace grows with the widths, while a
 * file needs only embedding x width numbers to have them: without a bound a small file could ask for any
 * memory. The widest of known models is an FFN of 8 times the embedding. */
enum { MAX_WIDENING = 32 };

enum { KEY_LENGTH = 128 };

static const char *key_of(const struct description_reader *reader, const char *key, char buffer[KEY_LENGTH]) {
    snprintf(buffer, KEY_LENGTH, "%s.%s", reader->name, key);
    return buffer;
}

/* A number that some files list once for each layer: here they must all be the same. */
static int read_u32(const struct gguf *file, const char *key, uint32_t *value) {
    const struct gguf_value *list = gguf_find(file, key);
    if (list == NULL || list->type != GGUF_ARRAY) return gguf_get_u32(file, key, value);
    bool is_integer = list->element_type <= GGUF_I32 || list->element_type >= GGUF_U64;
    if (!is_integer || list->element_type == GGUF_F64 || list->length == 0)
        return ERR(CORRUPT, "metadata %s is no list of whole numbers", key);
    for (uint64_t i = 0; i < list->length; i++)
        if (gguf_array_int(list, i) != gguf_array_int(list, 0))
            return ERR(UNSUPPORTED, "metadata %s differs from layer to layer, which does not run here", key);
    int64_t number = gguf_array_int(list, 0);
    if (number < 0 || number > UINT32_MAX) return ERR(CORRUPT, "metadata %s does not fit 32 bits", key);
    *value = (uint32_t)number;
    return 1;
}

/* A size under "<name>.<key>". With default_value 0 it must be there. */
static int read_size(const struct description_reader *reader, const char *key, uint32_t default_value,
                     uint32_t max, uint32_t *value) {
    char full_key[KEY_LENGTH];
    key_of(reader, key, full_key);
    *value = default_value;
    int found = read_u32(reader->file, full_key, value);
    TRY(found);
    if (found == 0 && default_value == 0) return ERR(CORRUPT, "metadata %s is missing", full_key);
    if (*value == 0 || *value > max)
        return ERR(CORRUPT, "metadata %s = %u is outside 1 .. %u", full_key, *value, max);
    return 0;
}

int description_read_float(const struct description_reader *reader, const char *key, float default_value,
                           float *value) {
    char full_key[KEY_LENGTH];
    key_of(reader, key, full_key);
    *value = default_value;
    TRY(gguf_get_f32(reader->file, full_key, value));
    if (!(*value > 0) || !isfinite(*value))
        return ERR(CORRUPT, "metadata %s = %g is no positive number", full_key, (double)*value);
    return 0;
}

static bool is(struct gguf_string string, const char *text) {
    return string.length == strlen(text) && memcmp(string.bytes, text, string.length) == 0;
}

static int read_rope_scaling(const struct description_reader *reader, struct description *description) {
    struct rope_description *rope = &description->ropes[0];
    char key[KEY_LENGTH];
    struct gguf_string type;
    int found = gguf_get_string(reader->file, key_of(reader, "rope.scaling.type", key), &type);
    TRY(found);
    rope->factor = 1;
    TRY(read_size(reader, "rope.scaling.original_context_length", description->n_context, MAX_CONTEXT,
                  &rope->original_context));
    TRY(description_read_float(reader, "rope.scaling.attn_factor", 1, &rope->attention_factor));
    /* longrope is two lists of factors among the tensors (weights.h) */
    if (found == 0 || is(type, "none") || is(type, "longrope")) return 0;
    if (is(type, "linear"))
        rope->scaling = ROPE_SCALING_LINEAR;
    else if (is(type, "yarn"))
        rope->scaling = ROPE_SCALING_YARN;
    else
        return ERR(UNSUPPORTED, "RoPE scaling '%s' does not run here (none, linear, yarn and longrope do)",
                   QUOTE(type));
    TRY(description_read_float(reader, "rope.scaling.factor", 1, &rope->factor));
    TRY(description_read_float(reader, "rope.scaling.yarn_beta_fast", 32, &rope->beta_fast));
    return description_read_float(reader, "rope.scaling.yarn_beta_slow", 1, &rope->beta_slow);
}

static int check_widths(const struct description *d) {
    const uint64_t q_width = (uint64_t)d->n_heads * d->head_dim, widest = (uint64_t)d->n_embd * MAX_WIDENING;
    if (d->n_ff > widest)
        return ERR(UNSUPPORTED,
                   "an FFN of %u numbers on an embedding of %u does not run here (%d times as many do)",
                   d->n_ff, d->n_embd, MAX_WIDENING);
    if (q_width > widest)
        return ERR(UNSUPPORTED,
                   "%u query heads of %u numbers on an embedding of %u do not run here (%d times as many "
                   "numbers do)",
                   d->n_heads, d->head_dim, d->n_embd, MAX_WIDENING);
    return 0;
}

static int check_heads(const struct description_reader *reader, const struct description *d) {
    uint32_t value_length;
    TRY(read_size(reader, "attention.value_length", d->head_dim, MAX_WIDTH, &value_length));
    if (value_length != d->head_dim)
        return ERR(UNSUPPORTED, "keys of %u numbers and values of %u do not run here (equal sizes do)",
                   d->head_dim, value_length);
    if (d->n_heads % d->n_kv_heads != 0)
        return ERR(CORRUPT, "%u query heads do not divide among %u KV heads", d->n_heads, d->n_kv_heads);
    if (d->head_dim % 2 != 0 || d->head_dim > 1024)
        return ERR(UNSUPPORTED, "a head size of %u does not run here (even sizes up to 1024 do)",
                   d->head_dim);
    if (d->ropes[0].n_dims % 2 != 0 || d->ropes[0].n_dims > d->head_dim)
        return ERR(CORRUPT, "RoPE over %u numbers does not fit heads of %u", d->ropes[0].n_dims, d->head_dim);
    return 0;
}

/* The vocabulary's size: what the tokenizer lists, which weights.c holds against the embedding. */
static int read_vocabulary_size(const struct gguf *file, struct description *d) {
    const struct gguf_value *tokens = gguf_find(file, "tokenizer.ggml.tokens");
    if (tokens == NULL || tokens->type != GGUF_ARRAY || tokens->element_type != GGUF_STRING)
        return ERR(CORRUPT, "the file has no vocabulary (tokenizer.ggml.tokens)");
    if (tokens->length == 0 || tokens->length > MAX_WIDTH * 4)
        return ERR(CORRUPT, "a vocabulary of %llu tokens cannot be right",
                   (unsigned long long)tokens->length);
    d->n_vocab = (uint32_t)tokens->length;
    return 0;
}

/* The plain transformer, where the metadata does not say otherwise. */
static void set_defaults(struct description *d) {
    d->has_pre_norms = true;
    d->activation = ACTIVATION_SILU;
    d->embedding_scale = d->residual_scale = d->logit_scale = 1;
    d->attention_scale = 1 / sqrtf((float)d->head_dim);
    d->n_ropes = 1;
}

int description_read_common(const struct description_reader *reader, struct description *d) {
    TRY(read_size(reader, "block_count", 0, KV_MAX_LAYERS, &d->n_layers));
    TRY(read_size(reader, "embedding_length", 0, MAX_WIDTH, &d->n_embd));
    TRY(read_size(reader, "feed_forward_length", 0, MAX_WIDTH, &d->n_ff));
    TRY(read_size(reader, "context_length", 0, MAX_CONTEXT, &d->n_context));
    TRY(read_size(reader, "attention.head_count", 0, MAX_HEADS, &d->n_heads));
    TRY(read_size(reader, "attention.head_count_kv", d->n_heads, MAX_HEADS, &d->n_kv_heads));
    uint32_t even_share = d->n_embd / d->n_heads;
    TRY(read_size(reader, "attention.key_length", even_share ? even_share : 1, MAX_WIDTH, &d->head_dim));
    TRY(read_size(reader, "rope.dimension_count", d->head_dim, MAX_WIDTH, &d->ropes[0].n_dims));
    TRY(description_read_float(reader, "rope.freq_base", 10000, &d->ropes[0].base));
    TRY(description_read_float(reader, "attention.layer_norm_rms_epsilon", 1e-5f, &d->rms_epsilon));
    TRY(check_heads(reader, d));
    TRY(check_widths(d));
    TRY(read_rope_scaling(reader, d));
    set_defaults(d);
    return read_vocabulary_size(reader->file, d);
}

int description_read_window(const struct description_reader *reader, const struct description *d,
                            uint32_t default_window, uint32_t *window) {
    char key[KEY_LENGTH];
    *window = default_window;
    int found = gguf_get_u32(reader->file, key_of(reader, "attention.sliding_window", key), window);
    TRY(found);
    if (*window >= d->n_context) *window = 0;
    return found;
}

int description_set_windows(const struct description_reader *reader, struct description *d, uint32_t window,
                            uint32_t default_period, int rope) {
    char key[KEY_LENGTH];
    uint32_t period = default_period;
    const struct gguf_value *pattern =
        gguf_find(reader->file, key_of(reader, "attention.sliding_window_pattern", key));
    bool is_list = pattern != NULL && pattern->type == GGUF_ARRAY;
    if (is_list && (pattern->element_type != GGUF_BOOL || pattern->length != d->n_layers))
        return ERR(CORRUPT, "metadata %s is no list of %u booleans", key, d->n_layers);
    if (!is_list) TRY(gguf_get_u32(reader->file, key, &period));
    if (period == 0) return ERR(CORRUPT, "metadata %s is 0", key);
    for (uint32_t i = 0; i < d->n_layers; i++) {
        bool has_window = is_list ? gguf_array_int(pattern, i) != 0 : period == 1 || i % period != period - 1;
        if (has_window) d->layers[i] = (struct layer_description){.window = window, .rope = rope};
    }
    return 0;
}
