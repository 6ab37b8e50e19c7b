#include "cli/scoring.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "model/divergence.h"
#include "model/reference_file.h"

/* A text being scored. */
struct scoring {
    const struct scoring_opts *opts;
    struct session *session;
    struct scores *scores;
    uint32_t n_vocab;
    struct token_list tokens;
    struct sequence *sequence;
    struct reference_file *save, *reference;
    float *reference_logits;         /* (SCORING_SLICE_ROWS, n_vocab) */
    uint32_t *reference_tops, *tops; /* (SCORING_SLICE_ROWS) */
    uint32_t chunk;                  /* under way */
    int result;                      /* the first failure in deliver() */
};

/* ---- a slice of rows, on all threads ---- */

struct slice {
    struct scoring *scoring;
    uint32_t position;
    uint64_t first; /* index of the first row's score */
    const float *logits;
};

static void score_row(void *argument, unsigned rank, size_t row) {
    (void)rank;
    const struct slice *slice = argument;
    struct scoring *scoring = slice->scoring;
    struct scores *scores = scoring->scores;
    size_t n_vocab = scoring->n_vocab;
    const token_id *chunk = scoring->tokens.ids + (size_t)scoring->chunk * scores->n_context;
    const float *logits = slice->logits + row * n_vocab;
    double log_sum = divergence_log_sum(logits, n_vocab);
    scores->nll[slice->first + row] = log_sum - (double)logits[chunk[slice->position + row + 1]];
    scoring->tops[row] = divergence_top(logits, n_vocab);
    if (scoring->reference == NULL) return;
    const float *reference = scoring->reference_logits + row * n_vocab;
    scores->kl[slice->first + row] =
        divergence_kl(reference, divergence_log_sum(reference, n_vocab), logits, log_sum, n_vocab);
}

/* ---- what stands between the model and the files ---- */

static int read_reference(struct scoring *scoring, uint64_t first, uint32_t n_rows) {
    for (uint32_t row = 0; scoring->reference != NULL && row < n_rows; row++)
        TRY(reference_next(scoring->reference, scoring->reference_logits + (size_t)row * scoring->n_vocab,
                           &scoring->scores->reference_nll[first + row], &scoring->reference_tops[row]));
    return 0;
}

static int check_row(const struct scoring *scoring, uint32_t position, uint64_t index) {
    const struct scores *scores = scoring->scores;
    if (isfinite(scores->nll[index]) && (scores->kl == NULL || isfinite(scores->kl[index]))) return 0;
    return ERR(CORRUPT,
               "chunk %" PRIu32 ", position %" PRIu32
               ": the model's logits give no finite probability to the next token (is the file damaged?)",
               scoring->chunk + 1, position);
}

static int score_slice(struct scoring *scoring, uint32_t position, uint32_t n_rows, const float *logits) {
    struct scores *scores = scoring->scores;
    struct slice slice = {.scoring = scoring, .position = position, .logits = logits};
    slice.first = (uint64_t)scoring->chunk * scores->n_scored + (position - scores->n_context / 2);
    ASSERT(n_rows <= SCORING_SLICE_ROWS);
    TRY(read_reference(scoring, slice.first, n_rows));
    team_for(scoring->session->team, n_rows, 1, score_row, &slice);
    for (uint32_t row = 0; row < n_rows; row++) {
        TRY(check_row(scoring, position + row, slice.first + row));
        if (scoring->reference != NULL)
            scores->n_same_top += scoring->tops[row] == scoring->reference_tops[row];
        if (scoring->save != NULL)
            TRY(reference_append(scoring->save, logits + (size_t)row * scoring->n_vocab,
                                 scores->nll[slice.first + row], scoring->tops[row]));
    }
    return 0;
}

static void deliver(void *user, uint32_t position, uint32_t n_rows, const float *logits) {
    struct scoring *scoring = user;
    if (scoring->result == 0) scoring->result = score_slice(scoring, position, n_rows, logits);
}

/* ---- the text ---- */

/* The text as chunks: tokens of which the first n_chunks * n_context are as the model will see them. */
static int cut_text(struct scoring *scoring, const char *text) {
    const struct tokenizer *tokenizer = scoring->session->model.tokenizer;
    struct scores *scores = scoring->scores;
    uint64_t n_context = scores->n_context = scoring->opts->n_context;
    if (n_context < SCORING_MIN_CONTEXT)
        return ERR(INVALID, "a context of %" PRIu64 " tokens is too short to score a text, which takes %d",
                   n_context, SCORING_MIN_CONTEXT);
    bool has_bos = tokenizer_adds_bos(tokenizer) && tokenizer_bos(tokenizer) >= 0;
    if (has_bos) TRY(token_list_append(&scoring->tokens, tokenizer_bos(tokenizer)));
    TRY(tokenizer_encode(tokenizer, text, strlen(text), false, &scoring->tokens));
    uint64_t n_chunks = scoring->tokens.n / n_context;
    if (n_chunks == 0)
        return ERR(INVALID,
                   "the text has %zu tokens, one chunk needs %" PRIu64 " (give a longer text or lower --ctx)",
                   scoring->tokens.n, n_context);
    if (n_chunks > scoring->opts->max_chunks) n_chunks = scoring->opts->max_chunks;
    if (n_chunks > UINT32_MAX) return ERR(TOO_LARGE, "the text has %" PRIu64 " chunks", n_chunks);
    for (uint64_t chunk = 0; has_bos && chunk < n_chunks; chunk++)
        scoring->tokens.ids[chunk * n_context] = tokenizer_bos(tokenizer);
    scores->n_tokens = scoring->tokens.n;
    scores->n_chunks = (uint32_t)n_chunks;
    scores->n_scored = reference_n_scored(scores->n_context);
    scores->n = n_chunks * scores->n_scored;
    return 0;
}

