/* Catalogs: what is wrong with a file is said with its place, names are found as people write them. */
#include "plan_test.h"

#include "plan/geometry.h"
#include "plan/memory.h"

#define SHAPE                                                                                                \
    "\"layers\": 2, \"d_model\": 64, \"n_heads\": 4, \"head_dim\": 16, \"v_head_dim\": 16, \"ffn_size\": "   \
    "128,"                                                                                                   \
    " \"ffn_gated\": true, \"vocab\": 100, \"tie_embeddings\": true, \"params_total\": 50000,"               \
    " \"params_read_per_token\": 50000, \"params_embedding\": 6400, \"source\": \"a test\""
#define ATTENTION "\"attention\": {\"layer_codes\": \"FF\", \"n_kv_heads_full\": 2, \"head_dim_full\": 16}"

/* Opens the catalog with a models.json (or hardware.json) of that text; the message must hold every word. */
static void assert_refused(const char *file_name, const char *text, const char *first, const char *second) {
    struct test_file file;
    struct plan_catalog other;
    make_file(&file, file_name, text);
    const int result = plan_catalog_open(&other, file.folder);
    plan_catalog_close(&other);
    drop_file(&file);
    assert_int_equal(result, ERR_CORRUPT);
    if (strstr(err_message(), first) == NULL || strstr(err_message(), second) == NULL)
        fail_msg("'%s' and '%s' are not in: %s", first, second, err_message());
}

/* Counts that cannot be together: of such a model weights would be negative. */
static void assert_counts_refused(const char *counts, const char *why) {
    char text[1024];
    snprintf(
        text, sizeof text,
        "{\"models\": [\n{\"name\": \"A\", \"layers\": 2, \"d_model\": 64, \"n_heads\": 4, \"head_dim\": 16, "
        "\"v_head_dim\": 16, \"vocab\": 100, \"tie_embeddings\": true, \"source\": \"a test\", "
        "\"params_total\": %s, " ATTENTION "}]}",
        counts);
    assert_refused("models.json", text, "models.json:2: A", why);
}

static void errors_have_a_place(void **state) {
    (void)state;
    assert_refused("models.json", "{\"models\": [\n{\"name\": }]}", "models.json:2", "");
    assert_refused("models.json", "{\"models\": 3}", "models", "must be an array");
    assert_refused("models.json", "{\"models\": [3]}", "must be an object", "");
    assert_refused("models.json", "{\"models\": [\n\n{\"name\": \"A\"}]}", "models.json:3: A: layers",
                   "is missing");
    assert_refused("models.json",
                   "{\"models\": [\n{\"name\": \"A\", \"layer\": 2, " SHAPE ", " ATTENTION "}]}",
                   "models.json:2: A: layer", "not a known member");
    assert_refused("models.json",
                   "{\"models\": [{\"name\": \"A\", " SHAPE ", \"attention\": {\"layer_codes\": \"FX\"}}]}",
                   "attention.layer_codes", "known letter");
    assert_refused("models.json",
                   "{\"models\": [{\"name\": \"A\", " SHAPE ", \"attention\": {\"layer_codes\": \"FFF\"}}]}",
                   "attention.layer_codes", "known letter");
    assert_refused("models.json",
                   "{\"models\": [{\"name\": \"A\", " SHAPE
                   ", \"attention\": {\"layer_codes\": \"SS\", \"n_kv_heads_window\": 2}}]}",
                   "A", "the window is not given");
    assert_refused("models.json",
                   "{\"models\": [{\"name\": \"A\", \"kv_elems_per_token_growing\": 100, " SHAPE
                   ", " ATTENTION "}]}",
                   "kv_elems_per_token_growing", "not what the shape gives");
    assert_counts_refused("100, \"params_read_per_token\": 100, \"params_embedding\": 6400",
                          "embedding alone");
    assert_counts_refused("9000, \"params_read_per_token\": 9001, \"params_embedding\": 6400", "reads more");
    assert_counts_refused("9000, \"params_read_per_token\": 6399, \"params_embedding\": 6400", "reads less");
    assert_refused("models.json", "{\"models\": [{\"name\": 7}]}", "name", "must be a string");
    assert_refused("models.json", "{\"models\": [{\"name\": \"A\", \"layers\": -1}]}", "layers",
                   "not within");
    assert_refused("models.json", "{\"models\": [{\"name\": \"A\", \"layers\": 2.5}]}", "layers",
                   "whole number");
    assert_refused("models.json", "{\"models\": [{\"name\": \"A\", \"layers\": \"2\"}]}", "layers",
                   "must be a number");
    assert_refused("hardware.json",
                   "{\"devices\": [\n{\"id\": \"x\", \"name\": \"X\", \"kind\": \"toaster\"}]}",
                   "hardware.json:2: x: kind", "must be gpu");
    assert_refused("hardware.json", "{\"devices\": [{\"id\": \"x\", \"name\": \"X\", \"kind\": \"gpu\"}]}",
                   "sources", "no number without one");
    assert_refused("hardware.json",
                   "{\"devices\": [{\"id\": \"x\", \"name\": \"X\", \"kind\": \"gpu\", \"mem_bw_Bps\": -3}]}",
                   "mem_bw_Bps", "not within");
    assert_refused("prices.json", "{\"prices\": [{\"provider\": \"P\", \"model\": \"m\"}]}", "date",
                   "is missing");
}

