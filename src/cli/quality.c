/* cabinet quality: what a lossy way to store the KV cache costs, beside controls. */
#include "cli/quality.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/mem.h"
#include "cli/cli.h"
#include "cli/interrupt.h"
#include "hub/store.h"

enum {
    OPTION_KV = 256,
    OPTION_CTX,
    OPTION_WINDOWS,
    OPTION_CONTEXTS,
    OPTION_QUICK,
    OPTION_JSON,
    OPTION_MEMORY,
    OPTION_THREADS
};
enum {
    DEFAULT_CONTEXT = 8192,
    QUICK_CONTEXT = 256,
    MIN_CONTEXT = 64,
    DEFAULT_CONTEXTS = 8,
    QUICK_CONTEXTS = 2
};
enum { MAX_RECALL_TOKENS = 4096 };
#define DEFAULT_KV "q8,k8v4,q4,q3"

static const struct argp_option options[] = {
    {"kv", OPTION_KV, "LIST", 0,
     "the formats to measure, with commas between; a rule belongs to the format before it: "
     "q8,q4,layers=0-1:q8,k8v4 are three; auto also runs with 1.5 and 2 times too little memory "
     "(default " DEFAULT_KV ", as far as the model's heads can be stored so)",
     1},
    {"file", 'f', "FILE", 0,
     "a text, UTF-8; may be given several times (default: the texts that `make quality` provides)", 1},
    {"ctx", OPTION_CTX, "TOKENS", 0,
     "length of a window (default 8192, or the model's own context if shorter)", 1},
    {"windows", OPTION_WINDOWS, "N", 0, "windows of each text (default 1)", 1},
    {"contexts", OPTION_CONTEXTS, "N", 0,
     "contexts of each retrieval task and length (default 8; 0: no retrieval)", 1},
    {"quick", OPTION_QUICK, 0, 0,
     "one window of 256 tokens a text and little retrieval: seconds, rough figures", 1},
    {"json", OPTION_JSON, 0, 0, "print one JSON object instead of tables (docs/json.md)", 1},
    {"kv-memory", OPTION_MEMORY, "SIZE", 0,
     "memory for the KV caches of all settings together: 512M, 4GiB, 40% of what is free (default 50%)", 1},
    {"threads", OPTION_THREADS, "T", 0, "threads (default: all cores)", 1},
    {0},
};

struct quality_opts {
    const char *model, *kv;
    const char *files[QUALITY_MAX_TEXTS];
    unsigned n_files, n_threads;
    uint32_t n_context, n_windows, n_contexts;
    bool is_quick, is_json, has_contexts;
    uint64_t kv_memory_bytes;
};

static error_t parse(int key, char *argument, struct argp_state *state) {
    struct quality_opts *opts = state->input;
    switch (key) {
    case OPTION_KV: opts->kv = argument; return 0;
    case 'f':
        if (opts->n_files == QUALITY_MAX_TEXTS) argp_error(state, "more than %d texts", QUALITY_MAX_TEXTS);
        opts->files[opts->n_files++] = argument;
        return 0;
    case OPTION_CTX:
        opts->n_context = (uint32_t)cli_parse_count(state, "--ctx", argument, MIN_CONTEXT, 1u << 27);
        return 0;
    case OPTION_WINDOWS:
        opts->n_windows = (uint32_t)cli_parse_count(state, "--windows", argument, 1, 10000);
        return 0;
    case OPTION_CONTEXTS:
        opts->n_contexts = (uint32_t)cli_parse_count(state, "--contexts", argument, 0, 10000);
        opts->has_contexts = true;
        return 0;
    case OPTION_QUICK: opts->is_quick = true; return 0;
    case OPTION_JSON: opts->is_json = true; return 0;
    case OPTION_MEMORY: opts->kv_memory_bytes = cli_parse_memory(state, "--kv-memory", argument); return 0;
    case OPTION_THREADS:
        opts->n_threads = (unsigned)cli_parse_count(state, "--threads", argument, 1, 1024);
        return 0;
    default: return cli_parse_model(key, argument, state, &opts->model);
    }
}

