/* What the planner's fuzz targets share: bytes as a file, and every use of a model and a machine. */
#ifndef PLAN_USE_H
#define PLAN_USE_H

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/err.h"
#include "plan/catalog.h"
#include "plan/curves.h"
#include "plan/plan_json.h"
#include "plan/solve.h"
#include "plan/what_if_json.h"

struct held_file {
    int descriptor;
    char path[32];
};

static inline void hold_file(struct held_file *file, const uint8_t *bytes, size_t length) {
    file->descriptor = memfd_create("fuzz", MFD_CLOEXEC);
    ASSERT(file->descriptor >= 0 && write(file->descriptor, bytes, length) == (ssize_t)length);
    snprintf(file->path, sizeof file->path, "/proc/self/fd/%d", file->descriptor);
}

static inline void drop_file(const struct held_file *file) { close(file->descriptor); }

/* One line, printable but for what is beyond ASCII. */
static inline void check_refusal(void) {
    ASSERT(strlen(err_message()) > 5);
    for (const char *c = err_message(); *c != '\0'; c++) ASSERT((unsigned char)*c >= ' ' && *c != 0x7f);
}

/* Opened once, and there as long as the program. */
static inline const struct plan_catalog *builtin_catalog(void) {
    static struct plan_catalog catalog;
    if (catalog.n_models == 0) ASSERT(plan_catalog_open(&catalog, NULL) == 0);
    return &catalog;
}

/* Every number of it can be written: JSON knows no infinity and no NAN. */
static inline void check_json(json_t *object) {
    ASSERT(object != NULL);
    char *text = json_dumps(object, 0);
    ASSERT(text != NULL);
    free(text);
    json_decref(object);
}

static inline void check_plan(const struct plan *plan) {
    const double all[] = {plan->memory.device_bytes, plan->memory.kv_bytes, plan->time.step.seconds,
                          plan->time.ttft_seconds, plan->metrics.utps};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) ASSERT(isfinite(all[i]) && all[i] >= 0);
    ASSERT(plan->time.step.seconds > 0);
    for (size_t i = 0; i < plan->assumptions.n; i++) ASSERT(plan->assumptions.texts[i][0] != '\0');
    char text[512] = "";
    if (!plan->fits) plan_what_fits(plan, text, sizeof text);
    check_json(plan_json(plan));
}

static inline void use_load(const struct plan_model *model, const struct plan_hardware *hardware,
                            const struct plan_load *load) {
    static struct plan plan;
    static struct plan_what_if table;
    static struct plan_economics economics;
    static struct plan_curves curves;
    static struct plan_answer answer;
    const struct plan_promise promise = {0};
    const struct plan_remedy_opts remedies = plan_remedy_opts_default();
    const struct plan_economics_opts money = plan_economics_opts_default();
    const struct plan_goal goal = {.engine_is_given = true};
    if (plan_make(&plan, model, hardware, load, &promise) < 0) {
        check_refusal();
        return;
    }
    check_plan(&plan);
    plan_what_if_of(&table, model, hardware, load, &remedies, builtin_catalog());
    check_json(plan_what_if_json(&table));
    plan_economics_of(&economics, model, hardware, load, &money, NULL);
    check_json(plan_economics_json(&economics));
    plan_curves_of(&curves, model, hardware, load);
    check_json(plan_curves_json(&curves, &table));
    for (enum plan_solve solve = PLAN_SOLVE_max_context; solve <= PLAN_SOLVE_max_users; solve++) {
        if (plan_solve(&answer, solve, builtin_catalog(), &plan, &goal) == 0)
            check_plan(&answer.plans[0]);
        else
            check_refusal();
    }
}

static inline void use_model(const struct plan_model *model, const struct plan_hardware *hardware) {
    struct plan_load load = plan_load_default();
    use_load(model, hardware, &load);
    load = (struct plan_load){.context_tokens = 1e6,
                              .prompt_tokens = 9e5,
                              .output_tokens = 1e5,
                              .shared_tokens = 1000,
                              .hit_rate = 0.5,
                              .users = 1000,
                              .tp = 8,
                              .pp = 1,
                              .ep = 1,
                              .dp = 2,
                              .cp = 2,
                              .replicas = 3,
                              .engine = PLAN_ENGINE_llama_cpp,
                              .kv = plan_kv_format_find("q4"),
                              .weights = plan_weight_format_find("q4_k_m"),
                              .hold_seconds = 60};
    use_load(model, hardware, &load);
}

#endif
