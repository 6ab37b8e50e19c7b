#include "model/model.h"

#include <string.h>

#include "base/err.h"

/* The file's template, or else one of ours that fits, or none. Its special tokens are given to it as text. */
static int open_chat(struct model *model) {
    struct gguf_string source;
    int found = gguf_get_string(model->file, "tokenizer.chat_template", &source);
    TRY(found);
    if (found == 0) {
        model->chat_built_in = builtin_template_for(model->description.architecture, model->tokenizer);
        if (model->chat_built_in == NULL) return 0;
        source = (struct gguf_string){model->chat_built_in->source, strlen(model->chat_built_in->source)};
    }
    char texts[2][TOKENIZER_STEP_MAX + 1] = {"", ""};
    const token_id ids[2] = {tokenizer_bos(model->tokenizer), tokenizer_eos(model->tokenizer)};
    for (int i = 0; i < 2; i++) {
        if (ids[i] < 0) continue;
        struct gguf_string piece = tokenizer_piece(model->tokenizer, ids[i]);
        size_t length = piece.length > TOKENIZER_STEP_MAX ? TOKENIZER_STEP_MAX : piece.length;
        memcpy(texts[i], piece.bytes, length);
        texts[i][length] = '\0';
    }
    return chat_template_open(&model->chat, source.bytes, source.length, texts[0], texts[1]);
}

/* `file` becomes the model's. */
static int open_header_parts(struct model *model, struct gguf *file) {
    model->file = file;
    TRY(description_read(model->file, &model->description));
    TRY(tokenizer_open(&model->tokenizer, model->file));
    return open_chat(model);
}

static int open_parts(struct model *model, struct gguf *file, const struct kernel_set *kernels,
                      const struct weight_cache *cache, struct team *team) {
    TRY(open_header_parts(model, file));
    model->kernels = kernels;
    return weights_open(&model->weights, model->file, &model->description, cache, team);
}

static int finish_open(struct model *model, int result) {
    if (result < 0) model_close(model);
    return result;
}

int model_open_header(struct model *model, const char *path) {
    struct gguf *file;
    *model = (struct model){0};
    TRY(gguf_open(&file, path));
    return finish_open(model, open_header_parts(model, file));
}

int model_open_shapes(struct model *model, const char *path) {
    *model = (struct model){0};
    int result = gguf_open(&model->file, path);
    if (result == 0) result = description_read(model->file, &model->description);
    if (result == 0) result = weights_open_shapes(&model->weights, model->file, &model->description);
    return finish_open(model, result);
}

int model_open_cached(struct model *model, const char *path, const struct kernel_set *kernels,
                      const struct weight_cache *cache, struct team *team) {
    struct gguf *file;
    *model = (struct model){0};
    TRY(gguf_open(&file, path));
    return finish_open(model, open_parts(model, file, kernels, cache, team));
}

int model_open(struct model *model, const char *path, const struct kernel_set *kernels, struct team *team) {
    return model_open_cached(model, path, kernels, NULL, team);
}

int model_open_bytes(struct model *model, const void *bytes, size_t length, const char *name,
                     const struct kernel_set *kernels, struct team *team) {
    struct gguf *file;
    *model = (struct model){0};
    TRY(gguf_open_bytes(&file, bytes, length, name));
    return finish_open(model, open_parts(model, file, kernels, NULL, team));
}

void model_close(struct model *model) {
    weights_close(&model->weights);
    chat_template_close(model->chat);
    tokenizer_close(model->tokenizer);
    gguf_close(model->file);
    *model = (struct model){0};
}
