#include "base/err.h"
#include "base/mem.h"
#include "kernel/attention.h"
#include "kernel/attention_peers.h"
#include "kernel/matmul.h"
#include "model/transformer.h"

/* Hands out aligned pieces of one allocation; with base NULL it only adds up their bytes. */
struct carver {
    char *base;
    size_t bytes;
};

static void *carve(struct carver *carver, size_t count, size_t size) {
    void *piece = carver->base == NULL ? NULL : carver->base + carver->bytes;
    carver->bytes += (count * size + MEM_CACHE_LINE - 1) & ~(size_t)(MEM_CACHE_LINE - 1);
    return piece;
}

/* Rows of n_cols numbers that meet weights of the types in `forms`. */
static void carve_activations(struct carver *carver, struct activations *x, size_t max_rows, size_t n_cols,
                              unsigned forms) {
    size_t n_groups = (n_cols + PANEL_GROUP - 1) / PANEL_GROUP;
    *x = (struct activations){.n_cols = n_cols, .n_groups = n_groups, .forms = forms};
    if (forms & FORM_BF16) x->bf16 = carve(carver, max_rows * n_groups * PANEL_GROUP, sizeof *x->bf16);
    if (forms & FORM_RAISED)
        x->raised = carve(carver, panel_raised_rows(max_rows) * n_groups * PANEL_GROUP, sizeof *x->raised);
    if (!(forms & FORM_INT8)) return;
    for (int p = 0; p < PLANE_COUNT; p++) {
        struct activation_plane *plane = &x->planes[p];
        plane->codes = carve(carver, max_rows * n_groups * PANEL_GROUP, 1);
        plane->scale = carve(carver, max_rows * n_groups, sizeof *plane->scale);
        plane->half_sum = carve(carver, max_rows * n_groups * 2, sizeof *plane->half_sum);
    }
    x->scaled_sum = carve(carver, max_rows * n_groups, sizeof *x->scaled_sum);
}

/* The forms of activations that the model's matrices want, by the rows that they meet. */
struct forms {
    unsigned of_embd, of_heads, of_ff;
};

static struct forms forms_of(const struct model *model) {
    const struct kernel_set *kernels = model->kernels;
    struct forms forms = {.of_embd = activations_forms_of(kernels, model->weights.output.type)};
    for (uint32_t i = 0; i < model->description.n_layers; i++) {
        const struct layer_weights *layer = &model->weights.layers[i];
        const struct panel_matrix *const of_embd[] = {&layer->q, &layer->k, &layer->v, &layer->gate,
                                                      &layer->up};
        for (size_t m = 0; m < sizeof of_embd / sizeof *of_embd; m++)
            forms.of_embd |= activations_forms_of(kernels, of_embd[m]->type);
        forms.of_heads |= activations_forms_of(kernels, layer->attn_output.type);
        forms.of_ff |= activations_forms_of(kernels, layer->down.type);
    }
    return forms;
}

/* Room for the OPEN form of the blocks that one step can fill, in the layer that has the largest. */
static void carve_filled(struct workspace *w, struct carver *carver, const struct kv_layout *layout,
                         uint32_t max_sequences) {
    size_t n = kv_layout_is_row(layout) ? 0 : w->max_rows / BLOCK_TOKENS + (size_t)max_sequences, bytes = 0;
    for (uint32_t i = 0; i < layout->n_layers; i++) {
        size_t of_layer = kv_form_bytes(&layout->layers[i], KV_OPEN);
        if (of_layer > bytes) bytes = of_layer;
    }
    w->filled = carve(carver, n, sizeof *w->filled);
    w->filled_rows = carve(carver, n, bytes);
}

