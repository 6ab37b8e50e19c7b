/* Speed of the matrix kernels beside what the machine can do: run `test_matmul --bench [threads]`. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/float16.h"
#include "base/mem.h"
#include "matmul_case.h"

enum { N_INPUTS = 576, GEMM_ROWS = 512, READ_BYTES = 96 << 20 };

static double seconds(void) {
    struct clock clock = clock_monotonic();
    return (double)clock_now_ns(&clock) * 1e-9;
}

/* ---- what the machine can do ---- */

struct read_job {
    const uint64_t *words;
    size_t n;
    struct team_cursor cursor;
    _Atomic uint64_t sum;
};

static void read_words(void *argument, unsigned rank, unsigned n_ranks) {
    (void)rank;
    (void)n_ranks;
    struct read_job *job = argument;
    size_t begin, end;
    while (team_cursor_take(&job->cursor, &begin, &end)) {
        uint64_t sums[8] = {0};
        for (size_t i = begin; i < end; i += 8)
            for (size_t j = 0; j < 8; j++) sums[j] += job->words[i + j];
        for (size_t j = 0; j < 8; j++) atomic_fetch_add_explicit(&job->sum, sums[j], memory_order_relaxed);
    }
}

static double read_bandwidth(struct team *team) {
    struct read_job job = {.n = READ_BYTES / 8};
    uint64_t *words = mem_map(READ_BYTES);
    ASSERT(words != NULL);
    memset(words, 1, READ_BYTES);
    job.words = words;
    double best = 1e9;
    for (int round = 0; round < 10; round++) {
        team_cursor_init(&job.cursor, job.n, 1 << 13);
        double start = seconds();
        team_run(team, read_words, &job);
        double time = seconds() - start;
        if (time < best) best = time;
    }
    mem_unmap(words, READ_BYTES);
    return READ_BYTES / best;
}

/* Operations a second of one core's VNNI units without any memory; 0 without VNNI. */
static double int8_peak(void) {
#if defined(__x86_64__)
    if (!kernel_set_avx512.is_supported()) return 0;
    enum { ROUNDS = 1 << 22 };
    double best = 1e9;
    for (int i = 0; i < 4; i++) {
        double start = seconds();
        for (int round = 0; round < ROUNDS; round++)
            __asm__ volatile("vpdpbusd %%zmm30, %%zmm31, %%zmm0\n vpdpbusd %%zmm30, %%zmm31, %%zmm1\n"
                             "vpdpbusd %%zmm30, %%zmm31, %%zmm2\n vpdpbusd %%zmm30, %%zmm31, %%zmm3\n"
                             "vpdpbusd %%zmm30, %%zmm31, %%zmm4\n vpdpbusd %%zmm30, %%zmm31, %%zmm5\n"
                             "vpdpbusd %%zmm30, %%zmm31, %%zmm6\n vpdpbusd %%zmm30, %%zmm31, %%zmm7\n"
                             "vpdpbusd %%zmm30, %%zmm31, %%zmm8\n vpdpbusd %%zmm30, %%zmm31, %%zmm9\n"
                             "vpdpbusd %%zmm30, %%zmm31, %%zmm10\n vpdpbusd %%zmm30, %%zmm31, %%zmm11\n" ::
                                 : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8",
                                   "xmm9", "xmm10", "xmm11");
        double time = seconds() - start;
        if (time < best) best = time;
    }
    return 12.0 * ROUNDS * 128 / best;
#else
    return 0;
#endif
}

/* ---- one matrix ---- */

static double time_matmul(const struct kernel_set *set, struct team *team, const struct activations *x,
                          const struct matmul_output *output) {
    double best = 1e9, spent = 0;
    for (int round = 0; round < 50 && (round < 2 || spent < 0.15); round++) {
        double start = seconds();
        matmul(set, team, x, output, 1);
        double time = seconds() - start;
        if (time < best) best = time;
        spent += time;
    }
    return best;
}

/* A matrix of about `bytes` bytes, with contents that cost nothing to make. */
static struct panel_matrix plain_matrix(enum weight_type type, size_t bytes) {
    struct panel_matrix matrix;
    size_t n_cols = weight_format_get(type)->group_elements == 256 ? 512 : N_INPUTS;
    size_t n_panels = bytes / panel_matrix_bytes(type, 16, n_cols) / 2 * 2;
    if (n_panels < 2) n_panels = 2;
    size_t size = n_panels * panel_matrix_bytes(type, 16, n_cols);
    void *data = mem_map(size);
    ASSERT(data != NULL);
    memset(data, 0x11, size);
    panel_matrix_init(&matrix, type, n_panels * PANEL_ROWS, n_cols, data);
    panel_matrix_measure(&matrix);
    return matrix;
}

