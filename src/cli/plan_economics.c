/* cabinet plan --economics: what remembering costs, by the length of the context. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/plan_print.h"

enum { CELL = 32 };

static const char *money(char *text, double usd) {
    if (!isfinite(usd))
        snprintf(text, CELL, "-");
    else if (fabs(usd) >= 0.01 || usd == 0)
        snprintf(text, CELL, "%.2f", usd);
    else
        snprintf(text, CELL, "%.2g", usd);
    return text;
}

static const char *tokens(char *text, double n) {
    if (isinf(n))
        snprintf(text, CELL, "any length that fits");
    else if (n <= 0)
        snprintf(text, CELL, "no length");
    else
        snprintf(text, CELL, "%.0f tokens", n);
    return text;
}

static void print_points(const struct plan_economics *economics, const struct plan_economics_opts *opts) {
    printf("%10s %9s %12s %12s %11s %14s %13s %14s\n", "context", "users fit", "USD/M output", "USD/M input",
           "USD/user-h", "remember/turn", "compute/turn", "flat price*");
    for (size_t i = 0; i < economics->n_points; i++) {
        const struct plan_economics_point *point = &economics->points[i];
        char output[CELL], input[CELL], hour[CELL], remember[CELL], compute[CELL], flat[CELL];
        printf("%10.0f %9.0f %12s %12s %11s %14s %13s %14s\n", point->context_tokens, point->users,
               money(output, point->usd_per_million_output), money(input, point->usd_per_million_input),
               money(hour, point->usd_per_user_hour), money(remember, point->remember_usd),
               money(compute, point->compute_usd), money(flat, -point->flat_loss_usd));
    }
    printf("* USD that are left of %.2f a month from a user of that length and %.0f hours; below 0: a loss\n",
           opts->flat_price, opts->flat_hours);
}

static void print_answers(const struct plan_economics *economics, const struct plan_economics_opts *opts,
                          const struct plan_load *load) {
    char text[CELL];
    if (isinf(economics->remember_tokens))
        printf("\nA turn costs less to remember than to compute, at any length that fits");
    else if (economics->remember_tokens <= 0)
        printf("\nA turn costs more to remember than to compute, at any length");
    else
        printf("\nAbove %.0f tokens a turn costs more to remember than to compute",
               economics->remember_tokens);
    printf(" (%.0f s between turns of %.0f + %.0f tokens).\n", opts->think_seconds, opts->turn_tokens,
           load->output_tokens);
    if (opts->price > 0)
        printf("Economic ceiling at %.2f USD per million output tokens: %s.\n", opts->price,
               tokens(text, economics->ceiling_tokens));
    if (opts->free_tier > 0)
        printf("A free tier of %.2f USD a user and month holds: %s, kept all month.\n", opts->free_tier,
               tokens(text, economics->free_tier_tokens));
    printf("At %.0f tokens a million tokens cost %.4g USD to compute and %.4g USD an hour to hold: a cached "
           "prefix pays if "
           "it is asked for again within %.0f s.\n",
           load->context_tokens, economics->computed_usd_per_million, economics->held_usd_per_million_hour,
           economics->break_even_seconds);
}

/* One line a provider: its dearest and its cheapest, as far as they name a price for cached input. */
static void print_prices(const struct plan_catalog *catalog) {
    printf("\nPublished prices, USD per million tokens: input, cached input, output; above a length input "
           "and output\n");
    for (size_t i = 0; i < catalog->n_prices; i++) {
        const struct plan_price *price = &catalog->prices[i];
        printf("%-12s %-34s %-8s %8.3g %8.3g %8.3g", price->provider, price->model, price->date, price->input,
               price->cache_read, price->output);
        if (price->n_tiers > 0) {
            const struct plan_price_tier *last = &price->tiers[price->n_tiers - 1];
            printf("   > %.0fk: %.3g, %.3g", last->above_input_tokens / 1e3, last->input, last->output);
        }
        putchar('\n');
    }
}

static void print_hundred_users(const struct plan_hardware *hardware, const struct plan_load *load,
                                const struct plan_catalog *catalog) {
    static const char *const models[] = {"Llama 2 7B",     "Llama 3.1 8B", "Llama 3.1 70B",
                                         "Llama 3.1 405B", "Qwen3 32B",    "Gemma 3 27B",
                                         "gpt-oss-120b",   "DeepSeek-V3",  "Qwen3-Next 80B-A3B"};
    enum { USERS = 100, CONTEXT = 200000 };
    printf("\n%d users x %d tokens, caches alone, in %s's worth of memory (%s)\n", USERS, CONTEXT,
           hardware->name, load->kv->name);
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        const struct plan_model *model = plan_catalog_model(catalog, models[i]);
        if (model == NULL) continue;
        double devices = plan_devices_for_cache(model, load->kv, hardware, USERS, CONTEXT);
        printf("%-22s %8.2f devices, %7.0f GB%s\n", model->name, devices,
               devices * hardware->memory_bytes * 1e-9,
               model->n_context > 0 && model->n_context < CONTEXT ? "   (longer than the model's own context)"
                                                                  : "");
    }
}

void plan_print_economics(const struct plan_economics *economics, const struct plan_economics_opts *opts,
                          const struct plan_hardware *hardware, const struct plan_load *load,
                          const struct plan_catalog *catalog) {
    printf("\nWhat remembering costs, the machine full at each length: %.2f USD an hour\n",
           economics->usd_per_hour);
    print_points(economics, opts);
    print_answers(economics, opts, load);
    print_hundred_users(hardware, load, catalog);
    print_prices(catalog);
}
