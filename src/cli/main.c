#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"

static void print_help(FILE *stream) {
    fputs("Usage: cabinet VERB [OPTION...]\n\n"
          "An LLM inference engine whose heart is the KV cache.\n\n",
          stream);
#define X(name, summary) fprintf(stream, "  %-10s %s\n", #name, summary);
    VERB_LIST(X)
#undef X
    fputs("\nExamples:\n"
          "  cabinet run smollm2 -p 'Why is the sky blue?'   one answer and its KV bill\n"
          "  cabinet run smollm2                             an interactive chat\n"
          "  cabinet serve smollm2                           the OpenAI API and a page, on port 8080\n"
          "  cabinet top http://127.0.0.1:8080               a server's cache, live\n"
          "  cabinet inspect smollm2                         what a conversation will cost to remember\n"
          "  cabinet bench smollm2 -d 0,4096                 speed at two context depths\n"
          "  cabinet perplexity smollm2 -f text.txt          quality on a text\n"
          "  cabinet quality smollm2 --quick                 what each format of the KV cache costs\n"
          "  cabinet kv http://127.0.0.1:8080                what a server has cached of yours\n"
          "  cabinet pull OWNER/REPO:Q4_K_M                  a model from Hugging Face\n\n"
          "`cabinet VERB --help` tells a verb's options.\n",
          stream);
}

/* The exit code of a program that is done; 0 only if all that it printed has arrived. */
static int finish(int code) {
    if (fflush(stdout) == 0 && !ferror(stdout)) return code;
    fputs("cabinet: standard output could not be written\n", stderr);
    return code == EXIT_SUCCESS ? EXIT_FAILURE : code;
}

static int run(int argc, char **argv) {
    if (argc < 2) {
        print_help(stderr);
        return EXIT_USAGE;
    }
    const char *verb = argv[1];
#define X(name, summary)                                                                                     \
    if (strcmp(verb, #name) == 0) return cli_##name(argc - 1, argv + 1);
    VERB_LIST(X)
#undef X
    if (strcmp(verb, "help") == 0 || strcmp(verb, "--help") == 0) {
        print_help(stdout);
        return EXIT_SUCCESS;
    }
    if (strcmp(verb, "--version") == 0) {
        puts("cabinet " CABINET_VERSION);
        return EXIT_SUCCESS;
    }
    fprintf(stderr, "cabinet: there is no verb '%s' (`cabinet help` lists them)\n", verb);
    return EXIT_USAGE;
}

int main(int argc, char **argv) { return finish(run(argc, argv)); }
