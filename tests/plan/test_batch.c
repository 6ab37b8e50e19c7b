/* The batch form: bad lines, names as people write them, what is assumed and said. */
#include "plan_test.h"

#include <jansson.h>

#include "plan/batch.h"
#include "plan/reach.h"
#include "plan/resolve.h"

/* Runs `text` as a batch; answers in an array of objects. */
static json_t *run(const char *text, struct plan_batch_counts *counts) {
    FILE *in = tmpfile(), *out = tmpfile();
    json_t *answers = json_array();
    char *line = NULL;
    size_t capacity = 0;
    assert_true(in != NULL && out != NULL && answers != NULL && fputs(text, in) >= 0);
    rewind(in);
    assert_int_equal(plan_batch_run(&catalog, in, out, counts), 0);
    rewind(out);
    while (getline(&line, &capacity, out) > 0) {
        json_t *answer = json_loads(line, JSON_REJECT_DUPLICATES, NULL);
        assert_true(json_is_object(answer));
        json_array_append_new(answers, answer);
    }
    free(line);
    fclose(in);
    fclose(out);
    return answers;
}

static const char *text_at(const json_t *answers, size_t i, const char *key) {
    const char *text = json_string_value(json_object_get(json_array_get(answers, i), key));
    return text != NULL ? text : "";
}

static void bad_lines_do_not_stop_the_rest(void **state) {
    (void)state;
    struct plan_batch_counts counts;
    json_t *answers = run("nonsense\n"
                          "\n"
                          "[1, 2]\n"
                          "{\"model\": \"Llama 2 7B\"}\n"
                          "{\"metric\": \"itl_s\"}\n"
                          "{\"metric\": 3, \"model\": \"Llama 2 7B\"}\n"
                          "{\"metric\": \"itl_s\", \"model\": \"Llama 2 7B\", \"batch\": -1}\n"
                          "{\"metric\": \"itl_s\", \"model\": \"Llama 2 7B\", \"batch\": \"four\"}\n"
                          "{\"metric\": \"itl_s\", \"model\": \"Llama 2 7B\", \"context_tokens\": 1e300}\n"
                          "{\"metric\": \"itl_s\", \"metric\": \"itl_s\", \"model\": \"Llama 2 7B\"}\n"
                          "{\"metric\": \"kv_bytes\", \"model\": \"Llama 2 7B\", \"context_tokens\": 4096}",
                          &counts);
    assert_int_equal(json_array_size(answers), 10);
    assert_int_equal(counts.n_lines, 11);
    assert_int_equal(counts.n_errors, 9);
    assert_int_equal(counts.n_in_scope, 1);
    for (size_t i = 0; i < 9; i++) assert_string_not_equal(text_at(answers, i, "error"), "");
    assert_int_equal(json_integer_value(json_object_get(json_array_get(answers, 1), "line")), 3);
    assert_non_null(strstr(text_at(answers, 5, "error"), "batch"));
    const json_t *last = json_array_get(answers, 9);
    assert_true(json_number_value(json_object_get(last, "predicted")) == 2147483648.0);
    json_decref(answers);
}

/* A line that cannot be answered says why, and is no error. */
static void out_of_scope_has_a_reason(void **state) {
    (void)state;
    struct plan_batch_counts counts;
    json_t *answers = run("{\"metric\": \"beauty\", \"model\": \"Llama 2 7B\", \"hardware\": \"l4\"}\n"
                          "{\"metric\": \"itl_s\", \"model\": \"no such thing\", \"hardware\": \"l4\"}\n"
                          "{\"metric\": \"itl_s\", \"model\": \"Llama 2 7B\", \"hardware\": \"abacus\"}\n"
                          "{\"metric\": \"itl_s\", \"model\": \"Llama 2 7B\"}\n"
                          "{\"metric\": \"max_output_tok_s_per_device\", \"model\": \"Llama 3.1 405B\", "
                          "\"hardware\": \"l4\", \"weight_format\": \"BF16\", \"tp\": 1}\n",
                          &counts);
    assert_int_equal(counts.n_errors, 0);
    assert_int_equal(counts.n_in_scope, 0);
    for (size_t i = 0; i < 5; i++) {
        const json_t *answer = json_array_get(answers, i);
        assert_true(json_is_false(json_object_get(answer, "in_scope")));
        assert_true(json_is_null(json_object_get(answer, "predicted")));
        assert_true(strlen(text_at(answers, i, "reason")) > 10);
    }
    assert_non_null(strstr(text_at(answers, 2, "reason"), "abacus"));
    json_decref(answers);
}

