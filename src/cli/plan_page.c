#include "cli/plan_page.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "plan/geometry.h"
#include "plan/reach.h"

enum { FIGURE_LENGTH = 48 };

/* "12.3 ms" */
static const char *seconds(char *buffer, double value) {
    const char *unit = "s";
    double scale = 1;
    if (value < 1e-3) {
        unit = "us";
        scale = 1e6;
    } else if (value < 1) {
        unit = "ms";
        scale = 1e3;
    }
    snprintf(buffer, FIGURE_LENGTH, "%.3g %s", value * scale, unit);
    if (value * scale >= 1000) snprintf(buffer, FIGURE_LENGTH, "%.0f %s", value * scale, unit);
    return buffer;
}

/* "21.5 GB": decimal, as memory of devices is sold. */
static const char *bytes(char *buffer, double value) {
    static const char *const units[] = {"B", "kB", "MB", "GB", "TB", "PB"};
    size_t unit = 0;
    while (value >= 999.5 && unit + 1 < sizeof units / sizeof *units) {
        value /= 1000;
        unit++;
    }
    snprintf(buffer, FIGURE_LENGTH, unit == 0 ? "%.0f %s" : "%.1f %s", value, units[unit]);
    return buffer;
}

/* "23,040"; "no end". */
static const char *count(char *buffer, double value) {
    if (!isfinite(value)) return "no end";
    return cli_format_count(buffer, (uint64_t)llround(value));
}

static const char *usd(char *buffer, double value) {
    if (!isfinite(value)) return "unknown";
    snprintf(buffer, FIGURE_LENGTH, value >= 0.01 ? "%.2f USD" : "%.3g USD", value);
    return buffer;
}

static void print_head(const struct plan *plan) {
    const struct plan_load *load = &plan->load;
    char a[FIGURE_LENGTH], b[FIGURE_LENGTH], c[FIGURE_LENGTH];
    const struct {
        const char *name;
        uint32_t ranks;
    } layout[] = {{"tp", load->tp}, {"pp", load->pp}, {"ep", load->ep},
                  {"dp", load->dp}, {"cp", load->cp}, {"replicas", load->replicas}};
    printf("%s on %.0f x %s (%s)", plan->model->name, plan_load_devices(load), plan->hardware->id,
           plan->hardware->name);
    for (size_t i = 0; i < sizeof layout / sizeof *layout; i++)
        if (layout[i].ranks > 1) printf(", %s %" PRIu32, layout[i].name, layout[i].ranks);
    printf("\n%" PRIu32 " user%s of %s tokens (prompt %s, answer %s), KV %s, weights %s, engine %s\n",
           load->users, load->users == 1 ? "" : "s", count(a, load->context_tokens),
           count(b, load->prompt_tokens), count(c, load->output_tokens), load->kv->name,
           load->weights != NULL ? load->weights->name : "as stored", plan_engine_name(load->engine));
}

static void print_memory(const struct plan *plan) {
    const struct plan_memory *memory = &plan->memory;
    char a[FIGURE_LENGTH], b[FIGURE_LENGTH], c[FIGURE_LENGTH], d[FIGURE_LENGTH];
    printf("\nMemory\n  KV of a token   %s bytes", count(a, memory->kv_bytes_per_token));
    if (plan_model_elements(plan->model).windowed > 0)
        printf(" at first, %s beyond the window",
               count(b, plan_kv_bytes(plan->model, plan->load.kv, 1e8 + 1) -
                            plan_kv_bytes(plan->model, plan->load.kv, 1e8)));
    printf("\n  KV of all       %s", bytes(a, memory->kv_bytes));
    if (memory->kv_bytes > 0)
        printf("   (2 x users x tokens x layers x width: %s, %.3g times as much)",
               bytes(b, memory->kv_bytes_simplified), memory->kv_bytes_simplified / memory->kv_bytes);
    if (memory->state_bytes > 0) printf("\n  state of all    %s", bytes(a, memory->state_bytes));
    printf("\n  weights         %s\n", bytes(a, memory->weights.bytes));
    printf("  on a device     %s of weights, %s of cache, %s for the rest",
           bytes(a, memory->weights.device_bytes), bytes(b, memory->kv_device_bytes),
           bytes(c, memory->activation_bytes + memory->reserved_bytes));
    printf(": %s of %s\n", bytes(a, memory->device_bytes), bytes(d, memory->capacity_bytes));
    if (plan->fits)
        printf("  would hold      %s tokens for each of these users, or %s users of this length\n",
               count(a, memory->max_context_tokens), count(b, memory->max_users));
    else {
        char text[512];
        plan_what_fits(plan, text, sizeof text);
        printf("  DOES NOT FIT    %s\n", text);
    }
}

