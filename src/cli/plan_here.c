#include "cli/plan_here.h"

#include <stdio.h>
#include <sys/stat.h>

#include "cli/calibrate.h"
#include "cli/verify.h"
#include "model/model.h"
#include "plan/self_memory.h"

enum { CHUNK = 512 };

static bool read_verification(struct plan_here *here, const char *path, const struct calibration *c) {
    char file[4096];
    struct stat status;
    const struct calibration_fit fit = {c->kernels, c->version, c->n_threads};
    return verify_file(path, file, sizeof file) == 0 && stat(path, &status) == 0 &&
           verification_read(&here->verification, file, &fit, (uint64_t)status.st_size) == 0;
}

static void predict(struct plan_here *here, const struct self_machine *machine,
                    const struct plan_load *load) {
    const struct self_factors none = self_factors_none(),
                              *factors = here->is_verified
                                             ? verification_factors(&here->verification, load->kv->name)
                                             : &none;
    const uint64_t context = (uint64_t)load->context_tokens;
    struct cost_batch batch = cost_batch_decode(load->users, context > 0 ? context - 1 : 0);
    batch.n_shared = (uint64_t)load->shared_tokens;
    here->parts = self_step(machine, &batch);
    for (int i = 0; i < SELF_PARTS; i++) here->parts.part[i] *= factors->part[i];
    here->step_seconds = self_total(&here->parts, &none);
    const struct self_seconds prefill = self_prefill(machine, 0, (uint64_t)load->prompt_tokens, CHUNK);
    here->prefill_seconds = self_total(&prefill, factors);
    struct self_payloads payloads = {0};
    self_payloads_add(&payloads, machine->layout, load->users, context, batch.n_shared);
    here->kv_bytes = (double)self_payload_bytes(&payloads, machine->layout);
}

static int of_model(struct plan_here *here, const struct model *model, const struct calibration *calibration,
                    const struct plan_load *load) {
    struct kv_rules rules;
    struct kv_layout layout = {0};
    TRY(kv_rules_parse(&rules, load->kv->name));
    TRY(description_kv_layout(&model->description, &rules, &layout));
    const struct self_machine machine = {calibration, model, &layout};
    TRY(self_check(&machine));
    predict(here, &machine, load);
    return 0;
}

int plan_here_of(struct plan_here *here, const char *path, const struct plan_load *load) {
    struct calibration calibration;
    struct model model;
    *here = (struct plan_here){0};
    TRY(calibrate_load(&calibration, 0));
    TRY(model_open_shapes(&model, path));
    here->is_verified = read_verification(here, path, &calibration);
    int result = of_model(here, &model, &calibration, load);
    model_close(&model);
    return result;
}

void plan_here_print(const struct plan_here *here) {
    const struct verification *v = &here->verification;
    printf("\nCabinet itself on this machine\n");
    printf("  decode step     %.2f ms for all users:", 1e3 * here->step_seconds);
    for (int i = 0; i < SELF_PARTS; i++)
        if (here->parts.part[i] > 0)
            printf("%s %s %.2f", i == 0 ? "" : ",", self_part_name((enum self_part)i),
                   1e3 * here->parts.part[i]);
    printf("\n  prefill         %.0f ms\n  KV              %.0f bytes in whole blocks\n",
           1e3 * here->prefill_seconds, here->kv_bytes);
    if (!here->is_verified) {
        printf("  verified        no: cabinet plan --verify corrects this, and says how far off it is\n");
        return;
    }
    printf("  verified        %.10s: off by %.1f %% of memory, %.1f %% of a step (9 of 10 within %.1f %%), "
           "%.1f %% of a "
           "prefill, %.1f %% of TTFT\n",
           v->date, 100 * v->memory.median, 100 * v->step.median, 100 * v->step.p90, 100 * v->prefill.median,
           100 * v->ttft.median);
}

json_t *plan_here_json(const struct plan_here *here) {
    const struct verification *v = &here->verification;
    json_t *parts = json_object();
    for (int i = 0; i < SELF_PARTS; i++)
        json_object_set_new(parts, self_part_name((enum self_part)i), json_real(here->parts.part[i]));
    json_t *object = json_pack("{s:f, s:o, s:f, s:f, s:b}", "step_seconds", here->step_seconds, "parts",
                               parts, "prefill_seconds", here->prefill_seconds, "kv_bytes", here->kv_bytes,
                               "is_verified", here->is_verified);
    if (object == NULL || !here->is_verified) return object;
    json_object_set_new(object, "verified",
                        json_pack("{s:s, s:f, s:f, s:f, s:f, s:f}", "date", v->date, "memory_error",
                                  v->memory.median, "step_error", v->step.median, "step_error_p90",
                                  v->step.p90, "prefill_error", v->prefill.median, "ttft_error",
                                  v->ttft.median));
    return object;
}