/* The line is the member's own, wherever the entry is broken into lines and whatever stands in other places.
 */
static void lines_are_the_members_own(void **state) {
    (void)state;
    static const struct {
        const char *text, *where;
    } wrong[] = {
        {"{\"models\":\n[\n{\"layers\": 3}]}", "models.json:3: name: is missing"},
        {"\n\n{\"models\": 3}", "models.json:3: models"},
        {"{\"date\": \"\\\\\\\"]}\",\n\"models\": [\n\"]\"]}", "models.json:3: entry: must be an object"},
        {"{\"models\": [\n {\n  \"name\" : \"A\",\n  \"notes\": \"d_model, \\\"d_model\\\": {\",\n"
         "  \"moe\": {\"d_model\": [1, {\"d_model\": 2}],\n \"x\": \"}\"},\n  \"layers\": 2,\n\n  "
         "\"d_model\": \"x\"}]}",
         "models.json:9: A: d_model: must be a number"},
        {"{\"models\": [{\"name\": \"A\", " SHAPE
         ",\n\"attention\":\n{\"layer_codes\":\n\"FF\",\n\"window\": -1}}]}",
         "models.json:5: A: attention.window"},
        {"{\"models\": [{\"name\": \"A\", " SHAPE ", " ATTENTION "},\n{\"name\": \"A\", " SHAPE
         ",\n\"attention\": 3}]}",
         "models.json:3: A: attention: must be an object"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_refused("models.json", wrong[i].text, wrong[i].where, "");
}

static void a_folder_adds_and_replaces(void **state) {
    (void)state;
    struct test_file file;
    struct plan_catalog other;
    make_file(&file, "models.json",
              "{\"models\": [{\"name\": \"Mine\", " SHAPE ", " ATTENTION
              "}, {\"name\": \"llama 3.1 8B\", " SHAPE ", " ATTENTION "}]}");
    assert_int_equal(plan_catalog_open(&other, file.folder), 0);
    drop_file(&file);
    assert_int_equal(other.n_models, catalog.n_models + 1);
    assert_int_equal(other.n_hardware, catalog.n_hardware);
    const struct plan_model *mine = plan_catalog_model(&other, "mine"),
                            *llama = plan_catalog_model(&other, "Llama 3.1 8B");
    assert_non_null(mine);
    assert_non_null(llama);
    assert_int_equal(llama->n_layers, 2);
    assert_true(plan_kv_bytes_per_token(mine, plan_kv_format_find("f16")) == 2 * 2 * (16 + 16) * 2);
    plan_catalog_close(&other);
    assert_int_equal(plan_catalog_open(&other, "/nowhere/at/all"), ERR_NOT_FOUND);
    plan_catalog_close(&other);
}

static void names_are_found_as_people_write_them(void **state) {
    (void)state;
    static const char *const same[] = {"Llama 3.1 70B", "llama-3.1-70b", "LLAMA3.1_70B", "llama 3 1 70b"};
    for (size_t i = 0; i < sizeof same / sizeof *same; i++)
        assert_ptr_equal(model_of(same[i]), model_of(same[0]));
    assert_ptr_equal(model_of("Qwen/Qwen3-32B"), model_of("Qwen3 32B"));
    assert_ptr_equal(hardware_of("H100_SXM"), hardware_of("h100-sxm"));
}

static void unknown_names_offer_near_ones(void **state) {
    (void)state;
    assert_null(plan_catalog_model(&catalog, "lama 3.1 70b"));
    assert_non_null(strstr(err_message(), "Llama 3.1 70B"));
    assert_null(plan_catalog_model(&catalog, "smollm"));
    assert_non_null(strstr(err_message(), "SmolLM2"));
    assert_null(plan_catalog_hardware(&catalog, "h100"));
    assert_non_null(strstr(err_message(), "h100-sxm"));
    assert_null(plan_catalog_hardware(&catalog, ""));
}

/* Every entry has been read strictly when the catalog was opened; this holds what no reader asks. */
static void the_catalog_is_sound(void **state) {
    (void)state;
    assert_true(catalog.n_models >= 100 && catalog.n_hardware >= 70 && catalog.n_prices >= 50);
    for (size_t i = 0; i < catalog.n_models; i++) {
        const struct plan_model *model = &catalog.models[i];
        assert_true(strlen(model->source) > 10);
        assert_ptr_equal(model_of(model->name), model);
        assert_true(model->parameters_read <= model->parameters);
        assert_true(plan_model_expert_parameters(model) < model->parameters);
    }
    for (size_t i = 0; i < catalog.n_hardware; i++) {
        const struct plan_hardware *hardware = &catalog.hardware[i];
        assert_true(strlen(hardware->source) > 0);
        assert_ptr_equal(hardware_of(hardware->id), hardware);
        assert_true(hardware->usd_per_hour == 0 || strlen(hardware->price_source) > 0);
    }
}

static void hardware_alone_in_a_file(void **state) {
    (void)state;
    struct test_file file;
    struct plan_hardware hardware;
    make_file(
        &file, "h.json",
        "{\"id\": \"this\", \"name\": \"A box\", \"kind\": \"cpu\", \"mem_bytes\": 8e9, \"mem_bw_Bps\": 3e10,"
        " \"sources\": [\"measured\"], \"cabinet\": {\"more\": 1}}");
    assert_int_equal(plan_hardware_read(&hardware, file.path), 0);
    assert_true(hardware.bandwidth == 3e10 && hardware.memory_bytes == 8e9 &&
                hardware.device == PLAN_DEVICE_cpu);
    drop_file(&file);
    make_file(&file, "h.json", "{\"id\": \"this\"");
    assert_int_equal(plan_hardware_read(&hardware, file.path), ERR_CORRUPT);
    drop_file(&file);
    make_file(&file, "h.json",
              "{\"id\": \"this\", \"name\": \"A box\",\n\"kind\": \"cpu\",\n\"mem_bytes\": 0}");
    assert_int_equal(plan_hardware_read(&hardware, file.path), ERR_CORRUPT);
    assert_non_null(strstr(err_message(), "h.json:3: this: mem_bytes"));
    drop_file(&file);
    assert_true(plan_hardware_read(&hardware, "/nowhere/h.json") < 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(errors_have_a_place),
        cmocka_unit_test(lines_are_the_members_own),
        cmocka_unit_test(a_folder_adds_and_replaces),
        cmocka_unit_test(names_are_found_as_people_write_them),
        cmocka_unit_test(unknown_names_offer_near_ones),
        cmocka_unit_test(the_catalog_is_sound),
        cmocka_unit_test(hardware_alone_in_a_file),
    };
    return cmocka_run_group_tests(tests, open_catalog, close_catalog);
}