static void print_phase(const struct plan_phases *phases) {
    char a[FIGURE_LENGTH], b[FIGURE_LENGTH];
    printf("\nPhase             %s", plan_phase_phrase(phases->phase));
    if (isfinite(phases->crossover_tokens))
        printf("; a step reads more cache than weights from %s tokens a user on",
               count(a, phases->crossover_tokens));
    else
        printf("; however long, these users' cache is read less than the weights");
    if (isfinite(phases->crossover_users))
        printf(", or from %s users of this length on", count(b, phases->crossover_users));
    putchar('\n');
}

static void print_step(const struct plan_step *step) {
    char a[FIGURE_LENGTH], b[FIGURE_LENGTH];
    const struct {
        const char *name;
        double seconds, bytes;
    } parts[] = {
        {"weights", step->weight_seconds, step->weight_bytes},
        {"KV read", step->kv_read_seconds, step->kv_read_bytes},
        {"KV written", step->kv_write_seconds, step->kv_write_bytes},
        {"compute", step->compute_seconds, 0},
        {"synchronisation", step->sync_seconds, 0},
        {"fixed", step->overhead_seconds, 0},
    };
    printf("\nDecode step       %s, bound by %s\n", seconds(a, step->seconds),
           plan_limit_phrase(step->limit));
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        printf("  %-15s %s", parts[i].name, seconds(a, parts[i].seconds));
        if (parts[i].bytes > 0) printf("   %s", bytes(b, parts[i].bytes));
        putchar('\n');
    }
}

static void print_service(const struct plan *plan) {
    const struct plan_metrics *metrics = &plan->metrics;
    char a[FIGURE_LENGTH], b[FIGURE_LENGTH], c[FIGURE_LENGTH];
    printf("\nService\n  prefill         %s, %s tokens/s, bound by %s\n",
           seconds(a, plan->time.prefill_seconds), count(b, plan->time.prefill_tokens_per_second),
           plan_limit_phrase(plan->time.prefill_limit));
    printf("  TTFT            %s\n  ITL = TPOT      %s\n  E2E             %s\n",
           seconds(a, metrics->ttft_seconds), seconds(b, metrics->itl_seconds),
           seconds(c, metrics->e2e_seconds));
    printf("  UTPS            %.4g tokens/s for a user, decoding\n  STPS            %.4g tokens/s for all, "
           "decoding\n",
           metrics->utps, metrics->stps);
    printf("  closed loop     %.4g output tokens/s, %.3g requests/s, prompts included\n",
           metrics->output_tokens_per_second, metrics->requests_per_second);
    if (plan->promise.ttft_seconds > 0 || plan->promise.itl_seconds > 0)
        printf("  goodput         %.3g requests/s keep the promise\n", metrics->goodput);
}

static void print_money(const struct plan_money *money, double hold_seconds) {
    char a[FIGURE_LENGTH], b[FIGURE_LENGTH], c[FIGURE_LENGTH];
    printf("\nMoney\n  machine         %s an hour, %s a user and hour\n", usd(a, money->usd_per_hour),
           usd(b, money->usd_per_user_hour));
    printf("  million tokens  %s in, %s cached in (held for %.0f s), %s out\n",
           usd(a, money->usd_per_million_input), usd(b, money->usd_per_million_cached_input), hold_seconds,
           usd(c, money->usd_per_million_output));
    printf("  conversation    %s\n", usd(a, money->usd_per_conversation));
}

