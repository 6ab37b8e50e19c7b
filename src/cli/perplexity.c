/* cabinet perplexity: how well a model predicts a text, and how far a lossy change moves its predictions. */
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "cli/cli.h"
#include "cli/interrupt.h"
#include "cli/scoring.h"
#include "model/divergence.h"

enum { OPTION_CTX = 256, OPTION_CHUNKS, OPTION_SAVE, OPTION_REFERENCE, OPTION_JSON, DEFAULT_CONTEXT = 2048 };

static const struct argp_option options[] = {
    {"file", 'f', "FILE", 0, "the text, UTF-8 ('-' is standard input)", 1},
    {"ctx", OPTION_CTX, "TOKENS", 0,
     "length of a chunk, whose second half is scored (default 2048, or the model's own context if shorter)",
     1},
    {"chunks", OPTION_CHUNKS, "N", 0, "score the first N chunks only (default: all)", 1},
    {"save-reference", OPTION_SAVE, "FILE", 0,
     "keep the predictions: 2 bytes x vocabulary for each scored token", 1},
    {"reference", OPTION_REFERENCE, "FILE", 0, "compare with the predictions kept in FILE", 1},
    {"json", OPTION_JSON, 0, 0, "print one JSON object instead of text (docs/json.md)", 1},
    {0},
};

struct perplexity_opts {
    struct session_opts session;
    struct scoring_opts scoring;
    const char *file;
    bool is_json;
};

static error_t parse(int key, char *argument, struct argp_state *state) {
    struct perplexity_opts *opts = state->input;
    switch (key) {
    case ARGP_KEY_INIT: state->child_inputs[0] = &opts->session; return 0;
    case OPTION_CTX:
        opts->session.max_tokens =
            (uint32_t)cli_parse_count(state, "--ctx", argument, SCORING_MIN_CONTEXT, 1u << 27);
        return 0;
    case 'f': opts->file = argument; return 0;
    case OPTION_CHUNKS:
        opts->scoring.max_chunks = (uint32_t)cli_parse_count(state, "--chunks", argument, 1, UINT32_MAX);
        return 0;
    case OPTION_SAVE: opts->scoring.save_path = argument; return 0;
    case OPTION_REFERENCE: opts->scoring.reference_path = argument; return 0;
    case OPTION_JSON: opts->is_json = true; return 0;
    default: break;
    }
    error_t result = cli_parse_model(key, argument, state, &opts->session.model);
    if (key != ARGP_KEY_END) return result;
    if (opts->file == NULL) argp_error(state, "a text is missing (-f FILE)");
    if (opts->scoring.save_path != NULL && opts->scoring.reference_path != NULL)
        argp_error(state, "--save-reference and --reference exclude each other");
    return 0;
}

static const struct argp argp = {
    options,
    parse,
    "MODEL -f FILE",
    "Measure how well a model predicts a text (perplexity, with its standard error), and how far its "
    "predictions are from those of another run over the same text: KL divergence and how often both find the "
    "same token most likely.\n\nThe text is cut into chunks as llama.cpp's perplexity tool cuts it; the "
    "second "
    "half of each is scored.\v"
    "Examples:\n"
    "  cabinet perplexity smollm2 -f text.txt\n"
    "  cabinet perplexity smollm2 -f text.txt --kv f32 --save-reference f32.ref\n"
    "  cabinet perplexity smollm2 -f text.txt --kv bf16 --reference f32.ref --json\n"
    "  cabinet perplexity model.gguf -f text.txt --ctx 512 --chunks 10",
    session_argp_children,
    NULL,
    NULL};

/* ---- progress, on stderr ---- */

struct progress {
    struct clock clock;
    uint64_t start_ns;
    bool is_terminal;
};

/* One line, written over on a terminal. */
static void show_progress(void *user, uint32_t n_done, uint32_t n_chunks, const double *nll, size_t n) {
    struct progress *progress = user;
    uint64_t now = clock_now_ns(&progress->clock);
    if (n_done == 0) {
        progress->start_ns = now;
        return;
    }
    double seconds = (double)(now - progress->start_ns) * 1e-9;
    double left = seconds / n_done * (n_chunks - n_done);
    fprintf(stderr, "%schunk %" PRIu32 " of %" PRIu32 ", perplexity %.4f, %.0f s left%s",
            progress->is_terminal ? "\r" : "", n_done, n_chunks, exp(divergence_mean(nll, n)), left,
            progress->is_terminal ? "   " : "\n");
    if (progress->is_terminal && n_done == n_chunks) fprintf(stderr, "\r%70s\r", "");
}

