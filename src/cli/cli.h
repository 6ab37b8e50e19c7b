/* What the verbs share. A verb is one file with `int cli_<verb>(int argc, char **argv)`, argv[0] being the
 * verb; it returns the exit code: 0 done, 1 failed, 2 wrong usage. */
#ifndef CABINET_CLI_CLI_H
#define CABINET_CLI_CLI_H

#include <argp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "codec/kv_rules.h"

#define VERB_LIST(X)                                                                                         \
    X(run, "answer a prompt, or chat")                                                                       \
    X(serve, "answer over HTTP: the OpenAI API, and a page")                                                 \
    X(top, "a running server's cache, live")                                                                 \
    X(inspect, "what a model is, and what its memory will cost")                                             \
    X(plan, "what a load will cost on a machine: memory, time, money")                                       \
    X(bench, "speed, beside this machine's own limits")                                                      \
    X(calibrate, "what this machine can do, measured once for the planner")                                  \
    X(perplexity, "quality on a text, and how far a lossy change moves it")                                  \
    X(kv, "what a server has cached, pinned and dropped")                                                    \
    X(quality, "what lossy storage of the KV cache costs, beside controls")                                  \
    X(pull, "fetch a model from Hugging Face or another server")                                             \
    X(list, "the models in the cache folder")                                                                \
    X(rm, "remove a model from the cache folder")

#define X(name, summary) int cli_##name(int argc, char **argv);
VERB_LIST(X)
#undef X

enum { EXIT_USAGE = 2 };

/* Prints "cabinet: <latest error>" on stderr and returns the exit code of a failure. */
int cli_fail(void);

/* Parses options with argp; usage errors exit with EXIT_USAGE. The program's name in messages is "cabinet
 * <verb>". */
void cli_parse(const struct argp *argp, int argc, char **argv, void *input);

/* "22.5 MiB": into a caller's buffer of CLI_BYTES_LENGTH, which is returned. */
enum { CLI_BYTES_LENGTH = 32 };
const char *cli_format_bytes(char *buffer, double bytes);
/* "23,040" */
const char *cli_format_count(char *buffer, uint64_t count);

/* A whole number in [low, high], or a usage error that names `what`. */
uint64_t cli_parse_count(struct argp_state *state, const char *what, const char *text, uint64_t low,
                         uint64_t high);
float cli_parse_float(struct argp_state *state, const char *what, const char *text);
/* "512M", "2.5GiB", "40%" (of the memory that is free now): bytes. */
uint64_t cli_parse_memory(struct argp_state *state, const char *what, const char *text);
/* What --kv says (codec/kv_rules.h). */
void cli_parse_kv(struct argp_state *state, const char *text, struct kv_rules *rules);

/* The one argument of a verb that takes a model, or a model's name: sets *model, and refuses a second or
 * none. What a parser returns for the keys that it does not know itself. */
error_t cli_parse_model(int key, char *argument, struct argp_state *state, const char **model);

/* Turns what the user gave for MODEL into a path: an existing file as it is, or a model in the cache folder
 * by its short name ("smollm2"), as OWNER/REPO[@REVISION][:FILE or :TAG], as its URL, or as its path there.
 * NOT_FOUND says what to do. */
int cli_model_path(const char *model, char *path, size_t size);
/* The whole of a file ('-': standard input) as text that ends with a NUL and holds no other; free with
 * mem_free. */
int cli_read_text(const char *path, char **text);

#endif
