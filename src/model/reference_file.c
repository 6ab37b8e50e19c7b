#include "model/reference_file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "base/cursor.h"
#include "base/err.h"
#include "base/fault.h"
#include "base/mem.h"
#include "model/divergence.h"
#include "model/quote.h"

enum { VERSION = 1, MAGIC_BYTES = 8, HEAD_BYTES = 40, ROW_HEAD_BYTES = 20, CODE_ZERO = 65535 };
#define STEPS_PER_NAT 2048.0f
static const char magic[] = "CABINREF";

struct reference_file {
    FILE *stream;
    char *path, *part_path; /* part_path: only while writing */
    struct quoted name;     /* path, for messages */
    struct reference_shape shape;
    uint64_t n_rows, row; /* of the file; done so far */
    uint8_t *bytes;       /* (ROW_HEAD_BYTES + 2 n_vocab) the row under way */
};

uint64_t reference_hash(const int32_t *tokens, uint64_t n) { return XXH3_64bits(tokens, n * sizeof *tokens); }

static uint64_t row_bytes(const struct reference_shape *shape) {
    return ROW_HEAD_BYTES + (uint64_t)shape->n_vocab * sizeof(uint16_t);
}

static uint64_t shape_rows(const struct reference_shape *shape) {
    return (uint64_t)shape->n_chunks * reference_n_scored(shape->n_context);
}

uint64_t reference_bytes(const struct reference_shape *shape) {
    return HEAD_BYTES + shape_rows(shape) * row_bytes(shape);
}

static int io_error(const struct reference_file *file, const char *what) {
    return ERR(IO, "%s: %s: %s", file->name.text, what, errno != 0 ? strerror(errno) : "no reason given");
}

static int new_file(struct reference_file **out, const char *path, const struct reference_shape *shape) {
    struct reference_file *file = mem_alloc(1, sizeof *file);
    if (file == NULL) return ERR_NO_MEMORY;
    *out = file;
    file->shape = *shape;
    file->name = quote_text((struct gguf_string){path, strlen(path)});
    file->n_rows = shape_rows(shape);
    file->path = mem_strndup(path, strlen(path));
    file->bytes = mem_alloc(row_bytes(shape), 1);
    return file->path != NULL && file->bytes != NULL ? 0 : ERR_NO_MEMORY;
}

void reference_close(struct reference_file *file) {
    if (file == NULL) return;
    if (file->stream != NULL) (void)fclose(file->stream);
    if (file->part_path != NULL) (void)unlink(file->part_path);
    mem_free(file->part_path);
    mem_free(file->path);
    mem_free(file->bytes);
    mem_free(file);
}

static int finish_opening(struct reference_file **file, int result) {
    if (result < 0) {
        reference_close(*file);
        *file = NULL;
    }
    return result;
}

/* ---- writing ---- */

static uint8_t *put(uint8_t *to, const void *value, size_t bytes) {
    memcpy(to, value, bytes);
    return to + bytes;
}

static int write_bytes(struct reference_file *file, const void *bytes, size_t length) {
    errno = 0;
    if (!fault_hit() && fwrite(bytes, 1, length, file->stream) == length) return 0;
    return io_error(file, "writing failed");
}

static int write_head(struct reference_file *file) {
    uint8_t head[HEAD_BYTES], *at = head;
    uint32_t version = VERSION;
    at = put(at, magic, MAGIC_BYTES);
    at = put(at, &version, sizeof version);
    at = put(at, &file->shape.n_vocab, sizeof(uint32_t));
    at = put(at, &file->shape.n_context, sizeof(uint32_t));
    at = put(at, &file->shape.n_chunks, sizeof(uint32_t));
    at = put(at, &file->shape.tokens_hash, sizeof(uint64_t));
    uint64_t hash = XXH3_64bits(head, (size_t)(at - head));
    put(at, &hash, sizeof hash);
    return write_bytes(file, head, sizeof head);
}

