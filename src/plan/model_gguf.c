/* GGUF headers: what runs here by its description, what does not by its metadata. */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "model/description.h"
#include "model/gguf.h"
#include "model/quote.h"
#include "plan/geometry.h"
#include "plan/model_files.h"

/* Of an architecture's name, which messages repeat. */
#define NAME_LETTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-."

/* A size under "<architecture>.<key>": the largest of a list that has one for each layer. 1, 0 if there is
 * none. */
static int find_size(const struct gguf *file, const char *architecture, const char *key, uint32_t *size) {
    char name[192];
    snprintf(name, sizeof name, "%.90s.%s", architecture, key);
    const struct gguf_value *value = gguf_find(file, name);
    if (value == NULL || value->type != GGUF_ARRAY) return gguf_get_u32(file, name, size);
    return ERR(UNSUPPORTED, "metadata %s differs from layer to layer: the planner has no formula for that",
               name);
}

static int need_size(const struct gguf *file, const char *architecture, const char *key, uint32_t *size) {
    int found = find_size(file, architecture, key, size);
    TRY(found);
    if (found == 0 || *size == 0) return ERR(CORRUPT, "metadata %.90s.%s is missing", architecture, key);
    return 0;
}

static void from_description(struct plan_model *model, const struct description *d) {
    model->n_layers = d->n_layers;
    model->d_model = d->n_embd;
    model->n_heads = d->n_heads;
    model->head_dim = model->v_head_dim = model->head_dim_full = d->head_dim;
    model->n_kv_heads_full = model->n_kv_heads_window = d->n_kv_heads;
    model->n_vocab = d->n_vocab;
    model->n_ff = d->n_ff;
    model->n_context = d->n_context;
    for (uint32_t i = 0; i < d->n_layers; i++) {
        model->layer_codes[i] = d->layers[i].window > 0 ? 'S' : 'F';
        if (d->layers[i].window > model->window) model->window = d->layers[i].window;
    }
}

/* Kinds of layers that the metadata names but does not say which layers are of them. */
static int refuse_unknown_layers(const struct gguf *file, const char *architecture) {
    static const char *const keys[] = {"attention.sliding_window", "ssm.state_size", "ssm.inner_size",
                                       "wkv.head_size", "attention.chunk_size"};
    uint32_t size = 0;
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (find_size(file, architecture, keys[i], &size) != 0 && size != 0)
            return ERR(UNSUPPORTED,
                       "%.60s: %s does not say which layers it is of; a name of the catalog "
                       "(cabinet plan --list models) does",
                       architecture, keys[i]);
    return 0;
}

static int read_heads(const struct gguf *file, const char *architecture, struct plan_model *model) {
    uint32_t n_kv = 0;
    TRY(need_size(file, architecture, "attention.head_count", &model->n_heads));
    TRY(find_size(file, architecture, "attention.kv_lora_rank", &model->kv_lora_rank));
    n_kv = model->n_heads;
    TRY(find_size(file, architecture, "attention.head_count_kv", &n_kv));
    model->head_dim = model->d_model / model->n_heads;
    TRY(find_size(file, architecture, "attention.key_length", &model->head_dim));
    model->v_head_dim = model->head_dim;
    TRY(find_size(file, architecture, "attention.value_length", &model->v_head_dim));
    model->head_dim_full = model->head_dim;
    model->n_kv_heads_full = n_kv;
    if (model->kv_lora_rank == 0) return 0;
    /* MLA, as `deepseek2` files have it; those made for absorption give latent sizes as key_length, and the
     * heads' own as key_length_mla. */
    TRY(need_size(file, architecture, "rope.dimension_count", &model->qk_rope_head_dim));
    TRY(find_size(file, architecture, "attention.key_length_mla", &model->head_dim));
    TRY(find_size(file, architecture, "attention.value_length_mla", &model->v_head_dim));
    TRY(find_size(file, architecture, "attention.q_lora_rank", &model->q_lora_rank));
    if (model->head_dim <= model->qk_rope_head_dim)
        return ERR(CORRUPT, "metadata %.60s.attention.key_length is smaller than its rotated part",
                   architecture);
    model->qk_nope_head_dim = model->head_dim - model->qk_rope_head_dim;
    return 0;
}

static int read_experts(const struct gguf *file, const char *architecture, struct plan_model *model) {
    struct plan_experts *experts = &model->experts;
    int found = find_size(file, architecture, "expert_count", &experts->n);
    if (found <= 0 || experts->n == 0) return found < 0 ? found : 0;
    TRY(need_size(file, architecture, "expert_used_count", &experts->n_per_token));
    TRY(find_size(file, architecture, "leading_dense_block_count", &experts->first_layer));
    TRY(find_size(file, architecture, "expert_shared_count", &experts->n_shared));
    experts->n_ff = model->n_ff;
    TRY(find_size(file, architecture, "expert_feed_forward_length", &experts->n_ff));
    experts->n_ff_shared = experts->n_shared * experts->n_ff;
    experts->width = model->d_model;
    experts->layer_step = 1;
    return 0;
}

