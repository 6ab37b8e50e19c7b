/* A transformer's weights, bound to a file's tensors by name and repacked for the matrix kernels. */
#ifndef CABINET_MODEL_WEIGHTS_H
#define CABINET_MODEL_WEIGHTS_H

#include "base/team.h"
#include "kernel/panel.h"
#include "model/description.h"
#include "model/weight_cache.h"

/* NULL vectors are absent. All vectors are f32. */
struct layer_weights {
    const float *attn_norm;      /* (n_embd); likewise attn_post_norm, ffn_norm, ffn_post_norm */
    struct panel_matrix q, k, v; /* (heads * head_dim, n_embd) */
    const float *q_bias, *k_bias, *v_bias;
    const float *q_norm, *k_norm;    /* (head_dim) or (heads * head_dim), as qk_norm says */
    struct panel_matrix attn_output; /* (n_embd, n_heads * head_dim) */
    const float *attn_output_bias;
    const float *attn_post_norm, *ffn_norm, *ffn_post_norm;
    struct panel_matrix gate, up; /* (n_ff, n_embd) */
    struct panel_matrix down;     /* (n_embd, n_ff) */
};

struct weights {
    struct layer_weights *layers; /* (n_layers) */
    const struct gguf_tensor
        *embedding; /* (n_vocab, n_embd) rows as the file stores them; lives with the file */
    const float *output_norm;
    struct panel_matrix
        output; /* (n_vocab, n_embd); the embedding again when the file has no output.weight */
    bool is_tied;
    /* (n_dims / 2 of ropes[0]) divisors of its frequencies, or NULL: for any run, or one list for runs whose
     * context is beyond the original one and another for the others. */
    const float *rope_factors, *rope_factors_long, *rope_factors_short;

    uint64_t panel_bytes;   /* all repacked matrices: what one step reads of them */
    void *panels, *vectors; /* storage */
    size_t panels_mapped, vectors_bytes;
    enum weight_cache_result cached; /* HIT: the panels are a cache file's */
};

/* Finds, checks and repacks every tensor that the description asks for, on the team, or takes the panels that
 * an earlier run left in `cache` (NULL: none); what the cache cannot do is no failure. CORRUPT names a tensor
 * that is missing or misshapen; NO_MEMORY. The file stays open as long as the weights. */
int weights_open(struct weights *weights, const struct gguf *file, const struct description *description,
                 const struct weight_cache *cache, struct team *team);
/* The same without the weights' numbers, whose memory stays untouched: for who wants to know what a step
 * would cost (cost.h). */
int weights_open_shapes(struct weights *weights, const struct gguf *file,
                        const struct description *description);
void weights_close(struct weights *weights);

#endif
