#include "model/weights.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "kernel/weight_type.h"
#include "model/quote.h"

/* Binding walks the same list of tensors twice: first to check shapes and add up the bytes, then, with
 * storage in place, to fill it. */
struct binder {
    const struct gguf *file;
    struct weights *weights;
    bool is_filling;
    bool *is_bound;                   /* (tensors of the file) */
    size_t panel_bytes, vector_bytes; /* so far in this walk */
    struct pack_item {
        struct panel_matrix *matrix;
        const uint8_t *source; /* of the matrix's first row */
        size_t first_panel;    /* in the sequence of all panels */
    } *items;
    size_t n_items, n_panels;
};

static size_t line_up(size_t bytes) { return (bytes + MEM_CACHE_LINE - 1) & ~(size_t)(MEM_CACHE_LINE - 1); }

static int check_shape(const struct gguf_tensor *tensor, const char *name, uint64_t n_cols, uint64_t n_rows) {
    if (tensor->n_dims > 2 || tensor->dims[0] != n_cols || tensor->dims[1] != n_rows)
        return ERR(CORRUPT,
                   "tensor %s is %" PRIu64 " x %" PRIu64 ", the metadata asks for %" PRIu64 " x %" PRIu64,
                   name, tensor->dims[0], tensor->dims[1], n_cols, n_rows);
    return 0;
}

static int find(const struct binder *binder, const char *name, uint64_t n_cols, uint64_t n_rows,
                const struct gguf_tensor **tensor) {
    *tensor = gguf_find_tensor(binder->file, name);
    if (*tensor == NULL) return ERR(CORRUPT, "tensor %s is missing", name);
    binder->is_bound[*tensor - gguf_tensor_at(binder->file, 0)] = true;
    return check_shape(*tensor, name, n_cols, n_rows);
}

/* A required vector of n numbers, as f32. */
static int bind_vector(struct binder *binder, const char *name, uint64_t n, const float **vector) {
    const struct gguf_tensor *tensor;
    TRY(find(binder, name, n, 1, &tensor));
    if (binder->is_filling) {
        float *storage = (float *)((char *)binder->weights->vectors + binder->vector_bytes);
        weight_dequantize((enum weight_type)tensor->type, tensor->data, storage, n);
        *vector = storage;
    }
    binder->vector_bytes += line_up(n * sizeof(float));
    return 0;
}

static int bind_optional_vector(struct binder *binder, const char *name, uint64_t n, const float **vector) {
    return gguf_find_tensor(binder->file, name) == NULL ? 0 : bind_vector(binder, name, n, vector);
}

/* A matrix that lies in a tensor beside others, one's rows after the other's. */
struct part {
    uint64_t n_rows;
    struct panel_matrix *matrix;
};

/* A tensor of one or several matrices. */
static int bind_parts(struct binder *binder, const char *name, uint64_t n_cols, const struct part *parts,
                      size_t n_parts) {
    const struct gguf_tensor *tensor;
    uint64_t n_rows = 0;
    for (size_t i = 0; i < n_parts; i++) n_rows += parts[i].n_rows;
    TRY(find(binder, name, n_cols, n_rows, &tensor));
    enum weight_type type = (enum weight_type)tensor->type;
    const uint8_t *source = tensor->data;
    for (size_t i = 0; i < n_parts; i++, parts++) {
        if (binder->is_filling) {
            panel_matrix_init(parts->matrix, type, parts->n_rows, n_cols,
                              (char *)binder->weights->panels + binder->panel_bytes);
            binder->items[binder->n_items++] = (struct pack_item){
                .matrix = parts->matrix, .source = source, .first_panel = binder->n_panels};
            binder->n_panels += parts->matrix->n_panels;
        }
        source += tensor->bytes / n_rows * parts->n_rows;
        binder->panel_bytes += line_up(panel_matrix_bytes(type, parts->n_rows, n_cols));
    }
    return 0;
}

static int bind_matrix(struct binder *binder, const char *name, uint64_t n_cols, uint64_t n_rows,
                       struct panel_matrix *matrix) {
    return bind_parts(binder, name, n_cols, &(struct part){n_rows, matrix}, 1);
}

