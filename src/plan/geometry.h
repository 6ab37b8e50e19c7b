/* What a model's shape costs per token, in elements and operations: no bytes, no machine. */
#ifndef CABINET_PLAN_GEOMETRY_H
#define CABINET_PLAN_GEOMETRY_H

#include "plan/model.h"

/* Cache elements of one sequence: growing x T + windowed x min(T, window) + state. */
struct plan_elements {
    double growing, windowed; /* per token */
    double state;             /* per sequence, convolution's included */
};
struct plan_elements plan_model_elements(const struct plan_model *model);
/* Entries (tokens, or groups of them) of a part that a sequence of `context` tokens holds, and reads per
 * step. */
double plan_part_held(const struct plan_kv_part *part, double context);
double plan_part_read(const struct plan_kv_part *part, double context);
/* The same of the first `shared` tokens, which all users have in common: what a window has passed is
 * nobody's. Sparse attention selects for each user, so that nothing selected counts as read for all. */
double plan_part_shared_held(const struct plan_kv_part *part, double context, double shared);
double plan_part_shared_read(const struct plan_kv_part *part, double context, double shared);

/* Layers whose code is in `codes`. */
uint32_t plan_model_count(const struct plan_model *model, const char *codes);
/* Layers as a mixer and an FFN together; where a model lists them one by one (codes E and -), each is a half.
 */
double plan_model_whole_layers(const struct plan_model *model);
/* Parameters of routed experts, all and those of one token; of everything else that a step reads. */
double plan_model_expert_parameters(const struct plan_model *model);
double plan_model_routed_parameters(const struct plan_model *model);
double plan_model_dense_read_parameters(const struct plan_model *model);
/* From the shape alone: embeddings, mixers, FFNs, norms; UNSUPPORTED for kinds of layers without a formula.
 */
int plan_model_count_parameters(const struct plan_model *model, double *parameters);

/* Operations (a multiply and add are two) of one token through all matrices, output's included. */
double plan_model_matrix_flops(const struct plan_model *model);
/* Of one token's attention over a context of that many tokens, all layers: decode (MLA absorbed, so over the
 * latents), and recurrences. */
double plan_model_attention_flops(const struct plan_model *model, double context);
/* Of the attention of `n` new tokens behind `before` others: causal, windows respected, MLA expanded. */
double plan_model_prefill_attention_flops(const struct plan_model *model, double n, double before);

#endif
