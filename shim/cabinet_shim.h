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
/* `texts` are the role and the content of each message in turn: 2 x n_messages strings. `now` is the time
 * that the template is told, in seconds since 1970. */
int cabinet_template_render(const struct cabinet_template *chat, const char *const *texts, size_t n_messages,
                            bool add_generation_prompt, int64_t now, char **text, size_t *length, char *error,
                            size_t error_size);
void cabinet_template_close(struct cabinet_template *chat);

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

#endif
