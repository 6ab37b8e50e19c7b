/* Repacked weights kept on disk, so that the next start maps them instead of repacking them, and processes
 * that run one model share its memory.
 *
 * A cache file is KEY.panels in a folder of the user's: a header, and the storage of all panels as it lies in
 * memory. KEY names the source: lengths and times of change of its files, and a hash of all before their
 * tensors' bytes (gguf_identity). Reading the tensors' bytes too would cost as much as repacking them.
 * What is mapped is never taken on trust:
 *
 *   - the file belongs to this user and nobody else may write to it;
 *   - the header is of this format, for this source and of this size;
 *   - all bytes have the header's checksum, which the team computes (about as fast as memory is read);
 *   - of every matrix one panel is repacked from the source and compared (weights.c). That finds a source
 * that changed in spite of its key, and panels of another build's layout, without a number that someone has
 * to remember to raise.
 *
 * Anything else is a miss, after which the file is written anew: to another name, then renamed, so that a
 * reader sees all of it or none. Least recently used files make room (their time of change is that of the
 * last use). */
#ifndef CABINET_MODEL_WEIGHT_CACHE_H
#define CABINET_MODEL_WEIGHT_CACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/team.h"
#include "model/gguf.h"

struct weight_cache {
    const char *folder;   /* made when something is stored; NULL: no cache */
    uint64_t max_bytes;   /* of all files together */
    uint64_t least_bytes; /* smaller weights are repacked faster than they are worth keeping */
};

/* What became of it when weights were opened. */
enum weight_cache_result {
    WEIGHT_CACHE_UNUSED, /* there is none, or it is no gain, or the weights are small or too large for it */
    WEIGHT_CACHE_HIT,
    WEIGHT_CACHE_STORED, /* a miss, and the weights are there now */
    WEIGHT_CACHE_FAILED, /* a miss, and they could not be stored */
};

/* The panels of `source`, `bytes` of them, read-only, aligned to a page; NULL if they are not there or not
 * what they should be, or (*is_slow) if they are, but this system maps files in small pages only: then
 * repacking costs less than reading those in every step. Unmap with weight_cache_unmap. */
void *weight_cache_map(const struct weight_cache *cache, const struct gguf *source, size_t bytes,
                       struct team *team, bool *is_slow);
void weight_cache_unmap(void *panels, size_t bytes);
/* Keeps panels for the next start, removing others beyond max_bytes. IO (the disk must have twice as much
 * free), TOO_LARGE, NO_MEMORY: then nothing is left behind. */
int weight_cache_store(const struct weight_cache *cache, const struct gguf *source, const void *panels,
                       size_t bytes, struct team *team);

struct weight_cache_usage {
    uint64_t bytes;
    unsigned n_files;
};
/* What the folder holds, and what it holds for one source. An absent folder holds nothing. */
struct weight_cache_usage weight_cache_usage(const char *folder);
struct weight_cache_usage weight_cache_usage_of(const char *folder, const struct gguf *source);
/* Removes all files, or that of one source; returns what they held. Who has them mapped keeps them. */
struct weight_cache_usage weight_cache_clear(const char *folder);
struct weight_cache_usage weight_cache_forget(const char *folder, const struct gguf *source);

#endif