static const struct argp argp = {
    options,
    parse,
    "MODEL",
    "Measure what lossy storage of the KV cache costs. The same texts run through the model with each format "
    "at "
    "once, token by token; each prediction is compared with that of f16 (and f16's with f32's): KL "
    "divergence, how "
    "often both find the same token most likely, and the difference in perplexity, by position. Then "
    "retrieval: of "
    "16 possible answers, is the right one the most likely?\n\nControls run beside what you ask for: f16 "
    "once more with "
    "other threads and chunks (which must show no difference at all), bf16, and plain4, a plain 4-bit "
    "format.\v"
    "Examples:\n"
    "  cabinet quality smollm2                             every format, up to 8,192 tokens, three texts\n"
    "  cabinet quality smollm2 --kv q8,q4,full:v=q8        two formats: q8, and q4 with a rule\n"
    "  cabinet quality smollm2 --ctx 2048 --windows 4      more of the shorter contexts\n"
    "  cabinet quality smollm2 --quick -f my_text.txt --json",
    NULL,
    NULL,
    NULL};

/* ---- what runs ---- */

struct study {
    const struct quality_opts *opts;
    struct team *team, *other_team;
    struct model model;
    bool has_model;
    struct lineup lineup;
    struct quality quality;
    struct token_list texts[QUALITY_MAX_TEXTS];
    struct token_comparison *found[LINEUP_MAX]; /* (n_windows, stride) of one text */
    bool is_terminal;
    uint32_t window; /* under way */
};

/* Whether the model's heads can be stored so; the error is set if not. */
static int check_setting(const struct study *study, const struct kv_rules *kv) {
    struct kv_layout *layout = mem_alloc(1, sizeof *layout);
    if (layout == NULL) return ERR_NO_MEMORY;
    int result = description_kv_layout(&study->model.description, kv, layout);
    mem_free(layout);
    return result;
}

/* The setting of that name, compared with `reference`, unless it is there already. */
static int add_setting(struct study *study, const char *name, const struct kv_rules *kv, int reference) {
    struct lineup *lineup = &study->lineup;
    for (unsigned i = 0; i < lineup->n; i++)
        if (strcmp(lineup->settings[i].name, name) == 0) return 0;
    if (lineup->n == LINEUP_MAX)
        return ERR(INVALID, "--kv names too many formats: with the controls there are at most %d",
                   LINEUP_MAX);
    struct setting *setting = &lineup->settings[lineup->n++];
    *setting = (struct setting){.kv = *kv, .reference = reference};
    snprintf(setting->name, sizeof setting->name, "%s", name);
    return 0;
}

static int add_controls(struct study *study) {
    struct kv_rules f32 = kv_rules_of(CODEC_f32), f16 = kv_rules_of(CODEC_f16),
                    bf16 = kv_rules_of(CODEC_bf16), plain4 = kv_rules_of(CODEC_plain4);
    TRY(add_setting(study, "f32", &f32, -1));
    TRY(add_setting(study, "f16", &f16, 0));
    study->quality.reference = 1;
    TRY(add_setting(study, "f16-again", &f16, 1));
    study->lineup.settings[2].is_again = true;
    TRY(add_setting(study, "bf16", &bf16, 1));
    if (check_setting(study, &plain4) < 0) return 0;
    return add_setting(study, "plain4", &plain4, 1);
}

/* A format that demotes also runs with too little memory. */
static int add_pressed(struct study *study, const char *name, const struct kv_rules *kv) {
    static const struct {
        double pressure;
        const char *suffix;
    } degrees[] = {{1.5, "@1.5x"}, {2, "@2x"}};
    for (size_t i = 0; i < sizeof degrees / sizeof *degrees; i++) {
        char pressed[KV_RULES_LENGTH + 8];
        unsigned n = study->lineup.n;
        snprintf(pressed, sizeof pressed, "%s%s", name, degrees[i].suffix);
        TRY(add_setting(study, pressed, kv, (int)study->quality.reference));
        if (study->lineup.n > n) study->lineup.settings[n].pressure = degrees[i].pressure;
    }
    return 0;
}

