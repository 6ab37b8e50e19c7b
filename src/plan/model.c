#include "plan/model.h"

#include <string.h>

#include "plan/geometry.h"

static struct plan_kv_part *add_part(struct plan_model *model, struct plan_kv_part part) {
    if (part.n_layers == 0 || part.k_dim == 0) return NULL;
    ASSERT(model->n_kv_parts < PLAN_MAX_KV_PARTS);
    if (part.tokens_per_entry == 0) part.tokens_per_entry = 1;
    model->kv_parts[model->n_kv_parts] = part;
    return &model->kv_parts[model->n_kv_parts++];
}

static void add_index(struct plan_model *model, uint32_t n_layers, uint32_t tokens_per_entry) {
    add_part(model, (struct plan_kv_part){.n_layers = n_layers,
                                          .n_rows = 1,
                                          .k_dim = model->index_dim,
                                          .tokens_per_entry = tokens_per_entry,
                                          .is_index = true});
}

/* Layers of `codes` with heads of their own; those with an index read a selection of what they hold. */
static void add_full(struct plan_model *model) {
    uint32_t n = plan_model_count(model, "FH"), n_selecting = model->n_index_layers;
    uint32_t v_dim = model->head_dim_full == model->head_dim ? model->v_head_dim : model->head_dim_full;
    struct plan_kv_part part = {.n_layers = n,
                                .n_rows = model->n_kv_heads_full,
                                .k_dim = model->head_dim_full,
                                .v_dim = v_dim,
                                .is_split = true};
    if (n == 0) return;
    if (n_selecting > n) n_selecting = n;
    part.n_layers = n - n_selecting;
    add_part(model, part);
    part.n_layers = n_selecting;
    part.selected = model->n_selected;
    add_part(model, part);
    add_index(model, n_selecting, 1);
}

static void add_window(struct plan_model *model) {
    add_part(model, (struct plan_kv_part){.n_layers = plan_model_count(model, "SC"),
                                          .n_rows = model->n_kv_heads_window,
                                          .k_dim = model->head_dim,
                                          .v_dim = model->v_head_dim,
                                          .window = model->window,
                                          .is_split = true});
}

/* DeepSeek-V2: the latent and the rope part of the key, for all heads together (arXiv 2405.04434, eq. 9-13).
 */
static void add_mla(struct plan_model *model) {
    uint32_t n = plan_model_count(model, "M");
    if (n == 0) return;
    add_part(model, (struct plan_kv_part){.n_layers = n,
                                          .n_rows = 1,
                                          .k_dim = model->kv_lora_rank + model->qk_rope_head_dim,
                                          .selected = model->n_selected});
    add_index(model, model->n_index_layers < n ? model->n_index_layers : n, 1);
}

static uint32_t n_with_ratio(const struct plan_model *model, uint32_t ratio) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < model->n_layers; i++)
        n += model->layer_codes[i] == 'V' && model->compress_ratios[i] == ratio;
    return n;
}

/* One row of head_dim, K and V both, for each `ratio` tokens, and the last tokens uncompressed. The layers of
 * the lowest ratio select. */
static void add_compressed(struct plan_model *model) {
    uint32_t n = plan_model_count(model, "V"), last = 0;
    if (n == 0) return;
    for (uint32_t found = 1; found > 0;) {
        found = 0;
        for (uint32_t i = 0; i < model->n_layers; i++) {
            uint32_t ratio = model->compress_ratios[i];
            if (ratio > last && (found == 0 || ratio < found)) found = ratio;
        }
        if (found == 0 || model->n_kv_parts + 3 > PLAN_MAX_KV_PARTS) break;
        struct plan_kv_part part = {.n_layers = n_with_ratio(model, found),
                                    .n_rows = 1,
                                    .k_dim = model->head_dim,
                                    .tokens_per_entry = found};
        if (last == 0 && model->index_dim > 0) {
            part.selected = model->n_selected;
            add_index(model, part.n_layers, found);
        }
        add_part(model, part);
        last = found;
    }
    add_part(model, (struct plan_kv_part){
                        .n_layers = n, .n_rows = 1, .k_dim = model->head_dim, .window = model->window});
}

