/* A model: a file's weights ready to run, what they are, and the text side (tokenizer, chat template).
 * Immutable once open; one model can serve any number of sequences. */
#ifndef CABINET_MODEL_MODEL_H
#define CABINET_MODEL_MODEL_H

#include "base/team.h"
#include "kernel/kernel_set.h"
#include "model/builtin_template.h"
#include "model/chat_template.h"
#include "model/description.h"
#include "model/gguf.h"
#include "model/tokenizer.h"
#include "model/weights.h"

struct model {
    struct gguf *file;
    struct description description;
    struct tokenizer *tokenizer;
    struct chat_template *chat;                   /* NULL when the file has none and none of ours fits */
    const struct builtin_template *chat_built_in; /* NULL when `chat` is the file's own */
    const struct kernel_set *kernels;
    struct weights weights;
};

/* Opens everything of `path` but the weights: enough for inspect, cheap for any size of file. */
int model_open_header(struct model *model, const char *path);
/* Opens what cost.h needs of it, whose weights have no numbers: neither tokenizer nor template, fast for any
 * size of file. */
int model_open_shapes(struct model *model, const char *path);
/* Opens a model to run: as above, then repacks the weights for `kernels` on `team`. */
int model_open(struct model *model, const char *path, const struct kernel_set *kernels, struct team *team);
/* The same with repacked weights taken from, or left in, a cache. */
int model_open_cached(struct model *model, const char *path, const struct kernel_set *kernels,
                      const struct weight_cache *cache, struct team *team);
/* The same over borrowed bytes of one file, which stay valid until model_close; `name` appears in messages.
 */
int model_open_bytes(struct model *model, const void *bytes, size_t length, const char *name,
                     const struct kernel_set *kernels, struct team *team);
void model_close(struct model *model);

#endif
