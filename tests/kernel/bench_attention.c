/* How fast attention() is on SmolLM2's shape, beside what the machine can do at most: bytes of K and V a
 * second against reading the same arena, floating-point operations a second against FMAs on registers. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "attention_case.h"
#include "base/clock.h"
#include "base/mem.h"
#include "kernel/attention_peers.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

int bench_attention(void);

enum {
    N_LAYERS = 30,
    N_HEADS = 9,
    N_KV_HEADS = 3,
    HEAD_DIM = 64,
    ROW = N_HEADS * HEAD_DIM,
    N_KEYS = 7680,
    N_BLOCKS = N_KEYS / BLOCK_TOKENS
};

static double now(void) {
    const struct clock clock = clock_monotonic();
    return (double)clock_now_ns(&clock) * 1e-9;
}

/* The shortest of several runs, of which the first warms up; fewer when that takes long. */
static double best_of_several(void (*run)(void *), void *argument) {
    double best = INFINITY, all = 0;
    for (int i = 0; i < 20 && all < 0.7; i++) {
        double start = now();
        run(argument);
        double seconds = now() - start;
        if (seconds < best) best = seconds;
        all += seconds;
    }
    return best;
}

/* ---- limits of the machine ---- */

/* Reads runs of bytes in the order in which attention meets them: of layer after layer, of block after block,
 * what all KV heads store there. */
struct read_job {
    struct team *team;
    const struct attention_case *c;
    _Atomic uint64_t sum;
};

static const uint64_t *read_run(const struct attention_case *c, unsigned layer, size_t block) {
    return (const uint64_t *)(c->arena + c->payloads[0][block] +
                              c->layout.layers[layer].areas[KV_OPEN].offset);
}

static void read_part(void *argument, unsigned rank, unsigned n_ranks) {
    struct read_job *job = argument;
    const struct attention_case *c = job->c;
    const size_t n_words = kv_form_bytes(&c->layout.layers[0], KV_OPEN) / sizeof(uint64_t);
    uint64_t sums[8] = {0};
    for (unsigned layer = 0; layer < N_LAYERS; layer++)
        for (size_t block = rank; block < N_BLOCKS; block += n_ranks) {
            const uint64_t *words = read_run(c, layer, block);
            const uint64_t *ahead = read_run(c, layer, block + n_ranks < N_BLOCKS ? block + n_ranks : rank);
            for (size_t i = 0; i < n_words; i += 8) {
                __builtin_prefetch(ahead + i, 0, 2);
                for (size_t j = 0; j < 8; j++) sums[j] += words[i + j];
            }
        }
    for (size_t j = 0; j < 8; j++) job->sum += sums[j];
}

static void read_all(void *argument) {
    struct read_job *job = argument;
    team_run(job->team, read_part, job);
}

enum { FMA_ROUNDS = 2000000, FMA_CHAINS = 12 };

#if defined(__x86_64__)
#define UNROLL _Pragma("GCC unroll 16")
#define FMA_DEFINE(name, isa, type, set, fma)                                                                \
    __attribute__((target(isa))) static float name(void) {                                                   \
        type x[FMA_CHAINS];                                                                                  \
        UNROLL for (int i = 0; i < FMA_CHAINS; i++) x[i] = set((float)i);                                    \
        const type a = set(0.5f);                                                                            \
        for (int n = 0; n < FMA_ROUNDS; n++) {                                                               \
            UNROLL for (int i = 0; i < FMA_CHAINS; i++) x[i] = fma(x[i], a, a);                              \
        }                                                                                                    \
        UNROLL for (int i = 1; i < FMA_CHAINS; i++) x[0] += x[i];                                            \
        return x[0][0];                                                                                      \
    }
FMA_DEFINE(fma_avx2, "avx2,fma", __m256, _mm256_set1_ps, _mm256_fmadd_ps)
FMA_DEFINE(fma_avx512, "avx512f", __m512, _mm512_set1_ps, _mm512_fmadd_ps)
#endif

struct fma_job {
    struct team *team;
    float (*run)(void);
    volatile float sink;
};

static void fma_part(void *argument, unsigned rank, unsigned n_ranks) {
    struct fma_job *job = argument;
    float result = job->run();
    if (rank == n_ranks) job->sink = result;
}

static void fma_all(void *argument) {
    struct fma_job *job = argument;
    team_run(job->team, fma_part, job);
}

/* Floating-point operations a second of a team's FMAs on registers; 0 for a set that has none of its own. */
static double fma_peak(const struct kernel_set *set, struct team *team) {
    struct fma_job job = {.team = team};
    double width = 0;
#if defined(__x86_64__)
    if (strcmp(set->name, "avx2") == 0) job.run = fma_avx2, width = 8;
    if (strcmp(set->name, "avx512") == 0) job.run = fma_avx512, width = 16;
#else
    (void)set;
#endif
    if (job.run == NULL) return 0;
    return 2 * (double)FMA_CHAINS * (double)FMA_ROUNDS * width * team_size(team) /
           best_of_several(fma_all, &job);
}

/* ---- attention ---- */

struct layers_job {
    const struct attention_case *c;
    const struct kernel_set *set;
    struct team *team;
    struct attention_job job;
    unsigned n_layers;
};

static void run_layers(void *argument) {
    struct layers_job *layers = argument;
    for (unsigned i = 0; i < layers->n_layers; i++) {
        layers->job.layer = &layers->c->layout.layers[i];
        attention(layers->set, layers->team, &layers->job);
    }
}

