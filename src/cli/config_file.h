/* A configuration file: a verb's options by their long names, one a line.
 *
 *     # comment
 *     port = 8080              # comment
 *     model-name = "my model"  # quotes where a value has spaces or '#'; in them \" and \\
 *     debug = true             # an option without a value: true or false
 *
 * What it holds is put before the command line's own words, so the command line wins. There is no option
 * whose value is a key, only ones that name a file with a key: so no key is ever in here either. */
#ifndef CABINET_CLI_CONFIG_FILE_H
#define CABINET_CLI_CONFIG_FILE_H

#include <argp.h>

enum { CONFIG_FILE_BYTES = 64 * 1024 };

struct config_file {
    int n_words;
    char **words; /* (n_words) "--port=8080", "--debug" */
    char **argv;  /* of config_file_argv */
};

/* The value of --<option> on a command line, NULL if it is not there: the path of the file, before anything
 * is parsed. Only the whole name counts ("--config F", "--config=F"), not an abbreviation. */
const char *config_file_path(int argc, char **argv, const char *option);
/* Reads a file for a verb with these options (and its children's), among which `option`, the one that names
 * the file, may not stand in it. Errors say file:line: unknown or repeated names, values that are missing or
 * too many, unfinished quotes; TOO_LARGE beyond CONFIG_FILE_BYTES. */
int config_file_read(struct config_file *config, const char *path, const struct argp *argp,
                     const char *option);
/* argv[0], the file's words, the rest of argv; *argc becomes their number. NULL-terminated; lives as long as
 * the config and argv. NULL (NO_MEMORY) on failure. */
char **config_file_argv(struct config_file *config, int *argc, char **argv);
/* Words may be in use as long as the parsed options. */
void config_file_free(struct config_file *config);

#endif
