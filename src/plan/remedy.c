#include "plan/remedy.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "codec/codec.h"
#include "plan/geometry.h"
#include "plan/memory.h"

struct plan_remedy_opts plan_remedy_opts_default(void) {
    return (struct plan_remedy_opts){.window_tokens = 4096,
                                     .sink_tokens = BLOCK_TOKENS,
                                     .budget_share = 0.25,
                                     .rank_share = 0.5,
                                     .hit_rate = 0.5,
                                     .active_share = 0.25,
                                     .acceptance = 0.7,
                                     .n_drafted = 4,
                                     .draft_cost = 0.1,
                                     .selected_tokens = 2048,
                                     .retrieved_tokens = 4096};
}

void plan_case_open(struct plan_case *plan, const struct plan_model *model,
                    const struct plan_hardware *hardware, const struct plan_load *load) {
    *plan = (struct plan_case){.model = *model,
                               .hardware = *hardware,
                               .load = *load,
                               .tokens_per_step = 1,
                               .positions = 1,
                               .users_share = 1};
}

static bool refuse(char *reason, const char *text) {
    snprintf(reason, PLAN_REMEDY_REASON, "%s", text);
    return false;
}

/* Rows of heads over the whole context: what most remedies make smaller. */
static bool is_growing_heads(const struct plan_kv_part *part) {
    return part->window == 0 && part->is_split && part->v_dim > 0;
}

static bool grows(const struct plan_model *model) { return plan_model_elements(model).growing > 0; }

static bool store_as(struct plan_case *plan, const char *name, char *reason) {
    const struct plan_kv_format *format = plan_kv_format_find(name);
    if (plan->model.n_kv_parts == 0) return refuse(reason, "the model has no cache of keys and values");
    for (uint32_t i = 0; i < plan->model.n_kv_parts; i++) {
        const struct plan_kv_part *part = &plan->model.kv_parts[i];
        if (!part->is_index && plan_kv_format_check(format, part->k_dim) < 0)
            return refuse(reason, err_message());
    }
    double before = plan_kv_bytes(&plan->model, plan->load.kv, plan->load.context_tokens);
    if (plan_kv_bytes(&plan->model, format, plan->load.context_tokens) >= before)
        return refuse(reason, "the cache is stored as small already");
    plan->load.kv = format;
    return true;
}

static bool apply_kv_q8(struct plan_case *plan, const struct plan_remedy_opts *opts,
                        const struct plan_catalog *catalog, char *reason) {
    (void)opts, (void)catalog;
    return store_as(plan, "q8", reason);
}

static bool apply_kv_q4(struct plan_case *plan, const struct plan_remedy_opts *opts,
                        const struct plan_catalog *catalog, char *reason) {
    (void)opts, (void)catalog;
    return store_as(plan, "q4", reason);
}

/* What grows keeps at most n_tokens. */
static bool keep_at_most(struct plan_case *plan, double n_tokens, char *reason) {
    if (!grows(&plan->model)) return refuse(reason, "nothing in this model grows with the context");
    if (n_tokens >= plan->load.context_tokens) return refuse(reason, "the context is no longer than that");
    for (uint32_t i = 0; i < plan->model.n_kv_parts; i++) {
        struct plan_kv_part *part = &plan->model.kv_parts[i];
        if (part->window == 0) part->window = (uint32_t)ceil(n_tokens);
    }
    return true;
}

static bool apply_window(struct plan_case *plan, const struct plan_remedy_opts *opts,
                         const struct plan_catalog *catalog, char *reason) {
    (void)catalog;
    return keep_at_most(plan, opts->window_tokens + opts->sink_tokens, reason);
}

static bool apply_eviction(struct plan_case *plan, const struct plan_remedy_opts *opts,
                           const struct plan_catalog *catalog, char *reason) {
    (void)catalog;
    return keep_at_most(plan, opts->budget_share * plan->load.context_tokens, reason);
}

static bool apply_gqa(struct plan_case *plan, const struct plan_remedy_opts *opts,
                      const struct plan_catalog *catalog, char *reason) {
    (void)opts, (void)catalog;
    enum { QUERY_HEADS_A_KV_HEAD = 8 };
    bool changes = false;
    for (uint32_t i = 0; i < plan->model.n_kv_parts; i++) {
        struct plan_kv_part *part = &plan->model.kv_parts[i];
        uint32_t n_rows = plan->model.n_heads / QUERY_HEADS_A_KV_HEAD;
        if (!part->is_split || part->v_dim == 0 || part->n_rows < plan->model.n_heads || n_rows == 0)
            continue;
        part->n_rows = n_rows;
        changes = true;
    }
    return changes || refuse(reason, "its query heads share keys and values already");
}

