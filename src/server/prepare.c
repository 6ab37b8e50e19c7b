/* The worker's part of a generation: the body to a checked ask, its prompts to tokens, its grammar, and room
 * for what the engine will say. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/err.h"
#include "base/mem.h"
#include "model/prompt.h"
#include "server/generation.h"

enum { MAX_CHOICES = 128, MAX_STOPS = 16 };

static int refuse(struct generation *generation, int code) {
    return api_error_from(&generation->error, code);
}

/* ---- prompts ---- */

int prepare_text(const struct server *server, const struct ask_prompt *prompt, struct token_list *list) {
    const struct tokenizer *tokenizer = server->opts.model->tokenizer;
    for (uint32_t i = 0; i < prompt->n_ids && prompt->text == NULL; i++)
        TRY(token_list_append(list, prompt->ids[i]));
    if (prompt->text == NULL) return 0;
    if (tokenizer_adds_bos(tokenizer) && tokenizer_bos(tokenizer) >= 0)
        TRY(token_list_append(list, tokenizer_bos(tokenizer)));
    return tokenizer_encode(tokenizer, prompt->text, strlen(prompt->text), true, list);
}

static bool uses_tools(const struct ask *ask) {
    return ask->tools != NULL && ask->tool_choice != ASK_TOOLS_NONE;
}

int prepare_conversation(const struct server *server, const struct ask *ask, int64_t now_s,
                         struct token_list *list) {
    const struct model *model = server->opts.model;
    if (model->chat == NULL)
        return ERR(UNSUPPORTED, "this model has no chat template; use /v1/completions to continue a text");
    const json_t *tools = uses_tools(ask) ? ask->tools : NULL;
    bool is_native = server->are_tools_native;
    json_t *messages = is_native ? json_incref(ask->messages) : tool_format_messages(ask->messages, tools);
    if (messages == NULL) return ERR(NO_MEMORY, "no memory for the conversation");
    const struct prompt_opts opts = {
        .add_generation_prompt = ask->adds_generation_prompt,
        .continue_final_message = ask->continues_final_message,
        .now = now_s,
    };
    int result =
        prompt_encode_json(model->chat, model->tokenizer, messages, is_native ? tools : NULL, &opts, list);
    json_decref(messages);
    return result;
}

static int encode_prompts(struct generation *generation) {
    const struct ask *ask = generation->ask;
    bool is_text = ask->api == ASK_COMPLETIONS;
    generation->n_prompts = is_text ? ask->n_prompts : 1;
    generation->prompts = mem_alloc(generation->n_prompts, sizeof *generation->prompts);
    if (generation->prompts == NULL) return ERR_NO_MEMORY;
    for (uint32_t i = 0; i < generation->n_prompts; i++) {
        struct token_list *list = &generation->prompts[i];
        list->most = generation->server->opts.max_tokens;
        TRY(is_text ? prepare_text(generation->server, &ask->prompts[i], list)
                    : prepare_conversation(generation->server, ask, generation->created_s, list));
        TRY(engine_check_prompt(generation->server->opts.engine, list->ids, (uint32_t)list->n));
    }
    return 0;
}

/* ---- what the answer must be ---- */

static int open_constraint(struct generation *generation, struct constraint **constraint) {
    struct server *server = generation->server;
    const struct ask *ask = generation->ask;
    bool is_call = uses_tools(ask) && ask->tool_choice >= ASK_TOOLS_REQUIRED;
    *constraint = NULL;
    if (!is_call && ask->format == ASK_TEXT) return 0;
    if (server->vocabulary == NULL)
        TRY(constraint_vocabulary_open(&server->vocabulary, server->opts.model->tokenizer));
    if (!is_call) {
        bool has_schema = ask->format == ASK_JSON_SCHEMA;
        return constraint_open(constraint, server->vocabulary,
                               has_schema ? CONSTRAINT_JSON_SCHEMA : CONSTRAINT_JSON_OBJECT,
                               has_schema ? ask->schema : "", has_schema ? strlen(ask->schema) : 0);
    }
    struct text lark = {0};
    int result = tool_format_grammar(server->tool_format, server->opts.model->tokenizer, ask->tools,
                                     ask->tool_choice == ASK_TOOLS_NAMED ? ask->tool_name : NULL,
                                     ask->parallel_tool_calls, &lark);
    if (result == 0)
        result = constraint_open(constraint, server->vocabulary, CONSTRAINT_LARK, lark.bytes, lark.length);
    text_free(&lark);
    return result;
}

/* ---- the choices ---- */

static uint32_t output_tokens(const struct generation *generation, size_t n_prompt) {
    uint32_t room = generation->server->opts.max_tokens - (uint32_t)n_prompt;
    uint32_t wanted = generation->ask->max_tokens;
    if (wanted == 0) wanted = 1; /* the engine makes at least one; the reply leaves it out */
    return wanted < room ? wanted : room;
}

static int open_rings(struct choice *choice, uint32_t n_output) {
    const struct ask *ask = choice->generation->ask;
    size_t n_prompt = choice->prompt->n, n_top = ask->n_top_logprobs;
    choice->ring = mem_alloc(n_output, sizeof *choice->ring);
    if (choice->ring == NULL) return ERR_NO_MEMORY;
    if (ask->wants_logprobs && n_top > 0) {
        choice->tops = mem_alloc(n_output * n_top, sizeof *choice->tops);
        if (choice->tops == NULL) return ERR_NO_MEMORY;
    }
    if (!ask->wants_logprobs || !ask->echo) return 0;
    choice->prompt_ring = mem_alloc(n_prompt, sizeof *choice->prompt_ring);
    choice->prompt_tops = mem_alloc(n_prompt * (n_top > 0 ? n_top : 1), sizeof *choice->prompt_tops);
    return choice->prompt_ring == NULL || choice->prompt_tops == NULL ? ERR_NO_MEMORY : 0;
}

