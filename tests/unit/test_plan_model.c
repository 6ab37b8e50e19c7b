/* Models from config.json: the same numbers as published, and a word for what is missing. The configs here
 * hold the fields of the published files that matter. */
#include "plan_test.h"

#include "plan/geometry.h"
#include "plan/memory.h"
#include "plan/model_files.h"

#define LLAMA_8B                                                                                             \
    "\"model_type\": \"llama\", \"hidden_size\": 4096, \"intermediate_size\": 14336, "                       \
    "\"num_hidden_layers\": 32,"                                                                             \
    " \"num_attention_heads\": 32, \"num_key_value_heads\": 8, \"vocab_size\": 128256,"                      \
    " \"max_position_embeddings\": 131072"

static int read_config(const char *text, struct plan_model *model) {
    struct test_file file;
    make_file(&file, "config.json", text);
    int result = plan_model_from_config(model, file.path);
    drop_file(&file);
    return result;
}

/* Same caches as the catalog's entry, and parameters within a share of what is published. */
static void assert_like(const char *config, const char *name, double share) {
    static const double contexts[] = {100, 1024, 1025, 8192, 100000};
    struct plan_model model;
    const struct plan_model *entry = model_of(name);
    if (read_config(config, &model) < 0) fail_msg("%s: %s", name, err_message());
    for (size_t i = 0; i < sizeof contexts / sizeof *contexts; i++)
        assert_true(plan_kv_bytes(&model, plan_kv_format_find("f16"), contexts[i]) ==
                    plan_kv_bytes(entry, plan_kv_format_find("f16"), contexts[i]));
    assert_true(model.parameters_are_computed);
    assert_near(model.parameters, entry->parameters, share);
    assert_near(model.parameters_read, entry->parameters_read, share);
    assert_int_equal(model.n_context, entry->n_context);
    assert_true(model.n_layers == entry->n_layers && model.d_model == entry->d_model);
}

static void known_families(void **state) {
    (void)state;
    assert_like("{" LLAMA_8B ", \"tie_word_embeddings\": false}", "Llama 3.1 8B", 0);
    assert_like(
        "{\"model_type\": \"gemma3\", \"text_config\": {\"model_type\": \"gemma3_text\", \"hidden_size\": "
        "5376,"
        " \"intermediate_size\": 21504, \"num_hidden_layers\": 62, \"num_attention_heads\": 32,"
        " \"num_key_value_heads\": 16, \"head_dim\": 128, \"vocab_size\": 262208, \"sliding_window\": 1024,"
        " \"sliding_window_pattern\": 6, \"max_position_embeddings\": 131072}}",
        "Gemma 3 27B", 0.001);
    assert_like(
        "{\"model_type\": \"mixtral\", \"hidden_size\": 4096, \"intermediate_size\": 14336,"
        " \"num_hidden_layers\": 32, \"num_attention_heads\": 32, \"num_key_value_heads\": 8,"
        " \"vocab_size\": 32000, \"sliding_window\": null, \"num_local_experts\": 8,"
        " \"num_experts_per_tok\": 2, \"max_position_embeddings\": 32768, \"tie_word_embeddings\": false}",
        "Mixtral 8x7B", 0.0001);
    assert_like(
        "{\"model_type\": \"deepseek_v3\", \"hidden_size\": 7168, \"intermediate_size\": 18432,"
        " \"num_hidden_layers\": 61, \"num_attention_heads\": 128, \"vocab_size\": 129280,"
        " \"kv_lora_rank\": 512, \"q_lora_rank\": 1536, \"qk_rope_head_dim\": 64, \"qk_nope_head_dim\": 128,"
        " \"v_head_dim\": 128, \"n_routed_experts\": 256, \"n_shared_experts\": 1,"
        " \"num_experts_per_tok\": 8, \"moe_intermediate_size\": 2048, \"first_k_dense_replace\": 3,"
        " \"moe_layer_freq\": 1, \"max_position_embeddings\": 163840, \"tie_word_embeddings\": false}",
        "DeepSeek-V3", 0.001);
    assert_like(
        "{\"model_type\": \"qwen3_moe\", \"hidden_size\": 2048, \"intermediate_size\": 6144,"
        " \"num_hidden_layers\": 48, \"num_attention_heads\": 32, \"num_key_value_heads\": 4,"
        " \"head_dim\": 128, \"vocab_size\": 151936, \"num_experts\": 128, \"num_experts_per_tok\": 8,"
        " \"moe_intermediate_size\": 768, \"decoder_sparse_step\": 1, \"use_sliding_window\": false,"
        " \"max_position_embeddings\": 40960, \"tie_word_embeddings\": false}",
        "Qwen3 30B-A3B", 0.001);
}

static void assert_refused(const char *text, int code, const char *word) {
    struct plan_model model;
    assert_int_equal(read_config(text, &model), code);
    if (strstr(err_message(), word) == NULL) fail_msg("'%s' is not in: %s", word, err_message());
}