static double time_job(const struct attention_case *c, const struct kernel_set *set, struct team *team,
                       const struct attention_sequence *sequences, size_t n_sequences, unsigned n_layers) {
    size_t n_rows = 0;
    for (size_t i = 0; i < n_sequences; i++) n_rows += sequences[i].n_rows;
    size_t scratch_bytes = attention_scratch_bytes(team_size(team), n_rows, N_KEYS, N_HEADS, HEAD_DIM);
    struct attention_peer *peers = mem_alloc(n_sequences, sizeof *peers);
    attention_find_peers(peers, sequences, n_sequences, 0);
    struct layers_job layers = {.c = c, .set = set, .team = team, .n_layers = n_layers};
    layers.job = (struct attention_job){.arena = c->arena,
                                        .n_heads = N_HEADS,
                                        .scale = c->scale,
                                        .q = c->q,
                                        .q_stride = ROW,
                                        .out = mem_alloc(n_rows * ROW, sizeof(float)),
                                        .out_stride = ROW,
                                        .sequences = sequences,
                                        .peers = peers,
                                        .n_sequences = n_sequences,
                                        .scratch = mem_alloc_aligned(scratch_bytes, 1)};
    double seconds = best_of_several(run_layers, &layers);
    mem_free(peers);
    mem_free(layers.job.out);
    mem_free(layers.job.scratch);
    return seconds;
}

static void bench_decode(const struct attention_case *c, const struct kernel_set *set, struct team *team,
                         double read_rate) {
    static const size_t lengths[] = {4096, N_KEYS};
    const double token_bytes = (double)kv_layout_bytes_per_token(&c->layout);
    struct attention_sequence sequences[N_KEYS / 512];
    for (size_t i = 0; i < 2; i++) {
        sequences[0] = (struct attention_sequence){0, 1, lengths[i] - 1, c->payloads[0], NULL};
        double seconds = time_job(c, set, team, sequences, 1, N_LAYERS);
        double rate = (double)lengths[i] * token_bytes / seconds;
        printf("  decode 1 x %zu: %.2f ms, %.1f GB/s = %.0f %%\n", lengths[i], seconds * 1e3, rate * 1e-9,
               100 * rate / read_rate);
    }
    for (size_t i = 0; i < N_KEYS / 512; i++)
        sequences[i] = (struct attention_sequence){i, 1, 511, c->payloads[0] + i * 512 / BLOCK_TOKENS, NULL};
    double seconds = time_job(c, set, team, sequences, N_KEYS / 512, N_LAYERS);
    double rate = (double)N_KEYS * token_bytes / seconds;
    printf("  decode %d x 512: %.2f ms, %.1f GB/s = %.0f %%\n", N_KEYS / 512, seconds * 1e3, rate * 1e-9,
           100 * rate / read_rate);
}

static void bench_prefill(const struct attention_case *c, const struct kernel_set *set, struct team *team) {
    enum { N_ROWS = 512 };
    static const size_t depths[] = {0, 4096};
    double peak = fma_peak(set, team);
    for (size_t i = 0; i < 2; i++) {
        struct attention_sequence sequence = {0, N_ROWS, depths[i], c->payloads[0], NULL};
        double pairs = (double)N_ROWS * ((double)depths[i] + (double)(N_ROWS + 1) / 2);
        double seconds = time_job(c, set, team, &sequence, 1, 1),
               rate = (double)(4 * HEAD_DIM * N_HEADS) * pairs / seconds;
        printf("  prefill %d at %zu: %.2f ms, %.1f GFLOP/s", N_ROWS, depths[i], seconds * 1e3, rate * 1e-9);
        printf(peak > 0 ? " = %.0f %% of %.0f\n" : "\n", 100 * rate / peak, peak * 1e-9);
    }
}

int bench_attention(void) {
    static const struct kv_codecs codecs[] = {
        {.k = CODEC_f32, .v = CODEC_f32},   {.k = CODEC_f16, .v = CODEC_f16},
        {.k = CODEC_bf16, .v = CODEC_bf16}, {.k = CODEC_q8, .v = CODEC_q8},
        {.k = CODEC_q8, .v = CODEC_q4},     {.k = CODEC_q4, .v = CODEC_q4},
        {.k = CODEC_q3, .v = CODEC_q3}};
    for (size_t i = 0; i < sizeof codecs / sizeof *codecs; i++) {
        struct attention_shape shape = {codecs[i], N_HEADS,  N_KV_HEADS, HEAD_DIM, N_LAYERS,
                                        1,         {N_KEYS}, 0,          0};
        struct attention_case c;
        case_open(&c, &shape, 1);
        case_copy_layers(&c);
        for (unsigned n_threads = 1; n_threads <= 2; n_threads++) {
            struct team *team;
            if (team_open(&team, n_threads) != 0) return 1;
            struct read_job read = {.team = team, .c = &c};
            double read_rate = (double)c.arena_bytes / best_of_several(read_all, &read);
            printf("%s/%s, %u thread(s): %.0f MB read at %.1f GB/s\n", codec_get(codecs[i].k)->name,
                   codec_get(codecs[i].v)->name, n_threads, (double)c.arena_bytes * 1e-6, read_rate * 1e-9);
            for (const struct kernel_set *const *set = kernel_set_all(); *set != NULL; set++) {
                if (!(*set)->is_supported()) continue;
                printf(" %s\n", (*set)->name);
                bench_decode(&c, *set, team, read_rate);
                bench_prefill(&c, *set, team);
            }
            team_close(team);
        }
        case_close(&c);
    }
    return 0;
}
