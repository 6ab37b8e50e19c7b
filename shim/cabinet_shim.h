/* The C interface of libcabinet_shim.a: Rust crates that Cabinet uses rather than writing its own.
 *
 * Every function that can fail returns a negative code and leaves one line of text in the caller's `error`
 * buffer (NUL-terminated, cut to size). No panic crosses this border. Texts that come out are UTF-8 with a
 * NUL behind them, owned by the caller, and go back through cabinet_shim_free. */
#ifndef CABINET_SHIM_H
#define CABINET_SHIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    CABINET_SHIM_REFUSED = -1, /* the input is at fault: the error says how */
    CABINET_SHIM_PANIC = -2,   /* a crate broke its promise */
    CABINET_SHIM_IO = -3,      /* the terminal, a file, or the system failed */
};

/* `length` is the one that came with the text; NULL is ignored. */
void cabinet_shim_free(char *text, size_t length);

/* Chat templates (minijinja). A compiled template may be rendered by several threads at once. */
struct cabinet_template;
int cabinet_template_open(struct cabinet_template **chat, const char *source, size_t length, const char *bos,
                          const char *eos, char *error, size_t error_size);
/* `messages` and `tools` (NULL: none) are JSON arrays. `now` is the time that the template is told, in
 * seconds since 1970. */
int cabinet_template_render(const struct cabinet_template *chat, const char *messages, const char *tools,
                            bool add_generation_prompt, int64_t now, char **text, size_t *length, char *error,
                            size_t error_size);
/* Does the template look at `tools`? */
bool cabinet_template_knows_tools(const struct cabinet_template *chat);
void cabinet_template_close(struct cabinet_template *chat);

/* What an answer must be (llguidance). A vocabulary may serve several threads at once; a constraint one. */
struct cabinet_piece {
    const uint8_t *bytes;
    size_t length;
    bool is_special; /* never spelled by text */
};
struct cabinet_vocabulary;
struct cabinet_constraint;
/* (n_pieces) tokens by id; `ends` (n_ends) of them end an answer. */
int cabinet_vocabulary_open(struct cabinet_vocabulary **vocabulary, const struct cabinet_piece *pieces,
                            size_t n_pieces, const uint32_t *ends, size_t n_ends, char *error,
                            size_t error_size);
void cabinet_vocabulary_close(struct cabinet_vocabulary *vocabulary);
enum {
    CABINET_CONSTRAINT_JSON_OBJECT,
    CABINET_CONSTRAINT_JSON_SCHEMA,
    CABINET_CONSTRAINT_LARK,
    CABINET_CONSTRAINT_REGEX,
};
int cabinet_constraint_open(struct cabinet_constraint **constraint,
                            const struct cabinet_vocabulary *vocabulary, int kind, const char *source,
                            size_t length, char *error, size_t error_size);
/* Another constraint in the same state. */
int cabinet_constraint_fork(struct cabinet_constraint **fork, const struct cabinet_constraint *constraint,
                            char *error, size_t error_size);
/* Bit t of the mask (n_words) says whether token t may come next. */
int cabinet_constraint_mask(struct cabinet_constraint *constraint, uint32_t *mask, size_t n_words,
                            char *error, size_t error_size);
int cabinet_constraint_accept(struct cabinet_constraint *constraint, uint32_t token, char *error,
                              size_t error_size);
bool cabinet_constraint_is_finished(const struct cabinet_constraint *constraint);
void cabinet_constraint_close(struct cabinet_constraint *constraint);

/* Line editing on the terminal (rustyline); without a terminal it reads plain lines from stdin. */
enum { CABINET_EDITOR_END = 0, CABINET_EDITOR_LINE = 1, CABINET_EDITOR_INTERRUPTED = 2 };
struct cabinet_editor;
/* `history_path` keeps the history between runs, readable by its owner alone; NULL, and a file that cannot be
 * written, keep it in memory. */
int cabinet_editor_open(struct cabinet_editor **editor, const char *history_path, char *error,
                        size_t error_size);
/* One of CABINET_EDITOR_*, or negative. A pasted text may have several lines; its end has no newline. */
int cabinet_editor_read(struct cabinet_editor *editor, const char *prompt, char **text, size_t *length,
                        char *error, size_t error_size);
void cabinet_editor_close(struct cabinet_editor *editor);

/* Heads of HTTP/1.x requests (httparse). Spans are offsets into the bytes that were parsed. */
enum { CABINET_HTTP_MAX_HEADERS = 100 };
struct cabinet_span {
    size_t offset, length;
};
struct cabinet_http_head {
    struct cabinet_span method, target;
    int minor_version; /* of HTTP/1 */
    size_t n_headers;
    struct cabinet_span headers[CABINET_HTTP_MAX_HEADERS][2]; /* name, value */
};
enum { CABINET_HTTP_PARTIAL = 0, CABINET_HTTP_MALFORMED = -1, CABINET_HTTP_TOO_MANY_HEADERS = -2 };
/* The length of the head with its empty line, or one of CABINET_HTTP_*. */
ptrdiff_t cabinet_http_parse_head(const uint8_t *bytes, size_t length, struct cabinet_http_head *head);
/* The length of a chunk's size line with its end, and the size; or one of CABINET_HTTP_*. */
ptrdiff_t cabinet_http_parse_chunk_size(const uint8_t *bytes, size_t length, uint64_t *size);

#endif
