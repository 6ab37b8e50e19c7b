#include "cli/recall.h"

#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/rng.h"

enum { SEED = 20180718, REPEAT_QUESTIONS = 64, REPEAT_LEAD = 16, FACTS = 8, CONTEXTS_A_TURN = 4 };

const char *recall_task_name(enum recall_task task) {
    static const char *const names[RECALL_TASKS] = {"repeat", "passkey", "lookup"};
    return names[task];
}

/* ---- words ---- */

static const char *const candidates[] = {
    "apple",  "river",  "stone",  "horse", "garden", "window", "silver", "summer", "winter", "doctor",
    "island", "market", "music",  "paper", "bridge", "castle", "forest", "letter", "mother", "orange",
    "planet", "school", "street", "table", "train",  "valley", "water",  "yellow", "bread",  "chair",
    "cloud",  "dream",  "earth",  "field", "glass",  "heart",  "house",  "king",   "light",  "moon",
    "ocean",  "queen",  "rain",   "road",  "ship",   "snow",   "star",   "tree",   "wind",   "wood",
    "fire",   "gold",   "iron",   "bird",  "fish"};

/* The word's one token behind "is", or false. */
static int find_word(const struct tokenizer *tokenizer, const char *word, token_id *token, bool *is_one) {
    struct token_list with = {0}, without = {0};
    char text[64];
    int length = snprintf(text, sizeof text, "It is %s", word);
    int result = tokenizer_encode(tokenizer, text, (size_t)length, false, &with);
    if (result == 0) result = tokenizer_encode(tokenizer, text, strlen("It is"), false, &without);
    *is_one = result == 0 && with.n == without.n + 1;
    if (*is_one) *token = with.ids[with.n - 1];
    token_list_free(&with);
    token_list_free(&without);
    return result;
}

int recall_open(struct recall *recall, const struct tokenizer *tokenizer, uint32_t n_vocab,
                const token_id *filler, size_t n_filler, uint32_t n_contexts) {
    *recall = (struct recall){.tokenizer = tokenizer,
                              .filler = filler,
                              .n_filler = n_filler,
                              .n_vocab = n_vocab,
                              .n_contexts = n_contexts};
    for (size_t i = 0; i < sizeof candidates / sizeof *candidates && recall->n_words < RECALL_CHOICES; i++) {
        bool is_one;
        TRY(find_word(tokenizer, candidates[i], &recall->tokens[recall->n_words], &is_one));
        recall->words[recall->n_words] = candidates[i];
        recall->n_words += is_one;
    }
    return 0;
}

/* ---- a context, its questions, and their answers ---- */

struct question {
    uint32_t position; /* of the logits that answer it */
    token_id right, choices[RECALL_CHOICES];
};

struct asking {
    const struct recall *recall;
    struct lineup *lineup;
    unsigned setting;
    struct recall_score *score;
    struct token_list prompt;
    struct question questions[REPEAT_QUESTIONS];
    unsigned n_questions, n_answered;
};

/* Ties count as wrong. */
static bool is_right(const struct question *question, const float *logits) {
    for (unsigned i = 0; i < RECALL_CHOICES; i++)
        if (question->choices[i] != question->right &&
            !(logits[question->choices[i]] < logits[question->right]))
            return false;
    return true;
}

static void answer(void *user, uint32_t position, uint32_t n_rows, const float *logits) {
    struct asking *asking = user;
    for (uint32_t row = 0; row < n_rows; row++, position++) {
        if (asking->n_answered == asking->n_questions) return;
        const struct question *question = &asking->questions[asking->n_answered];
        if (question->position != position) continue;
        asking->score->n_right += is_right(question, logits + (size_t)row * asking->recall->n_vocab);
        asking->n_answered++;
    }
}

/* Asks what `questions` hold, by rising position, of the prompt. */
static int ask(struct asking *asking) {
    asking->n_answered = 0;
    asking->score->n_questions += asking->n_questions;
    return lineup_ask(asking->lineup, asking->setting, asking->prompt.ids, (uint32_t)asking->prompt.n,
                      asking->questions[0].position, answer, asking);
}

static int append_text(struct asking *asking, const char *text) {
    return tokenizer_encode(asking->recall->tokenizer, text, strlen(text), false, &asking->prompt);
}

static int append_bos(struct asking *asking) {
    const struct tokenizer *tokenizer = asking->recall->tokenizer;
    bool has_bos = tokenizer_adds_bos(tokenizer) && tokenizer_bos(tokenizer) >= 0;
    return has_bos ? token_list_append(&asking->prompt, tokenizer_bos(tokenizer)) : 0;
}

/* ---- repeat ---- */

static token_id random_token(const struct recall *recall, uint64_t counter) {
    for (;; counter += UINT32_MAX) {
        token_id token = (token_id)(rng_u64(SEED, counter) % recall->n_vocab);
        if (tokenizer_bytes(recall->tokenizer, token).length > 0) return token; /* no control token */
    }
}