static int check_shape(const struct plan_model *model) {
    const struct {
        const char *codes, *field;
        uint32_t value;
    } needs[] = {
        {"FHSC", "the number of query heads", model->n_heads},
        {"FH", "the number of KV heads", model->n_kv_heads_full},
        {"FH", "the head size", model->head_dim_full},
        {"SC", "the number of KV heads", model->n_kv_heads_window},
        {"SCV", "the window", model->window},
        {"SCV", "the head size", model->head_dim},
        {"M", "kv_lora_rank", model->kv_lora_rank},
        {"12DKL7H", "the size of its state", (uint32_t)(model->state.elements > 0)},
        {"12DKL7H", "the number of layers with state", model->state.n_layers},
        {"E", "its experts", model->experts.n},
        {"FSCMVH12DKL7E-", "the width (hidden_size)", model->d_model},
        {"FSCMVH12DKL7E-", "the vocabulary's size", model->n_vocab},
    };
    if (model->n_layers == 0 || model->n_layers > PLAN_MAX_LAYERS)
        return ERR(INVALID, "%s: %u layers, 1 to %d can be planned", model->name, model->n_layers,
                   PLAN_MAX_LAYERS);
    if (strlen(model->layer_codes) != model->n_layers)
        return ERR(INVALID, "%s: kinds are given for %zu layers of %u", model->name,
                   strlen(model->layer_codes), model->n_layers);
    for (size_t i = 0; i < sizeof needs / sizeof *needs; i++)
        if (needs[i].value == 0 && plan_model_count(model, needs[i].codes) > 0)
            return ERR(INVALID, "%s: %s is not given", model->name, needs[i].field);
    if (model->n_kv_heads_full > 0 && model->n_heads % model->n_kv_heads_full != 0)
        return ERR(INVALID, "%s: %u query heads do not divide over %u KV heads", model->name, model->n_heads,
                   model->n_kv_heads_full);
    if (model->experts.n > 0 &&
        (model->experts.n_per_token == 0 || model->experts.n_per_token > model->experts.n))
        return ERR(INVALID, "%s: %u of %u experts a token cannot be", model->name, model->experts.n_per_token,
                   model->experts.n);
    return 0;
}

/* A source may state some counts and leave others to the shape: together they must be possible. */
static int check_parameters(const struct plan_model *model) {
    if (model->parameters_embedding > model->parameters)
        return ERR(INVALID, "%s: the embedding alone has more parameters than the model", model->name);
    if (model->parameters_read > model->parameters)
        return ERR(INVALID, "%s: a token reads more parameters than the model has", model->name);
    if (plan_model_expert_parameters(model) >= model->parameters)
        return ERR(INVALID, "%s: its experts alone have more parameters than the model", model->name);
    if (plan_model_dense_read_parameters(model) <= 0)
        return ERR(INVALID, "%s: its experts have more parameters than a token reads", model->name);
    if (plan_model_dense_read_parameters(model) < model->parameters_embedding)
        return ERR(INVALID, "%s: a token reads less than the output matrix", model->name);
    return 0;
}

int plan_model_derive(struct plan_model *model) {
    TRY(check_shape(model));
    model->n_kv_parts = 0;
    add_full(model);
    add_window(model);
    add_mla(model);
    add_compressed(model);
    if (model->parameters_embedding == 0)
        model->parameters_embedding = (double)model->n_vocab * model->d_model;
    if (model->parameters == 0) {
        TRY(plan_model_count_parameters(model, &model->parameters));
        model->parameters_are_computed = true;
    }
    double active =
        model->parameters - plan_model_expert_parameters(model) + plan_model_routed_parameters(model);
    if (model->parameters_read == 0)
        model->parameters_read = active - (model->is_tied ? 0 : model->parameters_embedding);
    if (model->parameters_active == 0) model->parameters_active = active;
    return check_parameters(model);
}