/* The list's formats: a piece with a colon is a rule, and goes with the piece before it. */
static int add_listed(struct study *study, const char *list) {
    bool is_default = study->opts->kv == NULL;
    while (*list != '\0') {
        const char *end = list + strcspn(list, ",");
        while (*end == ',' && memchr(end + 1, ':', strcspn(end + 1, ",")) != NULL)
            end += 1 + strcspn(end + 1, ",");
        char text[KV_RULES_LENGTH];
        struct kv_rules kv;
        if ((size_t)(end - list) >= sizeof text)
            return ERR(INVALID, "--kv: a format of %zu bytes", (size_t)(end - list));
        snprintf(text, sizeof text, "%.*s", (int)(end - list), list);
        TRY(kv_rules_parse(&kv, text));
        int result = check_setting(study, &kv);
        if (result < 0 && !is_default) return result;
        if (result == 0) TRY(add_setting(study, text, &kv, (int)study->quality.reference));
        if (result == 0 && kv_rules_demote(&kv)) TRY(add_pressed(study, text, &kv));
        list = *end == ',' ? end + 1 : end;
    }
    return 0;
}

/* ---- texts ---- */

static int read_text(struct study *study, const char *path) {
    struct quality_text *text = &study->quality.texts[study->quality.n_texts];
    struct token_list *tokens = &study->texts[study->quality.n_texts];
    const struct tokenizer *tokenizer = study->model.tokenizer;
    char *bytes;
    TRY(cli_read_text(path, &bytes));
    study->quality.n_texts++;
    const char *base = strrchr(path, '/') != NULL ? strrchr(path, '/') + 1 : path, *dot = strrchr(base, '.');
    snprintf(text->name, sizeof text->name, "%.*s", dot != NULL ? (int)(dot - base) : (int)strlen(base),
             base);
    int result = 0;
    if (tokenizer_adds_bos(tokenizer) && tokenizer_bos(tokenizer) >= 0)
        result = token_list_append(tokens, tokenizer_bos(tokenizer));
    if (result == 0) result = tokenizer_encode(tokenizer, bytes, strlen(bytes), false, tokens);
    mem_free(bytes);
    text->n_tokens = tokens->n;
    if (result == 0 && tokens->n < MIN_CONTEXT)
        return ERR(INVALID, "%s has %zu tokens, at least %d are needed", path, tokens->n, MIN_CONTEXT);
    return result;
}

static int read_texts(struct study *study) {
    const struct quality_opts *opts = study->opts;
    for (unsigned i = 0; i < opts->n_files; i++) TRY(read_text(study, opts->files[i]));
    if (opts->n_files > 0) return 0;
    static const char *const names[] = {"prose", "narrative", "code"};
    char folder[STORE_PATH_LENGTH], path[STORE_PATH_LENGTH + 64];
    TRY(store_folder(folder, sizeof folder));
    for (unsigned i = 0; i < sizeof names / sizeof *names; i++) {
        snprintf(path, sizeof path, "%s/../texts/%s.txt", folder, names[i]);
        if (access(path, R_OK) != 0)
            return ERR(NOT_FOUND,
                       "there are no texts yet: `make quality` provides them, or name your own with -f FILE");
        TRY(read_text(study, path));
    }
    return 0;
}

/* ---- positions ---- */

/* 512, 1,024 .. as far as they fit, and n itself; returns how many. */
static unsigned depths_within(uint32_t n, uint32_t *depths) {
    unsigned n_depths = 0;
    for (uint32_t depth = 512; depth < n && n_depths + 1 < QUALITY_MAX_DEPTHS; depth *= 2)
        depths[n_depths++] = depth;
    depths[n_depths++] = n;
    return n_depths;
}

static void show_progress(void *user, uint32_t n_done, uint32_t n_tokens) {
    const struct study *study = user;
    if (study->is_terminal)
        fprintf(stderr, "\rwindow %" PRIu32 ": %" PRIu32 " of %" PRIu32 " tokens   ", study->window + 1,
                n_done, n_tokens);
}