/* DeepSeek-V2's sizes: a latent of 4 heads' width and a RoPE key of half a head (arXiv 2405.04434, 2.1.4). */
static bool apply_mla(struct plan_case *plan, const struct plan_remedy_opts *opts,
                      const struct plan_catalog *catalog, char *reason) {
    (void)opts, (void)catalog;
    bool changes = false;
    for (uint32_t i = 0; i < plan->model.n_kv_parts; i++) {
        struct plan_kv_part *part = &plan->model.kv_parts[i];
        if (!is_growing_heads(part)) continue;
        uint32_t latent = 4 * part->k_dim + part->k_dim / 2;
        if (latent >= part->n_rows * (part->k_dim + part->v_dim)) continue;
        *part = (struct plan_kv_part){.n_layers = part->n_layers,
                                      .n_rows = 1,
                                      .k_dim = latent,
                                      .tokens_per_entry = part->tokens_per_entry};
        changes = true;
    }
    return changes || refuse(reason, "a latent would be no smaller than its rows");
}

static bool apply_low_rank(struct plan_case *plan, const struct plan_remedy_opts *opts,
                           const struct plan_catalog *catalog, char *reason) {
    (void)catalog;
    bool changes = false;
    for (uint32_t i = 0; i < plan->model.n_kv_parts; i++) {
        struct plan_kv_part *part = &plan->model.kv_parts[i];
        if (!part->is_split || part->v_dim == 0) continue;
        part->k_dim = (uint32_t)ceil(part->k_dim * opts->rank_share);
        part->v_dim = (uint32_t)ceil(part->v_dim * opts->rank_share);
        changes = true;
    }
    return changes || refuse(reason, "it has no rows of heads to project");
}

static bool apply_sharing(struct plan_case *plan, const struct plan_remedy_opts *opts,
                          const struct plan_catalog *catalog, char *reason) {
    (void)catalog;
    if (plan->load.users < 2) return refuse(reason, "one user has nobody to share with");
    double shared = opts->hit_rate * plan->load.context_tokens;
    if (shared <= plan->load.shared_tokens) return refuse(reason, "as much is shared already");
    plan->load.shared_tokens = shared;
    plan->load.hit_rate = fmax(plan->load.hit_rate, opts->hit_rate);
    return true;
}

/* A conversation at rest waits in a tier of that size and is read back for its next turn. */
static bool move_to(struct plan_case *plan, const struct plan_remedy_opts *opts, double bandwidth,
                    double bytes, char *reason) {
    if (plan->model.n_kv_parts == 0) return refuse(reason, "the model has no cache of keys and values");
    if (plan->tier_bandwidth > 0) return refuse(reason, "it waits elsewhere already");
    double of_user = plan_kv_bytes(&plan->model, plan->load.kv, plan->load.context_tokens);
    double at_rest = (1 - opts->active_share) * plan->load.users * of_user;
    if (at_rest > bytes) return refuse(reason, "the tier is too small for the conversations at rest");
    plan->tier_bandwidth = bandwidth;
    plan->users_share = opts->active_share;
    return true;
}

static bool apply_ram(struct plan_case *plan, const struct plan_remedy_opts *opts,
                      const struct plan_catalog *catalog, char *reason) {
    (void)catalog;
    if (plan->hardware.host_bandwidth <= 0) return refuse(reason, "the device's memory is the machine's RAM");
    return move_to(plan, opts, plan->hardware.host_bandwidth, INFINITY, reason);
}

/* A PCIe 4.0 drive reads 7 GB/s. */
static bool apply_nvme(struct plan_case *plan, const struct plan_remedy_opts *opts,
                       const struct plan_catalog *catalog, char *reason) {
    (void)catalog;
    return move_to(plan, opts, 7e9, 8e12, reason);
}

static bool apply_network(struct plan_case *plan, const struct plan_remedy_opts *opts,
                          const struct plan_catalog *catalog, char *reason) {
    (void)catalog;
    double bandwidth = plan->hardware.scaleout_bandwidth > 0 ? plan->hardware.scaleout_bandwidth : 1.25e9;
    return move_to(plan, opts, bandwidth, INFINITY, reason);
}

static bool apply_tensor_parallel(struct plan_case *plan, const struct plan_remedy_opts *opts,
                                  const struct plan_catalog *catalog, char *reason) {
    (void)opts, (void)catalog;
    plan->load.tp *= 2;
    return plan_load_check(&plan->load, &plan->model) == 0 || refuse(reason, err_message());
}