static int open_choice(struct choice *choice, const struct constraint *constraint) {
    struct generation *generation = choice->generation;
    const struct ask *ask = generation->ask;
    uint32_t n_output = output_tokens(generation, choice->prompt->n);
    TRY(open_rings(choice, n_output));
    TRY(sequence_new(&choice->sequence, (uint32_t)choice->prompt->n + n_output + 1));
    if (ask->n_stops > 0)
        TRY(output_text_open(&choice->stops, generation->server->opts.model->tokenizer, ask->stops,
                             ask->n_stops));
    choice->request = (struct request){
        .sequence = choice->sequence,
        .sampling = ask->sampling,
        .max_output_tokens = n_output,
        .min_output_tokens = ask->min_tokens < n_output ? ask->min_tokens : n_output,
        .ignores_end = ask->ignores_end,
        .releases_cache = true,
        .wants_logprobs = ask->wants_logprobs || ask->best_of > ask->n,
        .n_top_logprobs = ask->wants_logprobs ? ask->n_top_logprobs : 0,
        .priority = ask->priority,
        .salt = generation->salt,
        .user = choice,
    };
    /* Answers of one seed differ by their number, and the first is what n = 1 gives. */
    choice->request.sampling.seed += choice->index % ask->best_of;
    if (constraint == NULL) return 0;
    /* A model may have rows of logits beyond its vocabulary: those bits stay zero. */
    size_t n_words = (generation->server->opts.model->description.n_vocab + 31) / 32;
    choice->request.mask = mem_alloc(n_words, sizeof(uint32_t));
    if (choice->request.mask == NULL) return ERR_NO_MEMORY;
    return constraint_fork(&choice->request.constraint, constraint);
}

static int open_choices(struct generation *generation, const struct constraint *constraint) {
    const struct ask *ask = generation->ask;
    generation->n_choices = generation->n_prompts * ask->best_of;
    generation->n_left = generation->n_choices;
    generation->choices = mem_alloc(generation->n_choices, sizeof *generation->choices);
    if (generation->choices == NULL) return ERR_NO_MEMORY;
    for (uint32_t i = 0; i < generation->n_choices; i++) {
        struct choice *choice = &generation->choices[i];
        choice->generation = generation;
        choice->index = i;
        choice->prompt = &generation->prompts[i / ask->best_of];
        TRY(open_choice(choice, constraint));
    }
    const struct reply_opts opts = {
        .ask = ask,
        .tokenizer = generation->server->opts.model->tokenizer,
        .model = generation->server->opts.model_name,
        .fingerprint = generation->server->fingerprint,
        .id = generation->id,
        .created_s = generation->created_s,
        .parses_tools = uses_tools(ask),
        .tool_format = (int)generation->server->tool_format,
        .n_choices = generation->n_choices,
    };
    return reply_open(&generation->reply, &opts);
}

struct ask_limits prepare_limits(const struct server *server) {
    return (struct ask_limits){
        .max_choices = MAX_CHOICES,
        .max_stops = MAX_STOPS,
        .max_top_logprobs = LOGPROBS_MAX_TOP,
        .n_vocab = server->opts.model->description.n_vocab,
    };
}

void generation_prepare(struct generation *generation) {
    const struct ask_limits limits = prepare_limits(generation->server);
    generation->error.status = 0;
    if (ask_parse(generation->api, generation->body.bytes == NULL ? "" : generation->body.bytes,
                  generation->body.length, &limits, &generation->ask, &generation->error) < 0)
        return;
    text_free(&generation->body);
    if (!server_has_model(generation->server, generation->ask->model)) {
        api_error_set(&generation->error, 404, "model", "model_not_found",
                      "the model '%.200s' is not served here; '%.100s' is", generation->ask->model,
                      generation->server->opts.model_name);
        return;
    }
    if (!generation->ask->has_seed) generation->ask->sampling.seed = generation->id;
    int result = cache_salt_of(&generation->server->salts, generation->caller.key,
                               generation->ask->cache_salt, &generation->salt);
    if (result == 0) result = encode_prompts(generation);
    if (result < 0) {
        refuse(generation, result);
        if (result != ERR_TOO_LARGE && result != ERR_FULL) return;
        generation->error.code = "context_length_exceeded";
        generation->error.status =
            400; /* also where the KV memory is too small: trying again does not help */
        return;
    }
    struct constraint *constraint = NULL;
    result = open_constraint(generation, &constraint);
    if (result == ERR_INVALID || result == ERR_TOO_LARGE) {
        refuse(generation, result);
        generation->error.status = 422; /* well-formed, but nothing that answers can be held to */
        return;
    }
    if (result == 0) result = open_choices(generation, constraint);
    constraint_close(constraint);
    if (result < 0) refuse(generation, result);
}

void generation_clear(struct generation *generation) {
    reply_close(generation->reply);
    for (uint32_t i = 0; generation->choices != NULL && i < generation->n_choices; i++) {
        struct choice *choice = &generation->choices[i];
        constraint_close(choice->request.constraint);
        mem_free(choice->request.mask);
        output_text_close(choice->stops);
        sequence_free(choice->sequence);
        mem_free(choice->ring);
        mem_free(choice->tops);
        mem_free(choice->prompt_ring);
        mem_free(choice->prompt_tops);
    }
    mem_free(generation->choices);
    for (uint32_t i = 0; generation->prompts != NULL && i < generation->n_prompts; i++)
        token_list_free(&generation->prompts[i]);
    mem_free(generation->prompts);
    ask_free(generation->ask);
    text_free(&generation->body);
    text_free(&generation->out);
}
