#include "model/description.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "model/quote.h"

#define X(name) extern const struct arch arch_##name;
ARCH_LIST(X)
#undef X

static const struct arch *const archs[] = {
#define X(name) &arch_##name,
    ARCH_LIST(X)
#undef X
};

const char *arch_names(void) {
#define X(name) ", " #name
    static const char names[] = ARCH_LIST(X);
#undef X
    return names + 2;
}

int description_read(const struct gguf *file, struct description *description) {
    *description = (struct description){0};
    struct gguf_string name;
    int found = gguf_get_string(file, "general.architecture", &name);
    TRY(found);
    if (found == 0) return ERR(CORRUPT, "the file does not say general.architecture");
    for (size_t i = 0; i < sizeof archs / sizeof *archs; i++) {
        if (strlen(archs[i]->name) != name.length || memcmp(archs[i]->name, name.bytes, name.length) != 0)
            continue;
        description->architecture = archs[i]->name;
        return archs[i]->configure(file, description);
    }
    return ERR(UNSUPPORTED, "architecture '%s' does not run here; these do: %s", QUOTE(name), arch_names());
}

/* Bounds far above any real model, so that products of sizes cannot overflow. */
enum { MAX_WIDTH = 1 << 20, MAX_HEADS = 4096, MAX_CONTEXT = 1 << 27 };

struct reader {
    const struct gguf *file;
    const char *name;
};

/* A size under "<name>.<key>". With default_value 0 it must be there. */
static int read_size(const struct reader *reader, const char *key, uint32_t default_value, uint32_t max,
                     uint32_t *value) {
    char full_key[128];
    snprintf(full_key, sizeof full_key, "%s.%s", reader->name, key);
    *value = default_value;
    int found = gguf_get_u32(reader->file, full_key, value);
    TRY(found);
    if (found == 0 && default_value == 0) return ERR(CORRUPT, "metadata %s is missing", full_key);
    if (*value == 0 || *value > max)
        return ERR(CORRUPT, "metadata %s = %u is outside 1 .. %u", full_key, *value, max);
    return 0;
}

static int read_float(const struct reader *reader, const char *key, float default_value, float *value) {
    char full_key[128];
    snprintf(full_key, sizeof full_key, "%s.%s", reader->name, key);
    *value = default_value;
    TRY(gguf_get_f32(reader->file, full_key, value));
    if (!(*value > 0) || !isfinite(*value))
        return ERR(CORRUPT, "metadata %s = %g is no positive number", full_key, (double)*value);
    return 0;
}

static int read_rope_scaling(const struct reader *reader, struct description *description) {
    struct rope_description *rope = &description->rope;
    char key[128];
    snprintf(key, sizeof key, "%s.rope.scaling.type", reader->name);
    struct gguf_string type;
    int found = gguf_get_string(reader->file, key, &type);
    TRY(found);
    rope->factor = rope->attention_factor = 1;
    if (found == 0 || (type.length == 4 && memcmp(type.bytes, "none", 4) == 0)) return 0;
    if (type.length == 6 && memcmp(type.bytes, "linear", 6) == 0)
        rope->scaling = ROPE_SCALING_LINEAR;
    else if (type.length == 4 && memcmp(type.bytes, "yarn", 4) == 0)
        rope->scaling = ROPE_SCALING_YARN;
    else
        return ERR(UNSUPPORTED, "RoPE scaling '%s' does not run here (none, linear and yarn do)",
                   QUOTE(type));
    TRY(read_float(reader, "rope.scaling.factor", 1, &rope->factor));
    TRY(read_size(reader, "rope.scaling.original_context_length", description->n_context, MAX_CONTEXT,
                  &rope->original_context));
    TRY(read_float(reader, "rope.scaling.attn_factor", 1, &rope->attention_factor));
    TRY(read_float(reader, "rope.scaling.yarn_beta_fast", 32, &rope->beta_fast));
    return read_float(reader, "rope.scaling.yarn_beta_slow", 1, &rope->beta_slow);
}

static int check_heads(const struct reader *reader, const struct description *d) {
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
    if (d->rope.n_dims % 2 != 0 || d->rope.n_dims > d->head_dim)
        return ERR(CORRUPT, "RoPE over %u numbers does not fit heads of %u", d->rope.n_dims, d->head_dim);
    return 0;
}

/* The vocabulary's size: what the tokenizer lists, which bind.c holds against the embedding. */
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

int description_read_common(const struct gguf *file, const char *name, struct description *d) {
    struct reader reader = {file, name};
    TRY(read_size(&reader, "block_count", 0, KV_MAX_LAYERS, &d->n_layers));
    TRY(read_size(&reader, "embedding_length", 0, MAX_WIDTH, &d->n_embd));
    TRY(read_size(&reader, "feed_forward_length", 0, MAX_WIDTH, &d->n_ff));
    TRY(read_size(&reader, "context_length", 0, MAX_CONTEXT, &d->n_context));
    TRY(read_size(&reader, "attention.head_count", 0, MAX_HEADS, &d->n_heads));
    TRY(read_size(&reader, "attention.head_count_kv", d->n_heads, MAX_HEADS, &d->n_kv_heads));
    uint32_t even_share = d->n_embd / d->n_heads;
    TRY(read_size(&reader, "attention.key_length", even_share ? even_share : 1, MAX_WIDTH, &d->head_dim));
    TRY(read_size(&reader, "rope.dimension_count", d->head_dim, MAX_WIDTH, &d->rope.n_dims));
    TRY(read_float(&reader, "rope.freq_base", 10000, &d->rope.base));
    TRY(read_float(&reader, "attention.layer_norm_rms_epsilon", 1e-5f, &d->rms_epsilon));
    TRY(check_heads(&reader, d));
    TRY(read_rope_scaling(&reader, d));
    return read_vocabulary_size(file, d);
}

int description_kv_layout(const struct description *description, enum codec_id codec,
                          struct kv_layout *layout) {
    *layout = (struct kv_layout){0};
    int group = kv_layout_group(layout, 0);
    TRY(group);
    for (uint32_t i = 0; i < description->n_layers; i++)
        TRY(kv_layout_add(layout, (unsigned)group, description->n_kv_heads, description->head_dim, codec));
    return 0;
}