static int run_windows(struct study *study, unsigned t, uint32_t length, uint32_t first_target) {
    struct quality_text *text = &study->quality.texts[t];
    struct lineup *lineup = &study->lineup;
    const struct tokenizer *tokenizer = study->model.tokenizer;
    size_t stride = length - first_target;
    for (study->window = 0; study->window < text->n_windows; study->window++) {
        token_id *window = study->texts[t].ids + (size_t)study->window * length;
        token_id first = window[0];
        if (tokenizer_adds_bos(tokenizer) && tokenizer_bos(tokenizer) >= 0)
            window[0] = tokenizer_bos(tokenizer);
        fprintf(stderr, "%s%s: window %" PRIu32 " of %" PRIu32 ", %" PRIu32 " tokens, %u settings\n",
                study->is_terminal ? "\r" : "", text->name, study->window + 1, text->n_windows, length,
                lineup->n);
        TRY(lineup_run(lineup, window, length, first_target));
        window[0] = first;
        for (unsigned s = 0; s < lineup->n; s++)
            if (lineup->settings[s].reference >= 0)
                memcpy(study->found[s] + study->window * stride, lineup->settings[s].tokens,
                       stride * sizeof **study->found);
    }
    return 0;
}

static int add_rows(struct study *study, unsigned t, uint32_t length, uint32_t first_target) {
    struct quality *quality = &study->quality;
    uint32_t depths[QUALITY_MAX_DEPTHS];
    unsigned n_depths = depths_within(length, depths);
    for (unsigned d = 0; d < n_depths; d++) {
        for (unsigned s = 0; s < study->lineup.n; s++) {
            if (study->lineup.settings[s].reference < 0) continue;
            struct quality_row *row = &quality->rows[quality->n_rows++];
            *row = (struct quality_row){.setting = s, .text = t, .depth = depths[d]};
            TRY(comparison_figures(&row->figures, study->found[s], quality->texts[t].n_windows,
                                   length - first_target, depths[d] / 2 - first_target,
                                   depths[d] - first_target));
        }
    }
    return 0;
}

static int run_text(struct study *study, unsigned t) {
    struct quality_text *text = &study->quality.texts[t];
    uint32_t length = study->quality.n_context, depths[QUALITY_MAX_DEPTHS];
    if (text->n_tokens < length) length = (uint32_t)text->n_tokens;
    text->n_windows = (uint32_t)(text->n_tokens / length);
    if (text->n_windows > study->opts->n_windows) text->n_windows = study->opts->n_windows;
    depths_within(length, depths);
    uint32_t first_target = depths[0] / 2;
    int result = 0;
    for (unsigned s = 0; result == 0 && s < study->lineup.n; s++) {
        study->found[s] = mem_alloc((size_t)text->n_windows * (length - first_target), sizeof **study->found);
        if (study->found[s] == NULL) result = ERR_NO_MEMORY;
    }
    if (result == 0) result = run_windows(study, t, length, first_target);
    if (result == 0) result = add_rows(study, t, length, first_target);
    for (unsigned s = 0; s < LINEUP_MAX; s++) {
        mem_free(study->found[s]);
        study->found[s] = NULL;
    }
    return result;
}

/* ---- retrieval ---- */

static int ask_one(struct study *study, const struct recall *recall, enum recall_task task, uint32_t n_tokens,
                   unsigned setting) {
    struct quality *quality = &study->quality;
    struct quality_recall *found = &quality->recalls[quality->n_recalls++];
    *found = (struct quality_recall){.setting = setting, .task = task, .n_tokens = n_tokens};
    TRY(recall_ask(recall, task, n_tokens, &study->lineup, setting, &found->score));
    fprintf(stderr, "%s%s, %" PRIu32 " tokens: %s %.1f %%\n", study->is_terminal ? "\r" : "",
            recall_task_name(task), n_tokens, study->lineup.settings[setting].name,
            100 * quality_accuracy(found));
    return 0;
}

/* The reference first: the others are asked only what it knows. */
static int ask_all(struct study *study, const struct recall *recall, enum recall_task task,
                   uint32_t n_tokens) {
    struct quality *quality = &study->quality;
    TRY(ask_one(study, recall, task, n_tokens, quality->reference));
    if (quality_accuracy(&quality->recalls[quality->n_recalls - 1]) < QUALITY_MIN_RECALL) return 0;
    for (unsigned s = 0; s < study->lineup.n; s++)
        if (s != quality->reference && study->lineup.settings[s].reference >= 0)
            TRY(ask_one(study, recall, task, n_tokens, s));
    return 0;
}

