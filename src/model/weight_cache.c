#include "model/weight_cache.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>
#include <xxhash.h>

#include "base/err.h"
#include "base/fault.h"
#include "base/mem.h"
#include "model/weight_cache_folder.h"

/* Panels begin a huge page of the file and are written in whole ones: only so can they be mapped as such. */
enum { FORMAT = 1, HUGE_BYTES = 2 << 20, CHUNK_BYTES = HUGE_BYTES, HEADER_BYTES = HUGE_BYTES };

struct header {
    char magic[8];
    uint32_t format, header_bytes;
    struct gguf_identity source;
    uint64_t panel_bytes;
    uint64_t checksum; /* of the chunks' hashes */
    uint64_t hash;     /* of all before */
};
static const char magic[8] = "CABINETW";

static uint64_t hash_of_header(const struct header *header) {
    return XXH3_64bits(header, offsetof(struct header, hash));
}

/* ---- the checksum, and writing, chunk by chunk on the team ---- */

struct chunk_job {
    const uint8_t *panels;
    size_t bytes;
    uint64_t *hashes; /* (n_chunks) */
    int descriptor;   /* where chunks are written to, or -1 */
    _Atomic int error;
};

static bool write_all(int descriptor, const uint8_t *bytes, size_t n, off_t at) {
    while (n > 0) {
        errno = EIO;
        ssize_t written = fault_hit() ? -1 : pwrite(descriptor, bytes, n, at);
        if (written < 0 && errno == EINTR) continue;
        if (written <= 0) return false;
        bytes += written;
        n -= (size_t)written;
        at += written;
    }
    return true;
}

static void do_chunk(void *argument, unsigned rank, size_t chunk) {
    (void)rank;
    struct chunk_job *job = argument;
    const size_t at = chunk * CHUNK_BYTES, left = job->bytes - at,
                 n = left < CHUNK_BYTES ? left : CHUNK_BYTES;
    job->hashes[chunk] = XXH3_64bits(job->panels + at, n);
    if (job->descriptor >= 0 && atomic_load(&job->error) == 0 &&
        !write_all(job->descriptor, job->panels + at, n, (off_t)(HEADER_BYTES + at)))
        atomic_store(&job->error, errno);
}

/* Sums the panels up, and writes them if `descriptor` is one. NO_MEMORY, IO. */
static int do_chunks(const void *panels, size_t bytes, int descriptor, struct team *team,
                     uint64_t *checksum) {
    const size_t n_chunks = (bytes + CHUNK_BYTES - 1) / CHUNK_BYTES;
    struct chunk_job job = {.panels = panels, .bytes = bytes, .descriptor = descriptor};
    job.hashes = mem_alloc(n_chunks, sizeof *job.hashes);
    if (job.hashes == NULL) return ERR_NO_MEMORY;
    team_for(team, n_chunks, 1, do_chunk, &job);
    *checksum = XXH3_64bits(job.hashes, n_chunks * sizeof *job.hashes);
    mem_free(job.hashes);
    if (job.error == 0) return 0;
    return ERR(IO, "keeping repacked weights: %s", strerror(job.error));
}

/* ---- reading ---- */

/* Whether a mapping is worth having: in pages of 4 KiB a step reads panels about a tenth slower than in huge
 * ones (docs/kernels.md), for ever after a start that was faster once. The kernel says how it has mapped a
 * file only as text. Few bytes do not need large pages. */
static bool is_in_huge_pages(const void *mapping, size_t bytes) {
    enum { SMALL_BYTES = 8 << 20 };
    char line[512], wanted[32];
    size_t huge_kib = 0;
    bool is_found = false;
    if (bytes < SMALL_BYTES) return true;
    FILE *file = fopen("/proc/self/smaps", "re");
    if (file == NULL) return false;
    snprintf(wanted, sizeof wanted, "%zx-", (size_t)mapping);
    while (fgets(line, sizeof line, file) != NULL) {
        is_found = is_found || strncmp(line, wanted, strlen(wanted)) == 0;
        if (is_found && sscanf(line, "FilePmdMapped: %zu kB", &huge_kib) == 1) break;
    }
    (void)fclose(file);
    return huge_kib >= bytes / 1024 / 4 * 3;
}

/* Whether only this user can have written the file, and all of it is there. */
static bool is_ours(int descriptor, size_t panel_bytes) {
    struct stat status;
    return fstat(descriptor, &status) == 0 && S_ISREG(status.st_mode) && status.st_uid == geteuid() &&
           (status.st_mode & (S_IWGRP | S_IWOTH)) == 0 &&
           (uint64_t)status.st_size == (uint64_t)panel_bytes + HEADER_BYTES;
}