static bool apply_context_parallel(struct plan_case *plan, const struct plan_remedy_opts *opts,
                                   const struct plan_catalog *catalog, char *reason) {
    (void)opts, (void)catalog;
    if (!grows(&plan->model)) return refuse(reason, "nothing in this model grows with the context");
    plan->load.cp *= 2;
    return plan_load_check(&plan->load, &plan->model) == 0 || refuse(reason, err_message());
}

/* The same parameters, the FFNs cut into 16 experts of which each token uses 2. */
static bool apply_moe(struct plan_case *plan, const struct plan_remedy_opts *opts,
                      const struct plan_catalog *catalog, char *reason) {
    (void)opts, (void)catalog;
    enum { EXPERTS = 16, EXPERTS_A_TOKEN = 2 };
    struct plan_model *model = &plan->model;
    if (model->experts.n > 0) return refuse(reason, "it has experts already");
    if (model->n_ff < EXPERTS) return refuse(reason, "its feed-forward networks are not known");
    double parameters = (model->is_gated ? 3.0 : 2.0) * model->d_model * model->n_ff / EXPERTS;
    model->experts = (struct plan_experts){.n = EXPERTS,
                                           .n_per_token = EXPERTS_A_TOKEN,
                                           .n_layers = model->n_layers,
                                           .layer_step = 1,
                                           .width = model->d_model,
                                           .n_ff = model->n_ff / EXPERTS,
                                           .parameters = parameters};
    double unread = parameters * (EXPERTS - EXPERTS_A_TOKEN) * model->n_layers;
    double bytes = model->parameters > 0 ? model->file_bytes / model->parameters : 0;
    model->parameters_read -= unread;
    model->parameters_active -= unread;
    model->file_read_bytes -= bytes > 0 ? unread * bytes : 0;
    model->file_expert_bytes = bytes * parameters * EXPERTS * model->n_layers;
    return true;
}

/* Expected tokens of a step: (1 - a^(n+1)) / (1 - a) (Leviathan et al. 2023, equation 1). */
static bool apply_speculation(struct plan_case *plan, const struct plan_remedy_opts *opts,
                              const struct plan_catalog *catalog, char *reason) {
    (void)catalog, (void)reason;
    double a = opts->acceptance, n = opts->n_drafted;
    plan->tokens_per_step = a < 1 ? (1 - pow(a, n + 1)) / (1 - a) : n + 1;
    plan->positions = n + 1;
    plan->draft_steps = n * opts->draft_cost;
    return true;
}

/* Every `keep`-th layer that grows stays; the others keep a matrix of 2 d_model x 128 for each sequence, as
 * Mamba-2 does (arXiv 2405.21060). keep 0: none stays. */
static bool make_recurrent(struct plan_case *plan, uint32_t keep, char *reason) {
    struct plan_model *model = &plan->model;
    uint32_t n_changed = 0;
    for (uint32_t i = 0; i < model->n_kv_parts; i++) {
        struct plan_kv_part *part = &model->kv_parts[i];
        if (part->window > 0) continue;
        uint32_t n_kept = keep > 0 ? (part->n_layers + keep - 1) / keep : 0;
        n_changed += part->is_index ? 0 : part->n_layers - n_kept;
        part->n_layers = n_kept;
    }
    if (n_changed == 0) return refuse(reason, "no layer of it grows with the context");
    double elements = 2.0 * model->d_model * 128;
    double total = model->state.elements * model->state.n_layers + elements * n_changed;
    model->state.n_layers += n_changed;
    model->state.elements = total / model->state.n_layers;
    return true;
}

static bool apply_hybrid(struct plan_case *plan, const struct plan_remedy_opts *opts,
                         const struct plan_catalog *catalog, char *reason) {
    (void)opts, (void)catalog;
    return make_recurrent(plan, 8, reason);
}

static bool apply_state_space(struct plan_case *plan, const struct plan_remedy_opts *opts,
                              const struct plan_catalog *catalog, char *reason) {
    (void)opts, (void)catalog;
    return make_recurrent(plan, 0, reason);
}

/* Attention reads the best blocks; each block has its least and greatest key, read whole (Quest, arXiv
 * 2406.10774). */
