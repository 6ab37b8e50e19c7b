/* Hugging Face's config.json. Field names and defaults: the configuration classes of the transformers
 * library. */
#include <stdio.h>
#include <string.h>

#include <jansson.h>

#include "plan/geometry.h"
#include "plan/json_fields.h"
#include "plan/json_file.h"
#include "plan/model_files.h"

enum window_rule {
    WINDOW_NONE,
    WINDOW_ALL,     /* sliding_window, where it is not null, for every layer */
    WINDOW_SWITCH,  /* use_sliding_window, for layers from max_window_layers on */
    WINDOW_EVERY_2, /* every second layer is full */
    WINDOW_EVERY_6, /* every sliding_window_pattern-th layer (6) is full */
    WINDOW_LISTED   /* layer_types */
};

static const struct family {
    const char *type;
    enum window_rule windows;
    bool is_mla, is_tied;                            /* tie_word_embeddings where it is missing */
    const char *n_experts, *expert_ffn, *shared_ffn; /* NULL: dense, no shared ones */
} families[] = {
    {"llama", WINDOW_NONE, false, false, NULL, NULL, NULL},
    {"mistral", WINDOW_ALL, false, false, NULL, NULL, NULL},
    {"qwen2", WINDOW_SWITCH, false, false, NULL, NULL, NULL},
    {"qwen3", WINDOW_SWITCH, false, false, NULL, NULL, NULL},
    {"gemma", WINDOW_NONE, false, true, NULL, NULL, NULL},
    {"gemma2", WINDOW_EVERY_2, false, true, NULL, NULL, NULL},
    {"gemma3_text", WINDOW_EVERY_6, false, true, NULL, NULL, NULL},
    {"phi3", WINDOW_ALL, false, false, NULL, NULL, NULL},
    {"olmo2", WINDOW_NONE, false, false, NULL, NULL, NULL},
    {"granite", WINDOW_NONE, false, false, NULL, NULL, NULL},
    {"smollm3", WINDOW_SWITCH, false, true, NULL, NULL, NULL},
    {"mixtral", WINDOW_ALL, false, false, "num_local_experts", "intermediate_size", NULL},
    {"qwen2_moe", WINDOW_SWITCH, false, false, "num_experts", "moe_intermediate_size",
     "shared_expert_intermediate_size"},
    {"qwen3_moe", WINDOW_SWITCH, false, false, "num_experts", "moe_intermediate_size", NULL},
    {"gpt_oss", WINDOW_LISTED, false, false, "num_local_experts", "intermediate_size", NULL},
    {"deepseek_v2", WINDOW_NONE, true, false, "n_routed_experts", "moe_intermediate_size", NULL},
    {"deepseek_v3", WINDOW_NONE, true, false, "n_routed_experts", "moe_intermediate_size", NULL},
    {"kimi_k2", WINDOW_NONE, true, false, "n_routed_experts", "moe_intermediate_size", NULL},
};
enum { N_FAMILIES = sizeof families / sizeof *families, MOST = 1 << 28 };

struct config {
    const char *path;
    const json_t *object;
    struct plan_model *model;
};

const char *plan_config_families(void) {
    static _Thread_local char names[512];
    size_t n = 0;
    for (size_t i = 0; i < N_FAMILIES; i++)
        n += (size_t)snprintf(names + n, sizeof names - n, "%s%s", i > 0 ? ", " : "", families[i].type);
    return names;
}

/* 1 and the value, 0 if it is missing or null. */
static int find_count(const struct config *config, const char *key, uint32_t *value) {
    const json_t *number = json_object_get(config->object, key);
    if (number == NULL || json_is_null(number)) return 0;
    if (!json_is_integer(number) || json_integer_value(number) < 0 || json_integer_value(number) > MOST)
        return ERR(CORRUPT, "%s: %s must be a whole number from 0 to %d", config->path, key, MOST);
    *value = (uint32_t)json_integer_value(number);
    return 1;
}

static int need_count(const struct config *config, const char *key, uint32_t *value) {
    int found = find_count(config, key, value);
    TRY(found);
    if (found == 0 || *value == 0) return ERR(CORRUPT, "%s: %s is missing", config->path, key);
    return 0;
}

/* What stands in for a missing field is written down: it becomes an assumption of the plan. */
static void note(struct plan_model *model, const char *text) {
    size_t length = strlen(model->assumed);
    snprintf(model->assumed + length, sizeof model->assumed - length, "%s%s", length > 0 ? "; " : "", text);
}

