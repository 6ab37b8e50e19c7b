/* What `cabinet quality` measures, and how it is shown. */
#ifndef CABINET_CLI_QUALITY_H
#define CABINET_CLI_QUALITY_H

#include "cli/lineup.h"
#include "cli/recall.h"

enum { QUALITY_MAX_TEXTS = 8, QUALITY_MAX_DEPTHS = 8, QUALITY_MAX_LENGTHS = 8 };

/* A setting's figures on one text, in the second half of `depth` tokens. */
struct quality_row {
    unsigned setting, text;
    uint32_t depth;
    struct comparison_figures figures;
};

/* A setting's answers to one task in a context of n_tokens. */
struct quality_recall {
    unsigned setting;
    enum recall_task task;
    uint32_t n_tokens;
    struct recall_score score;
};

struct quality {
    const char *model; /* as it was given */
    const struct lineup *lineup;
    unsigned reference; /* the setting f16 that others are compared with */
    uint32_t n_context, n_windows;
    unsigned n_threads;
    struct quality_text {
        char name[64];
        uint64_t n_tokens;  /* the whole text's */
        uint32_t n_windows; /* of it that were run: 0 if it is too short */
    } texts[QUALITY_MAX_TEXTS];
    unsigned n_texts;
    struct quality_row rows[QUALITY_MAX_TEXTS * QUALITY_MAX_DEPTHS * LINEUP_MAX];
    unsigned n_rows;
    struct quality_recall recalls[RECALL_TASKS * QUALITY_MAX_LENGTHS * LINEUP_MAX];
    unsigned n_recalls;
};

/* A task and length at which the reference answers so much counts for the others. */
#define QUALITY_MIN_RECALL 0.9
static inline double quality_accuracy(const struct quality_recall *recall) {
    return (double)recall->score.n_right / (double)recall->score.n_questions;
}

void quality_print_text(const struct quality *quality);
/* docs/json.md */
void quality_print_json(const struct quality *quality);

#endif
