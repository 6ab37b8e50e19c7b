/* Bytes of caches and weights: published figures, and for every model of the catalog the arithmetic of its
 * config, layer by layer, from the file itself. */
#include "plan_test.h"

#include <jansson.h>
#include <math.h>

#include "plan/catalog_files.h"
#include "plan/geometry.h"
#include "plan/memory.h"

static const struct plan_kv_format *f16(void) { return plan_kv_format_find("f16"); }

static struct plan_model llama_like(uint32_t n_layers, uint32_t d_model, uint32_t n_heads, uint32_t n_kv) {
    struct plan_model model = {.name = "test",
                               .n_layers = n_layers,
                               .d_model = d_model,
                               .n_heads = n_heads,
                               .head_dim = d_model / n_heads,
                               .v_head_dim = d_model / n_heads,
                               .head_dim_full = d_model / n_heads,
                               .n_kv_heads_full = n_kv,
                               .n_vocab = 32000,
                               .n_ff = 4 * d_model};
    memset(model.layer_codes, 'F', n_layers);
    assert_int_equal(plan_model_derive(&model), 0);
    return model;
}

/* The figures: a 70B with a KV head for each query head, a 7B, and Llama 3.1 70B with its 8 KV heads,
 * 65,536 tokens in f16. */
static void published_figures(void **state) {
    (void)state;
    const struct plan_model mha = llama_like(80, 8192, 64, 64);
    assert_true(plan_kv_bytes(&mha, f16(), 65536) == 171798691840.0);
    assert_true(plan_kv_bytes_simplified(&mha, f16(), 65536, 1) == 171798691840.0);
    assert_true(plan_kv_bytes(model_of("Llama 2 7B"), f16(), 65536) == 34359738368.0);
    assert_true(plan_kv_bytes(model_of("llama-3.1-70b"), f16(), 65536) == 21474836480.0);
    assert_true(plan_kv_bytes_simplified(model_of("llama-3.1-70b"), f16(), 65536, 1) == 171798691840.0);
    assert_true(plan_kv_bytes_per_token(model_of("SmolLM2 135M"), f16()) == 23040);
}

static struct plan_memory memory_of(const char *model, const struct plan_load *load) {
    struct plan_memory memory;
    plan_memory_of(&memory, model_of(model), hardware_of("h100-sxm"), load, NULL);
    return memory;
}

static void users_are_linear(void **state) {
    (void)state;
    struct plan_load load = plan_load_default();
    load.context_tokens = 65536;
    const double one = memory_of("llama-3.1-70b", &load).kv_bytes;
    load.users = 8;
    assert_true(memory_of("llama-3.1-70b", &load).kv_bytes == 8 * one);
    load.users = 32;
    assert_true(memory_of("llama-3.1-70b", &load).kv_bytes == 32 * one);
    assert_true(memory_of("llama-3.1-70b", &load).kv_bytes_simplified == 32 * 171798691840.0);
}

/* --- the catalog's models, from the JSON text, one layer after the other --- */

static double member(const json_t *object, const char *key) {
    return json_number_value(json_object_get(object, key));
}

/* Elements in one layer's cache behind `context` tokens. */
static double layer_elements(const json_t *entry, size_t i, double context) {
    const json_t *attention = json_object_get(entry, "attention");
    const char code = json_string_value(json_object_get(attention, "layer_codes"))[i];
    const double window = member(attention, "window"), head = member(entry, "head_dim"),
                 recent = window > 0 && window < context ? window : context;
    const double key = member(attention, "head_dim_full"),
                 value = key == head ? member(entry, "v_head_dim") : key;
    const double ratio = json_number_value(json_array_get(json_object_get(attention, "compress_ratios"), i));
    double index = 0;
    if (strcmp(json_string_value(json_object_get(entry, "name")), "MiniMax-M3") == 0)
        index = i >= 3 ? 128 : 0; /* "block-sparse attention ... on layers 3-59" */
    switch (code) {
    case 'F':
    case 'H': return context * (member(attention, "n_kv_heads_full") * (key + value) + index);
    case 'S':
    case 'C': return recent * member(attention, "n_kv_heads_window") * (head + member(entry, "v_head_dim"));
    case 'M':
        return context * (member(attention, "kv_lora_rank") + member(attention, "qk_rope_head_dim") +
                          member(attention, "index_dim"));
    case 'V': return recent * head + (ratio > 0 ? context / ratio * (head + (ratio == 4 ? 128 : 0)) : 0);
    default: return 0;
    }
}

