/* cabinet inspect: what a model is, and the geometry of its cache. */
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "cli/cli.h"
#include "kernel/weight_type.h"
#include "kv/kv_usage.h"
#include "model/model.h"
#include "model/quote.h"

enum { OPTION_JSON = 256, OPTION_KV };

static const struct argp_option options[] = {
    {"json", OPTION_JSON, 0, 0, "print one JSON object (docs/json.md)", 0},
    {"kv", OPTION_KV, "FORMAT", 0,
     "how K and V would be stored: f32, f16, bf16, q8, k8v4, q4, q3, or auto: f16, and q4 when memory is "
     "short (default f16); and rules as in run",
     0},
    {0},
};

struct inspect_opts {
    const char *model;
    bool is_json;
    struct kv_rules kv;
};

static error_t parse(int key, char *argument, struct argp_state *state) {
    struct inspect_opts *opts = state->input;
    switch (key) {
    case OPTION_JSON: opts->is_json = true; return 0;
    case OPTION_KV: cli_parse_kv(state, argument, &opts->kv); return 0;
    default: return cli_parse_model(key, argument, state, &opts->model);
    }
}

static const struct argp argp = {
    options,
    parse,
    "MODEL",
    "Tell what a model is made of and what a conversation with it will cost to remember. Reads the file's "
    "header "
    "only.\v"
    "Examples:\n  cabinet inspect smollm2\n  cabinet inspect model.gguf --kv f32 --json",
    NULL,
    NULL,
    NULL};

enum { MAX_TYPES = 64 };

/* Everything that is printed, in either form. */
struct report {
    struct model model;
    const struct kv_rules *kv;
    struct kv_layout layout;
    struct type_count {
        uint32_t type;
        uint64_t n_tensors, bytes;
    } types[MAX_TYPES];
    size_t n_types;
    uint64_t n_parameters;
    uint64_t tensor_bytes;
    uint64_t
        weight_bytes_per_step; /* what a decode step reads: all tensors but an untied embedding's table */
    uint64_t kv_bytes_per_token;
    uint64_t crossover_tokens;
};

static void count_tensors(struct report *report) {
    const struct gguf *file = report->model.file;
    for (size_t i = 0; i < gguf_n_tensors(file); i++) {
        const struct gguf_tensor *tensor = gguf_tensor_at(file, i);
        size_t t = 0;
        while (t < report->n_types && report->types[t].type != tensor->type) t++;
        if (t == MAX_TYPES) continue;
        if (t == report->n_types) report->types[report->n_types++].type = tensor->type;
        report->types[t].n_tensors++;
        report->types[t].bytes += tensor->bytes;
        report->tensor_bytes += tensor->bytes;
        report->n_parameters += tensor->n_elements;
    }
}

/* What a decode step reads of one conversation's cache of n tokens. */
static uint64_t kv_read_bytes(const struct kv_layout *layout, uint64_t n_tokens) {
    uint64_t bytes = 0;
    for (unsigned g = 0; g < layout->n_groups; g++) {
        const struct kv_group *group = &layout->groups[g];
        uint64_t n_seen = group->window > 0 && n_tokens > group->window ? group->window : n_tokens;
        bytes += n_seen * (group->block_bytes / BLOCK_TOKENS);
    }
    return bytes;
}

/* The most tokens of which a step reads no more than of the weights; 0 if windows keep it there for ever. */
static uint64_t crossover_of(const struct report *report) {
    uint64_t low = 0, high = (uint64_t)1 << 40;
    if (kv_read_bytes(&report->layout, high) <= report->weight_bytes_per_step) return 0;
    while (high - low > 1) {
        uint64_t middle = low + (high - low) / 2;
        if (kv_read_bytes(&report->layout, middle) <= report->weight_bytes_per_step)
            low = middle;
        else
            high = middle;
    }
    return low;
}

static int fill_report(struct report *report, const struct inspect_opts *opts) {
    char path[4096];
    TRY(cli_model_path(opts->model, path, sizeof path));
    TRY(model_open_header(&report->model, path));
    report->kv = &opts->kv;
    int result = description_kv_layout(&report->model.description, &opts->kv, &report->layout);
    if (result < 0) {
        model_close(&report->model);
        return result;
    }
    count_tensors(report);
    report->weight_bytes_per_step = report->tensor_bytes;
    const struct gguf_tensor *embedding = gguf_find_tensor(report->model.file, "token_embd.weight");
    if (embedding != NULL && gguf_find_tensor(report->model.file, "output.weight") != NULL)
        report->weight_bytes_per_step -= embedding->bytes;
    report->kv_bytes_per_token = kv_layout_bytes_per_token(&report->layout);
    report->crossover_tokens = crossover_of(report);
    return 0;
}

