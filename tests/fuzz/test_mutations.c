/* Damaged models, by the thousand for each architecture: every one runs, from text to a few tokens, or ends
 * with a reason of one line. None crashes, hangs, leaves memory behind or holds more than BOUND_BYTES at
 * once.
 *
 *     mutations COUNT SEED FILE...    COUNT for each architecture, shared among its files
 *
 * Workers are processes of their own, so that a crash is one case's and is told with the numbers that repeat
 * it: `mutations 1 SEED FILE`. */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "engine/engine.h"
#include "gguf_mutate.h"
#include "model/prompt.h"

enum {
    N_WORKERS = 2, /* as many as run_workers tells apart */
    MAX_FILES = 100,
    MAX_FAILURES = 20,
    HANG_SECONDS = 60, /* a case takes milliseconds */
    N_OUTPUT = 8,
    MAX_TOKENS = 64,
    MAX_PROMPT = 40,
};

/* What a model of the tests' size may hold at once, whatever is damaged in it: the KV memory and its
 * alignment, the file's weights repacked, and a workspace that follows from their shapes. The undamaged ones
 * hold a third. */
#define KV_BYTES ((uint64_t)4 << 20)
#define BOUND_BYTES ((uint64_t)24 << 20)

struct source {
    const char *path;
    uint8_t *bytes;
    size_t length;
    struct gguf *file;
    uint64_t n_cases;
};

/* Shared with a worker: where it is, and what it has seen. */
struct progress {
    uint64_t file, case_number; /* of the case that it is at, or was when it died */
    uint64_t n_ran, n_refused, peak_bytes;
};

static struct source sources[MAX_FILES];
static size_t n_sources;
static uint64_t first_seed;

static _Noreturn void fail_case(const char *what) {
    (void)fprintf(stderr, "%s: %s\n", what, err_message());
    _exit(1);
}

/* ---- one case ---- */

struct run {
    struct team *team;
    struct model model;
    struct engine *engine;
    struct sequence *sequence;
    struct token_list prompt;
    struct tokenizer_stream stream;
};

static bool show_token(void *user, const struct token_report *report) {
    struct run *run = user;
    char text[TOKENIZER_STEP_MAX];
    size_t length = tokenizer_decode_step(run->model.tokenizer, &run->stream, report->token, text);
    if (length > sizeof text || utf8_valid_prefix(text, length) != length) fail_case("text that is no UTF-8");
    return false;
}

/* A conversation's first turn, through the chat template where there is one. */
static int make_prompt(struct run *run) {
    static const char plain[] = "Hello, w\xc3\xb6rld 42!\n\n  <s>it's";
    TRY(tokenizer_encode(run->model.tokenizer, plain, sizeof plain - 1, true, &run->prompt));
    if (run->model.chat == NULL) return 0;
    const struct chat_message message = {"user", "Name a <|im_end|> fruit."};
    return prompt_encode(run->model.chat, run->model.tokenizer, &message, 1, true, 0, &run->prompt);
}

static int generate(struct run *run, uint64_t seed) {
    struct request request = {.sequence = run->sequence,
                              .sampling = sampler_defaults(),
                              .max_output_tokens = N_OUTPUT,
                              .ignores_end = true,
                              .on_token = show_token,
                              .user = run};
    request.sampling.seed = seed;
    if (seed % 2) {
        request.sampling.top_p = 0.9f;
        request.sampling.top_k = 40;
        request.sampling.min_p = 0.01f;
        request.sampling.repeat_penalty = 1.1f;
    }
    uint32_t n = run->prompt.n < MAX_PROMPT ? (uint32_t)run->prompt.n : MAX_PROMPT;
    TRY(engine_submit(run->engine, &request, run->prompt.ids, n));
    while (engine_step(run->engine) > 0) continue;
    if (request.finish == FINISH_FAILED) return request.error;
    return request.finish == FINISH_LENGTH ? 0 : ERR(INTERNAL, "finish reason %d", (int)request.finish);
}

static uint64_t no_time(void *state) {
    (void)state;
    return 0;
}

static int run_model(struct run *run, const uint8_t *bytes, size_t length, uint64_t seed) {
    TRY(team_open(&run->team, 1));
    TRY(model_open_bytes(&run->model, bytes, length, "damaged.gguf", kernel_set_get(NULL), run->team));
    TRY(make_prompt(run));
    const struct engine_opts opts = {.kv_memory_bytes = KV_BYTES,
                                     .kv = kv_rules_of(CODEC_f16),
                                     .max_sequences = 1,
                                     .max_tokens = MAX_TOKENS,
                                     .chunk_tokens = 16,
                                     .clock = {no_time, NULL}};
    TRY(engine_open(&run->engine, &run->model, run->team, &opts));
    TRY(engine_sequence_open(run->engine, &run->sequence));
    return generate(run, seed);
}

/* The latest failure's message, and the code beside it. */
static void check_refusal(int code) {
    const char *message = err_message();
    size_t length = strlen(message);
    if (length == 0) fail_case("refused without a word");
    if (utf8_valid_prefix(message, length) != length) fail_case("a message that is no UTF-8");
    for (const char *c = message; *c != '\0'; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f) fail_case("a message with control bytes");
    if (code == ERR_INTERNAL || code == ERR_IO) fail_case("a failure of our own");
    if (code == ERR_NO_MEMORY) fail_case("more memory than the bound");
}