static void missing_fields_are_named(void **state) {
    (void)state;
    assert_refused("{", ERR_CORRUPT, "config.json:1");
    assert_refused("[]", ERR_CORRUPT, "model_type");
    assert_refused("{}", ERR_CORRUPT, "model_type is missing");
    assert_refused("{\"model_type\": \"unheard_of\"}", ERR_UNSUPPORTED, "unheard_of");
    assert_refused("{\"model_type\": \"llama\"}", ERR_CORRUPT, "num_hidden_layers is missing");
    assert_refused("{\"model_type\": \"llama\", \"num_hidden_layers\": 2}", ERR_CORRUPT,
                   "hidden_size is missing");
    assert_refused("{" LLAMA_8B ", \"num_hidden_layers\": 2}", ERR_CORRUPT, "duplicate");
    assert_refused("{\"model_type\": \"llama\", \"num_hidden_layers\": 100000}", ERR_CORRUPT,
                   "num_hidden_layers");
    assert_refused("{\"model_type\": \"llama\", \"num_hidden_layers\": -4}", ERR_CORRUPT,
                   "num_hidden_layers");
    assert_refused("{\"model_type\": \"llama\", \"num_hidden_layers\": \"x\"}", ERR_CORRUPT, "whole number");
    assert_refused("{\"model_type\": \"gemma2\", \"hidden_size\": 64, \"intermediate_size\": 64, "
                   "\"num_hidden_layers\": 2,"
                   " \"num_attention_heads\": 2, \"num_key_value_heads\": 2, \"vocab_size\": 100}",
                   ERR_CORRUPT, "sliding_window is missing");
    assert_refused("{\"model_type\": \"qwen3_moe\", \"hidden_size\": 64, \"intermediate_size\": 64,"
                   " \"num_hidden_layers\": 2, \"num_attention_heads\": 2, \"num_key_value_heads\": 2,"
                   " \"vocab_size\": 100}",
                   ERR_CORRUPT, "num_experts is missing");
    assert_refused(
        "{\"model_type\": \"llama\", \"hidden_size\": 64, \"intermediate_size\": 64, \"num_hidden_layers\": "
        "2,"
        " \"num_attention_heads\": 3, \"num_key_value_heads\": 2, \"head_dim\": 16, \"vocab_size\": 100}",
        ERR_INVALID, "do not divide");
}

/* More is no config of a model: it is refused before it is parsed. */
static void files_are_bounded(void **state) {
    (void)state;
    enum { LENGTH = 5 << 20 };
    char *text = malloc(LENGTH + 1);
    assert_non_null(text);
    memset(text, ' ', LENGTH);
    text[LENGTH] = '\0';
    assert_refused(text, ERR_TOO_LARGE, "larger than 4 MiB");
    free(text);
    struct plan_model model;
    assert_int_equal(plan_model_from_config(&model, "/nowhere/config.json"), ERR_NOT_FOUND);
    assert_int_equal(plan_model_from_config(&model, "/"), ERR_IO);
}

/* What stands in for a missing field is written down. */
static void what_is_assumed_is_said(void **state) {
    (void)state;
    struct plan_model model;
    assert_int_equal(
        read_config("{\"model_type\": \"llama\", \"hidden_size\": 64, \"intermediate_size\": 64,"
                    " \"num_hidden_layers\": 2, \"num_attention_heads\": 4, \"vocab_size\": 100}",
                    &model),
        0);
    assert_non_null(strstr(model.assumed, "num_key_value_heads"));
    assert_non_null(strstr(model.assumed, "tie_word_embeddings"));
    assert_true(plan_kv_bytes_per_token(&model, plan_kv_format_find("f16")) == 2 * 4 * 16 * 2 * 2);
    assert_int_equal(read_config("{" LLAMA_8B ", \"tie_word_embeddings\": false}", &model), 0);
    assert_string_equal(model.assumed, "");
}

/* gpt-oss lists its layers; a window is only where the list says so. */
static void listed_layers(void **state) {
    (void)state;
    struct plan_model model;
#define LISTED(types)                                                                                        \
    "{\"model_type\": \"gpt_oss\", \"hidden_size\": 64, \"intermediate_size\": 64, \"num_hidden_layers\": "  \
    "2,"                                                                                                     \
    " \"num_attention_heads\": 4, \"num_key_value_heads\": 2, \"head_dim\": 16, \"vocab_size\": 100,"        \
    " \"num_local_experts\": 4, \"num_experts_per_tok\": 2, \"sliding_window\": 128" types "}"
    assert_int_equal(
        read_config(LISTED(", \"layer_types\": [\"sliding_attention\", \"full_attention\"]"), &model), 0);
    assert_string_equal(model.layer_codes, "SF");
    assert_true(plan_kv_bytes(&model, plan_kv_format_find("f16"), 1000) == 2 * 2 * 16 * 2 * (1000 + 128));
    assert_int_equal(read_config(LISTED(""), &model), ERR_CORRUPT);
    assert_int_equal(read_config(LISTED(", \"layer_types\": [\"full_attention\"]"), &model), ERR_CORRUPT);
    assert_int_equal(read_config(LISTED(", \"layer_types\": [\"full_attention\", \"magic\"]"), &model),
                     ERR_UNSUPPORTED);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_families),    cmocka_unit_test(missing_fields_are_named),
        cmocka_unit_test(files_are_bounded), cmocka_unit_test(what_is_assumed_is_said),
        cmocka_unit_test(listed_layers),
    };
    return cmocka_run_group_tests(tests, open_catalog, close_catalog);
}
