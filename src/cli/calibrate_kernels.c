/* The kernels' speeds by shape. Memory holds one pattern throughout: what numbers are does not change the
 * time. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "cli/calibrate.h"
#include "codec/kv_layout.h"
#include "kernel/attention.h"
#include "kernel/attention_peers.h"
#include "kernel/matmul.h"

enum { PATTERN = 0x3c /* f16 and bf16 near 1, f32 of 0.01, codes and small scales */, LINE = 64 };

/* ---- products with weights ---- */

enum { N_INPUTS = 1024, N_OUTPUTS = 1024, SMALL_OUTPUTS = 64, MOST_ROWS = 512, WEIGHT_BYTES = 256 << 20 };

/* Matrices one after the other, as a step goes through them: together larger than a core's caches. */
struct matmul_bench {
    const struct calibrator *calibrator;
    struct activations x;
    float *out;
    uint8_t *weights;
    struct panel_matrix matrix;
    size_t matrix_bytes, n_matrices, next;
};

static void multiply(void *argument) {
    struct matmul_bench *bench = argument;
    bench->matrix.data = bench->weights + bench->next++ % bench->n_matrices * bench->matrix_bytes;
    const struct matmul_output output = {&bench->matrix, bench->out, N_OUTPUTS};
    matmul(bench->calibrator->kernels, bench->calibrator->team, &bench->x, &output, 1);
}

static void use_matrix(struct matmul_bench *bench, enum weight_type type, size_t n_outputs) {
    panel_matrix_init(&bench->matrix, type, n_outputs, N_INPUTS, bench->weights);
    panel_matrix_measure(&bench->matrix);
    bench->matrix_bytes = (panel_matrix_bytes(type, n_outputs, N_INPUTS) + LINE - 1) / LINE * LINE;
    bench->n_matrices = WEIGHT_BYTES / bench->matrix_bytes;
}

static int open_matmul(struct matmul_bench *bench, const struct calibrator *calibrator) {
    const size_t n_groups = N_INPUTS / PANEL_GROUP;
    struct activations *x = &bench->x;
    *bench = (struct matmul_bench){.calibrator = calibrator};
    *x = (struct activations){.n_rows = MOST_ROWS,
                              .n_cols = N_INPUTS,
                              .n_groups = n_groups,
                              .forms = FORM_BF16 | calibrator->kernels->quantised_form};
    float *f32 = mem_alloc_aligned((size_t)MOST_ROWS * N_INPUTS, sizeof *f32);
    x->f32 = f32;
    x->bf16 = mem_alloc_aligned((size_t)MOST_ROWS * N_INPUTS, sizeof *x->bf16);
    x->raised = mem_alloc_aligned((size_t)MOST_ROWS * N_INPUTS, sizeof *x->raised);
    x->scaled_sum = mem_alloc_aligned(MOST_ROWS * n_groups, sizeof *x->scaled_sum);
    bench->out = mem_alloc_aligned((size_t)MOST_ROWS * N_OUTPUTS, sizeof *bench->out);
    bench->weights = mem_map(WEIGHT_BYTES);
    bool is_complete = f32 && x->bf16 && x->raised && x->scaled_sum && bench->out && bench->weights;
    for (int p = 0; p < PLANE_COUNT; p++) {
        struct activation_plane *plane = &x->planes[p];
        plane->codes = mem_alloc_aligned((size_t)MOST_ROWS * N_INPUTS, 1);
        plane->scale = mem_alloc_aligned(MOST_ROWS * n_groups, sizeof *plane->scale);
        plane->half_sum = mem_alloc_aligned(MOST_ROWS * n_groups * 2, sizeof *plane->half_sum);
        is_complete = is_complete && plane->codes && plane->scale && plane->half_sum;
    }
    if (!is_complete) return ERR_NO_MEMORY;
    memset(bench->weights, PATTERN, WEIGHT_BYTES);
    for (size_t i = 0; i < (size_t)MOST_ROWS * N_INPUTS; i++) f32[i] = (float)(i * 37 % 255) - 127;
    activations_prepare(calibrator->kernels, calibrator->team, x);
    return 0;
}