static const uint64_t lengths[] = {1024, 4096, 8192, 32768, 131072};
enum { N_LENGTHS = sizeof lengths / sizeof *lengths };

/* Lengths beyond the model's context say nothing about it. */
static size_t n_lengths_within(uint32_t n_context) {
    size_t n = 0;
    while (n < N_LENGTHS && lengths[n] <= n_context) n++;
    return n;
}

/* Today the layers of a group are alike. */
static const struct kv_layer *first_layer_of(const struct kv_layout *layout, unsigned group) {
    uint32_t i = 0;
    while (layout->layers[i].group != group) i++;
    return &layout->layers[i];
}

static void print_template(const struct model *model) {
    if (model->chat == NULL)
        puts("chat template  none in the file, and none built in fits: --raw only");
    else if (model->chat_built_in != NULL)
        printf("chat template  built in: %s (none in the file)\n", model->chat_built_in->name);
    else
        puts("chat template  from the file");
}

static json_t *template_json(const struct model *model) {
    if (model->chat == NULL) return json_null();
    return json_string(model->chat_built_in != NULL ? model->chat_built_in->name : "file");
}

static const char *plural(uint64_t n) { return n == 1 ? "" : "s"; }

static void print_text(const struct report *report) {
    const struct description *d = &report->model.description;
    const struct tokenizer *tokenizer = report->model.tokenizer;
    char a[CLI_BYTES_LENGTH], b[CLI_BYTES_LENGTH];
    struct gguf_string name = {"", 0};
    if (gguf_get_string(report->model.file, "general.name", &name) == 1)
        printf("model          %s\n", QUOTE(name));
    printf("architecture   %s: %u layers, width %u, FFN %u, %u query and %u KV heads of %u\n",
           d->architecture, d->n_layers, d->n_embd, d->n_ff, d->n_heads, d->n_kv_heads, d->head_dim);
    printf("context        %s tokens, RoPE base %g\n", cli_format_count(a, d->n_context),
           (double)d->ropes[0].base);
    printf("parameters     %s in %zu tensors, %s", cli_format_count(a, report->n_parameters),
           gguf_n_tensors(report->model.file), cli_format_bytes(b, (double)report->tensor_bytes));
    size_t n_files = gguf_n_files(report->model.file);
    if (n_files > 1) printf(" in %zu files", n_files);
    putchar('\n');
    for (size_t i = 0; i < report->n_types; i++)
        printf("  %-10s   %" PRIu64 " tensor%s, %s\n", weight_type_name(report->types[i].type),
               report->types[i].n_tensors, plural(report->types[i].n_tensors),
               cli_format_bytes(a, (double)report->types[i].bytes));
    printf("tokenizer      %s, rule %s, %s tokens\n", tokenizer_model_name(tokenizer),
           tokenizer_rule_name(tokenizer), cli_format_count(a, tokenizer_n_tokens(tokenizer)));
    print_template(&report->model);
    printf("\nKV cache, one conversation\n");
    for (unsigned g = 0; g < report->layout.n_groups; g++) {
        const struct kv_group *group = &report->layout.groups[g];
        const struct kv_layer *layer = first_layer_of(&report->layout, g);
        char kind[32] = "full";
        if (group->window > 0) snprintf(kind, sizeof kind, "window-%" PRIu32, group->window);
        printf(
            "  %u %s layer%s   %s bytes/token (%s: 2 x %u layers x %u heads x %u), %s a block of %d tokens\n",
            group->n_layers, kind, plural(group->n_layers),
            cli_format_count(a, group->block_bytes / BLOCK_TOKENS), report->kv->text, group->n_layers,
            layer->n_kv_heads, layer->head_dim, cli_format_bytes(b, (double)group->block_bytes),
            BLOCK_TOKENS);
    }
    size_t n = n_lengths_within(d->n_context);
    for (size_t i = 0; i < n; i++)
        printf("  at %8s tokens   %s\n", cli_format_count(a, lengths[i]),
               cli_format_bytes(b, (double)kv_bytes_for(&report->layout, (uint32_t)lengths[i], 1)));
    cli_format_bytes(a, (double)report->weight_bytes_per_step);
    if (report->crossover_tokens == 0)
        printf("  never outweighs the weights (%s read per step): windows end its growth\n", a);
    else
        printf("  outweighs the weights (%s read per step) from %s tokens on\n", a,
               cli_format_count(b, report->crossover_tokens));
}