/* ---- figures ---- */

enum { N_DEPTHS = 4 };

struct figures {
    struct perplexity perplexity, reference;
    double kl_mean, kl_median, kl_p99, kl_max, top1_agreement;
    struct depth {
        uint32_t first, last; /* positions in a chunk of the tokens that were scored */
        double perplexity, kl_mean;
    } depths[N_DEPTHS];
    unsigned n_depths;
};

static int by_value(const void *left, const void *right) {
    const double *a = left, *b = right;
    return (*a > *b) - (*a < *b);
}

/* Mean over all chunks of the values at scored positions [begin, end). */
static double mean_at(const struct scores *scores, const double *values, uint32_t begin, uint32_t end) {
    double sum = 0;
    for (uint32_t chunk = 0; chunk < scores->n_chunks; chunk++)
        for (uint32_t i = begin; i < end; i++) sum += values[(size_t)chunk * scores->n_scored + i];
    return sum / ((double)scores->n_chunks * (end - begin));
}

static void fill_depths(struct figures *figures, const struct scores *scores) {
    uint32_t n_depths = scores->n_scored < N_DEPTHS ? scores->n_scored : N_DEPTHS;
    for (uint32_t d = 0; d < n_depths; d++) {
        uint32_t begin = (uint32_t)((uint64_t)scores->n_scored * d / n_depths);
        uint32_t end = (uint32_t)((uint64_t)scores->n_scored * (d + 1) / n_depths);
        figures->depths[d] = (struct depth){
            .first = scores->n_context / 2 + 1 + begin,
            .last = scores->n_context / 2 + end,
            .perplexity = exp(mean_at(scores, scores->nll, begin, end)),
            .kl_mean = scores->kl != NULL ? mean_at(scores, scores->kl, begin, end) : 0,
        };
    }
    figures->n_depths = n_depths;
}

/* Sorts the scores' KL values. */
static int fill_figures(struct figures *figures, struct scores *scores) {
    *figures = (struct figures){.perplexity = perplexity_of(scores->nll, scores->n)};
    if (!isfinite(figures->perplexity.value) || !isfinite(figures->perplexity.standard_error))
        return ERR(CORRUPT, "the perplexity is beyond every number: the model's logits make no sense");
    fill_depths(figures, scores);
    if (scores->kl == NULL) return 0;
    figures->reference = perplexity_of(scores->reference_nll, scores->n);
    figures->kl_mean = divergence_mean(scores->kl, scores->n);
    qsort(scores->kl, scores->n, sizeof *scores->kl, by_value);
    figures->kl_median = divergence_quantile(scores->kl, scores->n, 0.5);
    figures->kl_p99 = divergence_quantile(scores->kl, scores->n, 0.99);
    figures->kl_max = scores->kl[scores->n - 1];
    figures->top1_agreement = (double)scores->n_same_top / (double)scores->n;
    return 0;
}

static void print_text(const struct perplexity_opts *opts, const struct scores *scores,
                       const struct figures *figures) {
    char a[CLI_BYTES_LENGTH], b[CLI_BYTES_LENGTH];
    printf("perplexity     %.4f +/- %.4f\n", figures->perplexity.value, figures->perplexity.standard_error);
    printf("scored         %s tokens, the second halves of %" PRIu32 " chunks of %s; KV %s\n",
           cli_format_count(a, scores->n), scores->n_chunks, cli_format_count(b, scores->n_context),
           opts->session.kv.text);
    if (scores->kl != NULL) {
        printf("reference      perplexity %.4f +/- %.4f\n", figures->reference.value,
               figures->reference.standard_error);
        printf("KL divergence  mean %.3g, median %.3g, 99 %% %.3g, largest %.3g nats\n", figures->kl_mean,
               figures->kl_median, figures->kl_p99, figures->kl_max);
        printf("same top token %.3f %%\n", figures->top1_agreement * 100);
    }
    for (unsigned d = 0; d < figures->n_depths; d++) {
        const struct depth *depth = &figures->depths[d];
        printf("  at %s .. %s   perplexity %.4f", cli_format_count(a, depth->first),
               cli_format_count(b, depth->last), depth->perplexity);
        if (scores->kl != NULL) printf(", KL mean %.3g", depth->kl_mean);
        putchar('\n');
    }
    if (opts->scoring.save_path != NULL)
        printf("reference of %s written\n", cli_format_bytes(a, (double)scores->reference_file_bytes));
}