static bool apply_selection(struct plan_case *plan, const struct plan_remedy_opts *opts,
                            const struct plan_catalog *catalog, char *reason) {
    (void)catalog;
    struct plan_model *model = &plan->model;
    if (opts->selected_tokens >= plan->load.context_tokens)
        return refuse(reason, "the context is no longer than that");
    uint32_t n_parts = model->n_kv_parts;
    bool changes = false;
    for (uint32_t i = 0; i < n_parts && model->n_kv_parts < PLAN_MAX_KV_PARTS; i++) {
        struct plan_kv_part *part = &model->kv_parts[i];
        if (!is_growing_heads(part) || part->selected > 0) continue;
        part->selected = (uint32_t)ceil(opts->selected_tokens / part->tokens_per_entry);
        model->kv_parts[model->n_kv_parts++] = (struct plan_kv_part){.n_layers = part->n_layers,
                                                                     .n_rows = part->n_rows,
                                                                     .k_dim = part->k_dim,
                                                                     .v_dim = part->k_dim,
                                                                     .tokens_per_entry = BLOCK_TOKENS,
                                                                     .is_split = true,
                                                                     .is_index = true};
        changes = true;
    }
    return changes || refuse(reason, "it has no rows of heads to select from");
}

static bool apply_retrieval(struct plan_case *plan, const struct plan_remedy_opts *opts,
                            const struct plan_catalog *catalog, char *reason) {
    (void)catalog;
    if (opts->retrieved_tokens >= plan->load.context_tokens)
        return refuse(reason, "the context is no longer than that");
    double share = opts->retrieved_tokens / plan->load.context_tokens;
    plan->load.context_tokens = opts->retrieved_tokens;
    plan->load.prompt_tokens = fmin(plan->load.prompt_tokens, opts->retrieved_tokens);
    plan->load.shared_tokens *= share;
    return true;
}

/* Chips whose memory is all SRAM: as many as it takes, split over heads first, then over layers. */
static bool apply_sram(struct plan_case *plan, const struct plan_remedy_opts *opts,
                       const struct plan_catalog *catalog, char *reason) {
    (void)opts;
    const struct plan_hardware *chip = plan_catalog_hardware(catalog, "groq-lpu");
    if (chip == NULL) return refuse(reason, "the catalog has no such chip");
    plan->hardware = *chip;
    struct plan_load *load = &plan->load;
    load->usd_per_device_hour = 0;
    load->tp = load->pp = load->cp = load->ep = load->dp = load->replicas = 1;
    for (uint32_t tp = 8; tp > 1 && load->tp == 1; tp /= 2) {
        load->tp = tp;
        if (plan_load_check(load, &plan->model) < 0) load->tp = 1;
    }
    for (load->pp = 1; load->pp <= plan->model.n_layers; load->pp++) {
        struct plan_memory memory;
        if (plan_load_check(load, &plan->model) < 0) continue;
        plan_memory_of(&memory, &plan->model, chip, load, NULL);
        if (memory.device_bytes <= memory.capacity_bytes) return true;
    }
    return refuse(reason, "not even a chip for each layer and eighth of the heads holds it");
}

static const struct plan_remedy remedies[] = {
    {"kv_q8", "KV in 8 bits (q8)", "--kv q8: KL 2.5e-4 nats on SmolLM2", apply_kv_q8},
    {"kv_q4", "KV in 4 bits (q4)", "--kv q4: KL 6.2e-3 nats, perplexity +0.9 % on SmolLM2", apply_kv_q4},
    {"window_sinks", "a window and sinks", NULL, apply_window},
    {"eviction", "an eviction budget", NULL, apply_eviction},
    {"gqa", "8 query heads a KV head (GQA)", "models that are trained so", apply_gqa},
    {"mla", "latents in place of heads (MLA)", NULL, apply_mla},
    {"low_rank", "low-rank keys and values", NULL, apply_low_rank},
    {"prefix_sharing", "shared prefixes", "always on: no loss", apply_sharing},
    {"offload_ram", "conversations at rest in RAM", NULL, apply_ram},
    {"offload_nvme", "conversations at rest on NVMe", NULL, apply_nvme},
    {"offload_network", "conversations at rest over the network", NULL, apply_network},
    {"tensor_parallel", "twice the devices, heads divided (TP)", NULL, apply_tensor_parallel},
    {"context_parallel", "twice the devices, tokens divided (CP)", NULL, apply_context_parallel},
    {"moe", "experts in place of dense FFNs (MoE)", NULL, apply_moe},
    {"speculative", "speculative decoding", NULL, apply_speculation},
    {"hybrid", "a hybrid: 1 layer of 8 attends", NULL, apply_hybrid},
    {"state_space", "a state-space model", NULL, apply_state_space},
    {"select_blocks", "reading selected blocks only", NULL, apply_selection},
    {"rag", "retrieving text in place of holding it (RAG)", "any client can", apply_retrieval},
    {"sram", "chips with SRAM alone", NULL, apply_sram},
};

const struct plan_remedy *plan_remedies(size_t *n) {
    *n = sizeof remedies / sizeof *remedies;
    return remedies;
}
