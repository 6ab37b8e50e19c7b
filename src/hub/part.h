/* A file that is on its way: FILE.part, which becomes FILE when it is complete, and FILE.part.from, one line
 * that says what the bytes are a part of ("sha256:…" or "etag:…"), so that a later run may go on where this
 * one stopped.
 *
 * A part is locked while it is open: two runs never write into one. */
#ifndef CABINET_HUB_PART_H
#define CABINET_HUB_PART_H

#include <signal.h>
#include <stddef.h>
#include <stdint.h>

enum { PART_PATH_LENGTH = 4096, PART_ORIGIN_LENGTH = 300 };
#define PART_SUFFIX ".part"
#define PART_ORIGIN_SUFFIX ".part.from"

struct part {
    char path[PART_PATH_LENGTH];        /* of the complete file */
    char part_path[PART_PATH_LENGTH];   /* while it is not */
    char origin_path[PART_PATH_LENGTH]; /* of the line that says what of */
    char origin[PART_ORIGIN_LENGTH];    /* "" unknown: the bytes are of no use to a later run */
    int descriptor;
    uint64_t bytes; /* that are there, in the file and in the digest */
    struct sha256 *digest;
};

/* Opens the part of the file at `path`, with what an earlier run left, and the folders above it. IO (also:
 * another run has it), TOO_LARGE, NO_MEMORY, CORRUPT (what is there is no GGUF file), CANCELLED when
 * *interrupt is set while it reads. */
int part_open(struct part *part, const char *path, const volatile sig_atomic_t *interrupt);
/* Lets go. What is there stays, unless it is of no use: empty, or of unknown origin. */
void part_close(struct part *part);
/* Lets go and removes it. */
void part_discard(struct part *part);

/* Forgets the bytes and notes what the next ones are of. */
int part_restart(struct part *part, const char *origin);
/* CORRUPT as soon as the bytes are those of no GGUF file; IO when the disk is full. */
int part_append(struct part *part, const void *bytes, size_t n);
/* Compares the SHA-256 with `sha256` (unless that is ""), and gives the file its name. The digest is stored
 * in `computed`, 65 bytes. CORRUPT: it differs. The part stays open until part_close. */
int part_finish(struct part *part, const char *sha256, char *computed);
/* Whether `bytes` more fit on the disk; IO says how much is missing. */
int part_check_room(const struct part *part, uint64_t bytes);

#endif