static int run_recall(struct study *study) {
    uint32_t lengths[QUALITY_MAX_DEPTHS];
    uint32_t longest =
        study->quality.n_context < MAX_RECALL_TOKENS ? study->quality.n_context : MAX_RECALL_TOKENS;
    unsigned n_lengths = depths_within(longest, lengths);
    struct recall recall;
    if (study->opts->n_contexts == 0) return 0;
    bool has_bos = tokenizer_adds_bos(study->model.tokenizer) && tokenizer_bos(study->model.tokenizer) >= 0;
    TRY(recall_open(&recall, study->model.tokenizer, study->model.description.n_vocab,
                    study->texts[0].ids + has_bos, study->texts[0].n - has_bos, study->opts->n_contexts));
    for (unsigned i = 0; i < n_lengths; i++)
        for (int task = 0; task < RECALL_TASKS; task++)
            if (recall_is_possible(&recall, (enum recall_task)task, lengths[i]))
                TRY(ask_all(study, &recall, (enum recall_task)task, lengths[i]));
    return 0;
}

/* ---- the verb ---- */

static int open_study(struct study *study) {
    const struct quality_opts *opts = study->opts;
    char path[STORE_PATH_LENGTH];
    TRY(cli_model_path(opts->model, path, sizeof path));
    unsigned n_threads = opts->n_threads != 0 ? opts->n_threads : team_default_size();
    TRY(team_open(&study->team, n_threads));
    TRY(team_open(&study->other_team, n_threads > 1 ? n_threads - 1 : 2));
    const struct kernel_set *kernels = kernel_set_get(NULL);
    if (kernels == NULL) return ERR_UNSUPPORTED;
    TRY(model_open(&study->model, path, kernels, study->team));
    study->has_model = true;
    uint32_t trained = study->model.description.n_context, n = opts->n_context;
    if (n > trained)
        return ERR(INVALID, "a context of %" PRIu32 " tokens is longer than the model's own of %" PRIu32, n,
                   trained);
    if (n == 0) n = opts->is_quick ? QUICK_CONTEXT : DEFAULT_CONTEXT;
    if (n > trained) n = trained;
    if (n < MIN_CONTEXT)
        return ERR(INVALID,
                   "the model's context of %" PRIu32 " tokens is too short to measure: %d are needed", n,
                   MIN_CONTEXT);
    study->quality = (struct quality){.model = opts->model,
                                      .lineup = &study->lineup,
                                      .n_context = n,
                                      .n_threads = n_threads,
                                      .n_windows = opts->n_windows};
    TRY(add_controls(study));
    TRY(add_listed(study, opts->kv != NULL ? opts->kv : DEFAULT_KV));
    TRY(read_texts(study));
    struct lineup_opts lineup_opts = {.model = &study->model,
                                      .team = study->team,
                                      .other_team = study->other_team,
                                      .n_context = n,
                                      .kv_memory_bytes = opts->kv_memory_bytes,
                                      .interrupt = &interrupted,
                                      .on_progress = show_progress,
                                      .user = study};
    if (lineup_opts.kv_memory_bytes == 0) lineup_opts.kv_memory_bytes = mem_available_bytes() / 2;
    return lineup_open(&study->lineup, &lineup_opts);
}

static int run(struct study *study) {
    TRY(open_study(study));
    for (unsigned t = 0; t < study->quality.n_texts; t++) TRY(run_text(study, t));
    TRY(run_recall(study));
    if (study->opts->is_json)
        quality_print_json(&study->quality);
    else
        quality_print_text(&study->quality);
    return 0;
}

static void close_study(struct study *study) {
    lineup_close(&study->lineup);
    for (unsigned t = 0; t < QUALITY_MAX_TEXTS; t++) token_list_free(&study->texts[t]);
    if (study->has_model) model_close(&study->model);
    team_close(study->other_team);
    team_close(study->team);
    mem_free(study);
}

int cli_quality(int argc, char **argv) {
    struct quality_opts opts = {.n_windows = 1, .n_contexts = DEFAULT_CONTEXTS};
    cli_parse(&argp, argc, argv, &opts);
    if (opts.is_quick && !opts.has_contexts) opts.n_contexts = QUICK_CONTEXTS;
    interrupt_catch(SIGINT);
    struct study *study = mem_alloc(1, sizeof *study);
    if (study == NULL) return cli_fail();
    study->opts = &opts;
    study->is_terminal = isatty(STDERR_FILENO) == 1;
    int result = run(study);
    close_study(study);
    return result < 0 ? cli_fail() : EXIT_SUCCESS;
}