static bool is_header_of(const struct header *header, const struct gguf_identity *source,
                         size_t panel_bytes) {
    return memcmp(header->magic, magic, sizeof magic) == 0 && header->format == FORMAT &&
           header->header_bytes == HEADER_BYTES && memcmp(&header->source, source, sizeof *source) == 0 &&
           header->panel_bytes == panel_bytes && header->hash == hash_of_header(header);
}

static void *map_file(int descriptor, const struct gguf_identity *source, size_t panel_bytes,
                      struct team *team, bool *is_slow) {
    struct header header;
    uint64_t checksum;
    if (!is_ours(descriptor, panel_bytes) || fault_hit()) return NULL;
    uint8_t *mapping = mmap(NULL, HEADER_BYTES + panel_bytes, PROT_READ, MAP_SHARED, descriptor, 0);
    if (mapping == MAP_FAILED) return NULL;
    /* Where the kernel can have files in huge pages, it is asked for them. */
    (void)madvise(mapping, HEADER_BYTES + panel_bytes, MADV_HUGEPAGE);
    memcpy(&header, mapping, sizeof header);
    void *panels = mapping + HEADER_BYTES;
    bool is_good = is_header_of(&header, source, panel_bytes) &&
                   do_chunks(panels, panel_bytes, -1, team, &checksum) == 0 && checksum == header.checksum;
    *is_slow = is_good && !is_in_huge_pages(mapping, panel_bytes);
    if (is_good && !*is_slow) return panels;
    weight_cache_unmap(panels, panel_bytes);
    return NULL;
}

void *weight_cache_map(const struct weight_cache *cache, const struct gguf *source, size_t bytes,
                       struct team *team, bool *is_slow) {
    *is_slow = false;
    char path[WEIGHT_CACHE_PATH];
    struct gguf_identity identity;
    if (!gguf_identify(source, &identity) || !weight_cache_path(path, cache->folder, &identity) ||
        fault_hit())
        return NULL;
    /* O_NONBLOCK: a named pipe must be refused, not waited for. */
    int descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (descriptor < 0) return NULL;
    void *panels = map_file(descriptor, &identity, bytes, team, is_slow);
    if (panels != NULL) (void)futimens(descriptor, NULL); /* used now */
    (void)close(descriptor);
    return panels;
}

void weight_cache_unmap(void *panels, size_t bytes) {
    if (panels != NULL) (void)munmap((uint8_t *)panels - HEADER_BYTES, HEADER_BYTES + bytes);
}

/* ---- writing ---- */

static int write_file(int descriptor, const struct gguf_identity *source, const void *panels, size_t bytes,
                      struct team *team) {
    struct header header = {
        .format = FORMAT, .header_bytes = HEADER_BYTES, .source = *source, .panel_bytes = bytes};
    memcpy(header.magic, magic, sizeof magic);
    TRY(do_chunks(panels, bytes, descriptor, team, &header.checksum));
    header.hash = hash_of_header(&header);
    if (!write_all(descriptor, (const uint8_t *)&header, sizeof header, 0))
        return ERR(IO, "keeping repacked weights: %s", strerror(errno));
    return 0;
}

static int write_and_rename(const struct weight_cache *cache, const struct gguf_identity *source,
                            const void *panels, size_t bytes, struct team *team) {
    char path[WEIGHT_CACHE_PATH], unfinished[WEIGHT_CACHE_PATH + sizeof WEIGHT_CACHE_UNFINISHED];
    if (!weight_cache_path(path, cache->folder, source))
        return ERR(TOO_LARGE, "the cache folder's path is too long");
    snprintf(unfinished, sizeof unfinished, "%s%s", path, WEIGHT_CACHE_UNFINISHED);
    int descriptor = fault_hit() ? -1 : mkostemp(unfinished, O_CLOEXEC); /* mode 0600 */
    if (descriptor < 0) return ERR(IO, "%s: %s", unfinished, strerror(errno));
    int result = write_file(descriptor, source, panels, bytes, team);
    if (close(descriptor) != 0 && result == 0) result = ERR(IO, "%s: %s", unfinished, strerror(errno));
    if (result == 0 && (fault_hit() || rename(unfinished, path) != 0))
        result = ERR(IO, "%s: %s", path, strerror(errno));
    if (result < 0) (void)unlink(unfinished);
    return result;
}

int weight_cache_store(const struct weight_cache *cache, const struct gguf *source, const void *panels,
                       size_t bytes, struct team *team) {
    struct gguf_identity identity;
    struct statvfs disk;
    if (!gguf_identify(source, &identity)) return ERR(INVALID, "weights that are no file are not kept");
    TRY(weight_cache_make_room(cache, &identity, HEADER_BYTES + (uint64_t)bytes));
    if (statvfs(cache->folder, &disk) != 0 || (uint64_t)disk.f_bavail * disk.f_frsize / 2 < bytes)
        return ERR(IO, "%s: too little free space to keep %zu bytes of repacked weights", cache->folder,
                   bytes);
    return write_and_rename(cache, &identity, panels, bytes, team);
}