static void every_model_by_its_config(void **state) {
    (void)state;
    static const double contexts[] = {1, 100, 129, 513, 1025, 4096, 4097, 131072, 1e6};
    size_t i, n_kinds[128] = {0};
    const json_t *entry;
    json_t *root = json_loads(catalog_files[0].text, 0, NULL);
    assert_string_equal(catalog_files[0].name, "models.json");
    json_array_foreach(json_object_get(root, "models"), i, entry) {
        const struct plan_model *model = model_of(json_string_value(json_object_get(entry, "name")));
        for (uint32_t layer = 0; layer < model->n_layers; layer++) n_kinds[(int)model->layer_codes[layer]]++;
        for (size_t c = 0; c < sizeof contexts / sizeof *contexts; c++) {
            double elements = 0;
            for (size_t layer = 0; layer < model->n_layers; layer++)
                elements += layer_elements(entry, layer, contexts[c]);
            const double bytes = plan_kv_bytes(model, f16(), contexts[c]);
            if (fabs(bytes - 2 * elements) > 1e-9 * bytes)
                fail_msg("%s: %.0f tokens are %.1f bytes, not %.1f", model->name, contexts[c], bytes,
                         2 * elements);
        }
    }
    assert_true(i >= 100 && n_kinds['F'] > 0 && n_kinds['S'] > 0 && n_kinds['M'] > 0 && n_kinds['V'] > 0 &&
                n_kinds['H'] > 0 && n_kinds['C'] > 0 && n_kinds['D'] > 0);
    json_decref(root);
}

/* Some by hand, from their papers and cards. */
static void some_by_hand(void **state) {
    (void)state;
    assert_true(plan_kv_bytes_per_token(model_of("DeepSeek-V3"), f16()) == 61 * (512 + 64) * 2);
    /* 52 layers of 62 see 1,024 tokens: 16 heads of 128, K and V, 2 bytes. */
    const double row = 16 * 128 * 2 * 2;
    assert_true(plan_kv_bytes(model_of("Gemma 3 27B"), f16(), 131072) == 10 * row * 131072 + 52 * row * 1024);
    assert_true(plan_kv_bytes(model_of("Mamba 2.8B"), f16(), 131072) == 0);
    /* 64 layers, an inner width of 5,120: 16 numbers of state in F32 and 3 or 4 inputs of the convolution. */
    assert_near(plan_state_bytes(model_of("Mamba 2.8B")), 64 * 5120 * (16 * 4 + 4 * 2), 0.03);
    const struct plan_model *jamba = model_of("Jamba v0.1 52B");
    assert_true(plan_kv_bytes_per_token(jamba, f16()) == 4 * 8 * 128 * 2 * 2);
    assert_true(plan_state_bytes(jamba) > 0);
}

static void models_have_their_published_parameters(void **state) {
    (void)state;
    size_t n = 0;
    for (size_t i = 0; i < catalog.n_models; i++) {
        const struct plan_model *model = &catalog.models[i];
        double parameters;
        if (model->parameters_published == 0) continue;
        if (plan_model_count_parameters(model, &parameters) < 0) {
            assert_true(plan_model_count(model, "V") ==
                        model->n_layers); /* the one mixer without a formula */
            continue;
        }
        n++;
        if (fabs(parameters / model->parameters_published - 1) > 0.03)
            fail_msg("%s: %.0f parameters, %.0f published", model->name, parameters,
                     model->parameters_published);
    }
    assert_true(n >= 100);
    double exact;
    assert_int_equal(plan_model_count_parameters(model_of("Llama 3.1 8B"), &exact), 0);
    assert_true(exact == 8030261248.0);
}

/* Published counts are rounded. fla-hub's RWKV-7 files have theirs to the last parameter; the catalog's own
 * totals were added up from the configs by others' arithmetic; Qwen3.5 27B is done here layer by layer. */
