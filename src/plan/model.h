/* A model as the planner sees it: its shape in numbers, wherever they come from (catalog, config.json, GGUF),
 * and what follows from them. Counts are doubles where they are summed: exact up to 2^53. 0 means not there
 * or not known, unless said otherwise. */
#ifndef CABINET_PLAN_MODEL_H
#define CABINET_PLAN_MODEL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

/* code (one letter a layer, as in catalog/models.json), name, what it is */
#define PLAN_LAYER_LIST(X)                                                                                   \
    X('F', full, "attention over everything")                                                                \
    X('S', window, "attention over the last tokens")                                                         \
    X('C', chunk, "attention within a chunk: holds at most one")                                             \
    X('M', mla, "multi-head latent attention")                                                               \
    X('V', compressed_latent, "a latent per group of tokens, and a window")                                  \
    X('H', attention_mamba2, "attention and Mamba-2 side by side")                                           \
    X('1', mamba1, "Mamba: constant state")                                                                  \
    X('2', mamba2, "Mamba-2: constant state")                                                                \
    X('D', gated_deltanet, "gated delta rule: constant state")                                               \
    X('K', kda, "Kimi delta attention: constant state")                                                      \
    X('L', lightning, "lightning attention: constant state")                                                 \
    X('7', rwkv7, "RWKV-7: constant state")                                                                  \
    X('E', moe_only, "experts alone")                                                                        \
    X('-', ffn_only, "a feed-forward network alone")

enum { PLAN_MAX_LAYERS = 512, PLAN_MAX_KV_PARTS = 12, PLAN_NAME_LENGTH = 96, PLAN_SOURCE_LENGTH = 512 };

/* Rows of one kind in the cache: n_layers x n_rows x (k_dim + v_dim) elements for each `tokens_per_entry`
 * tokens, of the last `window` tokens (0: of all). */
struct plan_kv_part {
    uint32_t n_layers;
    uint32_t n_rows;           /* KV heads; 1 for latents and index keys */
    uint32_t k_dim, v_dim;     /* v_dim 0: nothing but the one row (a latent) */
    uint32_t tokens_per_entry; /* 1, or the ratio of a compressed latent */
    uint32_t window;
    uint32_t selected; /* a step reads at most this many entries of a layer (0: all): sparse attention */
    bool is_split;     /* rows are heads that tensor parallelism divides; else every rank holds all */
    bool is_index;     /* keys by which sparse attention selects; read whole */
};

struct plan_experts {
    uint32_t n, n_per_token, n_shared, n_layers; /* n_layers with experts; n 0: a dense model */
    uint32_t first_layer, layer_step;
    uint32_t width, n_ff,
        n_ff_shared;   /* rows' width in, each routed expert's FFN, the shared ones' together */
    double parameters; /* of one routed expert */
};

/* What recurrent layers keep for each sequence, whatever its length. */
struct plan_state {
    uint32_t n_layers, d_inner, d_state, dt_rank, d_conv, n_heads, head_dim, n_groups;
    double elements, conv_elements; /* of one layer: of the recurrence, of the convolution */
};

struct plan_model {
    char name[PLAN_NAME_LENGTH], id[PLAN_NAME_LENGTH]; /* id: on Hugging Face, or the file's name */
    char family[PLAN_NAME_LENGTH], source[PLAN_SOURCE_LENGTH], notes[PLAN_SOURCE_LENGTH];
    char assumed[256]; /* what stands in for missing fields; a plan says so */
    /* Shape. layer_codes has one letter a layer. */
    char layer_codes[PLAN_MAX_LAYERS + 1];
    uint32_t n_layers, d_model, n_heads, head_dim, v_head_dim, n_vocab, n_ff, n_context;
    uint32_t n_kv_heads_full, head_dim_full, n_kv_heads_window, window;
    uint32_t kv_lora_rank, q_lora_rank, qk_rope_head_dim, qk_nope_head_dim; /* MLA */
    uint32_t index_dim, n_index_layers, n_selected;                         /* sparse attention */
    uint16_t compress_ratios[PLAN_MAX_LAYERS];                              /* of V layers; 0: window only */
    bool is_tied, is_gated; /* one matrix for embedding and output; FFN of three matrices */
    struct plan_experts experts;
    struct plan_state state;
    /* Parameters: all, as published, the embedding table's, and those that a step of one token reads (without
     * an untied embedding's table, with the experts of one token). */
    double parameters, parameters_published, parameters_embedding, parameters_read, parameters_active;
    bool parameters_are_computed; /* from the shape; else from the source */
    /* Of a file with weights: their bytes, those that a step of one token reads, those of routed experts. */
    double file_bytes, file_read_bytes, file_expert_bytes;
    /* Derived by plan_model_derive. */
    uint32_t n_kv_parts;
    struct plan_kv_part kv_parts[PLAN_MAX_KV_PARTS];
};

/* Fills what follows from the shape: kv_parts, parameters that the source did not give. INVALID names the
 * field that is missing or absurd. */
int plan_model_derive(struct plan_model *model);

#endif