static int create(struct reference_file *file) {
    struct stat status; /* said now, not when the text is computed */
    if (stat(file->path, &status) == 0 && !S_ISREG(status.st_mode))
        return ERR(IO, "%s: cannot be replaced: not a regular file", file->name.text);
    size_t room = strlen(file->path) + 32;
    char *part_path = mem_alloc(room, 1);
    if (part_path == NULL) return ERR_NO_MEMORY;
    snprintf(part_path, room, "%s.part-%ld", file->path, (long)getpid());
    errno = 0;
    int descriptor =
        fault_hit() ? -1 : open(part_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0666);
    file->stream = descriptor < 0 ? NULL : fdopen(descriptor, "w");
    if (file->stream == NULL) {
        int result = io_error(file, "cannot be written");
        if (descriptor >= 0) (void)close(descriptor);
        mem_free(part_path);
        return result;
    }
    file->part_path = part_path;
    return write_head(file);
}

int reference_create(struct reference_file **file, const char *path, const struct reference_shape *shape) {
    *file = NULL;
    int result = new_file(file, path, shape);
    return finish_opening(file, result == 0 ? create(*file) : result);
}

int reference_append(struct reference_file *file, const float *logits, double nll, uint32_t top) {
    ASSERT(file->row < file->n_rows && top < file->shape.n_vocab);
    uint8_t *at = file->bytes + sizeof(uint64_t);
    at = put(at, &nll, sizeof nll);
    at = put(at, &top, sizeof top);
    for (uint32_t i = 0; i < file->shape.n_vocab; i++) {
        float below = (logits[top] - logits[i]) * STEPS_PER_NAT;
        uint16_t code = below < (float)CODE_ZERO - 0.5f ? (uint16_t)(below + 0.5f) : CODE_ZERO;
        at = put(at, &code, sizeof code);
    }
    size_t hashed = (size_t)(at - file->bytes) - sizeof(uint64_t);
    uint64_t hash = XXH3_64bits(file->bytes + sizeof hash, hashed);
    put(file->bytes, &hash, sizeof hash);
    file->row++;
    return write_bytes(file, file->bytes, hashed + sizeof hash);
}

int reference_finish(struct reference_file *file) {
    ASSERT(file->row == file->n_rows && file->part_path != NULL);
    errno = 0;
    bool is_written = !fault_hit() && fflush(file->stream) == 0 && fsync(fileno(file->stream)) == 0;
    if (!is_written) return io_error(file, "writing failed");
    if (fault_hit() || rename(file->part_path, file->path) != 0) return io_error(file, "cannot be replaced");
    mem_free(file->part_path);
    file->part_path = NULL;
    return 0;
}

/* ---- reading ---- */

static int read_bytes(struct reference_file *file, void *bytes, size_t length) {
    errno = 0;
    if (!fault_hit() && fread(bytes, 1, length, file->stream) == length) return 0;
    if (file->stream != NULL && feof(file->stream))
        return ERR(CORRUPT, "%s: the reference ends too early", file->name.text);
    return io_error(file, "reading failed");
}

static int check_same(const struct reference_file *file, const char *what, const char *unit, uint32_t there,
                      uint32_t here) {
    if (there == here) return 0;
    return ERR(INVALID, "%s: the reference was made with %s of %" PRIu32 "%s, this run has %" PRIu32,
               file->name.text, what, there, unit, here);
}

static int check_shape(const struct reference_file *file, const struct reference_shape *there) {
    TRY(check_same(file, "a vocabulary", " tokens", there->n_vocab, file->shape.n_vocab));
    TRY(check_same(file, "--ctx", "", there->n_context, file->shape.n_context));
    TRY(check_same(file, "a text", " chunks (--chunks limits them)", there->n_chunks, file->shape.n_chunks));
    if (there->tokens_hash != file->shape.tokens_hash)
        return ERR(INVALID, "%s: the reference was made with another text or tokenizer", file->name.text);
    return 0;
}