static void bench_format(const struct kernel_set *set, struct team *team, enum weight_type type) {
    bool is_scalar = strcmp(set->name, "scalar") == 0;
    struct panel_matrix large = plain_matrix(type, is_scalar ? 1 << 20 : 48 << 20);
    struct panel_matrix small = plain_matrix(type, is_scalar ? 1 << 14 : 1 << 19);
    struct activations x = case_activations_new(GEMM_ROWS, large.n_cols, INPUT_NORMAL, 1);
    float *out = mem_map(GEMM_ROWS * large.n_rows * sizeof *out);
    ASSERT(out != NULL);
    x.forms = activations_forms_of(set, type);
    activations_prepare(set, team, &x);
    double many = time_matmul(set, team, &x, &(struct matmul_output){&small, out, small.n_rows});
    double operations = 2.0 * GEMM_ROWS * (double)small.n_rows * (double)small.n_cols;
    x.n_rows = 1;
    double one = time_matmul(set, team, &x, &(struct matmul_output){&large, out, large.n_rows});
    printf("%-7s %-6s  1 row %7.2f GB/s   %d rows %8.1f GOP/s\n", set->name, weight_type_name(type),
           (double)(large.n_panels * large.panel_bytes) / one * 1e-9, GEMM_ROWS, operations / many * 1e-9);
    mem_unmap(out, GEMM_ROWS * large.n_rows * sizeof *out);
    mem_unmap(large.data, large.n_panels * large.panel_bytes);
    mem_unmap(small.data, small.n_panels * small.panel_bytes);
    x.n_rows = GEMM_ROWS;
    case_activations_free(&x);
}

/* ---- a whole model: SmolLM2-135M's 30 layers, and its head for the last row ---- */

static const size_t layer_shapes[][2] = {{576, 576},  {192, 576},  {192, 576}, {576, 576},
                                         {1536, 576}, {1536, 576}, {576, 1536}};
enum { N_LAYERS = 30, N_SHAPES = 7, N_HEAD = 49152, MOST_OUTPUTS = 1536 };

struct bench_model {
    struct panel_matrix layers[N_LAYERS][N_SHAPES], head;
    size_t layer_bytes, head_bytes;
    uint8_t *data;
    size_t data_bytes;
};

static size_t place(struct panel_matrix *matrix, enum weight_type type, const size_t shape[2], uint8_t *data,
                    size_t at) {
    panel_matrix_init(matrix, type, shape[0], shape[1], data + at);
    panel_matrix_measure(matrix);
    return (at + matrix->n_panels * matrix->panel_bytes + 63) / 64 * 64;
}

static void model_open(struct bench_model *model, enum weight_type type) {
    size_t bytes = 128 << 20, at = 0, head[2] = {N_HEAD, N_INPUTS};
    model->data = mem_map(bytes);
    model->data_bytes = bytes;
    ASSERT(model->data != NULL);
    memset(model->data, 0x11, bytes);
    for (size_t i = 0; i < N_LAYERS; i++)
        for (size_t j = 0; j < N_SHAPES; j++)
            at = place(&model->layers[i][j], type, layer_shapes[j], model->data, at);
    model->layer_bytes = at;
    at = place(&model->head, WEIGHT_Q8_0, head, model->data, at);
    model->head_bytes = at - model->layer_bytes;
    ASSERT(at <= bytes);
}

struct bench_step {
    const struct kernel_set *set;
    struct team *team;
    struct activations narrow, wide;
    float *out[N_SHAPES], *logits;
};

static void step_layers(struct bench_step *step, const struct bench_model *model) {
    static const size_t calls[][2] = {{0, 3}, {3, 4}, {4, 6}, {6, 7}};
    for (size_t i = 0; i < N_LAYERS; i++)
        for (size_t c = 0; c < 4; c++) {
            struct matmul_output outputs[3];
            size_t n = 0;
            for (size_t j = calls[c][0]; j < calls[c][1]; j++)
                outputs[n++] =
                    (struct matmul_output){&model->layers[i][j], step->out[j], model->layers[i][j].n_rows};
            struct activations *x = c == 3 ? &step->wide : &step->narrow;
            activations_prepare(step->set, step->team, x);
            matmul(step->set, step->team, x, outputs, n);
        }
}