/* layer_types, where a config lists them. 1 if it does. */
static int read_layer_types(const struct config *config) {
    static const struct {
        const char *name;
        char code;
    } known[] = {{"full_attention", 'F'}, {"sliding_attention", 'S'}, {"chunked_attention", 'C'}};
    const json_t *types = json_object_get(config->object, "layer_types"), *type;
    size_t i;
    if (types == NULL || json_is_null(types)) return 0;
    if (json_array_size(types) != config->model->n_layers)
        return ERR(CORRUPT, "%s: layer_types must list num_hidden_layers (%u) kinds", config->path,
                   config->model->n_layers);
    json_array_foreach(types, i, type) {
        const char *name = json_string_value(type);
        char code = '\0';
        for (size_t k = 0; k < sizeof known / sizeof *known && name != NULL; k++)
            if (strcmp(known[k].name, name) == 0) code = known[k].code;
        if (code == '\0')
            return ERR(UNSUPPORTED,
                       "%s: layer_types[%zu] '%s' has no formula for a config.json; a name of the "
                       "catalog (--list models) may",
                       config->path, i, QUOTE_TEXT(name != NULL ? name : ""));
        config->model->layer_codes[i] = code;
    }
    return 1;
}

static int fill_codes(const struct config *config, const struct family *family) {
    struct plan_model *model = config->model;
    uint32_t window = 0, first = 0, period = family->windows == WINDOW_EVERY_2 ? 2 : 6;
    TRY(find_count(config, "sliding_window", &window));
    if (family->windows == WINDOW_EVERY_6) TRY(find_count(config, "sliding_window_pattern", &period));
    if (family->windows == WINDOW_SWITCH) {
        if (!json_is_true(json_object_get(config->object, "use_sliding_window"))) window = 0;
        if (window > 0) TRY(need_count(config, "max_window_layers", &first));
    }
    if (family->windows == WINDOW_NONE) window = 0;
    model->window = window;
    memset(model->layer_codes, family->is_mla ? 'M' : 'F', model->n_layers);
    int listed = family->windows == WINDOW_NONE ? 0 : read_layer_types(config);
    if (listed != 0) return listed < 0 ? listed : 0;
    if (family->windows == WINDOW_LISTED) return ERR(CORRUPT, "%s: layer_types is missing", config->path);
    if ((family->windows == WINDOW_EVERY_2 || family->windows == WINDOW_EVERY_6) &&
        (window == 0 || period == 0))
        return ERR(CORRUPT, "%s: sliding_window is missing", config->path);
    for (uint32_t i = 0; i < model->n_layers && window > 0; i++) {
        const bool is_periodic = family->windows == WINDOW_EVERY_2 || family->windows == WINDOW_EVERY_6;
        if (is_periodic ? (i + 1) % period != 0 : i >= first) model->layer_codes[i] = 'S';
    }
    return 0;
}

static int read_heads(const struct config *config, const struct family *family) {
    struct plan_model *model = config->model;
    uint32_t n_kv = 0;
    TRY(need_count(config, "num_attention_heads", &model->n_heads));
    if (family->is_mla) {
        TRY(need_count(config, "kv_lora_rank", &model->kv_lora_rank));
        TRY(need_count(config, "qk_rope_head_dim", &model->qk_rope_head_dim));
        TRY(need_count(config, "qk_nope_head_dim", &model->qk_nope_head_dim));
        TRY(need_count(config, "v_head_dim", &model->v_head_dim));
        TRY(find_count(config, "q_lora_rank", &model->q_lora_rank));
        model->head_dim = model->qk_nope_head_dim + model->qk_rope_head_dim;
        return 0;
    }
    int found = find_count(config, "num_key_value_heads", &n_kv);
    TRY(found);
    if (found == 0) {
        n_kv = model->n_heads;
        note(model, "num_key_value_heads is missing: a KV head for each query head");
    }
    found = find_count(config, "head_dim", &model->head_dim);
    TRY(found);
    if (found == 0) {
        if (model->d_model % model->n_heads != 0)
            return ERR(CORRUPT, "%s: head_dim is missing, and hidden_size %u does not divide over %u heads",
                       config->path, model->d_model, model->n_heads);
        model->head_dim = model->d_model / model->n_heads;
    }
    model->v_head_dim = model->head_dim_full = model->head_dim;
    model->n_kv_heads_full = model->n_kv_heads_window = n_kv;
    return 0;
}