static json_t *json_of_count(uint64_t count) { return json_integer((json_int_t)count); }

static json_t *kv_json(const struct report *report) {
    json_t *groups = json_array(), *points = json_array(), *kv = json_object();
    for (unsigned g = 0; g < report->layout.n_groups; g++) {
        const struct kv_group *group = &report->layout.groups[g];
        json_array_append_new(groups,
                              json_pack("{s:s, s:I, s:I, s:I, s:I}", "kind", group->kind, "window",
                                        (json_int_t)group->window, "layers", (json_int_t)group->n_layers,
                                        "bytes_per_token", (json_int_t)(group->block_bytes / BLOCK_TOKENS),
                                        "block_bytes", (json_int_t)group->block_bytes));
    }
    size_t n = n_lengths_within(report->model.description.n_context);
    for (size_t i = 0; i < n; i++)
        json_array_append_new(points,
                              json_pack("{s:I, s:I}", "tokens", (json_int_t)lengths[i], "kv_bytes",
                                        (json_int_t)kv_bytes_for(&report->layout, (uint32_t)lengths[i], 1)));
    json_object_set_new(kv, "codec", json_string(report->kv->text));
    json_object_set_new(kv, "groups", groups);
    json_object_set_new(kv, "at", points);
    return kv;
}

static void print_json(const struct report *report) {
    const struct description *d = &report->model.description;
    json_t *types = json_object(), *object = json_object();
    for (size_t i = 0; i < report->n_types; i++)
        json_object_set_new(types, weight_type_name(report->types[i].type),
                            json_pack("{s:I, s:I}", "tensors", (json_int_t)report->types[i].n_tensors,
                                      "bytes", (json_int_t)report->types[i].bytes));
    json_object_set_new(object, "architecture", json_string(d->architecture));
    const struct {
        const char *key;
        uint64_t value;
    } counts[] = {
        {"layers", d->n_layers},
        {"embedding_length", d->n_embd},
        {"feed_forward_length", d->n_ff},
        {"heads", d->n_heads},
        {"kv_heads", d->n_kv_heads},
        {"head_dim", d->head_dim},
        {"vocabulary", d->n_vocab},
        {"context_tokens", d->n_context},
        {"files", gguf_n_files(report->model.file)},
        {"parameters", report->n_parameters},
        {"tensor_bytes", report->tensor_bytes},
        {"weight_bytes_per_step", report->weight_bytes_per_step},
        {"kv_bytes_per_token", report->kv_bytes_per_token},
        {"crossover_tokens", report->crossover_tokens},
    };
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
        json_object_set_new(object, counts[i].key, json_of_count(counts[i].value));
    json_object_set_new(object, "tensor_types", types);
    json_object_set_new(object, "tokenizer", json_string(tokenizer_model_name(report->model.tokenizer)));
    json_object_set_new(object, "pre_tokenizer", json_string(tokenizer_rule_name(report->model.tokenizer)));
    json_object_set_new(object, "has_chat_template", json_boolean(report->model.chat != NULL));
    json_object_set_new(object, "chat_template", template_json(&report->model));
    json_object_set_new(object, "kv", kv_json(report));
    json_dumpf(object, stdout, JSON_INDENT(2));
    putchar('\n');
    json_decref(object);
}

int cli_inspect(int argc, char **argv) {
    struct inspect_opts opts = {.kv = kv_rules_of(CODEC_f16)};
    cli_parse(&argp, argc, argv, &opts);
    struct report *report = mem_alloc(1, sizeof *report);
    if (report == NULL || fill_report(report, &opts) < 0) {
        mem_free(report);
        return cli_fail();
    }
    if (opts.is_json)
        print_json(report);
    else
        print_text(report);
    model_close(&report->model);
    mem_free(report);
    return EXIT_SUCCESS;
}
