/* Arbitrary bytes as a model's config.json: one printable line of error, or a model of which everything can
 * be planned: pages, remedies, economics, curves, the largest load. */
#include "plan_use.h"

#include "plan/model_files.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length) {
    struct plan_model model;
    struct held_file file;
    const struct plan_hardware *hardware = plan_catalog_hardware(builtin_catalog(), "h100-sxm");
    hold_file(&file, bytes, length);
    if (plan_model_from_config(&model, file.path) < 0)
        check_refusal();
    else
        use_model(&model, hardware);
    drop_file(&file);
    return 0;
}