static int ask_repeat(struct asking *asking, uint32_t n_tokens, uint32_t turn) {
    TRY(append_bos(asking));
    uint32_t first = (uint32_t)asking->prompt.n, half = (n_tokens - 1 - first) / 2;
    for (uint32_t i = 0; i < half; i++)
        TRY(token_list_append(&asking->prompt, random_token(asking->recall, turn * 1000003u + i)));
    for (uint32_t i = 0; i + 1 < half; i++)
        TRY(token_list_append(&asking->prompt, asking->prompt.ids[first + i]));
    uint32_t n_places = half - 1 - REPEAT_LEAD / 2;
    asking->n_questions = n_places < REPEAT_QUESTIONS ? n_places : REPEAT_QUESTIONS;
    for (uint32_t q = 0; q < asking->n_questions; q++) {
        uint32_t at = REPEAT_LEAD / 2 - 1 + (uint32_t)((uint64_t)q * n_places / asking->n_questions);
        struct question *question = &asking->questions[q];
        question->position = first + half + at;
        question->right = asking->prompt.ids[first + at + 1];
        question->choices[0] = question->right;
        for (unsigned c = 1; c < RECALL_CHOICES; c++)
            question->choices[c] = asking->prompt.ids[first + rng_u64(SEED + 1, q * 64 + c) % half];
    }
    return ask(asking);
}

/* ---- sentences in a text ---- */

static const char *const names[FACTS] = {"Anna", "Ben", "Clara", "David", "Emma", "Frank", "Grace", "Henry"};

/* "The secret word is river", or of several "The word of Anna river": the name stands right before its word,
 * which is what small models can still look up. Without the word a question. */
static int append_fact(struct asking *asking, const char *name, const char *word) {
    char text[128];
    const char *space = word != NULL ? " " : "", *value = word != NULL ? word : "",
               *end = word != NULL ? "\n" : "";
    if (name != NULL)
        snprintf(text, sizeof text, "\nThe word of %s%s%s%s", name, space, value, end);
    else
        snprintf(text, sizeof text, "\nThe secret word is%s%s%s", space, value, end);
    return append_text(asking, text);
}

/* Filler until the prompt has `end` tokens. */
static int append_filler(struct asking *asking, size_t *at, size_t end) {
    for (; asking->prompt.n < end; ++*at)
        TRY(token_list_append(&asking->prompt, asking->recall->filler[*at % asking->recall->n_filler]));
    return 0;
}

static int ask_fact(struct asking *asking, const char *name, unsigned word) {
    size_t n_context = asking->prompt.n;
    TRY(append_fact(asking, name, NULL));
    struct question *question = &asking->questions[0];
    question->position = (uint32_t)asking->prompt.n - 1;
    memcpy(question->choices, asking->recall->tokens, sizeof question->choices);
    question->right = asking->recall->tokens[word];
    asking->n_questions = 1;
    TRY(ask(asking));
    asking->prompt.n = n_context;
    return 0;
}

enum { QUESTION_TOKENS = 16 }; /* at most, as these names and words come out in tokens */

/* The deepest sentence first, so that the next context can go on from what it shares with this one. */
static int ask_passkey(struct asking *asking, uint32_t n_tokens, uint32_t turn) {
    uint32_t end = n_tokens - 1 - QUESTION_TOKENS, n = asking->recall->n_contexts;
    unsigned word = (unsigned)(rng_u64(SEED + 2, turn) % RECALL_CHOICES);
    size_t at = 0;
    TRY(append_bos(asking));
    TRY(append_filler(asking, &at,
                      (size_t)((uint64_t)(end - QUESTION_TOKENS) * (2 * (n - turn) - 1) / (2 * n))));
    TRY(append_fact(asking, NULL, asking->recall->words[word]));
    TRY(append_filler(asking, &at, end));
    return ask_fact(asking, NULL, word);
}

static int ask_lookup(struct asking *asking, uint32_t n_tokens, uint32_t turn) {
    uint32_t end = n_tokens - 1 - QUESTION_TOKENS;
    size_t at = (size_t)turn * n_tokens;
    unsigned shift = (unsigned)(rng_u64(SEED + 3, turn) % RECALL_CHOICES);
    TRY(append_bos(asking));
    TRY(append_filler(asking, &at, (end - FACTS * QUESTION_TOKENS) / 2));
    for (unsigned i = 0; i < FACTS; i++)
        TRY(append_fact(asking, names[i], asking->recall->words[(i * 5 + shift) % RECALL_CHOICES]));
    TRY(append_filler(asking, &at, end));
    for (unsigned i = 0; i < FACTS; i++) TRY(ask_fact(asking, names[i], (i * 5 + shift) % RECALL_CHOICES));
    return 0;
}

/* ---- what is offered ---- */

bool recall_is_possible(const struct recall *recall, enum recall_task task, uint32_t n_tokens) {
    if (n_tokens < RECALL_MIN_TOKENS) return false;
    if (task == RECALL_repeat) return true;
    uint32_t n_facts = task == RECALL_lookup ? FACTS : 1;
    return recall->n_words == RECALL_CHOICES && n_tokens >= 2 * (n_facts + 1) * QUESTION_TOKENS;
}

int recall_ask(const struct recall *recall, enum recall_task task, uint32_t n_tokens, struct lineup *lineup,
               unsigned setting, struct recall_score *score) {
    static int (*const tasks[RECALL_TASKS])(struct asking *, uint32_t, uint32_t) = {ask_repeat, ask_passkey,
                                                                                    ask_lookup};
    uint32_t n_contexts = recall->n_contexts;
    if (task != RECALL_passkey) n_contexts = (n_contexts + CONTEXTS_A_TURN - 1) / CONTEXTS_A_TURN;
    *score = (struct recall_score){0};
    int result = 0;
    for (uint32_t turn = 0; result == 0 && turn < n_contexts; turn++) {
        struct asking asking = {.recall = recall, .lineup = lineup, .setting = setting, .score = score};
        result = tasks[task](&asking, n_tokens, turn);
        token_list_free(&asking.prompt);
    }
    return result;
}
