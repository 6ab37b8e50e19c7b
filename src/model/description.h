/* What a transformer is made of, as data: an architecture reads it from a file's metadata, the one forward
 * pass of transformer.c follows it, cost.c counts it. */
#ifndef CABINET_MODEL_DESCRIPTION_H
#define CABINET_MODEL_DESCRIPTION_H

#include <stdbool.h>
#include <stdint.h>

#include "codec/kv_rules.h"
#include "model/gguf.h"

enum rope_scaling { ROPE_SCALING_NONE, ROPE_SCALING_LINEAR, ROPE_SCALING_YARN };

struct rope_description {
    uint32_t n_dims;     /* leading numbers of a head that are rotated */
    bool is_interleaved; /* pairs are (2i, 2i + 1), as `llama` files are permuted; else (i, i + n_dims / 2) */
    float base;
    enum rope_scaling scaling;
    float factor;               /* of the scaling; 1 without */
    float attention_factor;     /* multiplies the magnitude; 1 without */
    uint32_t original_context;  /* before any scaling: yarn's, and where a file's long factors begin */
    float beta_fast, beta_slow; /* yarn: rotations at which interpolation begins and ends */
};

enum activation { ACTIVATION_SILU, ACTIVATION_GELU };
/* RMS norm of queries and keys before RoPE: of each head, or of all heads of a token together. */
enum qk_norm { QK_NORM_NONE, QK_NORM_HEADS, QK_NORM_ROWS };

enum { DESCRIPTION_MAX_ROPES = 2, ROPE_ABSENT = -1 };

struct layer_description {
    uint32_t window; /* a token sees itself and the window - 1 before it; 0: all before it */
    int rope;        /* index into ropes, or ROPE_ABSENT */
};

struct description {
    const char *architecture; /* the registered name */
    uint32_t n_layers, n_embd, n_heads, n_kv_heads, head_dim, n_ff, n_vocab, n_context;
    float rms_epsilon;
    bool has_pre_norms;  /* of what enters attention and FFN */
    bool has_post_norms; /* of what they give, before it is added to the residual stream */
    enum qk_norm qk_norm;
    enum activation activation;
    float embedding_scale, residual_scale, logit_scale; /* factors; 1 without */
    float attention_scale;                              /* of scores */
    float attention_softcap, logit_softcap; /* x becomes softcap * tanh(x / softcap); 0: it stays as it is */
    uint32_t n_ropes;
    struct rope_description ropes[DESCRIPTION_MAX_ROPES];
    struct layer_description layers[KV_MAX_LAYERS];
};

/* An architecture: how its metadata becomes a description. One file each, one line in ARCH_LIST. */
struct arch {
    const char *name; /* general.architecture */
    int (*configure)(const struct gguf *file, struct description *description);
};

#define ARCH_LIST(X) X(llama) X(qwen2) X(qwen3) X(gemma2) X(gemma3) X(phi3) X(olmo2) X(granite) X(smollm3)

/* Reads the architecture's name and then its description. UNSUPPORTED names what does not run; CORRUPT what
 * contradicts itself. */
int description_read(const struct gguf *file, struct description *description);
/* "llama, qwen2, qwen3": for messages. */
const char *arch_names(void);

/* The cache's view: a group of layers for each window, all stored with one codec. */
int description_kv_layout(const struct description *description, const struct kv_rules *rules,
                          struct kv_layout *layout);

#endif
