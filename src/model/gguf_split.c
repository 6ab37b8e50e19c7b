/* A model in one GGUF file or in several, as llama.cpp's gguf-split and the converters write them:
 *
 *     NAME-00001-of-00003.gguf   all metadata, and some tensors or none
 *     NAME-00002-of-00003.gguf   more tensors; of metadata only what every part has:
 *
 *     split.no             this part, counted from 0
 *     split.count          parts of the model; absent, 0 (joined again) or 1: it is one file
 *     split.tensors.count  tensors of all parts together
 *
 * Each part is a whole GGUF file. They come from strangers one by one: that they belong together is checked,
 * and no name in a file leads to a path, only the path that the user gave does. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "model/gguf_parse.h"
#include "model/quote.h"

enum {
    PARTS_MAX = 1000,  /* several times the most that any published model has */
    SUFFIX_LENGTH = 20 /* "-00001-of-00003.gguf" */
};

struct split {
    uint32_t no, count, n_tensors;
};

/* Where the parts come from: a path, or buffers. */
struct source {
    const char *path;
    const struct gguf_buffer *buffers;
    size_t n_buffers;
};

/* ---- what a part says of itself ---- */

static int read_number(const struct gguf *part, const char *key, uint32_t *value) {
    int found = gguf_get_u32(part, key, value);
    if (found == 0)
        return ERR(CORRUPT, "%s: metadata %s is missing in this part of a model", part->name, key);
    return found < 0 ? found : 0;
}

/* A file that is no part of a split model has the count 1. */
static int read_split(const struct gguf *part, struct split *split) {
    *split = (struct split){.count = 0};
    TRY(gguf_get_u32(part, "split.count", &split->count));
    if (split->count == 0) split->count = 1;
    if (split->count > PARTS_MAX)
        return ERR(TOO_LARGE, "%s: split.count is %" PRIu32 ", more than %d", part->name, split->count,
                   PARTS_MAX);
    if (split->count > 1) {
        TRY(read_number(part, "split.no", &split->no));
        TRY(read_number(part, "split.tensors.count", &split->n_tensors));
    } else {
        TRY(gguf_get_u32(part, "split.no", &split->no));
    }
    if (split->no >= split->count)
        return ERR(CORRUPT, "%s: split.no is %" PRIu32 ", but split.count is %" PRIu32, part->name, split->no,
                   split->count);
    return 0;
}

/* ---- names ---- */

static void write_suffix(char suffix[SUFFIX_LENGTH + 1], uint32_t no, uint32_t count) {
    (void)snprintf(suffix, SUFFIX_LENGTH + 1, "-%05u-of-%05u.gguf", (no + 1) % 100000, count % 100000);
}

/* The path of part `to` beside that of part `from`, to be freed. NULL if memory is missing, or with
 * *is_named false if `path` does not end as the part's name should. */
static char *sibling_path(const char *path, uint32_t from, uint32_t to, uint32_t count, bool *is_named) {
    char suffix[SUFFIX_LENGTH + 1];
    size_t length = strlen(path);
    write_suffix(suffix, from, count);
    *is_named = length >= SUFFIX_LENGTH && strcmp(path + length - SUFFIX_LENGTH, suffix) == 0;
    char *sibling = *is_named ? mem_strndup(path, length) : NULL;
    if (sibling != NULL) write_suffix(sibling + length - SUFFIX_LENGTH, to, count);
    return sibling;
}

static int refuse_later_part(const struct gguf *part, const struct split *split,
                             const struct source *source) {
    bool is_named;
    char *path =
        source->path == NULL ? NULL : sibling_path(source->path, split->no, 0, split->count, &is_named);
    char first[GGUF_FILE_NAME_BYTES] = "the one whose name ends in ";
    if (path != NULL)
        gguf_set_name(first, path);
    else
        write_suffix(first + strlen(first), 0, split->count);
    mem_free(path);
    return ERR(INVALID, "%s: this is part %" PRIu32 " of %" PRIu32 " of a model; give its first part: %s",
               part->name, split->no + 1, split->count, first);
}

/* ---- the other parts ---- */

static int open_sibling(struct gguf **part, const struct gguf *first, const char *path, uint32_t no,
                        uint32_t count) {
    bool is_named;
    char *sibling = sibling_path(path, 0, no, count, &is_named);
    if (!is_named) {
        char suffix[SUFFIX_LENGTH + 1];
        write_suffix(suffix, 0, count);
        return ERR(INVALID,
                   "%s: this is part 1 of %" PRIu32 " of a model, but its name does not end in %s, so the "
                   "other parts cannot be found; rename them",
                   first->name, count, suffix);
    }
    if (sibling == NULL) return ERR_NO_MEMORY;
    int result = gguf_open_one(part, sibling);
    if (result == ERR_NOT_FOUND) {
        char name[GGUF_FILE_NAME_BYTES];
        gguf_set_name(name, sibling);
        result = ERR(NOT_FOUND, "%s: no such file: part %" PRIu32 " of %" PRIu32 " of this model is missing",
                     name, no + 1, count);
    }
    mem_free(sibling);
    return result;
}