/* A line of 2 MiB is passed over; the lines around it are answered, each by its number. */
static void lines_are_bounded(void **state) {
    (void)state;
    static const char good[] = "{\"metric\": \"itl_s\", \"model\": \"Llama 2 7B\", \"hardware\": \"l4\"}\n";
    enum { LONG = 2 << 20 };
    char *text = malloc(LONG + 2 * sizeof good + 2);
    assert_non_null(text);
    memcpy(text, good, sizeof good - 1);
    memset(text + sizeof good - 1, '[', LONG);
    snprintf(text + sizeof good - 1 + LONG, sizeof good + 2, "\n%s", good);
    struct plan_batch_counts counts;
    json_t *answers = run(text, &counts);
    free(text);
    assert_true(counts.n_lines == 3 && counts.n_in_scope == 2 && counts.n_errors == 1);
    assert_non_null(strstr(text_at(answers, 1, "error"), "1 MiB"));
    assert_int_equal(json_integer_value(json_object_get(json_array_get(answers, 1), "line")), 2);
    json_decref(answers);
}

static void absurd_layouts_are_errors(void **state) {
    (void)state;
    struct plan_batch_counts counts;
#define LAYOUT(layout)                                                                                       \
    "{\"metric\": \"itl_s\", \"model\": \"Llama 2 7B\", \"hardware\": \"l4\", " layout "}\n"
    json_t *answers = run(LAYOUT("\"tp\": 1.5") LAYOUT("\"tp\": 1e5, \"pp\": 1e5, \"dp\": 1e5"), &counts);
    assert_non_null(strstr(text_at(answers, 0, "error"), "tp must be a whole number"));
    assert_non_null(strstr(text_at(answers, 1, "reason"), "tp x pp x dp"));
    json_decref(answers);
}

static void what_is_missing_is_assumed_and_said(void **state) {
    (void)state;
    struct plan_batch_counts counts;
    json_t *answers =
        run("{\"metric\": \"itl_s\", \"model\": \"llama3.1:8b\", \"hardware\": \"NVIDIA H100 80GB HBM3\"}\n",
            &counts);
    assert_int_equal(counts.n_in_scope, 1);
    const char *reason = text_at(answers, 0, "reason");
    assert_non_null(strstr(reason, "H100 80GB SXM5"));
    assert_non_null(strstr(reason, "engine"));
    assert_non_null(strstr(reason, "bf16"));
    assert_non_null(strstr(reason, "16 bits"));
    json_decref(answers);
}

static void models_are_found_by_many_names(void **state) {
    (void)state;
    static const char *const names[][2] = {
        {"meta-llama/Meta-Llama-3.1-8B-Instruct", "Llama 3.1 8B"},
        {"Llama-3.3-70B-Instruct", "Llama 3.1 70B"},
        {"llama 2 7b chat hf", "Llama 2 7B"},
        {"Qwen3-Coder-30B-A3B", "Qwen3 30B-A3B"},
        {"GPT_OSS 20B", "gpt-oss-20b"},
        {"DeepSeek-V3-0324", "DeepSeek-V3"},
        {"Mistral-7B-Instruct-v0.3", "Mistral 7B v0.3"},
        {"Qwen/Qwen2.5-14B-Instruct-AWQ", "Qwen2.5 14B"},
    };
    struct plan_model model;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        assert_int_equal(plan_resolve_model(&catalog, names[i][0], &model, NULL), 0);
        assert_string_equal(model.name, names[i][1]);
    }
    /* Another size of a family is not that family's nearest, but a dense model of its own size. */
    assert_int_equal(plan_resolve_model(&catalog, "Llama 3.1 9B", &model, NULL), 0);
    assert_near(model.parameters, 9e9, 1e-9);
    assert_int_equal(plan_resolve_model(&catalog, "CodeThing 13B", &model, NULL), 0);
    assert_near(model.parameters, 13e9, 1e-9);
    assert_int_equal(plan_resolve_model(&catalog, "CodeThing", &model, NULL), ERR_NOT_FOUND);
    assert_int_equal(plan_resolve_model(&catalog, "CodeThing 900B", &model, NULL), ERR_NOT_FOUND);
    assert_int_equal(plan_resolve_model(&catalog, "", &model, NULL), ERR_NOT_FOUND);
}

