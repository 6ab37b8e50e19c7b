#include "hub/part.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fault.h"
#include "base/mem.h"
#include "hub/sha256.h"

static int io_error(const char *path, const char *what) {
    return ERR(IO, "%s: %s: %s", path, what, errno == ENOSPC ? "the disk is full" : strerror(errno));
}

/* True when a test wants the next system call to fail. */
static bool injected(void) {
    bool hit = fault_hit();
    if (hit) errno = EIO;
    return hit;
}

/* ---- opening ---- */

static int make_folders(char *path) {
    for (char *slash = strchr(path + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        int failed = injected() || (mkdir(path, 0777) != 0 && errno != EEXIST)
                         ? io_error(path, "making the folder")
                         : 0;
        *slash = '/';
        TRY(failed);
    }
    return 0;
}

/* A part that another run renamed or removed while this one waited to open it is no longer the file of its
 * name. */
static int lock(const struct part *part) {
    struct stat opened, named;
    if (injected()) return io_error(part->part_path, "locking");
    bool is_locked = flock(part->descriptor, LOCK_EX | LOCK_NB) == 0;
    if (!is_locked && errno != EWOULDBLOCK) return io_error(part->part_path, "locking");
    bool is_ours = is_locked && fstat(part->descriptor, &opened) == 0 && stat(part->part_path, &named) == 0 &&
                   opened.st_ino == named.st_ino && opened.st_dev == named.st_dev;
    return is_ours ? 0 : ERR(IO, "%s: another cabinet is pulling this file", part->part_path);
}

/* The line of the last run; nothing if it cannot be read, which costs a download from the start. */
static void read_origin(struct part *part) {
    int descriptor = open(part->origin_path, O_RDONLY | O_CLOEXEC);
    ssize_t n = descriptor < 0 ? 0 : read(descriptor, part->origin, sizeof part->origin - 1);
    if (descriptor >= 0) (void)close(descriptor);
    part->origin[n > 0 ? n : 0] = '\0';
}

static int check_magic(const struct part *part, const uint8_t *bytes, size_t n) {
    static const char magic[] = "GGUF";
    for (size_t i = 0; i < n && part->bytes + i < 4; i++)
        if (bytes[i] != (uint8_t)magic[part->bytes + i])
            return ERR(CORRUPT, "%s: what arrives is no GGUF file", part->path);
    return 0;
}

/* Takes bytes that are in the file into account. */
static int account(struct part *part, const uint8_t *bytes, size_t n) {
    TRY(check_magic(part, bytes, n));
    TRY(sha256_add(part->digest, bytes, n));
    part->bytes += n;
    return 0;
}

enum { READ_BYTES = 1 << 20 };

static int read_part(struct part *part, uint8_t *buffer, const volatile sig_atomic_t *interrupt) {
    for (;;) {
        if (*interrupt) return ERR(CANCELLED, "stopped");
        ssize_t n = injected() ? -1 : read(part->descriptor, buffer, READ_BYTES);
        if (n == 0) return 0;
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return io_error(part->part_path, "reading");
        TRY(account(part, buffer, (size_t)n));
    }
}

static int open_part(struct part *part, const volatile sig_atomic_t *interrupt) {
    TRY(make_folders(part->part_path));
    if (!injected())
        part->descriptor = open(part->part_path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
    if (part->descriptor < 0) return io_error(part->part_path, "opening");
    TRY(lock(part));
    TRY(sha256_open(&part->digest));
    read_origin(part);
    if (*part->origin == '\0') return part_restart(part, "");
    uint8_t *buffer = mem_alloc(READ_BYTES, 1);
    int result = buffer == NULL ? ERR_NO_MEMORY : read_part(part, buffer, interrupt);
    mem_free(buffer);
    return result;
}

int part_open(struct part *part, const char *path, const volatile sig_atomic_t *interrupt) {
    *part = (struct part){.descriptor = -1};
    if (strlen(path) + sizeof PART_ORIGIN_SUFFIX > PART_PATH_LENGTH)
        return ERR(TOO_LARGE, "the path %.100s… is too long", path);
    snprintf(part->path, sizeof part->path, "%s", path);
    snprintf(part->part_path, sizeof part->part_path, "%s%s", path, PART_SUFFIX);
    snprintf(part->origin_path, sizeof part->origin_path, "%s%s", path, PART_ORIGIN_SUFFIX);
    int result = open_part(part, interrupt);
    if (result == ERR_CORRUPT) {
        /* Not what this program left here. It starts anew. */
        result = part_restart(part, "");
    }
    if (result < 0) {
        if (part->descriptor >= 0) (void)close(part->descriptor);
        sha256_close(part->digest);
        *part = (struct part){.descriptor = -1};
    }
    return result;
}

/* ---- filling ---- */

static int write_all(int descriptor, const char *path, const uint8_t *bytes, size_t n) {
    while (n > 0) {
        ssize_t written = injected() ? -1 : write(descriptor, bytes, n);
        if (written < 0 && errno == EINTR) continue;
        if (written < 0) return io_error(path, "writing");
        bytes += written;
        n -= (size_t)written;
    }
    return 0;
}

static int write_origin(const struct part *part) {
    if (*part->origin == '\0') {
        (void)unlink(part->origin_path);
        return 0;
    }
    int descriptor =
        injected() ? -1
                   : open(part->origin_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0666);
    if (descriptor < 0) return io_error(part->origin_path, "opening");
    int result =
        write_all(descriptor, part->origin_path, (const uint8_t *)part->origin, strlen(part->origin));
    (void)close(descriptor);
    return result;
}

int part_restart(struct part *part, const char *origin) {
    if (injected() || ftruncate(part->descriptor, 0) != 0 || lseek(part->descriptor, 0, SEEK_SET) != 0)
        return io_error(part->part_path, "emptying");
    part->bytes = 0;
    snprintf(part->origin, sizeof part->origin, "%s", origin);
    TRY(sha256_restart(part->digest));
    return write_origin(part);
}

int part_append(struct part *part, const void *bytes, size_t n) {
    TRY(check_magic(part, bytes, n));
    int result = write_all(part->descriptor, part->part_path, bytes, n);
    if (result < 0) {
        /* What a later run finds must be what this one counted. */
        (void)ftruncate(part->descriptor, (off_t)part->bytes);
        return result;
    }
    return account(part, bytes, n);
}

int part_check_room(const struct part *part, uint64_t bytes) {
    struct statvfs disk;
    if (injected() || fstatvfs(part->descriptor, &disk) != 0)
        return io_error(part->part_path, "asking for free space");
    uint64_t there = (uint64_t)disk.f_bavail * disk.f_frsize;
    if (bytes <= there) return 0;
    return ERR(IO, "%s: %.1f MiB are still to come, the disk has %.1f MiB free", part->path,
               (double)bytes / 1048576, (double)there / 1048576);
}

/* ---- the end ---- */

int part_finish(struct part *part, const char *sha256, char *computed) {
    if (part->bytes < 4) return ERR(CORRUPT, "%s: what arrived is no GGUF file", part->path);
    TRY(sha256_finish(part->digest, computed));
    if (*sha256 != '\0' && strcmp(sha256, computed) != 0)
        return ERR(CORRUPT, "%s: its SHA-256 is %.16s…, the hub publishes %.16s…", part->path, computed,
                   sha256);
    if (injected() || fsync(part->descriptor) != 0) return io_error(part->part_path, "writing");
    if (injected() || rename(part->part_path, part->path) != 0)
        return io_error(part->path, "renaming the complete file");
    (void)unlink(part->origin_path);
    return 0;
}

void part_discard(struct part *part) {
    if (part->descriptor < 0) return;
    (void)unlink(part->part_path);
    (void)unlink(part->origin_path);
    (void)close(part->descriptor);
    sha256_close(part->digest);
    *part = (struct part){.descriptor = -1};
}

void part_close(struct part *part) {
    if (part->descriptor < 0) return;
    struct stat opened, named;
    /* After part_finish the name is gone, or another run's. */
    bool is_named = fstat(part->descriptor, &opened) == 0 && stat(part->part_path, &named) == 0 &&
                    opened.st_ino == named.st_ino;
    if (is_named && (part->bytes == 0 || *part->origin == '\0')) {
        part_discard(part);
        return;
    }
    (void)close(part->descriptor);
    sha256_close(part->digest);
    *part = (struct part){.descriptor = -1};
}