void plan_page_print(const struct plan *plan) {
    print_head(plan);
    print_memory(plan);
    print_phase(&plan->phases);
    print_step(&plan->time.step);
    print_service(plan);
    print_money(&plan->money, plan->load.hold_seconds);
    if (plan->assumptions.n > 0) puts("\nAssumed");
    for (size_t i = 0; i < plan->assumptions.n; i++) printf("  %s\n", plan->assumptions.texts[i]);
}

void plan_page_print_answer(const struct plan_answer *answer, enum plan_solve kind) {
    char a[FIGURE_LENGTH], b[FIGURE_LENGTH], c[FIGURE_LENGTH];
    const struct plan *best = &answer->plans[0];
    if (kind == PLAN_SOLVE_max_context)
        printf("%s tokens for each of %" PRIu32 " users", count(a, best->load.context_tokens),
               best->load.users);
    else if (kind == PLAN_SOLVE_max_users)
        printf("%s users of %s tokens", count(a, best->load.users), count(b, best->load.context_tokens));
    else
        printf("%.0f x %s, %s an hour, of %zu layouts", plan_load_devices(&best->load), best->hardware->id,
               usd(a, best->money.usd_per_hour), answer->n_tried);
    const bool is_most = kind == PLAN_SOLVE_max_context || kind == PLAN_SOLVE_max_users;
    printf(": what keeps it from %s is %s\n\n", is_most ? "more" : "less", plan_limit_phrase(answer->limit));
    if (answer->n > 1)
        printf("%-20s %8s %4s %4s %4s %9s %14s %10s %10s\n", "hardware", "devices", "tp", "pp", "dp",
               "replicas", "USD an hour", "TTFT", "ITL");
    for (size_t i = 0; i < answer->n && answer->n > 1; i++) {
        const struct plan *plan = &answer->plans[i];
        printf("%-20s %8.0f %4" PRIu32 " %4" PRIu32 " %4" PRIu32 " %9" PRIu32 " %14s %10s %10s\n",
               plan->hardware->id, plan_load_devices(&plan->load), plan->load.tp, plan->load.pp,
               plan->load.dp, plan->load.replicas, usd(a, plan->money.usd_per_hour),
               seconds(b, plan->metrics.ttft_seconds), seconds(c, plan->metrics.itl_seconds));
    }
    if (answer->n > 1) putchar('\n');
    plan_page_print(best);
}

void plan_page_list_models(const struct plan_catalog *catalog) {
    char a[FIGURE_LENGTH], b[FIGURE_LENGTH];
    printf("%-32s %12s %14s %12s   %s\n", "model", "parameters", "KV B/token f16", "context", "Hugging Face");
    for (size_t i = 0; i < catalog->n_models; i++) {
        const struct plan_model *model = &catalog->models[i];
        printf("%-32s %11.2fB %14s %12s   %s\n", model->name, model->parameters / 1e9,
               count(a, plan_kv_bytes_per_token(model, plan_kv_format_find("f16"))),
               model->n_context > 0 ? count(b, model->n_context) : "no end", model->id);
    }
}

void plan_page_list_hardware(const struct plan_catalog *catalog) {
    char a[FIGURE_LENGTH], b[FIGURE_LENGTH];
    printf("%-18s %-12s %10s %12s %12s %10s   %s\n", "hardware", "kind", "memory", "bandwidth/s",
           "bf16 TFLOPS", "USD/hour", "name");
    for (size_t i = 0; i < catalog->n_hardware; i++) {
        const struct plan_hardware *hardware = &catalog->hardware[i];
        char flops[FIGURE_LENGTH] = "-", price[FIGURE_LENGTH] = "-";
        if (hardware->bf16_flops > 0) snprintf(flops, sizeof flops, "%.4g", hardware->bf16_flops / 1e12);
        if (hardware->usd_per_hour > 0) snprintf(price, sizeof price, "%.2f", hardware->usd_per_hour);
        printf("%-18s %-12s %10s %12s %12s %10s   %s\n", hardware->id, plan_device_name(hardware->device),
               hardware->memory_bytes > 0 ? bytes(a, hardware->memory_bytes) : "-",
               hardware->bandwidth > 0 ? bytes(b, hardware->bandwidth) : "-", flops, price, hardware->name);
    }
}