static void hardware_is_found_by_many_names(void **state) {
    (void)state;
    static const char *const names[][2] = {
        {"H100", "h100-sxm"},
        {"NVIDIA A100-SXM4-80GB", "a100-80-sxm"},
        {"H100 PCIe 80GB", "h100-pcie"},
        {"GeForce RTX 4090 24 GB", "rtx4090"},
        {"4090", "rtx4090"},
        {"Mac Studio M2 Ultra", "apple-m2ultra"},
        {"AMD Instinct MI300X", "mi300x"},
        {"raspberry pi 4", "rpi4"},
        {"Nvidia DGX Spark (GB10)", "dgx-spark"},
    };
    struct plan_hardware hardware;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        assert_int_equal(plan_resolve_hardware(&catalog, names[i][0], &hardware, NULL), 0);
        assert_string_equal(hardware.id, names[i][1]);
    }
    struct plan_assumptions assumptions = {0};
    assert_int_equal(plan_resolve_hardware(&catalog, "Xeon Something", &hardware, &assumptions), 0);
    assert_int_equal(hardware.device, PLAN_DEVICE_cpu);
    assert_int_equal(assumptions.n, 1);
    assert_int_equal(plan_resolve_hardware(&catalog, "H9000", &hardware, NULL), ERR_NOT_FOUND);
}

static void engines_have_classes_and_dates(void **state) {
    (void)state;
    const struct plan_hardware *gpu = hardware_of("h100-sxm"), *mac = hardware_of("apple-m1max"),
                               *paper = hardware_of("liminal-hbm3");
    assert_int_equal(plan_resolve_engine("vLLM 0.6.x", "2024-11", gpu, NULL), PLAN_ENGINE_server_2024);
    assert_int_equal(plan_resolve_engine("vLLM 0.19.1", "2026-04", gpu, NULL), PLAN_ENGINE_server);
    assert_int_equal(plan_resolve_engine("TensorRT-LLM 1.x", NULL, gpu, NULL), PLAN_ENGINE_native);
    assert_int_equal(plan_resolve_engine("llama.cpp (2024-05)", "2024-05", mac, NULL),
                     PLAN_ENGINE_llama_cpp_2024);
    assert_int_equal(plan_resolve_engine("ollama", "2025", mac, NULL), PLAN_ENGINE_llama_cpp);
    assert_int_equal(plan_resolve_engine("distributed-llama 0.11", "2024", mac, NULL),
                     PLAN_ENGINE_distributed);
    assert_int_equal(plan_resolve_engine(NULL, NULL, gpu, NULL), PLAN_ENGINE_server);
    assert_int_equal(plan_resolve_engine("something", NULL, mac, NULL), PLAN_ENGINE_llama_cpp);
    assert_int_equal(plan_resolve_engine("vLLM", NULL, paper, NULL), PLAN_ENGINE_ideal);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bad_lines_do_not_stop_the_rest),
        cmocka_unit_test(out_of_scope_has_a_reason),
        cmocka_unit_test(lines_are_bounded),
        cmocka_unit_test(absurd_layouts_are_errors),
        cmocka_unit_test(what_is_missing_is_assumed_and_said),
        cmocka_unit_test(models_are_found_by_many_names),
        cmocka_unit_test(hardware_is_found_by_many_names),
        cmocka_unit_test(engines_have_classes_and_dates),
    };
    return cmocka_run_group_tests(tests, open_catalog, close_catalog);
}
