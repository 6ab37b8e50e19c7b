#include "cli/answer.h"

#include <string.h>

#include "base/err.h"
#include "base/mem.h"

/* The callback's view of the answer being made. Text that cannot be kept ends the answer, not the program. */
struct writer {
    struct session *session;
    struct request *request;
    const struct answer_opts *opts;
    struct answer *answer;
    struct tokenizer_stream decode;
    int failure;
};

static int keep_text(struct answer *answer, const char *text, size_t length) {
    size_t need = answer->length + length + 1;
    if (need > answer->capacity) {
        size_t capacity = need * 2;
        char *grown = mem_realloc(answer->text, capacity, 1);
        if (grown == NULL) return ERR_NO_MEMORY;
        answer->text = grown;
        answer->capacity = capacity;
    }
    memcpy(answer->text + answer->length, text, length);
    answer->length += length;
    answer->text[answer->length] = '\0';
    return 0;
}

static int emit(struct writer *writer, const char *text, size_t length) {
    if (writer->opts->stream != NULL && length > 0) {
        fwrite(text, 1, length, writer->opts->stream);
        fflush(writer->opts->stream);
    }
    return keep_text(writer->answer, text, length);
}

static bool on_token(void *user, const struct token_report *report) {
    struct writer *writer = user;
    char text[TOKENIZER_STEP_MAX];
    size_t length =
        tokenizer_decode_step(writer->session->model.tokenizer, &writer->decode, report->token, text);
    int result = token_list_append(&writer->answer->tokens, report->token);
    if (result == 0) result = emit(writer, text, length);
    writer->failure = result;
    return result < 0;
}

static int run(struct writer *writer) {
    struct request *request = writer->request;
    const volatile sig_atomic_t *interrupt = writer->opts->interrupt;
    while (request->finish == FINISH_NONE) {
        if (interrupt != NULL && *interrupt)
            engine_cancel(writer->session->engine, request);
        else
            (void)engine_step(writer->session->engine);
    }
    if (writer->failure < 0) return writer->failure;
    if (request->finish == FINISH_FAILED) return request->error;
    char text[TOKENIZER_STEP_MAX];
    return emit(writer, text, tokenizer_decode_end(&writer->decode, text));
}

int answer_generate(struct session *session, struct sequence *sequence, const struct token_list *prompt,
                    const struct answer_opts *opts, struct answer *answer) {
    *answer = (struct answer){0};
    struct request request = {
        .sequence = sequence,
        .sampling = opts->sampling,
        .max_output_tokens = opts->max_output_tokens,
        .on_token = on_token,
    };
    struct writer writer = {.session = session, .request = &request, .opts = opts, .answer = answer};
    request.user = &writer;
    TRY(engine_submit(session->engine, &request, prompt->ids, (uint32_t)prompt->n));
    int result = run(&writer);
    answer->finish = request.finish;
    answer->bill = bill_of(session, &request);
    if (result < 0) answer_free(answer);
    return result;
}

void answer_free(struct answer *answer) {
    mem_free(answer->text);
    token_list_free(&answer->tokens);
    answer->text = NULL;
    answer->length = answer->capacity = 0;
}

const char *answer_finish_name(enum finish_reason finish) {
    switch (finish) {
    case FINISH_END:
    case FINISH_STOPPED: return "end";
    case FINISH_LENGTH: return "length";
    case FINISH_CONTEXT: return "context";
    case FINISH_CANCELLED: return "cancelled";
    default: return "failed";
    }
}