static int from_metadata(struct plan_model *model, const struct gguf *file, const char *architecture) {
    const struct gguf_value *tokens = gguf_find(file, "tokenizer.ggml.tokens");
    TRY(refuse_unknown_layers(file, architecture));
    TRY(need_size(file, architecture, "block_count", &model->n_layers));
    if (model->n_layers > PLAN_MAX_LAYERS)
        return ERR(CORRUPT, "metadata %.60s.block_count = %u is more than %d", architecture, model->n_layers,
                   PLAN_MAX_LAYERS);
    TRY(need_size(file, architecture, "embedding_length", &model->d_model));
    TRY(find_size(file, architecture, "feed_forward_length", &model->n_ff));
    TRY(find_size(file, architecture, "context_length", &model->n_context));
    TRY(find_size(file, architecture, "vocab_size", &model->n_vocab));
    if (model->n_vocab == 0 && tokens != NULL && tokens->type == GGUF_ARRAY && tokens->length < UINT32_MAX)
        model->n_vocab = (uint32_t)tokens->length;
    TRY(read_heads(file, architecture, model));
    TRY(read_experts(file, architecture, model));
    memset(model->layer_codes, model->kv_lora_rank > 0 ? 'M' : 'F', model->n_layers);
    return 0;
}

static bool name_holds(const struct gguf_tensor *tensor, const char *part) {
    return memmem(tensor->name.bytes, tensor->name.length, part, strlen(part)) != NULL;
}

/* Parameters and bytes are the file's own. An output matrix of its own means that of the embedding's table
 * one row is read. */
static int count_tensors(struct plan_model *model, const struct gguf *file) {
    const struct gguf_tensor *table = gguf_find_tensor(file, "token_embd.weight");
    struct plan_experts *experts = &model->experts;
    double expert_parameters = 0;
    uint32_t n_expert_tensors = 0;
    for (size_t i = 0; i < gguf_n_tensors(file); i++) {
        const struct gguf_tensor *tensor = gguf_tensor_at(file, i);
        model->parameters += (double)tensor->n_elements;
        model->file_bytes += (double)tensor->bytes;
        if (!name_holds(tensor, "_exps.weight")) continue;
        expert_parameters += (double)tensor->n_elements;
        model->file_expert_bytes += (double)tensor->bytes;
        n_expert_tensors += name_holds(tensor, "ffn_down_exps");
    }
    if (table == NULL) return ERR(CORRUPT, "the file has no token_embd.weight");
    model->is_gated = true;
    model->is_tied = gguf_find_tensor(file, "output.weight") == NULL;
    model->parameters_embedding = (double)table->n_elements;
    model->file_read_bytes = model->file_bytes - (model->is_tied ? 0 : (double)table->bytes);
    if (experts->n == 0) return 0;
    if (n_expert_tensors == 0) return ERR(CORRUPT, "the file names %u experts and has none", experts->n);
    experts->n_layers = n_expert_tensors;
    experts->parameters = expert_parameters / ((double)n_expert_tensors * experts->n);
    model->file_read_bytes -= model->file_expert_bytes * (1 - (double)experts->n_per_token / experts->n);
    return 0;
}

static int read_gguf(struct plan_model *model, const struct gguf *file) {
    struct gguf_string text = {"", 0};
    char architecture[96];
    if (gguf_get_string(file, "general.architecture", &text) != 1 || text.length == 0 ||
        text.length >= sizeof architecture)
        return ERR(CORRUPT, "metadata general.architecture is missing");
    snprintf(architecture, sizeof architecture, "%.*s", (int)text.length, text.bytes);
    if (architecture[strspn(architecture, NAME_LETTERS)] != '\0')
        return ERR(CORRUPT, "general.architecture '%s' is no name", QUOTE(text));
    snprintf(model->family, sizeof model->family, "%s", QUOTE(text));
    if (gguf_get_string(file, "general.name", &text) == 1)
        snprintf(model->name, sizeof model->name, "%.90s", QUOTE(text));
    struct description *description = mem_alloc(1, sizeof *description);
    if (description == NULL) return ERR_NO_MEMORY;
    int result = description_read(file, description);
    if (result == 0) from_description(model, description);
    mem_free(description);
    if (result == ERR_UNSUPPORTED) result = from_metadata(model, file, architecture);
    TRY(result);
    TRY(count_tensors(model, file));
    return plan_model_derive(model);
}

int plan_model_from_gguf(struct plan_model *model, const char *path) {
    struct gguf *file;
    TRY(gguf_open(&file, path));
    *model = (struct plan_model){0};
    const char *slash = strrchr(path, '/');
    snprintf(model->name, sizeof model->name, "%.90s", slash != NULL ? slash + 1 : path);
    snprintf(model->id, sizeof model->id, "%.90s", slash != NULL ? slash + 1 : path);
    snprintf(model->source, sizeof model->source, "%.500s", path);
    int result = read_gguf(model, file);
    gguf_close(file);
    return result;
}
