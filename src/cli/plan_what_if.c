/* cabinet plan --what-if: one line a remedy. */
#include <math.h>
#include <stdio.h>

#include "cli/cli.h"
#include "cli/plan_print.h"

enum { CELL = 32 };

static const char *change(char *text, double value, double base) {
    double factor = value / base;
    if (!isfinite(factor))
        snprintf(text, CELL, "-");
    else if (fabs(factor - 1) < 0.0005)
        snprintf(text, CELL, "=");
    else if (factor >= 10)
        snprintf(text, CELL, "x %.0f", factor);
    else if (factor >= 2)
        snprintf(text, CELL, "x %.1f", factor);
    else
        snprintf(text, CELL, "%+.1f %%", 100 * (factor - 1));
    return text;
}

static void print_line(const char *title, const struct plan_outcome *outcome, const struct plan_outcome *base,
                       const char *offered) {
    char memory[CELL], seconds[CELL], users[CELL], cost[CELL];
    printf("%-46s %9s %9s %9s %9s  %s\n", title, change(memory, outcome->memory_bytes, base->memory_bytes),
           change(seconds, outcome->seconds_per_token, base->seconds_per_token),
           change(users, outcome->users, base->users),
           change(cost, outcome->usd_per_million_output, base->usd_per_million_output), offered);
}

void plan_print_what_if(const struct plan_what_if *table) {
    char bytes[CLI_BYTES_LENGTH];
    const struct plan_outcome *base = &table->base;
    printf("\nWhat each remedy buys. Today: %s, %.3g ms a token, %.6g users fit, %.4g USD per million output "
           "tokens\n",
           cli_format_bytes(bytes, base->memory_bytes), base->seconds_per_token * 1e3, base->users,
           base->usd_per_million_output);
    printf("%-46s %9s %9s %9s %9s  %s\n", "remedy", "memory", "ms/token", "users", "cost", "in Cabinet");
    for (size_t i = 0; i < table->n; i++) {
        const struct plan_what_if_row *row = &table->rows[i];
        const char *offered = row->remedy->offered != NULL ? row->remedy->offered : "no";
        if (row->applies)
            print_line(row->remedy->title, &row->outcome, base, offered);
        else
            printf("%-46s does not apply: %s\n", row->remedy->title, row->reason);
    }
    if (table->best[0] == NULL) return;
    printf("\nThe best pair, by the cost of output: %s, and %s\n", table->best[0]->title,
           table->best[1]->title);
    print_line("both", &table->best_outcome, base, "");
    printf("\nmemory and ms/token: at the load asked for; users: who fit; cost: per output token, as many as "
           "fit working. "
           "What a remedy loses is said where it was measured (docs/quality.md).\n");
}