static int read_head(struct reference_file *file) {
    uint8_t head[HEAD_BYTES];
    struct stat status;
    if (fstat(fileno(file->stream), &status) != 0) return io_error(file, "cannot be read");
    if (!S_ISREG(status.st_mode) || status.st_size < HEAD_BYTES)
        return ERR(CORRUPT, "%s: no reference file of --save-reference", file->name.text);
    TRY(read_bytes(file, head, sizeof head));
    struct cursor cursor = cursor_over(head, sizeof head);
    if (memcmp(cursor_take(&cursor, MAGIC_BYTES), magic, MAGIC_BYTES) != 0)
        return ERR(CORRUPT, "%s: no reference file of --save-reference", file->name.text);
    uint32_t version = cursor_u32(&cursor);
    if (version != VERSION)
        return ERR(UNSUPPORTED, "%s: reference version %" PRIu32 ", this program reads %d", file->name.text,
                   version, VERSION);
    struct reference_shape there;
    there.n_vocab = cursor_u32(&cursor);
    there.n_context = cursor_u32(&cursor);
    there.n_chunks = cursor_u32(&cursor);
    there.tokens_hash = cursor_u64(&cursor);
    uint64_t hash = XXH3_64bits(head, cursor.offset);
    if (cursor_u64(&cursor) != hash)
        return ERR(CORRUPT, "%s: the head's hash does not match", file->name.text);
    TRY(check_shape(file, &there));
    uint64_t expected = reference_bytes(&file->shape);
    if ((uint64_t)status.st_size != expected)
        return ERR(CORRUPT, "%s: %jd bytes long, should be %" PRIu64, file->name.text,
                   (intmax_t)status.st_size, expected);
    return 0;
}

static int open_to_read(struct reference_file *file) {
    errno = 0;
    /* O_NONBLOCK: a named pipe must be refused, not waited for. */
    int descriptor = fault_hit() ? -1 : open(file->path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (descriptor < 0 && errno == ENOENT) return ERR(NOT_FOUND, "%s: no such file", file->name.text);
    file->stream = descriptor < 0 ? NULL : fdopen(descriptor, "r");
    if (file->stream != NULL) return read_head(file);
    int result = io_error(file, "cannot be read");
    if (descriptor >= 0) (void)close(descriptor);
    return result;
}

int reference_open(struct reference_file **file, const char *path, const struct reference_shape *shape) {
    *file = NULL;
    int result = new_file(file, path, shape);
    return finish_opening(file, result == 0 ? open_to_read(*file) : result);
}

int reference_next(struct reference_file *file, float *logits, double *nll, uint32_t *top) {
    ASSERT(file->row < file->n_rows);
    size_t length = (size_t)row_bytes(&file->shape);
    TRY(read_bytes(file, file->bytes, length));
    struct cursor cursor = cursor_over(file->bytes, length);
    uint64_t hash = cursor_u64(&cursor), nll_bits = cursor_u64(&cursor);
    *top = cursor_u32(&cursor);
    memcpy(nll, &nll_bits, sizeof *nll);
    const uint8_t *codes = cursor_take(&cursor, cursor_left(&cursor));
    uint16_t code;
    bool is_good = XXH3_64bits(file->bytes + sizeof hash, length - sizeof hash) == hash && isfinite(*nll) &&
                   *nll >= 0 && *top < file->shape.n_vocab;
    if (is_good) {
        memcpy(&code, codes + *top * sizeof code, sizeof code);
        is_good = code == 0; /* so that the row is a distribution */
    }
    if (!is_good)
        return ERR(CORRUPT, "%s: row %" PRIu64 " of %" PRIu64 " is damaged", file->name.text, file->row,
                   file->n_rows);
    for (uint32_t i = 0; i < file->shape.n_vocab; i++) {
        memcpy(&code, codes + i * sizeof code, sizeof code);
        logits[i] = code == CODE_ZERO ? -INFINITY : -(float)code / STEPS_PER_NAT;
    }
    file->row++;
    return 0;
}