static int open_part(struct gguf **part, const struct gguf *first, const struct source *source, uint32_t no,
                     uint32_t count) {
    if (source->path != NULL) return open_sibling(part, first, source->path, no, count);
    return gguf_open_one_buffer(part, &source->buffers[no]);
}

/* That `part` is number `no` of the model that `first` begins. */
static int check_part(const struct gguf *part, uint32_t no, const struct gguf *first,
                      const struct split *model) {
    struct split split;
    TRY(read_split(part, &split));
    if (split.count != model->count)
        return ERR(CORRUPT, "%s: of another model: its split.count is %" PRIu32 ", that of %s is %" PRIu32,
                   part->name, split.count, first->name, model->count);
    if (split.no != no)
        return ERR(CORRUPT, "%s: its split.no is %" PRIu32 ", in its place must be %" PRIu32, part->name,
                   split.no, no);
    if (split.n_tensors != model->n_tensors)
        return ERR(CORRUPT,
                   "%s: of another model: its split.tensors.count is %" PRIu32 ", that of %s is %" PRIu32,
                   part->name, split.n_tensors, first->name, model->n_tensors);
    return 0;
}

static int open_parts(struct gguf *first, const struct source *source, const struct split *model) {
    first->parts = mem_alloc(model->count - 1, sizeof(struct gguf *));
    if (first->parts == NULL) return ERR_NO_MEMORY;
    for (uint32_t no = 1; no < model->count; no++) {
        struct gguf **part = &first->parts[no - 1];
        TRY(open_part(part, first, source, no, model->count));
        first->n_parts = no;
        TRY(check_part(*part, no, first, model));
    }
    return 0;
}

/* ---- their tensors ---- */

static const char *name_of_part_with(const struct gguf *first, const struct gguf_string *tensor_name) {
    const uint8_t *data = ((const struct gguf_tensor *)(const void *)tensor_name)->data;
    for (size_t i = 0; i < first->n_parts; i++) {
        const struct gguf *part = first->parts[i];
        if ((uintptr_t)data - (uintptr_t)part->bytes < part->length) return part->name;
    }
    return first->name;
}

/* Moves the tensors of all parts into the list of the first. */
static void move_tensors(struct gguf *first, struct gguf_tensor *all) {
    memcpy(all, first->tensors, first->n_tensors * sizeof *all);
    mem_free(first->tensors);
    mem_free(first->tensors_by_name);
    first->tensors = all;
    first->tensors_by_name = NULL;
    for (size_t i = 0; i < first->n_parts; i++) {
        struct gguf *part = first->parts[i];
        memcpy(all + first->n_tensors, part->tensors, part->n_tensors * sizeof *all);
        first->n_tensors += part->n_tensors;
        part->n_tensors = 0;
        mem_free(part->tensors);
        mem_free(part->tensors_by_name);
        part->tensors = NULL;
        part->tensors_by_name = NULL;
    }
}

static int join_tensors(struct gguf *first, const struct split *model) {
    size_t n = first->n_tensors;
    for (size_t i = 0; i < first->n_parts; i++) n += first->parts[i]->n_tensors;
    if (n != model->n_tensors)
        return ERR(CORRUPT,
                   "%s: split.tensors.count is %" PRIu32 ", but the %" PRIu32 " parts have %zu tensors",
                   first->name, model->n_tensors, model->count, n);
    struct gguf_tensor *all = mem_alloc(n, sizeof *all);
    if (all == NULL) return ERR_NO_MEMORY;
    move_tensors(first, all);
    const struct gguf_string **twice;
    TRY(gguf_index_names(all, n, sizeof *all, &first->tensors_by_name, &twice));
    if (twice != NULL)
        return ERR(CORRUPT, "%s: tensor '%s' is there twice, here and in %s",
                   name_of_part_with(first, twice[0]), QUOTE(*twice[0]), name_of_part_with(first, twice[1]));
    return 0;
}

/* ---- all of it ---- */

static int join(struct gguf *first, const struct source *source) {
    struct split split;
    TRY(read_split(first, &split));
    if (split.no != 0) return refuse_later_part(first, &split, source);
    if (source->path == NULL && source->n_buffers != split.count)
        return ERR(CORRUPT, "%s: split.count is %" PRIu32 ", but there are %zu parts", first->name,
                   split.count, source->n_buffers);
    if (split.count == 1) return 0;
    TRY(open_parts(first, source, &split));
    return join_tensors(first, &split);
}

static int finish_open(struct gguf **file, const struct source *source) {
    int result = join(*file, source);
    if (result == 0) return 0;
    gguf_close(*file);
    *file = NULL;
    return result;
}

int gguf_open(struct gguf **file, const char *path) {
    TRY(gguf_open_one(file, path));
    return finish_open(file, &(struct source){.path = path});
}

int gguf_open_buffers(struct gguf **file, const struct gguf_buffer *buffers, size_t n_buffers) {
    ASSERT(n_buffers > 0);
    TRY(gguf_open_one_buffer(file, &buffers[0]));
    return finish_open(file, &(struct source){.buffers = buffers, .n_buffers = n_buffers});
}

int gguf_open_bytes(struct gguf **file, const void *bytes, size_t length, const char *name) {
    return gguf_open_buffers(file, &(struct gguf_buffer){bytes, length, name}, 1);
}