static void bench_rows(struct bench_step *step, const struct bench_model *model, size_t n_rows,
                       double bandwidth, double peak) {
    step->narrow.n_rows = step->wide.n_rows = n_rows;
    double best = 1e9, best_head = 1e9;
    for (int round = 0; round < (n_rows < 64 ? 12 : 3); round++) {
        double start = seconds();
        step_layers(step, model);
        double time = seconds() - start;
        if (time < best) best = time;
        size_t rows = n_rows < 32 ? n_rows : 1;
        step->narrow.n_rows = rows;
        struct matmul_output head = {&model->head, step->logits, N_HEAD};
        start = seconds();
        matmul(step->set, step->team, &step->narrow, &head, 1);
        time = seconds() - start;
        if (time < best_head) best_head = time;
        step->narrow.n_rows = n_rows;
    }
    double products = 0;
    for (size_t j = 0; j < N_SHAPES; j++) products += (double)(layer_shapes[j][0] * layer_shapes[j][1]);
    double operations = 2.0 * N_LAYERS * products * (double)n_rows;
    double bytes = (double)model->layer_bytes, head_bytes = (double)model->head_bytes;
    printf("%4zu rows: layers %8.3f ms (%5.1f GB/s, %3.0f %%; %7.1f GOP/s, %3.0f %%)   head %7.3f ms (%5.1f "
           "GB/s)   "
           "all %5.1f GB/s, %3.0f %%\n",
           n_rows, best * 1e3, bytes / best * 1e-9, 100 * bytes / best / bandwidth, operations / best * 1e-9,
           peak > 0 ? 100 * operations / best / peak : 0, best_head * 1e3, head_bytes / best_head * 1e-9,
           (bytes + head_bytes) / (best + best_head) * 1e-9,
           100 * (bytes + head_bytes) / (best + best_head) / bandwidth);
}

static void bench_model(const struct kernel_set *set, struct team *team, enum weight_type type,
                        double bandwidth, double peak) {
    static const size_t row_counts[] = {1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 64, 128, 512};
    static struct bench_model model;
    model_open(&model, type);
    struct bench_step step = {.set = set, .team = team};
    step.narrow = case_activations_new(GEMM_ROWS, N_INPUTS, INPUT_NORMAL, 1);
    step.wide = case_activations_new(GEMM_ROWS, MOST_OUTPUTS, INPUT_NORMAL, 2);
    step.narrow.forms = step.wide.forms = set->quantised_form;
    for (size_t j = 0; j < N_SHAPES; j++)
        step.out[j] = mem_alloc_aligned(GEMM_ROWS * layer_shapes[j][0], sizeof(float));
    step.logits = mem_alloc_aligned((size_t)N_HEAD * 32, sizeof(float));
    printf("SmolLM2-135M, %s, %s, head Q8_0; activations quantised each time\n", weight_type_name(type),
           set->name);
    for (size_t i = 0; i < sizeof row_counts / sizeof *row_counts; i++)
        bench_rows(&step, &model, row_counts[i], bandwidth, peak);
    for (size_t j = 0; j < N_SHAPES; j++) mem_free(step.out[j]);
    mem_free(step.logits);
    step.narrow.n_rows = step.wide.n_rows = GEMM_ROWS;
    case_activations_free(&step.narrow);
    case_activations_free(&step.wide);
    mem_unmap(model.data, model.data_bytes);
}

static void bench_pack(void) {
    enum { N_COLS = 768, N_PACKED = 24576 };
    for (size_t t = 0; t < n_case_types; t++) {
        enum weight_type type = case_types[t];
        size_t bytes = weight_bytes(weight_format_get(type), (size_t)N_PACKED * N_COLS);
        uint8_t *source = mem_map(bytes);
        size_t packed_bytes = panel_matrix_bytes(type, N_PACKED, N_COLS);
        void *packed = mem_map(packed_bytes);
        ASSERT(source != NULL && packed != NULL);
        memset(source, 0x11, bytes);
        memset(packed, 0, packed_bytes);
        struct panel_matrix matrix;
        panel_matrix_init(&matrix, type, N_PACKED, N_COLS, packed);
        double start = seconds();
        panel_pack(&matrix, source, 0, matrix.n_panels);
        double time = seconds() - start;
        printf("pack %-6s %6.1f MB in %5.1f ms on one thread\n", weight_type_name(type), (double)bytes * 1e-6,
               time * 1e3);
        mem_unmap(source, bytes);
        mem_unmap(packed, packed_bytes);
    }
}

int bench_matmul(int argc, char **argv) {
    struct team *team;
    unsigned n_threads = argc > 0 ? (unsigned)atoi(argv[0]) : team_default_size();
    const char *only = argc > 1 ? argv[1] : NULL; /* a kernel set, or "model" */
    if (n_threads == 0 || team_open(&team, n_threads) < 0) return 1;
    double bandwidth = read_bandwidth(team), peak = n_threads * int8_peak();
    printf("%u threads: reading %.1f GB/s, int8 peak %.1f GOP/s\n", n_threads, bandwidth * 1e-9, peak * 1e-9);
    for (const struct kernel_set *const *set = kernel_set_all(); *set != NULL; set++) {
        if (!(*set)->is_supported() || (only != NULL && strcmp(only, (*set)->name) != 0)) continue;
        for (size_t t = 0; t < n_case_types; t++) bench_format(*set, team, case_types[t]);
    }
    if (only == NULL || strcmp(only, "pack") == 0) bench_pack();
    bench_model(kernel_set_get(NULL), team, WEIGHT_Q4_1, bandwidth, peak);
    if (only == NULL) bench_model(kernel_set_get(NULL), team, WEIGHT_Q4_0, bandwidth, peak);
    team_close(team);
    return 0;
}
