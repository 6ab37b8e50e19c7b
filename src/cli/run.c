/* cabinet run: one answer, or a chat. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/mem.h"
#include "cli/chat.h"
#include "cli/cli.h"
#include "cli/interrupt.h"

enum {
    OPTION_SYSTEM = 256,
    OPTION_TEMP,
    OPTION_TOP_K,
    OPTION_TOP_P,
    OPTION_MIN_P,
    OPTION_REPEAT_PENALTY,
    OPTION_PRESENCE_PENALTY,
    OPTION_FREQUENCY_PENALTY,
    OPTION_SEED,
    OPTION_CTX,
    OPTION_RAW,
    OPTION_JSON
};

static const struct argp_option options[] = {
    {"prompt", 'p', "TEXT", 0, "answer this and exit", 1},
    {"file", 'f', "FILE", 0, "answer the text in FILE ('-' is standard input) and exit", 1},
    {"max-tokens", 'n', "N", 0, "longest answer in tokens (default: what the context has room for)", 1},
    {"system", OPTION_SYSTEM, "TEXT", 0, "system prompt", 1},
    {"raw", OPTION_RAW, 0, 0, "continue the text as it is, without the chat template", 1},
    {"json", OPTION_JSON, 0, 0, "print one JSON object instead of text (docs/json.md)", 1},
    {"temp", OPTION_TEMP, "T", 0, "temperature; 0 takes the most likely token (default 0.7)", 2},
    {"top-k", OPTION_TOP_K, "K", 0, "choose among the K most likely tokens (default 0: all)", 2},
    {"top-p", OPTION_TOP_P, "P", 0,
     "choose among the fewest tokens with probability P together (default 1: all)", 2},
    {"min-p", OPTION_MIN_P, "P", 0, "drop tokens below P times the best one's probability (default 0: none)",
     2},
    {"repeat-penalty", OPTION_REPEAT_PENALTY, "X", 0, "weaken tokens already in the text (default 1: off)",
     2},
    {"presence-penalty", OPTION_PRESENCE_PENALTY, "X", 0, "weaken tokens already in the answer (default 0)",
     2},
    {"frequency-penalty", OPTION_FREQUENCY_PENALTY, "X", 0, "the same, for each time they occur (default 0)",
     2},
    {"seed", OPTION_SEED, "S", 0, "the same seed gives the same answer (default: another one each run)", 2},
    {"ctx", OPTION_CTX, "TOKENS", 0, "context length (default: the model's own)", 3},
    {0},
};

struct run_opts {
    struct session_opts session;
    struct answer_opts answer;
    const char *prompt, *file, *system;
    bool is_raw, is_json, has_seed;
};

static error_t parse_sampling(int key, char *argument, struct argp_state *state,
                              struct sampler_opts *sampling) {
    switch (key) {
    case OPTION_TEMP: sampling->temperature = cli_parse_float(state, "--temp", argument); break;
    case OPTION_TOP_K:
        sampling->top_k = (uint32_t)cli_parse_count(state, "--top-k", argument, 0, UINT32_MAX);
        break;
    case OPTION_TOP_P: sampling->top_p = cli_parse_float(state, "--top-p", argument); break;
    case OPTION_MIN_P: sampling->min_p = cli_parse_float(state, "--min-p", argument); break;
    case OPTION_REPEAT_PENALTY:
        sampling->repeat_penalty = cli_parse_float(state, "--repeat-penalty", argument);
        break;
    case OPTION_PRESENCE_PENALTY:
        sampling->presence_penalty = cli_parse_float(state, "--presence-penalty", argument);
        break;
    case OPTION_FREQUENCY_PENALTY:
        sampling->frequency_penalty = cli_parse_float(state, "--frequency-penalty", argument);
        break;
    case OPTION_SEED: sampling->seed = cli_parse_count(state, "--seed", argument, 0, UINT64_MAX); break;
    default: return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

static error_t parse(int key, char *argument, struct argp_state *state) {
    struct run_opts *opts = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &opts->session;
        state->child_inputs[1] = &opts->session.price;
        return 0;
    case OPTION_CTX:
        opts->session.max_tokens = (uint32_t)cli_parse_count(state, "--ctx", argument, 2, 1u << 27);
        return 0;
    case 'p': opts->prompt = argument; return 0;
    case 'f': opts->file = argument; return 0;
    case 'n':
        opts->answer.max_output_tokens = (uint32_t)cli_parse_count(state, "-n", argument, 1, UINT32_MAX);
        return 0;
    case OPTION_SYSTEM: opts->system = argument; return 0;
    case OPTION_RAW: opts->is_raw = true; return 0;
    case OPTION_JSON: opts->is_json = true; return 0;
    case ARGP_KEY_END:
        cli_parse_model(key, argument, state, &opts->session.model);
        if (opts->prompt != NULL && opts->file != NULL) argp_error(state, "-p and -f exclude each other");
        if (opts->is_raw && opts->system != NULL)
            argp_error(state, "--raw uses no template, so --system says nothing");
        if ((opts->is_raw || opts->is_json) && opts->prompt == NULL && opts->file == NULL)
            argp_error(state, "--raw and --json need a prompt (-p or -f)");
        return 0;
    default: break;
    }
    if (key == OPTION_SEED) opts->has_seed = true;
    if (parse_sampling(key, argument, state, &opts->answer.sampling) == 0) return 0;
    return cli_parse_model(key, argument, state, &opts->session.model);
}

static const struct argp argp = {options,
                                 parse,
                                 "MODEL",
                                 "Answer a prompt, or chat with a model; then say what remembering it "
                                 "cost.\n\nMODEL is a GGUF file, OWNER/REPO[:FILE or :TAG] as `cabinet pull` "
                                 "fetched it, or the short name of the model that `make demo` fetched "
                                 "(smollm2). Without -p or -f it is "
                                 "a chat: from a terminal with line "
                                 "editing, otherwise one turn a line.\v"
                                 "Examples:\n"
                                 "  cabinet run smollm2 -p 'Why is the sky blue?'\n"
                                 "  cabinet run smollm2 -f essay.txt -n 200 --temp 0 --json\n"
                                 "  cabinet run smollm2 --system 'Answer in one sentence.' --kv-memory 1G\n"
                                 "  cabinet run OWNER/REPO:Q4_K_M -p 'Hello'\n"
                                 "  cabinet run model.gguf --raw -p 'Once upon a time' -n 50 --seed 7",
                                 session_price_argp_children,
                                 NULL,
                                 NULL};

static void print_json(const struct run_opts *opts, const struct session *session,
                       const struct answer *answer) {
    json_t *object = json_object(), *ids = json_array();
    for (size_t i = 0; i < answer->tokens.n; i++)
        json_array_append_new(ids, json_integer(answer->tokens.ids[i]));
    json_object_set_new(object, "text",
                        json_stringn(answer->text == NULL ? "" : answer->text, answer->length));
    json_object_set_new(object, "token_ids", ids);
    bill_add_json(&answer->bill, object);
    json_object_set_new(object, "finish_reason", json_string(answer_finish_name(answer->finish)));
    json_object_set_new(object, "kv_codec", json_string(opts->session.kv.text));
    json_object_set_new(object, "context_tokens", json_integer(session->max_tokens));
    json_object_set_new(object, "threads", json_integer(session->n_threads));
    json_object_set_new(object, "seed", json_integer((json_int_t)opts->answer.sampling.seed));
    json_dumpf(object, stdout, JSON_COMPACT);
    putchar('\n');
    json_decref(object);
}

static int answer_raw(struct session *session, const char *text, const struct answer_opts *opts,
                      struct answer *answer) {
    const struct tokenizer *tokenizer = session->model.tokenizer;
    struct token_list prompt = {0};
    struct sequence *sequence;
    TRY(engine_sequence_open(session->engine, &sequence));
    int result = 0;
    if (tokenizer_adds_bos(tokenizer) && tokenizer_bos(tokenizer) >= 0)
        result = token_list_append(&prompt, tokenizer_bos(tokenizer));
    if (result == 0) result = tokenizer_encode(tokenizer, text, strlen(text), true, &prompt);
    if (result == 0) result = answer_generate(session, sequence, &prompt, opts, answer);
    token_list_free(&prompt);
    engine_sequence_close(session->engine, sequence);
    return result;
}

static int answer_chat(struct session *session, const struct run_opts *opts, const char *text,
                       struct answer *answer) {
    struct conversation conversation;
    TRY(conversation_open(&conversation, session, opts->system));
    int result = conversation_ask(&conversation, text, &opts->answer, answer);
    conversation_close(&conversation);
    return result;
}

static int answer_once(struct session *session, const struct run_opts *opts, const char *text) {
    struct answer answer;
    int result = opts->is_raw ? answer_raw(session, text, &opts->answer, &answer)
                              : answer_chat(session, opts, text, &answer);
    TRY(result);
    if (opts->is_json) {
        print_json(opts, session, &answer);
    } else {
        putchar('\n');
        fflush(stdout);
        bill_print(&answer.bill, stderr);
    }
    answer_free(&answer);
    return 0;
}

static int run(struct run_opts *opts) {
    char *file_text = NULL;
    if (opts->file != NULL) TRY(cli_read_text(opts->file, &file_text));
    const char *text = opts->prompt != NULL ? opts->prompt : file_text;
    struct session session;
    int result = session_open(&session, &opts->session);
    if (result == 0) {
        opts->answer.stream = opts->is_json ? NULL : stdout;
        opts->answer.interrupt = &interrupted;
        struct chat_opts chat = {.system = opts->system,
                                 .model = opts->session.model,
                                 .answer = opts->answer,
                                 .interrupted = &interrupted};
        result = text != NULL ? answer_once(&session, opts, text) : chat_loop(&session, &chat);
        session_close(&session);
    }
    mem_free(file_text);
    return result;
}

int cli_run(int argc, char **argv) {
    struct run_opts opts = {.session = session_defaults(),
                            .answer = {.sampling = sampler_defaults(), .max_output_tokens = UINT32_MAX}};
    cli_parse(&argp, argc, argv, &opts);
    if (!opts.has_seed && getrandom(&opts.answer.sampling.seed, 4, 0) != 4) opts.answer.sampling.seed = 1;
    interrupt_catch(SIGINT);
    return run(&opts) < 0 ? cli_fail() : EXIT_SUCCESS;
}
