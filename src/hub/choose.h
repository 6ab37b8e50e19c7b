/* Which of a repository's files the user means. */
#ifndef CABINET_HUB_CHOOSE_H
#define CABINET_HUB_CHOOSE_H

#include "hub/listing.h"

struct choice {
    const struct listing_file *first; /* belongs to the listing */
    unsigned n_files;                 /* more than one: a split model, see choice_file */
};

/* `wanted` is a path of the listing, a file's name, a quantisation tag ("q4_k_m"), or "": then a Q4_K_M, else
 * a Q4_0, Q4_1 or Q8_0, else the only model. NOT_FOUND lists the choices; CORRUPT if a part of a split model
 * is missing. `of` names the repository in messages. */
int choose(struct choice *choice, const struct listing *listing, const char *wanted, const char *of);
/* File `index` (< n_files) of the choice. Never NULL. */
const struct listing_file *choice_file(const struct choice *choice, const struct listing *listing,
                                       unsigned index);

#endif
