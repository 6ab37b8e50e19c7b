/* The GGUF files of a repository, as the hub lists them or as the cache folder holds them. */
#ifndef CABINET_HUB_LISTING_H
#define CABINET_HUB_LISTING_H

#include <stddef.h>
#include <stdint.h>

#include "hub/file_path.h"

enum { SHA256_HEX = 64 };
/* No listing holds more, no file is larger. */
#define LISTING_MAX_FILES 10000
#define LISTING_MAX_JSON_BYTES ((size_t)16 << 20)
#define HUB_MAX_FILE_BYTES ((uint64_t)16 << 40)
#define HUB_BYTES_UNKNOWN UINT64_MAX

struct listing_file {
    char *path;                  /* within the repository; safe (hub/file_path.h) */
    uint64_t bytes;              /* at most HUB_MAX_FILE_BYTES, or HUB_BYTES_UNKNOWN */
    char sha256[SHA256_HEX + 1]; /* lower-case hexadecimal, or "" if it is not published */
};

struct listing {
    struct listing_file *files; /* sorted by path, no path twice */
    size_t n_files, capacity;
};

/* Reads the answer of `GET /api/models/OWNER/REPO/revision/REV?blobs=true`: an object whose `siblings` are
 * {rfilename, size, lfs: {sha256, size}}. What is no GGUF file is passed over. CORRUPT, TOO_LARGE, NO_MEMORY;
 * the listing is then empty. Format: huggingface_hub's RepoSibling. */
int listing_parse(struct listing *listing, const char *json, size_t length);
void listing_free(struct listing *listing);

/* Appends a file; `path` is copied. CORRUPT (unsafe), TOO_LARGE, NO_MEMORY. Ends with listing_sort. */
int listing_add(struct listing *listing, const char *path, size_t length, uint64_t bytes, const char *sha256);
/* CORRUPT if a path is there twice. */
int listing_sort(struct listing *listing);
/* NULL if there is none of that path. */
const struct listing_file *listing_find(const struct listing *listing, const char *path);

#endif
