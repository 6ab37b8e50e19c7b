#include "kernel/matmul.h"

#include "base/err.h"

enum {
    /* Rows that are multiplied together: their codes, scales and sums stay in a core's second-level cache
     * while the panels pass by. */
    BLOCK_BYTES = 384 * 1024,
    /* A piece of work holds this many bytes of weights, or this many multiplications, whichever comes first:
     * long beside handing it out and beside waiting for its first line, short enough that no thread waits
     * long for another's last. */
    CHUNK_BYTES = 48 * 1024,
    CHUNK_PRODUCTS = 1 << 19,
    /* Below this much work another thread's wake-up costs more than it saves. */
    ALONE_PRODUCTS = 1 << 16,
};

struct prepare_job {
    const struct kernel_set *kernels;
    struct activations *x;
};

unsigned activations_forms_of(const struct kernel_set *kernels, enum weight_type type) {
    if (weight_is_quantised(type)) return kernels->quantised_form;
    return type == WEIGHT_BF16 ? FORM_BF16 : 0;
}

void activations_prepare_row(const struct kernel_set *kernels, struct activations *x, size_t row) {
    if (x->forms & FORM_INT8) kernels->quantize_row(x, row);
    if (x->forms & FORM_BF16) kernels->round_row(x, row);
    if (x->forms & FORM_RAISED) kernels->raise_row(x, row);
}

static void prepare_row(void *argument, unsigned rank, size_t row) {
    (void)rank;
    const struct prepare_job *job = argument;
    activations_prepare_row(job->kernels, job->x, row);
}

void activations_prepare(const struct kernel_set *kernels, struct team *team, struct activations *x) {
    struct prepare_job job = {.kernels = kernels, .x = x};
    if (x->n_rows * x->n_cols < ALONE_PRODUCTS / 8) team = NULL;
    team_for(team, x->n_rows, 4, prepare_row, &job);
}

/* One piece of work is `chunk` panels of one matrix and one block of rows. Pieces are numbered block by
 * block, in a block output by output, so that a block's rows are in the cache for all the matrices. */
struct matmul_job {
    const struct kernel_set *kernels;
    const struct activations *x;
    const struct matmul_output *outputs;
    size_t n_outputs;
    size_t rows_per_block, pieces_per_block;
};

static size_t divide_up(size_t a, size_t b) { return (a + b - 1) / b; }

/* Panels of a piece: even, because kernels take them in pairs, or float ones in fours. */
static size_t chunk_of(const struct matmul_job *job, const struct panel_matrix *w) {
    size_t rows = job->x->n_rows < job->rows_per_block ? job->x->n_rows : job->rows_per_block;
    size_t by_bytes = divide_up(CHUNK_BYTES, w->panel_bytes);
    size_t by_products = divide_up(CHUNK_PRODUCTS, rows * w->n_cols * PANEL_ROWS);
    size_t chunk = by_bytes < by_products ? by_bytes : by_products;
    size_t together = weight_is_quantised(w->type) ? 2 : 4;
    return divide_up(chunk, together) * together;
}

static void run_piece(void *argument, unsigned rank, size_t piece) {
    (void)rank;
    const struct matmul_job *job = argument;
    size_t block = piece / job->pieces_per_block, left = piece % job->pieces_per_block;
    const struct matmul_output *output = job->outputs;
    size_t chunk = chunk_of(job, output->weight), n;
    while (left >= (n = divide_up(output->weight->n_panels, chunk))) {
        left -= n;
        output++;
        chunk = chunk_of(job, output->weight);
    }
    const struct panel_matrix *w = output->weight;
    size_t first = left * chunk, last = first + chunk < w->n_panels ? first + chunk : w->n_panels;
    size_t row = block * job->rows_per_block, row_end = row + job->rows_per_block;
    if (row_end > job->x->n_rows) row_end = job->x->n_rows;
    job->kernels->matmul[w->type](w, first, last, job->x, row, row_end, output->out, output->out_stride);
}

/* Bytes of a row of n_cols inputs as a weight type reads it, in any set at most. */
static size_t input_bytes(size_t n_cols, enum weight_type type) {
    if (type == WEIGHT_F32 || type == WEIGHT_F16) return n_cols * sizeof(float);
    return divide_up(n_cols, PANEL_GROUP) * PANEL_GROUP * sizeof(bf16_bits);
}

/* Rows that are multiplied together; row_bytes: of the widest form that the weights want. */
static size_t rows_per_block(size_t n_rows, size_t row_bytes) {
    size_t rows = divide_up(n_rows, divide_up(n_rows * row_bytes, BLOCK_BYTES));
    return divide_up(rows, PANEL_ROWS) * PANEL_ROWS;
}

size_t matmul_n_passes(const struct panel_matrix *const *weights, size_t n_weights, size_t n_rows) {
    size_t row_bytes = 0;
    for (size_t i = 0; i < n_weights; i++) {
        size_t bytes = input_bytes(weights[i]->n_cols, weights[i]->type);
        if (bytes > row_bytes) row_bytes = bytes;
    }
    return n_rows == 0 ? 0 : divide_up(n_rows, rows_per_block(n_rows, row_bytes));
}

void matmul(const struct kernel_set *kernels, struct team *team, const struct activations *x,
            const struct matmul_output *outputs, size_t n_outputs) {
    ASSERT(x->n_cols > 0);
    if (x->n_rows == 0) return;
    struct matmul_job job = {.kernels = kernels, .x = x, .outputs = outputs, .n_outputs = n_outputs};
    size_t n_weights = 0, row_bytes = 0;
    for (size_t i = 0; i < n_outputs; i++) {
        ASSERT(outputs[i].weight->n_cols == x->n_cols);
        size_t bytes = input_bytes(x->n_cols, outputs[i].weight->type);
        if (bytes > row_bytes) row_bytes = bytes;
        n_weights += outputs[i].weight->n_panels * PANEL_ROWS * x->n_cols;
    }
    job.rows_per_block = rows_per_block(x->n_rows, row_bytes);
    const size_t n_blocks = divide_up(x->n_rows, job.rows_per_block);
    for (size_t i = 0; i < n_outputs; i++)
        job.pieces_per_block += divide_up(outputs[i].weight->n_panels, chunk_of(&job, outputs[i].weight));
    if (n_weights * x->n_rows < ALONE_PRODUCTS) team = NULL;
    team_for(team, n_blocks * job.pieces_per_block, 1, run_piece, &job);
}