static void run_case(const struct source *source, uint64_t seed, struct progress *progress) {
    size_t length = source->length;
    uint8_t *bytes = gguf_mutate(source->file, source->bytes, &length, seed);
    uint64_t held_before = mem_held_bytes();
    mem_limit(held_before + BOUND_BYTES);
    struct run run = {0};
    int result = run_model(&run, bytes, length, seed);
    if (result < 0) check_refusal(result);
    if (run.engine != NULL) engine_sequence_close(run.engine, run.sequence);
    engine_close(run.engine);
    token_list_free(&run.prompt);
    model_close(&run.model);
    team_close(run.team);
    free(bytes);
    if (mem_held_bytes() != held_before) fail_case("memory left behind");
    uint64_t peak = mem_peak_bytes() - held_before;
    if (peak > progress->peak_bytes) progress->peak_bytes = peak;
    if (result < 0)
        progress->n_refused++;
    else
        progress->n_ran++;
}

/* ---- the workers ---- */

/* Every N_WORKERS-th case from where the worker's progress is. */
static void work(struct progress *progress) {
    for (; progress->file < n_sources; progress->file++, progress->case_number %= N_WORKERS) {
        const struct source *source = &sources[progress->file];
        for (; progress->case_number < source->n_cases; progress->case_number += N_WORKERS) {
            (void)alarm(HANG_SECONDS);
            run_case(source, first_seed + progress->case_number, progress);
        }
    }
    (void)alarm(0);
}

static pid_t start_worker(struct progress *progress) {
    (void)fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        work(progress);
        exit(0); /* with the leak sanitizer's last look */
    }
    if (pid < 0) perror("fork"), exit(2);
    return pid;
}

/* Tells of a worker that died, and moves it past the case that it died of. */
static void tell_death(struct progress *progress, int status) {
    const char *reason = !WIFSIGNALED(status) ? "failed" : strsignal(WTERMSIG(status));
    if (progress->file == n_sources) {
        (void)fprintf(stderr, "FAILED at the end of a worker: %s\n", reason);
        return;
    }
    (void)fprintf(stderr, "FAILED: %s; again: mutations 1 %" PRIu64 " %s\n", reason,
                  first_seed + progress->case_number, sources[progress->file].path);
    progress->case_number += N_WORKERS;
}

/* Returns how many cases failed. */
static unsigned run_workers(struct progress *progress) {
    pid_t pids[N_WORKERS];
    unsigned n_failures = 0;
    for (unsigned i = 0; i < N_WORKERS; i++) pids[i] = start_worker(&progress[i]);
    for (;;) {
        int status;
        pid_t pid = wait(&status);
        if (pid < 0) return n_failures; /* all are done */
        if (WIFEXITED(status) && WEXITSTATUS(status) == 0) continue;
        n_failures++;
        unsigned i = pid == pids[0] ? 0 : 1;
        bool was_at_end = progress[i].file == n_sources;
        tell_death(&progress[i], status);
        if (!was_at_end && n_failures < MAX_FAILURES) pids[i] = start_worker(&progress[i]);
    }
}

/* ---- the files ---- */

static void open_source(struct source *source, const char *path) {
    FILE *file = fopen(path, "rb");
    if (file == NULL || fseek(file, 0, SEEK_END) != 0) perror(path), exit(2);
    source->path = path;
    source->length = (size_t)ftell(file);
    source->bytes = malloc(source->length);
    rewind(file);
    if (source->bytes == NULL || fread(source->bytes, 1, source->length, file) != source->length)
        perror(path), exit(2);
    (void)fclose(file);
    if (gguf_open_bytes(&source->file, source->bytes, source->length, path) < 0) fail_case("undamaged");
}

static bool is_same_architecture(const struct source *a, const struct source *b) {
    struct gguf_string name_a = {"", 0}, name_b = {"", 0};
    (void)gguf_get_string(a->file, "general.architecture", &name_a);
    (void)gguf_get_string(b->file, "general.architecture", &name_b);
    return name_a.length == name_b.length && memcmp(name_a.bytes, name_b.bytes, name_a.length) == 0;
}

static void share_cases(uint64_t n_per_architecture) {
    for (size_t i = 0; i < n_sources; i++) {
        uint64_t n_files = 0;
        for (size_t j = 0; j < n_sources; j++) n_files += is_same_architecture(&sources[i], &sources[j]);
        sources[i].n_cases = (n_per_architecture + n_files - 1) / n_files;
    }
}

int main(int argc, char **argv) {
    if (argc < 4 || argc > 3 + MAX_FILES) return 2;
    first_seed = strtoull(argv[2], NULL, 10);
    for (int i = 3; i < argc; i++) open_source(&sources[n_sources++], argv[i]);
    share_cases(strtoull(argv[1], NULL, 10));
    struct progress *progress =
        mmap(NULL, N_WORKERS * sizeof *progress, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (progress == MAP_FAILED) return 2;
    for (unsigned i = 0; i < N_WORKERS; i++) progress[i].case_number = i;
    unsigned n_failures = run_workers(progress);
    uint64_t n_ran = 0, n_refused = 0, peak = 0;
    for (unsigned i = 0; i < N_WORKERS; i++) {
        n_ran += progress[i].n_ran;
        n_refused += progress[i].n_refused;
        if (progress[i].peak_bytes > peak) peak = progress[i].peak_bytes;
    }
    printf("%" PRIu64 " ran, %" PRIu64 " refused, %u failed; at most %" PRIu64 " bytes held\n", n_ran,
           n_refused, n_failures, peak);
    for (size_t i = 0; i < n_sources; i++) {
        gguf_close(sources[i].file);
        free(sources[i].bytes);
    }
    return n_failures > 0;
}