static void close_matmul(struct matmul_bench *bench) {
    mem_free((float *)bench->x.f32);
    mem_free(bench->x.bf16);
    mem_free(bench->x.raised);
    mem_free(bench->x.scaled_sum);
    for (int p = 0; p < PLANE_COUNT; p++) {
        mem_free(bench->x.planes[p].codes);
        mem_free(bench->x.planes[p].scale);
        mem_free(bench->x.planes[p].half_sum);
    }
    mem_free(bench->out);
    mem_unmap(bench->weights, WEIGHT_BYTES);
}

static void measure_type(struct matmul_bench *bench, enum weight_type type) {
    double *rates = bench->calibrator->result->matmul[type];
    use_matrix(bench, type, N_OUTPUTS);
    for (int i = 0; i < CALIBRATION_MATMUL_ROWS; i++) {
        bench->x.n_rows = calibration_matmul_rows[i];
        const double bytes = (double)(bench->matrix.n_panels * bench->matrix.panel_bytes);
        calibrate_time(bench->calibrator, &rates[i], 1 / bytes, multiply, bench);
    }
}

/* What a product costs beside its weights: of a small one, what its bytes do not explain. */
static void measure_call(struct matmul_bench *bench) {
    struct calibration *c = bench->calibrator->result;
    use_matrix(bench, WEIGHT_Q8_0, SMALL_OUTPUTS);
    bench->x.n_rows = 1;
    double seconds = 0;
    calibrate_time(bench->calibrator, &seconds, 1, multiply, bench);
    double bytes = (double)(bench->matrix.n_panels * bench->matrix.panel_bytes);
    seconds = fmax(c->fork_seconds, seconds - bytes * c->matmul[WEIGHT_Q8_0][0]);
    if (c->matmul_call_seconds <= 0 || seconds < c->matmul_call_seconds) c->matmul_call_seconds = seconds;
}

int calibrate_matmul(struct calibrator *calibrator) {
    static const enum weight_type types[] = {
#define X(name, number, elements, bytes) WEIGHT_##name,
        WEIGHT_TYPE_LIST(X)
#undef X
    };
    struct matmul_bench bench;
    int result = open_matmul(&bench, calibrator);
    for (size_t i = 0; result == 0 && i < sizeof types / sizeof *types; i++) {
        char what[64];
        snprintf(what, sizeof what, "products with %s", weight_format_get(types[i])->name);
        calibrate_note(calibrator, what);
        measure_type(&bench, types[i]);
    }
    if (result == 0) measure_call(&bench);
    close_matmul(&bench);
    return result;
}

/* ---- attention ---- */

enum {
    HEAD_DIM = 64,
    N_KV_HEADS = 4,
    N_LAYERS = 32,
    N_KEYS = 2048,
    WIDE_ROWS = 96,
    MOST_HEADS = 4 * N_KV_HEADS
};

struct attention_bench {
    const struct calibrator *calibrator;
    struct kv_layout layout;
    uint64_t payloads[N_KEYS / BLOCK_TOKENS];
    struct attention_sequence sequence;
    struct attention_peer peer;
    struct attention_job job;
    uint8_t *arena;
    size_t arena_bytes;
    float *q, *out;
    void *scratch;
    unsigned next;
};

static void attend_once(void *argument) {
    struct attention_bench *bench = argument;
    bench->job.layer = &bench->layout.layers[bench->next++ % N_LAYERS];
    attention(bench->calibrator->kernels, bench->calibrator->team, &bench->job);
}