static int read_experts(const struct config *config, const struct family *family) {
    struct plan_experts *experts = &config->model->experts;
    const struct plan_model *model = config->model;
    if (family->n_experts == NULL) return 0;
    TRY(need_count(config, family->n_experts, &experts->n));
    TRY(need_count(config, "num_experts_per_tok", &experts->n_per_token));
    TRY(need_count(config, family->expert_ffn, &experts->n_ff));
    experts->width = model->d_model;
    experts->layer_step = 1;
    TRY(find_count(config, "decoder_sparse_step", &experts->layer_step));
    TRY(find_count(config, "moe_layer_freq", &experts->layer_step));
    TRY(find_count(config, "first_k_dense_replace", &experts->first_layer));
    TRY(find_count(config, "n_shared_experts", &experts->n_shared));
    experts->n_ff_shared = experts->n_shared * experts->n_ff;
    if (family->shared_ffn != NULL) TRY(need_count(config, family->shared_ffn, &experts->n_ff_shared));
    if (experts->layer_step == 0 || experts->first_layer >= model->n_layers)
        return ERR(CORRUPT, "%s: no layer has experts", config->path);
    if (json_array_size(json_object_get(config->object, "mlp_only_layers")) > 0)
        return ERR(UNSUPPORTED, "%s: mlp_only_layers has no formula", config->path);
    if (experts->layer_step > 1 && experts->first_layer == 0) experts->first_layer = experts->layer_step - 1;
    experts->n_layers = (model->n_layers - experts->first_layer - 1) / experts->layer_step + 1;
    experts->parameters = 3.0 * experts->width * experts->n_ff;
    return 0;
}

static int read_tie(const struct config *config, const struct family *family) {
    const json_t *tie = json_object_get(config->object, "tie_word_embeddings");
    config->model->is_tied = tie != NULL ? json_is_true(tie) : family->is_tied;
    if (tie == NULL)
        note(config->model, family->is_tied ? "tie_word_embeddings is missing: one matrix for both ends"
                                            : "tie_word_embeddings is missing: two matrices");
    return 0;
}

static int read_config(const struct config *config, const struct family *family) {
    struct plan_model *model = config->model;
    TRY(need_count(config, "num_hidden_layers", &model->n_layers));
    if (model->n_layers > PLAN_MAX_LAYERS)
        return ERR(CORRUPT, "%s: num_hidden_layers %u is more than %d", config->path, model->n_layers,
                   PLAN_MAX_LAYERS);
    TRY(need_count(config, "hidden_size", &model->d_model));
    TRY(need_count(config, "vocab_size", &model->n_vocab));
    TRY(need_count(config, "intermediate_size", &model->n_ff));
    TRY(find_count(config, "max_position_embeddings", &model->n_context));
    model->is_gated = true;
    TRY(read_heads(config, family));
    TRY(fill_codes(config, family));
    TRY(read_experts(config, family));
    TRY(read_tie(config, family));
    return plan_model_derive(model);
}

/* The file's own folder, or the file, as the model's name. */
static void name_by_path(struct plan_model *model, const char *path) {
    const char *end = strrchr(path, '/'), *begin = path;
    if (end == NULL || end == path) {
        snprintf(model->name, sizeof model->name, "%.90s", path);
        return;
    }
    for (const char *at = path; at < end; at++)
        if (*at == '/') begin = at + 1;
    snprintf(model->name, sizeof model->name, "%.*s", (int)(end - begin < 90 ? end - begin : 90), begin);
}

int plan_model_from_config(struct plan_model *model, const char *path) {
    json_t *root;
    TRY(json_file_load(&root, path));
    *model = (struct plan_model){0};
    name_by_path(model, path);
    snprintf(model->source, sizeof model->source, "%.500s", path);
    const json_t *inner = json_object_get(root, "text_config");
    const struct config config = {path, json_is_object(inner) ? inner : root, model};
    const char *type = json_string_value(json_object_get(config.object, "model_type"));
    if (type != NULL) snprintf(model->family, sizeof model->family, "%s", QUOTE_TEXT(type));
    const struct family *family = NULL;
    for (size_t i = 0; i < N_FAMILIES && type != NULL; i++)
        if (strcmp(families[i].type, type) == 0) family = &families[i];
    int result = family != NULL ? read_config(&config, family)
                 : type == NULL ? ERR(CORRUPT, "%s: model_type is missing", path)
                                : ERR(UNSUPPORTED,
                                      "%s: model_type '%s' is not one of %s; a name of the catalog "
                                      "(--list models) may be",
                                      path, QUOTE_TEXT(type), plan_config_families());
    json_decref(root);
    return result;
}
