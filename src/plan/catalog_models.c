/* Entries of catalog/models.json. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "plan/catalog_parts.h"
#include "plan/geometry.h"

#define MODEL struct plan_model
static const double MOST_PARAMETERS = 1e15;
enum { MOST_COUNT = 1 << 30 };

/* What the entry states beside the shape, to be held against what follows from it. */
struct stated {
    struct plan_model *model;
    struct plan_elements elements;
};

static const struct json_field model_fields[] = {
    JSON_TEXT("name", MODEL, name, true),
    JSON_TEXT("family", MODEL, family, false),
    JSON_TEXT("hf_id", MODEL, id, false),
    JSON_COUNT("layers", MODEL, n_layers, true, PLAN_MAX_LAYERS),
    JSON_COUNT("d_model", MODEL, d_model, true, MOST_COUNT),
    JSON_COUNT("n_heads", MODEL, n_heads, false, MOST_COUNT),
    JSON_COUNT("head_dim", MODEL, head_dim, false, MOST_COUNT),
    JSON_COUNT("v_head_dim", MODEL, v_head_dim, false, MOST_COUNT),
    JSON_OTHER("attention"),
    JSON_OTHER("state"),
    JSON_COUNT("ffn_size", MODEL, n_ff, false, MOST_COUNT),
    JSON_TRUTH("ffn_gated", MODEL, is_gated),
    JSON_OTHER("moe"),
    JSON_COUNT("vocab", MODEL, n_vocab, true, MOST_COUNT),
    JSON_TRUTH("tie_embeddings", MODEL, is_tied),
    JSON_COUNT("max_context", MODEL, n_context, false, MOST_COUNT),
    JSON_NUMBER("params_total", MODEL, parameters, true, 1, MOST_PARAMETERS),
    JSON_OTHER("params_total_kind"),
    JSON_NUMBER("params_total_published", MODEL, parameters_published, false, 1, MOST_PARAMETERS),
    JSON_NUMBER("params_active", MODEL, parameters_active, false, 1, MOST_PARAMETERS),
    JSON_OTHER("params_active_kind"),
    JSON_NUMBER("params_read_per_token", MODEL, parameters_read, true, 1, MOST_PARAMETERS),
    JSON_NUMBER("params_embedding", MODEL, parameters_embedding, true, 1, MOST_PARAMETERS),
    JSON_OTHER("kv_elems_per_token_growing"),
    JSON_OTHER("kv_elems_per_token_windowed"),
    JSON_OTHER("state_elems_per_sequence"),
    JSON_TEXT("source", MODEL, source, true),
    JSON_TEXT("notes", MODEL, notes, false),
};

static const struct json_field attention_fields[] = {
    JSON_TEXT("layer_codes", MODEL, layer_codes, true),
    JSON_COUNT("window", MODEL, window, false, MOST_COUNT),
    JSON_COUNT("n_kv_heads_full", MODEL, n_kv_heads_full, false, MOST_COUNT),
    JSON_COUNT("head_dim_full", MODEL, head_dim_full, false, MOST_COUNT),
    JSON_COUNT("n_kv_heads_window", MODEL, n_kv_heads_window, false, MOST_COUNT),
    JSON_COUNT("kv_lora_rank", MODEL, kv_lora_rank, false, MOST_COUNT),
    JSON_COUNT("q_lora_rank", MODEL, q_lora_rank, false, MOST_COUNT),
    JSON_COUNT("qk_rope_head_dim", MODEL, qk_rope_head_dim, false, MOST_COUNT),
    JSON_COUNT("qk_nope_head_dim", MODEL, qk_nope_head_dim, false, MOST_COUNT),
    JSON_COUNT("index_dim", MODEL, index_dim, false, MOST_COUNT),
    JSON_COUNT("index_layers", MODEL, n_index_layers, false, PLAN_MAX_LAYERS),
    JSON_COUNT("selected_entries", MODEL, n_selected, false, MOST_COUNT),
    JSON_OTHER("compress_ratios"),
};

static const struct json_field state_fields[] = {
    JSON_OTHER("kind"),
    JSON_COUNT("layers", struct plan_state, n_layers, true, PLAN_MAX_LAYERS),
    JSON_COUNT("d_inner", struct plan_state, d_inner, true, MOST_COUNT),
    JSON_COUNT("d_state", struct plan_state, d_state, true, MOST_COUNT),
    JSON_COUNT("dt_rank", struct plan_state, dt_rank, false, MOST_COUNT),
    JSON_COUNT("d_conv", struct plan_state, d_conv, false, MOST_COUNT),
    JSON_COUNT("heads", struct plan_state, n_heads, false, MOST_COUNT),
    JSON_COUNT("head_dim", struct plan_state, head_dim, false, MOST_COUNT),
    JSON_COUNT("groups", struct plan_state, n_groups, false, MOST_COUNT),
    JSON_NUMBER("state_elems_per_layer", struct plan_state, elements, true, 1, 1e12),
    JSON_NUMBER("conv_elems_per_layer", struct plan_state, conv_elements, true, 0, 1e12),
};

