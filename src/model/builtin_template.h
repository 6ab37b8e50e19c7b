/* Chat templates of our own for files that bring none: what a model was trained on follows from its
 * architecture and from the special tokens in its vocabulary. */
#ifndef CABINET_MODEL_BUILTIN_TEMPLATE_H
#define CABINET_MODEL_BUILTIN_TEMPLATE_H

#include "model/tokenizer.h"

enum { BUILTIN_TEMPLATES = 9, BUILTIN_LIST_MAX = 4 };

struct builtin_template {
    const char *name;
    const char *architectures[BUILTIN_LIST_MAX]; /* it is for these, up to NULL; for any if there are none */
    const char *markers[BUILTIN_LIST_MAX];       /* all of these are special tokens of the vocabulary */
    const char *source;                          /* Jinja */
};

/* The first that fits is taken. */
extern const struct builtin_template builtin_templates[BUILTIN_TEMPLATES];

/* The template for a model, or NULL if none fits. */
const struct builtin_template *builtin_template_for(const char *architecture,
                                                    const struct tokenizer *tokenizer);

#endif