static const char *layer_name(char *buffer, size_t size, uint32_t layer, const char *part) {
    snprintf(buffer, size, "blk.%" PRIu32 ".%s", layer, part);
    return buffer;
}

static bool has_tensor(const struct binder *binder, const char *name) {
    return gguf_find_tensor(binder->file, name) != NULL;
}

#define NAME(part) layer_name(name, sizeof name, index, part)

static int bind_attention(struct binder *binder, const struct description *d, uint32_t index) {
    struct layer_weights *layer = &binder->weights->layers[index];
    const uint64_t q_width = (uint64_t)d->n_heads * d->head_dim,
                   kv_width = (uint64_t)d->n_kv_heads * d->head_dim;
    char name[64];
    if (d->has_pre_norms) TRY(bind_vector(binder, NAME("attn_norm.weight"), d->n_embd, &layer->attn_norm));
    if (has_tensor(binder, NAME("attn_qkv.weight"))) {
        const struct part parts[] = {{q_width, &layer->q}, {kv_width, &layer->k}, {kv_width, &layer->v}};
        TRY(bind_parts(binder, name, d->n_embd, parts, 3));
    } else {
        TRY(bind_matrix(binder, NAME("attn_q.weight"), d->n_embd, q_width, &layer->q));
        TRY(bind_matrix(binder, NAME("attn_k.weight"), d->n_embd, kv_width, &layer->k));
        TRY(bind_matrix(binder, NAME("attn_v.weight"), d->n_embd, kv_width, &layer->v));
    }
    TRY(bind_optional_vector(binder, NAME("attn_q.bias"), q_width, &layer->q_bias));
    TRY(bind_optional_vector(binder, NAME("attn_k.bias"), kv_width, &layer->k_bias));
    TRY(bind_optional_vector(binder, NAME("attn_v.bias"), kv_width, &layer->v_bias));
    if (d->qk_norm != QK_NORM_NONE) {
        bool is_heads = d->qk_norm == QK_NORM_HEADS;
        TRY(bind_vector(binder, NAME("attn_q_norm.weight"), is_heads ? d->head_dim : q_width,
                        &layer->q_norm));
        TRY(bind_vector(binder, NAME("attn_k_norm.weight"), is_heads ? d->head_dim : kv_width,
                        &layer->k_norm));
    }
    TRY(bind_matrix(binder, NAME("attn_output.weight"), q_width, d->n_embd, &layer->attn_output));
    TRY(bind_optional_vector(binder, NAME("attn_output.bias"), d->n_embd, &layer->attn_output_bias));
    if (!d->has_post_norms) return 0;
    return bind_vector(binder, NAME("post_attention_norm.weight"), d->n_embd, &layer->attn_post_norm);
}

static int bind_ffn(struct binder *binder, const struct description *d, uint32_t index) {
    struct layer_weights *layer = &binder->weights->layers[index];
    char name[64];
    if (d->has_pre_norms) TRY(bind_vector(binder, NAME("ffn_norm.weight"), d->n_embd, &layer->ffn_norm));
    const struct gguf_tensor *up = gguf_find_tensor(binder->file, NAME("ffn_up.weight"));
    if (up != NULL && up->dims[1] == 2 * (uint64_t)d->n_ff) {
        const struct part parts[] = {{d->n_ff, &layer->gate}, {d->n_ff, &layer->up}};
        TRY(bind_parts(binder, name, d->n_embd, parts, 2));
    } else {
        TRY(bind_matrix(binder, NAME("ffn_gate.weight"), d->n_embd, d->n_ff, &layer->gate));
        TRY(bind_matrix(binder, NAME("ffn_up.weight"), d->n_embd, d->n_ff, &layer->up));
    }
    TRY(bind_matrix(binder, NAME("ffn_down.weight"), d->n_ff, d->n_embd, &layer->down));
    if (!d->has_post_norms) return 0;
    return bind_vector(binder, NAME("post_ffw_norm.weight"), d->n_embd, &layer->ffn_post_norm);
}
#undef NAME

static int bind_rope_factors(struct binder *binder, uint64_t n) {
    struct weights *weights = binder->weights;
    TRY(bind_optional_vector(binder, "rope_freqs.weight", n, &weights->rope_factors));
    TRY(bind_optional_vector(binder, "rope_factors_long.weight", n, &weights->rope_factors_long));
    return bind_optional_vector(binder, "rope_factors_short.weight", n, &weights->rope_factors_short);
}