static const struct json_field expert_fields[] = {
    JSON_COUNT("experts", struct plan_experts, n, true, MOST_COUNT),
    JSON_COUNT("experts_per_token", struct plan_experts, n_per_token, true, MOST_COUNT),
    JSON_COUNT("shared_experts", struct plan_experts, n_shared, false, MOST_COUNT),
    JSON_COUNT("expert_ffn", struct plan_experts, n_ff, true, MOST_COUNT),
    JSON_COUNT("shared_ffn", struct plan_experts, n_ff_shared, false, MOST_COUNT),
    JSON_COUNT("expert_width", struct plan_experts, width, true, MOST_COUNT),
    JSON_COUNT("moe_layers", struct plan_experts, n_layers, true, PLAN_MAX_LAYERS),
    JSON_COUNT("first_moe_layer", struct plan_experts, first_layer, true, PLAN_MAX_LAYERS),
    JSON_COUNT("moe_layer_step", struct plan_experts, layer_step, true, PLAN_MAX_LAYERS),
    JSON_NUMBER("params_per_expert", struct plan_experts, parameters, true, 1, MOST_PARAMETERS),
};

static const struct json_field stated_fields[] = {
    JSON_NUMBER("kv_elems_per_token_growing", struct plan_elements, growing, false, 0, 1e12),
    JSON_NUMBER("kv_elems_per_token_windowed", struct plan_elements, windowed, false, 0, 1e12),
    JSON_NUMBER("state_elems_per_sequence", struct plan_elements, state, false, 0, 1e15),
};

#define COUNT_OF(array) (sizeof(array) / sizeof *(array))

static int read_ratios(const struct json_place *place, const json_t *ratios, struct plan_model *model) {
    if (ratios == NULL || json_is_null(ratios)) return 0;
    if (json_array_size(ratios) != model->n_layers)
        return json_place_error(place, "attention", "compress_ratios", "must be one number a layer");
    for (uint32_t i = 0; i < model->n_layers; i++) {
        const json_t *ratio = json_array_get(ratios, i);
        if (!json_is_integer(ratio) || json_integer_value(ratio) < 0 ||
            json_integer_value(ratio) > UINT16_MAX)
            return json_place_error(place, "attention", "compress_ratios",
                                    "must be whole numbers up to 65535");
        model->compress_ratios[i] = (uint16_t)json_integer_value(ratio);
    }
    return 0;
}

static int check_codes(const struct json_place *place, const struct plan_model *model) {
    static const char codes[] = {
#define X(code, name, meaning) code,
        PLAN_LAYER_LIST(X)
#undef X
            '\0'};
    if (strspn(model->layer_codes, codes) == model->n_layers && model->layer_codes[model->n_layers] == '\0')
        return 0;
    return json_place_error(place, "attention", "layer_codes", "must be one known letter a layer");
}

/* An entry may state what follows from its shape: then it has to be that. */
static int check_stated(const struct json_place *place, const json_t *entry, const struct plan_model *model) {
    struct plan_elements follows = plan_model_elements(model), stated = follows;
    for (size_t i = 0; i < COUNT_OF(stated_fields); i++) {
        const double *want = (const double *)((const char *)&follows + stated_fields[i].offset);
        const double *is = (const double *)((const char *)&stated + stated_fields[i].offset);
        TRY(json_fields_read(place, NULL, entry, &stated_fields[i], 1, &stated, false));
        if (fabs(*want - *is) > 1e-9 * *want)
            return json_place_error(place, NULL, stated_fields[i].key, "is not what the shape gives");
    }
    return 0;
}

int catalog_read_model(struct json_place *place, const json_t *entry, struct plan_model *model) {
    memset(model, 0, sizeof *model);
    place->name = json_string_value(json_object_get(entry, "name"));
    TRY(json_fields_read(place, NULL, entry, model_fields, COUNT_OF(model_fields), model, true));
    const json_t *attention = json_object_get(entry, "attention"), *state = json_object_get(entry, "state"),
                 *experts = json_object_get(entry, "moe");
    TRY(json_fields_read(place, "attention", attention, attention_fields, COUNT_OF(attention_fields), model,
                         true));
    TRY(check_codes(place, model));
    TRY(read_ratios(place, json_object_get(attention, "compress_ratios"), model));
    if (state != NULL && !json_is_null(state))
        TRY(json_fields_read(place, "state", state, state_fields, COUNT_OF(state_fields), &model->state,
                             true));
    if (experts != NULL && !json_is_null(experts))
        TRY(json_fields_read(place, "moe", experts, expert_fields, COUNT_OF(expert_fields), &model->experts,
                             true));
    if (model->experts.n > 0 && model->experts.layer_step == 0)
        return json_place_error(place, "moe", "moe_layer_step", "must be at least 1");
    if (plan_model_derive(model) < 0) {
        char reason[256];
        snprintf(reason, sizeof reason, "%s", err_message()); /* which the next error overwrites */
        return json_place_error(place, NULL, "entry", reason);
    }
    return check_stated(place, entry, model);
}
