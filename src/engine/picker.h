/* Picks the next tokens of a step, from the logits of its rows, on all threads of the team.
 *
 * A row's choice depends on nothing but its own request, so it does not matter which thread makes it. */
#ifndef CABINET_ENGINE_PICKER_H
#define CABINET_ENGINE_PICKER_H

#include "base/team.h"
#include "engine/request.h"
#include "model/tokenizer.h"

struct pick {
    const struct request *request; /* NULL: nothing to pick */
    const uint32_t *mask;          /* bit t set: token t may come; NULL: any may */
    float *logits;                 /* (n_vocab) changed by penalties, bans and the mask */
    /* the result */
    token_id token;
    float logprob;             /* of the token before anything changed its logit; if asked for, else NAN */
    struct token_logprob *top; /* (request->n_top_logprobs) */
};

struct picker {
    const struct tokenizer *tokenizer; /* borrowed, as is the team */
    struct team *team;
    uint32_t n_vocab, n_ends;
    token_id *ends;            /* (n_ends) tokens that end an answer */
    struct sampler **samplers; /* (team_size) */
    struct pick *picks;        /* (max_rows) filled by the caller before picker_run */
    struct token_logprob *tops;
    float *changed; /* (team_size, n_vocab) logits of rows that must stay as they are */
};

int picker_open(struct picker *picker, const struct tokenizer *tokenizer, const struct kernel_set *kernels,
                uint32_t n_vocab, uint32_t max_rows, struct team *team);
void picker_close(struct picker *picker);
/* Fills the results of the first n picks. Allocates nothing. */
void picker_run(struct picker *picker, uint32_t n);

#endif
