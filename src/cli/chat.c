#include "cli/chat.h"

#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "cabinet_shim.h"
#include "cli/cli.h"
#include "kv/kv_usage.h"

enum { ERROR_LENGTH = 512 };

struct chat {
    struct conversation conversation;
    const struct chat_opts *opts;
    struct cabinet_editor *editor;
    bool is_terminal;
};

enum command_result { COMMAND_NONE, COMMAND_DONE, COMMAND_EXIT };

static void print_help(void) {
    puts("/help         this list\n"
         "/reset        forget the conversation (the system prompt stays)\n"
         "/bill         the KV bill of the latest answer, and what the cache holds\n"
         "/save FILE    write the conversation as JSON\n"
         "/exit         leave (so does Ctrl-D)\n"
         "Ctrl-C stops an answer. A pasted text may have several lines.");
}

static void print_bill(struct chat *chat) {
    struct kv_usage usage = kv_usage(engine_kv(chat->conversation.session->engine));
    if (chat->conversation.has_bill) bill_print(&chat->conversation.bill, stdout);
    char held[CLI_BYTES_LENGTH], arena[CLI_BYTES_LENGTH], tokens[CLI_BYTES_LENGTH];
    printf("KV memory: %s held of %s, room for %s more tokens\n",
           cli_format_bytes(held, (double)usage.held_bytes),
           cli_format_bytes(arena, (double)usage.arena_bytes), cli_format_count(tokens, usage.free_tokens));
}

static void save(struct chat *chat, const char *path) {
    if (*path == '\0')
        puts("/save needs a file name");
    else if (conversation_save(&chat->conversation, chat->opts->model, path) < 0)
        (void)cli_fail();
    else
        printf("saved to %s\n", path);
}

static enum command_result run_command(struct chat *chat, const char *line) {
    if (strcmp(line, "/exit") == 0) return COMMAND_EXIT;
    if (strcmp(line, "/help") == 0) {
        print_help();
    } else if (strcmp(line, "/bill") == 0) {
        print_bill(chat);
    } else if (strcmp(line, "/reset") == 0) {
        if (conversation_reset(&chat->conversation) < 0) (void)cli_fail();
        puts("the conversation is forgotten");
    } else if (strncmp(line, "/save", 5) == 0 && (line[5] == ' ' || line[5] == '\0')) {
        save(chat, line + 5 + strspn(line + 5, " "));
    } else if (line[0] == '/' && strchr(line, '\n') == NULL && strchr(line + 1, '/') == NULL) {
        printf("there is no command '%s' (/help lists them)\n", line);
    } else {
        return COMMAND_NONE;
    }
    return COMMAND_DONE;
}

static int take_turn(struct chat *chat, const char *text) {
    struct answer answer;
    *chat->opts->interrupted = 0;
    TRY(conversation_ask(&chat->conversation, text, &chat->opts->answer, &answer));
    putchar('\n');
    fflush(stdout);
    bill_print(&answer.bill, stderr);
    answer_free(&answer);
    return 0;
}

/* 1 to go on, 0 at the end, negative on failure. */
static int handle_line(struct chat *chat, const char *line) {
    if (line[strspn(line, " \t\n")] == '\0') return 1;
    switch (run_command(chat, line)) {
    case COMMAND_EXIT: return 0;
    case COMMAND_DONE: return 1;
    case COMMAND_NONE: break;
    }
    int result = take_turn(chat, line);
    if (result < 0 && chat->is_terminal) {
        (void)cli_fail();
        return 1;
    }
    return result < 0 ? result : 1;
}

static int read_turns(struct chat *chat) {
    int result = 1;
    while (result == 1) {
        char error[ERROR_LENGTH], *line = NULL;
        size_t length = 0;
        int event = cabinet_editor_read(chat->editor, chat->is_terminal ? "> " : "", &line, &length, error,
                                        sizeof error);
        if (event < 0) return ERR(IO, "cannot read a line: %s", error);
        if (event == CABINET_EDITOR_END) return 0;
        if (event == CABINET_EDITOR_INTERRUPTED) {
            puts("(Ctrl-D or /exit leaves)");
            continue;
        }
        if (strlen(line) != length)
            result = ERR(INVALID, "the line holds a NUL byte");
        else
            result = handle_line(chat, line);
        cabinet_shim_free(line, length);
    }
    return result;
}

int chat_loop(struct session *session, const struct chat_opts *opts) {
    struct chat chat = {.opts = opts, .is_terminal = isatty(STDIN_FILENO) == 1};
    char error[ERROR_LENGTH];
    if (cabinet_editor_open(&chat.editor, NULL, error, sizeof error) < 0)
        return ERR(IO, "cannot open the line editor: %s", error);
    int result = conversation_open(&chat.conversation, session, opts->system);
    if (result == 0) {
        if (chat.is_terminal)
            printf("%s, context %" PRIu32 " tokens. /help lists commands.\n", opts->model,
                   session->max_tokens);
        result = read_turns(&chat);
        conversation_close(&chat.conversation);
    }
    cabinet_editor_close(chat.editor);
    return result;
}