static json_t *depths_json(const struct scores *scores, const struct figures *figures) {
    json_t *depths = json_array();
    for (unsigned d = 0; d < figures->n_depths; d++) {
        const struct depth *depth = &figures->depths[d];
        json_t *object = json_pack("{s:I, s:I, s:f}", "first", (json_int_t)depth->first, "last",
                                   (json_int_t)depth->last, "ppl", depth->perplexity);
        if (scores->kl != NULL) json_object_set_new(object, "kl_mean", json_real(depth->kl_mean));
        json_array_append_new(depths, object);
    }
    return depths;
}

static void print_json(const struct perplexity_opts *opts, const struct session *session,
                       const struct scores *scores, const struct figures *figures) {
    json_t *object = json_pack("{s:f, s:f, s:I, s:I, s:I, s:I, s:I, s:s}", "ppl", figures->perplexity.value,
                               "ppl_stderr", figures->perplexity.standard_error, "tokens",
                               (json_int_t)scores->n_tokens, "scored_tokens", (json_int_t)scores->n, "chunks",
                               (json_int_t)scores->n_chunks, "context_tokens", (json_int_t)scores->n_context,
                               "threads", (json_int_t)session->n_threads, "kv_codec", opts->session.kv.text);
    const struct {
        const char *key;
        double value;
    } reals[] = {
        {"reference_ppl", figures->reference.value},
        {"reference_ppl_stderr", figures->reference.standard_error},
        {"kl_mean", figures->kl_mean},
        {"kl_median", figures->kl_median},
        {"kl_p99", figures->kl_p99},
        {"kl_max", figures->kl_max},
        {"top1_agreement", figures->top1_agreement},
    };
    for (size_t i = 0; scores->kl != NULL && i < sizeof reals / sizeof *reals; i++)
        json_object_set_new(object, reals[i].key, json_real(reals[i].value));
    json_object_set_new(object, "by_depth", depths_json(scores, figures));
    json_dumpf(object, stdout, JSON_COMPACT);
    putchar('\n');
    json_decref(object);
}

/* ---- the verb ---- */

static int measure(struct perplexity_opts *opts, struct session *session, const char *text) {
    struct progress progress = {.clock = clock_monotonic(), .is_terminal = isatty(STDERR_FILENO) == 1};
    struct scores scores;
    struct figures figures;
    opts->scoring.n_context = session->max_tokens;
    opts->scoring.interrupt = &interrupted;
    opts->scoring.user = &progress;
    if (!opts->is_json || progress.is_terminal) opts->scoring.on_chunk = show_progress;
    int result = scores_compute(&scores, session, text, &opts->scoring);
    if (result < 0 && progress.is_terminal) fprintf(stderr, "\r%70s\r", "");
    if (result == 0) result = fill_figures(&figures, &scores);
    if (result == 0) {
        if (opts->is_json)
            print_json(opts, session, &scores, &figures);
        else
            print_text(opts, &scores, &figures);
    }
    scores_free(&scores);
    return result;
}

static int run(struct perplexity_opts *opts) {
    char *text;
    TRY(cli_read_text(opts->file, &text));
    struct session session;
    int result = session_open(&session, &opts->session);
    if (result == 0) {
        result = measure(opts, &session, text);
        session_close(&session);
    }
    mem_free(text);
    return result;
}

int cli_perplexity(int argc, char **argv) {
    struct perplexity_opts opts = {.session = session_defaults(), .scoring = {.max_chunks = UINT32_MAX}};
    opts.session.default_tokens = DEFAULT_CONTEXT;
    opts.session.slice_rows = SCORING_SLICE_ROWS;
    cli_parse(&argp, argc, argv, &opts);
    interrupt_catch(SIGINT);
    return run(&opts) < 0 ? cli_fail() : EXIT_SUCCESS;
}