static void mixers_to_the_thousandth(void **state) {
    (void)state;
    static const char *const names[] = {"Qwen3-Next 80B-A3B",         "Qwen3.5 122B-A10B",
                                        "Kimi-Linear 48B-A3B",        "MiniMax-Text-01",
                                        "Nemotron-3 Super 120B-A12B", "Jamba 1.5 Large"};
    double counted;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        assert_int_equal(plan_model_count_parameters(model_of(names[i]), &counted), 0);
        assert_near(counted, model_of(names[i])->parameters, 0.001);
    }
    assert_int_equal(plan_model_count_parameters(model_of("RWKV-7 World 2.9B"), &counted), 0);
    assert_near(counted, 2947735040.0, 0.001);
    const double d = 5120, keys = 16 * 128, values = 48 * 128;
    const double delta = d * (2 * keys + 2 * values) + d * 2 * 48 + (2 * keys + values) * 4 + values * d;
    const double full = d * 24 * 256 * 2 + 2 * d * 4 * 256 + 24 * 256 * d; /* queries and their gate */
    const double whole = 48 * delta + 16 * full + 64 * (3 * d * 17408 + 2 * d) + 2 * 248320 * d + d;
    assert_int_equal(plan_model_count_parameters(model_of("Qwen3.5 27B"), &counted), 0);
    assert_near(counted, whole, 1e-12);
}

/* The layouts that the codecs' files describe: of head size 64 and 32 tokens 2,048 codes and 128 bytes of
 * scales for a q8 side. */
static void codecs_with_their_scales(void **state) {
    (void)state;
    const struct plan_model *smollm2 = model_of("SmolLM2 135M");
    assert_true(plan_kv_bytes_per_token(smollm2, plan_kv_format_find("q8")) ==
                30 * 3 * 2 * (2048 + 128) / 32.0);
    assert_true(plan_kv_bytes_per_token(smollm2, plan_kv_format_find("f32")) == 46080);
    assert_true(plan_kv_bytes_per_token(smollm2, plan_kv_format_find("f8")) == 11520);
    /* ggml: blocks of 32 numbers in 34, and in 18 bytes. */
    assert_true(plan_kv_bytes_per_token(smollm2, plan_kv_format_find("q8_0")) == 11520 * 34 / 32.0);
    assert_true(plan_kv_bytes_per_token(smollm2, plan_kv_format_find("q4_0")) == 11520 * 18 / 32.0);
    const double q4 = plan_kv_bytes_per_token(smollm2, plan_kv_format_find("q4")),
                 q8 = plan_kv_bytes_per_token(smollm2, plan_kv_format_find("q8"));
    assert_true(q4 > 11520 / 2 && q4 < q8);
    const double k8v4 = plan_kv_bytes_per_token(smollm2, plan_kv_format_find("k8v4"));
    assert_true(k8v4 > q4 && k8v4 < q8);
}

static void names_of_formats(void **state) {
    (void)state;
    assert_ptr_equal(plan_kv_format_find("FP16"), plan_kv_format_find("f16"));
    assert_ptr_equal(plan_kv_format_find("fp8_e4m3"), plan_kv_format_find("f8"));
    assert_ptr_equal(plan_weight_format_find("FP8 (Meta, dynamic)"), plan_weight_format_find("fp8"));
    assert_ptr_equal(plan_weight_format_find("Q4_K_M"), plan_weight_format_find("q4_k_m"));
    assert_null(plan_kv_format_find("q5"));
    assert_null(plan_weight_format_find("rubbish"));
}

static void layouts_divide_what_can_be_divided(void **state) {
    (void)state;
    struct plan_load load = plan_load_default();
    const struct plan_model *llama = model_of("llama-3.1-70b"), *deepseek = model_of("DeepSeek-V3");
    const double whole = plan_kv_device_bytes(llama, &load, 8192);
    assert_true(whole == plan_kv_bytes(llama, f16(), 8192));
    load.tp = 4;
    assert_true(plan_kv_device_bytes(llama, &load, 8192) == whole / 4);
    load.tp = 16; /* 8 KV heads: two copies of each */
    assert_true(plan_kv_device_bytes(llama, &load, 8192) == whole / 8);
    assert_true(plan_kv_device_bytes(deepseek, &load, 8192) == plan_kv_bytes(deepseek, f16(), 8192));
    load.cp = 4;
    assert_true(plan_kv_device_bytes(deepseek, &load, 8192) == plan_kv_bytes(deepseek, f16(), 8192) / 4);
    load.cp = 1;
    load.pp = 8;
    assert_true(plan_kv_device_bytes(llama, &load, 8192) == whole / 64);
}

/* Heads of one layer on one rank of a group, handed out one by one: rank r of n has the KV heads that its
 * query heads ask for. */
static uint32_t heads_of_rank(uint32_t n_heads, uint32_t n_kv, uint32_t n_ranks, uint32_t rank) {
    bool has[512] = {false};
    uint32_t n = 0;
    for (uint32_t head = 0; head < n_heads; head++)
        if (head * n_ranks / n_heads == rank) has[head * n_kv / n_heads] = true;
    for (uint32_t i = 0; i < n_kv; i++) n += has[i];
    return n;
}