static int bind_all(struct binder *binder, const struct description *d) {
    struct weights *weights = binder->weights;
    binder->panel_bytes = binder->vector_bytes = binder->n_items = binder->n_panels = 0;
    TRY(find(binder, "token_embd.weight", d->n_embd, d->n_vocab, &weights->embedding));
    weights->is_tied = gguf_find_tensor(binder->file, "output.weight") == NULL;
    for (uint32_t i = 0; i < d->n_layers; i++) {
        TRY(bind_attention(binder, d, i));
        TRY(bind_ffn(binder, d, i));
    }
    TRY(bind_vector(binder, "output_norm.weight", d->n_embd, &weights->output_norm));
    TRY(bind_rope_factors(binder, d->ropes[0].n_dims / 2));
    const char *output = weights->is_tied ? "token_embd.weight" : "output.weight";
    return bind_matrix(binder, output, d->n_embd, d->n_vocab, &weights->output);
}

/* A tensor without a place in the forward pass, such as a bias that it does not add, would make results
 * wrong. */
static int check_all_bound(const struct binder *binder, const struct description *d) {
    for (size_t i = 0; i < gguf_n_tensors(binder->file); i++) {
        struct gguf_string name = gguf_tensor_at(binder->file, i)->name;
        if (!binder->is_bound[i])
            return ERR(UNSUPPORTED, "tensor %s has no place in architecture %s as it runs here", QUOTE(name),
                       d->architecture);
    }
    return 0;
}

struct pack_job {
    const struct binder *binder;
    struct team_cursor cursor;
};

static void pack_panels(void *argument, unsigned rank, unsigned n_ranks) {
    (void)rank;
    (void)n_ranks;
    struct pack_job *job = argument;
    size_t begin, end, item = 0;
    while (team_cursor_take(&job->cursor, &begin, &end)) {
        while (begin < end) {
            const struct pack_item *items = job->binder->items;
            while (begin >= items[item].first_panel + items[item].matrix->n_panels) item++;
            struct panel_matrix *matrix = items[item].matrix;
            size_t first = begin - items[item].first_panel, last = end - items[item].first_panel;
            if (last > matrix->n_panels) last = matrix->n_panels;
            panel_pack(matrix, items[item].source, first, last);
            begin = items[item].first_panel + last;
        }
    }
}

/* Binds once more, now with storage for panels and vectors in place. */
static int fill(struct binder *binder, const struct description *d) {
    binder->is_filling = true;
    return bind_all(binder, d);
}

/* Storage that nobody has written to yet. */
static int fill_anew(struct binder *binder, const struct description *d) {
    struct weights *weights = binder->weights;
    weights->panels = mem_map(weights->panels_mapped);
    return weights->panels == NULL ? ERR_NO_MEMORY : fill(binder, d);
}

static int pack_all(struct binder *binder, const struct description *d, struct team *team) {
    TRY(fill_anew(binder, d));
    struct pack_job job = {.binder = binder};
    team_cursor_init(&job.cursor, binder->n_panels, 32);
    team_run(team, pack_panels, &job);
    return 0;
}

static void measure_item(void *argument, unsigned rank, size_t item) {
    (void)rank;
    const struct binder *binder = argument;
    panel_matrix_measure(binder->items[item].matrix);
}

/* ---- panels of an earlier run ---- */

/* Whether one panel of each matrix is what repacking it gives: 1 or 0, or NO_MEMORY. */
static int panels_are_right(const struct binder *binder) {
    size_t most = 0, item = 0;
    for (size_t i = 0; i < binder->n_items; i++)
        if (binder->items[i].matrix->panel_bytes > most) most = binder->items[i].matrix->panel_bytes;
    uint8_t *scratch = mem_alloc_aligned(most, 1);
    if (scratch == NULL) return ERR_NO_MEMORY;
    for (bool is_same = true; item < binder->n_items && is_same; item += is_same) {
        const struct panel_matrix *matrix = binder->items[item].matrix;
        /* Not always the first ones: a panel somewhere, another one in each matrix. */
        const size_t panel = (item * 7919 + 13) % matrix->n_panels;
        panel_pack_one(matrix, binder->items[item].source, panel, scratch);
        is_same = memcmp(scratch, matrix->data + panel * matrix->panel_bytes, matrix->panel_bytes) == 0;
    }
    mem_free(scratch);
    return item == binder->n_items;
}