/* One sequence's n_rows rows at the end of n_keys keys. */
static void use_shape(struct attention_bench *bench, unsigned heads_per_kv, size_t n_rows, size_t n_keys) {
    bench->sequence = (struct attention_sequence){
        .n_rows = n_rows, .first_position = n_keys - n_rows, .payloads = bench->payloads};
    attention_find_peers(&bench->peer, &bench->sequence, 1, 0);
    const size_t width = (size_t)heads_per_kv * N_KV_HEADS * HEAD_DIM;
    bench->job = (struct attention_job){.arena = bench->arena,
                                        .n_heads = heads_per_kv * N_KV_HEADS,
                                        .scale = 0.01f,
                                        .q = bench->q,
                                        .q_stride = width,
                                        .out = bench->out,
                                        .out_stride = width,
                                        .sequences = &bench->sequence,
                                        .peers = &bench->peer,
                                        .n_sequences = 1,
                                        .scratch = bench->scratch};
}

static int open_attention(struct attention_bench *bench, const struct calibrator *calibrator,
                          enum codec_id codec) {
    *bench = (struct attention_bench){.calibrator = calibrator, .layout = {.n_groups = 1}};
    for (int i = 0; i < N_LAYERS; i++) {
        TRY(kv_layout_add(&bench->layout, 0, N_KV_HEADS, HEAD_DIM, kv_codecs_both(codec)));
        struct kv_layer *layer = &bench->layout.layers[i]; /* all blocks as full ones */
        layer->areas[KV_OPEN] = layer->areas[KV_SEALED];
    }
    const size_t block_bytes = bench->layout.groups[0].block_bytes,
                 n_numbers = (size_t)WIDE_ROWS * MOST_HEADS * HEAD_DIM;
    for (size_t i = 0; i < N_KEYS / BLOCK_TOKENS; i++) bench->payloads[i] = i * block_bytes;
    bench->arena_bytes = N_KEYS / BLOCK_TOKENS * block_bytes;
    bench->arena = mem_map(bench->arena_bytes);
    bench->q = mem_alloc_aligned(n_numbers, sizeof *bench->q);
    bench->out = mem_alloc_aligned(n_numbers, sizeof *bench->out);
    bench->scratch = mem_alloc_aligned(
        attention_scratch_bytes(team_size(calibrator->team), WIDE_ROWS, N_KEYS, MOST_HEADS, HEAD_DIM), 1);
    if (!bench->arena || !bench->q || !bench->out || !bench->scratch) return ERR_NO_MEMORY;
    memset(bench->arena, PATTERN, bench->arena_bytes);
    for (size_t i = 0; i < n_numbers; i++) bench->q[i] = (float)(i * 37 % 255) / 255 - 0.5f;
    return 0;
}

static void close_attention(struct attention_bench *bench) {
    mem_unmap(bench->arena, bench->arena_bytes);
    mem_free(bench->q);
    mem_free(bench->out);
    mem_free(bench->scratch);
}

static void measure_codec(struct attention_bench *bench, enum codec_id codec) {
    static const struct {
        unsigned heads_per_kv;
        size_t n_rows;
    } shapes[CALIBRATION_ATTENTION_ROWS] = {{1, 1}, {4, 1}, {4, 4}, {4, WIDE_ROWS}};
    struct calibration *c = bench->calibrator->result;
    for (int i = 0; i < CALIBRATION_ATTENTION_ROWS; i++) {
        use_shape(bench, shapes[i].heads_per_kv, shapes[i].n_rows, N_KEYS);
        const double n = (double)shapes[i].n_rows, keys = n * (N_KEYS - n) + n * (n + 1) / 2;
        calibrate_time(bench->calibrator, &c->attention[codec][i], 1 / (keys * bench->job.n_heads * HEAD_DIM),
                       attend_once, bench);
    }
    if (codec != CODEC_f16) return;
    use_shape(bench, 1, 1, 1);
    calibrate_time(bench->calibrator, &c->attention_call_seconds, 1, attend_once, bench);
}

