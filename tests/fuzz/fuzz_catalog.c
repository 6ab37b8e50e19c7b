/* Arbitrary bytes as a file of a catalog, or of one machine; the first byte says which: m(odels), h(ardware),
 * p(rices), d(evice), c(alibration), v(erification). One printable line of error, or every entry can be
 * planned with. */
#include "plan_use.h"

#include "plan/calibration.h"
#include "plan/verification.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

static void use_catalog(const char *name, const char *path) {
    struct plan_catalog catalog = {0};
    const struct plan_hardware *hardware = plan_catalog_hardware(builtin_catalog(), "h100-sxm");
    const struct plan_model *model = plan_catalog_model(builtin_catalog(), "llama-3.1-8b");
    if (plan_catalog_add(&catalog, name, path) < 0) check_refusal();
    for (size_t i = 0; i < catalog.n_models && i < 2; i++) use_model(&catalog.models[i], hardware);
    for (size_t i = 0; i < catalog.n_hardware && i < 2; i++) use_model(model, &catalog.hardware[i]);
    plan_catalog_close(&catalog);
}

static void use_device(const char *path) {
    struct plan_hardware hardware;
    if (plan_hardware_read(&hardware, path) < 0)
        check_refusal();
    else
        use_model(plan_catalog_model(builtin_catalog(), "gpt-oss-120b"), &hardware);
}

static void use_kept(char kind, const char *path) {
    static struct calibration calibration;
    static struct verification verification;
    const struct calibration_fit any = {"", "", 0};
    const int result = kind == 'c' ? calibration_read(&calibration, path, &any)
                                   : verification_read(&verification, path, &any, 77);
    if (result < 0)
        check_refusal();
    else if (kind == 'v')
        ASSERT(verification_factors(&verification, "f16") != NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length) {
    struct held_file file;
    const char kind = length > 0 ? (char)bytes[0] : '\0';
    if (kind == '\0' || strchr("mhpdcv", kind) == NULL) return 0;
    hold_file(&file, bytes + 1, length - 1);
    if (kind == 'd')
        use_device(file.path);
    else if (kind == 'c' || kind == 'v')
        use_kept(kind, file.path);
    else
        use_catalog(kind == 'm' ? "models.json" : kind == 'h' ? "hardware.json" : "prices.json", file.path);
    drop_file(&file);
    return 0;
}