static int open_files(struct scoring *scoring) {
    struct scores *scores = scoring->scores;
    struct reference_shape shape = {
        .n_vocab = scoring->n_vocab, .n_context = scores->n_context, .n_chunks = scores->n_chunks};
    shape.tokens_hash = reference_hash(scoring->tokens.ids, (uint64_t)scores->n_chunks * scores->n_context);
    scores->reference_file_bytes = reference_bytes(&shape);
    if (scoring->opts->save_path != NULL)
        TRY(reference_create(&scoring->save, scoring->opts->save_path, &shape));
    if (scoring->opts->reference_path != NULL)
        TRY(reference_open(&scoring->reference, scoring->opts->reference_path, &shape));
    return 0;
}

static int open_scoring(struct scoring *scoring, const char *text) {
    TRY(cut_text(scoring, text));
    TRY(open_files(scoring));
    struct scores *scores = scoring->scores;
    scores->nll = mem_alloc(scores->n, sizeof *scores->nll);
    scoring->tops = mem_alloc(SCORING_SLICE_ROWS, sizeof *scoring->tops);
    if (scores->nll == NULL || scoring->tops == NULL) return ERR_NO_MEMORY;
    if (scoring->reference != NULL) {
        scores->kl = mem_alloc(scores->n, sizeof *scores->kl);
        scores->reference_nll = mem_alloc(scores->n, sizeof *scores->reference_nll);
        scoring->reference_tops = mem_alloc(SCORING_SLICE_ROWS, sizeof *scoring->reference_tops);
        scoring->reference_logits =
            mem_alloc(SCORING_SLICE_ROWS, scoring->n_vocab * sizeof *scoring->reference_logits);
        if (!scores->kl || !scores->reference_nll || !scoring->reference_tops || !scoring->reference_logits)
            return ERR_NO_MEMORY;
    }
    return engine_sequence_open(scoring->session->engine, &scoring->sequence);
}

static void close_scoring(struct scoring *scoring) {
    engine_sequence_close(scoring->session->engine, scoring->sequence);
    reference_close(scoring->save);
    reference_close(scoring->reference);
    mem_free(scoring->reference_logits);
    mem_free(scoring->reference_tops);
    mem_free(scoring->tops);
    token_list_free(&scoring->tokens);
}

/* The chunk's last token is only a target: it is not computed. */
static int score_chunk(struct scoring *scoring) {
    struct engine *engine = scoring->session->engine;
    uint32_t n_context = scoring->scores->n_context;
    struct request request = {.sequence = scoring->sequence,
                              .sampling = {.top_p = 1, .repeat_penalty = 1},
                              .max_output_tokens = 1,
                              .ignores_end = true,
                              .on_logits = deliver,
                              .first_logits = n_context / 2,
                              .user = scoring};
    const token_id *tokens = scoring->tokens.ids + (size_t)scoring->chunk * n_context;
    TRY(engine_submit(engine, &request, tokens, n_context - 1));
    while (request.finish == FINISH_NONE && scoring->result == 0) {
        if (scoring->opts->interrupt != NULL && *scoring->opts->interrupt)
            scoring->result = ERR(CANCELLED, "interrupted after %" PRIu32 " of %" PRIu32 " chunks",
                                  scoring->chunk, scoring->scores->n_chunks);
        else
            (void)engine_step(engine);
    }
    engine_cancel(engine, &request);
    return request.finish == FINISH_FAILED ? request.error : scoring->result;
}

static int score_all(struct scoring *scoring) {
    const struct scoring_opts *opts = scoring->opts;
    const struct scores *scores = scoring->scores;
    for (; scoring->chunk < scores->n_chunks; scoring->chunk++) {
        uint64_t n = (uint64_t)scoring->chunk * scores->n_scored;
        if (opts->on_chunk != NULL)
            opts->on_chunk(opts->user, scoring->chunk, scores->n_chunks, scores->nll, n);
        TRY(score_chunk(scoring));
    }
    if (opts->on_chunk != NULL)
        opts->on_chunk(opts->user, scoring->chunk, scores->n_chunks, scores->nll, scores->n);
    return scoring->save != NULL ? reference_finish(scoring->save) : 0;
}

int scores_compute(struct scores *scores, struct session *session, const char *text,
                   const struct scoring_opts *opts) {
    *scores = (struct scores){0};
    struct scoring scoring = {
        .opts = opts, .session = session, .scores = scores, .n_vocab = session->model.description.n_vocab};
    int result = open_scoring(&scoring, text);
    if (result == 0) result = score_all(&scoring);
    close_scoring(&scoring);
    return result;
}

void scores_free(struct scores *scores) {
    mem_free(scores->nll);
    mem_free(scores->kl);
    mem_free(scores->reference_nll);
    *scores = (struct scores){0};
}