/* With more ranks than KV heads each holds a whole head, and so a copy of what others hold: memory, what fits
 * and the bytes that a step reads stop shrinking. */
static void more_ranks_than_heads_hold_copies(void **state) {
    (void)state;
    static const struct {
        const char *name;
        uint32_t n_heads, n_kv, dim, n_layers;
    } models[] = {
        {"llama-3.1-70b", 64, 8, 128, 80}, {"Qwen2.5 7B", 28, 4, 128, 28}, {"Falcon 180B", 232, 8, 64, 80}};
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        const uint32_t heads = models[i].n_heads, kv = models[i].n_kv;
        for (uint32_t tp = 1; tp <= heads; tp++) {
            struct plan_load load = plan_load_default();
            load.tp = tp;
            load.users = 3;
            const struct plan_model *model = model_of(models[i].name);
            if (plan_load_check(&load, model) < 0) continue;
            double most = 0, all = 0;
            for (uint32_t rank = 0; rank < tp; rank++) {
                const double held =
                    heads_of_rank(heads, kv, tp, rank) * 2.0 * models[i].dim * 2 * models[i].n_layers;
                most = fmax(most, held);
                all += held;
            }
            assert_true(all == fmax(tp, kv) * 2.0 * models[i].dim * 2 * models[i].n_layers);
            assert_true(plan_kv_device_bytes(model, &load, 1000) == 1000 * most);
            assert_true(plan_kv_device_read_bytes(model, &load, 1000) == 1000 * most);
            assert_true(memory_of(models[i].name, &load).kv_device_bytes == 3 * load.context_tokens * most);
        }
    }
}

/* A cache shared in front is held once a group of users. */
static void shared_tokens_are_held_once(void **state) {
    (void)state;
    struct plan_load load = plan_load_default();
    const struct plan_model *llama = model_of("llama-3.1-8b");
    load.users = 10;
    load.context_tokens = 10000;
    load.shared_tokens = 8000;
    assert_true(memory_of("llama-3.1-8b", &load).kv_bytes == plan_kv_bytes(llama, f16(), 8000 + 10 * 2000));
    load.dp = 2;
    assert_true(memory_of("llama-3.1-8b", &load).kv_bytes ==
                plan_kv_bytes(llama, f16(), 2 * 8000 + 10 * 2000));
    assert_true(memory_of("llama-3.1-8b", &load).kv_device_bytes ==
                plan_kv_bytes(llama, f16(), 8000 + 5 * 2000));
}

/* What is said to fit fits, and one more does not. */
static void limits_are_where_it_ends(void **state) {
    (void)state;
    static const char *const models[] = {"llama-3.1-8b", "Gemma 3 12B", "Qwen3 4B", "Mistral 7B v0.1",
                                         "Granite 4.0 H-Micro 3B"};
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        struct plan_load load = plan_load_default();
        load.users = 12;
        const struct plan_memory first = memory_of(models[i], &load);
        assert_true(first.device_bytes < first.capacity_bytes);
        if (isfinite(first.max_context_tokens)) {
            struct plan_load other = load;
            other.context_tokens = first.max_context_tokens;
            struct plan_memory memory = memory_of(models[i], &other);
            assert_true(memory.device_bytes <= memory.capacity_bytes);
            other.context_tokens += 1;
            memory = memory_of(models[i], &other);
            assert_true(memory.device_bytes > memory.capacity_bytes);
        }
        load.users = (uint32_t)first.max_users;
        struct plan_memory memory = memory_of(models[i], &load);
        assert_true(memory.device_bytes <= memory.capacity_bytes);
        load.users++;
        memory = memory_of(models[i], &load);
        assert_true(memory.device_bytes > memory.capacity_bytes);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(published_figures),
        cmocka_unit_test(users_are_linear),
        cmocka_unit_test(every_model_by_its_config),
        cmocka_unit_test(some_by_hand),
        cmocka_unit_test(models_have_their_published_parameters),
        cmocka_unit_test(mixers_to_the_thousandth),
        cmocka_unit_test(codecs_with_their_scales),
        cmocka_unit_test(names_of_formats),
        cmocka_unit_test(layouts_divide_what_can_be_divided),
        cmocka_unit_test(more_ranks_than_heads_hold_copies),
        cmocka_unit_test(shared_tokens_are_held_once),
        cmocka_unit_test(limits_are_where_it_ends),
    };
    return cmocka_run_group_tests(tests, open_catalog, close_catalog);
}