int calibrate_attention(struct calibrator *calibrator) {
    int result = 0;
    for (int codec = 0; result == 0 && codec < CODEC_COUNT; codec++) {
        char what[64];
        struct attention_bench bench;
        snprintf(what, sizeof what, "attention over %s", codec_get((enum codec_id)codec)->name);
        calibrate_note(calibrator, what);
        result = open_attention(&bench, calibrator, (enum codec_id)codec);
        if (result == 0) measure_codec(&bench, (enum codec_id)codec);
        close_attention(&bench);
    }
    return result;
}

/* ---- element by element ---- */

struct vector_bench {
    const struct kernel_set *kernels;
    struct activations x;
    float *row, *other;
};

/* What a row of a layer goes through: a norm and its integers, a sum, an activation. */
static void go_through_row(void *argument) {
    struct vector_bench *bench = argument;
    bench->kernels->rmsnorm((float *)bench->x.f32, bench->row, bench->other, N_INPUTS, 1e-5f);
    activations_prepare_row(bench->kernels, &bench->x, 0);
    bench->kernels->add(bench->row, bench->other, N_INPUTS);
    bench->kernels->silu_mul((float *)bench->x.f32, bench->other, bench->row, N_INPUTS);
}

int calibrate_vectors(struct calibrator *calibrator) {
    struct matmul_bench rows;
    calibrate_note(calibrator, "norms and activations");
    int result = open_matmul(&rows, calibrator);
    struct vector_bench bench = {
        .kernels = calibrator->kernels, .x = rows.x, .row = rows.out, .other = rows.out + N_INPUTS};
    for (size_t i = 0; result == 0 && i < N_INPUTS; i++) bench.row[i] = bench.other[i] = (float)(i % 7) / 7;
    if (result == 0)
        calibrate_time(calibrator, &calibrator->result->vector_seconds, 1.0 / (3 * N_INPUTS), go_through_row,
                       &bench);
    close_matmul(&rows);
    return result;
}

/* ---- K and V into the cache ---- */

struct store_bench {
    const struct kernel_set *kernels;
    enum codec_id codec;
    uint8_t *area, *source;
    float *row;
};

/* A block of one head: from rows, or from what an OPEN block has. */
static void store_block(void *argument) {
    struct store_bench *bench = argument;
    const struct codec *codec = codec_get(bench->codec), *open = codec_get(CODEC_f16);
    uint8_t *v_area = bench->area + codec->k_bytes(HEAD_DIM);
    if (!codec->is_row) {
        bench->kernels->convert_k(codec, bench->area, open, bench->source, HEAD_DIM);
        bench->kernels->convert_v(codec, v_area, open, bench->source, HEAD_DIM);
        return;
    }
    /* the same row into all slots */
    bench->kernels->store_k[bench->codec](bench->area, 0, BLOCK_TOKENS, bench->row, 0, HEAD_DIM);
    bench->kernels->store_v[bench->codec](v_area, 0, BLOCK_TOKENS, bench->row, 0, HEAD_DIM);
}

int calibrate_store(struct calibrator *calibrator) {
    enum { AREA = BLOCK_TOKENS * HEAD_DIM * 4 };
    calibrate_note(calibrator, "the cache's formats");
    struct store_bench bench = {.kernels = calibrator->kernels,
                                .area = mem_alloc_aligned(2, AREA),
                                .source = mem_alloc_aligned(1, AREA),
                                .row = mem_alloc_aligned(HEAD_DIM, sizeof(float))};
    const bool is_complete = bench.area && bench.source && bench.row;
    for (int codec = 0; codec < CODEC_COUNT && is_complete; codec++) {
        bench.codec = (enum codec_id)codec;
        calibrate_time(calibrator, &calibrator->result->store[codec], 1.0 / (2 * BLOCK_TOKENS * HEAD_DIM),
                       store_block, &bench);
    }
    mem_free(bench.area);
    mem_free(bench.source);
    mem_free(bench.row);
    return is_complete ? 0 : ERR_NO_MEMORY;
}
