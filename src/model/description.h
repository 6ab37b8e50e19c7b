/* What a transformer is made of, as data: an architecture reads it from a file's metadata, the one forward
 * pass of transformer.c follows it. */
#ifndef CABINET_MODEL_DESCRIPTION_H
#define CABINET_MODEL_DESCRIPTION_H

#include <stdbool.h>
#include <stdint.h>

#include "codec/kv_layout.h"
#include "model/gguf.h"

enum rope_scaling { ROPE_SCALING_NONE, ROPE_SCALING_LINEAR, ROPE_SCALING_YARN };

struct rope_description {
    uint32_t n_dims;     /* leading numbers of a head that are rotated */
    bool is_interleaved; /* pairs are (2i, 2i + 1), as `llama` files are permuted; else (i, i + n_dims / 2) */
    float base;
    enum rope_scaling scaling;
    float factor;               /* of the scaling; 1 without */
    float attention_factor;     /* yarn: multiplies the magnitude; 1 without */
    uint32_t original_context;  /* yarn */
    float beta_fast, beta_slow; /* yarn: rotations at which interpolation begins and ends */
};

struct description {
    const char *architecture; /* the registered name */
    uint32_t n_layers, n_embd, n_heads, n_kv_heads, head_dim, n_ff, n_vocab, n_context;
    float rms_epsilon;
    bool has_qk_norm; /* RMS norm of each query and key head before RoPE */
    struct rope_description rope;
};

/* An architecture: how its metadata becomes a description. One file each, one line in ARCH_LIST. */
struct arch {
    const char *name; /* general.architecture */
    int (*configure)(const struct gguf *file, struct description *description);
};

#define ARCH_LIST(X) X(llama) X(qwen2) X(qwen3)

/* Reads the architecture's name and then its description. UNSUPPORTED names what does not run; CORRUPT what
 * contradicts itself. */
int description_read(const struct gguf *file, struct description *description);
/* "llama, qwen2, qwen3": for messages. */
const char *arch_names(void);

/* What every architecture shares: reads the sizes under the prefix "<name>.", with defaults where the format
 * has them, and checks that they fit each other. */
int description_read_common(const struct gguf *file, const char *name, struct description *description);

/* The cache's view: one group of full-attention layers, all stored with one codec. */
int description_kv_layout(const struct description *description, enum codec_id codec,
                          struct kv_layout *layout);

#endif