static void carve_all(struct workspace *w, struct carver *carver, const struct model *model,
                      const struct kv_layout *layout, uint32_t max_sequences, size_t attention_bytes) {
    const struct description *d = &model->description;
    const struct forms forms = forms_of(model);
    size_t rows = w->max_rows, q_width = (size_t)d->n_heads * d->head_dim,
           kv_width = (size_t)d->n_kv_heads * d->head_dim;
    w->x = carve(carver, rows * d->n_embd, sizeof(float));
    w->normed = carve(carver, rows * d->n_embd, sizeof(float));
    w->q = carve(carver, rows * q_width, sizeof(float));
    w->k = carve(carver, rows * kv_width, sizeof(float));
    w->v = carve(carver, rows * kv_width, sizeof(float));
    w->attended = carve(carver, rows * q_width, sizeof(float));
    w->projected = carve(carver, rows * d->n_embd, sizeof(float));
    w->gate = carve(carver, rows * d->n_ff, sizeof(float));
    w->up = carve(carver, rows * d->n_ff, sizeof(float));
    for (uint32_t i = 0; i < d->n_ropes; i++)
        w->rope_tables[i] = carve(carver, rows * d->ropes[i].n_dims, sizeof(float));
    w->logits = carve(carver, (size_t)w->max_wanted * d->n_vocab, sizeof(float));
    carve_activations(carver, &w->of_embd, rows, d->n_embd, forms.of_embd);
    carve_activations(carver, &w->of_heads, rows, q_width, forms.of_heads);
    carve_activations(carver, &w->of_ff, rows, d->n_ff, forms.of_ff);
    w->sequences = carve(carver, max_sequences, sizeof *w->sequences);
    for (uint32_t group = 0; group < layout->n_groups; group++)
        w->peers[group] = carve(carver, max_sequences, sizeof *w->peers[group]);
    w->runs = carve(carver, rows, sizeof *w->runs);
    carve_filled(w, carver, layout, max_sequences);
    w->attention_scratch = carve(carver, attention_bytes, 1);
}

/* The factors in the file are the first RoPE's. */
static int open_ropes(struct workspace *workspace, const struct model *model, uint32_t max_tokens) {
    const struct description *d = &model->description;
    const struct weights *weights = &model->weights;
    const float *factors = weights->rope_factors;
    if (factors == NULL && max_tokens > d->ropes[0].original_context) factors = weights->rope_factors_long;
    if (factors == NULL && max_tokens <= d->ropes[0].original_context) factors = weights->rope_factors_short;
    for (uint32_t i = 0; i < d->n_ropes; i++)
        TRY(rope_open(&workspace->ropes[i], &d->ropes[i], i == 0 ? factors : NULL));
    return 0;
}

int workspace_open(struct workspace *workspace, const struct model *model, const struct kv_layout *layout,
                   uint32_t max_rows, uint32_t max_sequences, uint32_t max_wanted, uint32_t max_tokens,
                   unsigned n_threads) {
    const struct description *d = &model->description;
    *workspace = (struct workspace){.max_rows = max_rows, .max_wanted = max_wanted};
    size_t attention_bytes =
        attention_scratch_bytes(n_threads, max_rows, max_tokens, d->n_heads, d->head_dim);
    struct carver carver = {0};
    carve_all(workspace, &carver, model, layout, max_sequences, attention_bytes);
    /* Address space, of which memory becomes what batches touch: the scratch for a context as long as a file
     * may claim is much larger than what the tokens need that will ever be there. */
    workspace->storage = mem_map(carver.bytes);
    workspace->storage_bytes = carver.bytes;
    if (workspace->storage == NULL) return ERR_NO_MEMORY;
    carver = (struct carver){.base = workspace->storage};
    carve_all(workspace, &carver, model, layout, max_sequences, attention_bytes);
    int result = open_ropes(workspace, model, max_tokens);
    if (result < 0) workspace_close(workspace);
    return result;
}

void workspace_close(struct workspace *workspace) {
    for (int i = 0; i < DESCRIPTION_MAX_ROPES; i++) rope_close(&workspace->ropes[i]);
    mem_unmap(workspace->storage, workspace->storage_bytes);
    *workspace = (struct workspace){0};
}