/* 1 if the cache had the panels, 0 if not. */
static int take_cached(struct binder *binder, const struct description *d, const struct weight_cache *cache,
                       struct team *team, bool *is_slow) {
    struct weights *weights = binder->weights;
    weights->panels = weight_cache_map(cache, binder->file, weights->panels_mapped, team, is_slow);
    if (weights->panels == NULL) return 0;
    weights->cached = WEIGHT_CACHE_HIT;
    TRY(fill(binder, d));
    int right = panels_are_right(binder);
    if (right != 0) return right;
    weight_cache_unmap(weights->panels, weights->panels_mapped);
    weights->panels = NULL;
    weights->cached = WEIGHT_CACHE_UNUSED;
    return 0;
}

static int take_or_pack(struct binder *binder, const struct description *d, const struct weight_cache *cache,
                        struct team *team) {
    struct weights *weights = binder->weights;
    const size_t bytes = weights->panels_mapped;
    const bool is_worth_it =
        cache != NULL && cache->folder != NULL && bytes >= cache->least_bytes && bytes <= cache->max_bytes;
    if (!is_worth_it) return pack_all(binder, d, team);
    bool is_slow;
    int taken = take_cached(binder, d, cache, team, &is_slow);
    if (taken != 0) return taken < 0 ? taken : 0;
    TRY(pack_all(binder, d, team));
    if (is_slow) return 0;
    bool is_stored = weight_cache_store(cache, binder->file, weights->panels, bytes, team) == 0;
    weights->cached = is_stored ? WEIGHT_CACHE_STORED : WEIGHT_CACHE_FAILED;
    return 0;
}

/* Everything but the panels. */
static int open_parts(struct binder *binder, const struct description *d) {
    struct weights *weights = binder->weights;
    weights->layers = mem_alloc(d->n_layers, sizeof *weights->layers);
    binder->is_bound = mem_alloc(gguf_n_tensors(binder->file), sizeof *binder->is_bound);
    if (weights->layers == NULL || binder->is_bound == NULL) return ERR_NO_MEMORY;
    TRY(bind_all(binder, d));
    TRY(check_all_bound(binder, d));
    weights->panel_bytes = weights->panels_mapped = binder->panel_bytes;
    weights->vectors_bytes = binder->vector_bytes;
    weights->vectors = mem_alloc_aligned(weights->vectors_bytes, 1);
    enum { MATRICES_PER_LAYER = 7 };
    binder->items = mem_alloc((size_t)d->n_layers * MATRICES_PER_LAYER + 1, sizeof *binder->items);
    if (!weights->vectors || !binder->items) return ERR_NO_MEMORY;
    return 0;
}

/* What binding needed goes, and after a failure the weights. */
static int finish(struct binder *binder, int result) {
    mem_free(binder->items);
    mem_free(binder->is_bound);
    if (result < 0) weights_close(binder->weights);
    return result;
}

int weights_open(struct weights *weights, const struct gguf *file, const struct description *description,
                 const struct weight_cache *cache, struct team *team) {
    *weights = (struct weights){0};
    struct binder binder = {.file = file, .weights = weights};
    int result = open_parts(&binder, description);
    if (result == 0) result = take_or_pack(&binder, description, cache, team);
    if (result == 0) team_for(team, binder.n_items, 1, measure_item, &binder);
    return finish(&binder, result);
}

int weights_open_shapes(struct weights *weights, const struct gguf *file,
                        const struct description *description) {
    *weights = (struct weights){0};
    struct binder binder = {.file = file, .weights = weights};
    int result = open_parts(&binder, description);
    if (result == 0) result = fill_anew(&binder, description);
    return finish(&binder, result);
}

void weights_close(struct weights *weights) {
    if (weights->cached == WEIGHT_CACHE_HIT)
        weight_cache_unmap(weights->panels, weights->panels_mapped);
    else
        mem_unmap(weights->panels, weights->panels_mapped);
    mem_free(weights->vectors);
    mem_free(weights->layers);
    *weights = (struct weights){0};
}
