#include "plan/format.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"

/* Cabinet's own first: their names are those of --kv. Others' sizes: ggml's blocks of 32 (ggml-common.h: q8_0
 * 34 bytes, q5_1 24, q5_0 22, q4_1 20, q4_0 18); FP8 as vLLM and TensorRT-LLM store it, one scale a tensor.
 */
static const struct plan_kv_format kv_formats[] = {
    {"f32", 4, CODEC_f32, CODEC_f32, 0, 0},           {"f16", 2, CODEC_f16, CODEC_f16, 0, 0},
    {"bf16", 2, CODEC_bf16, CODEC_bf16, 0, 0},        {"q8", 1, CODEC_q8, CODEC_q8, 0, 0},
    {"k8v4", 0.75, CODEC_q8, CODEC_q4, 0, 0},         {"q4", 0.5, CODEC_q4, CODEC_q4, 0, 0},
    {"q3", 0.375, CODEC_q3, CODEC_q3, 0, 0},          {"f8", 1, CODEC_COUNT, CODEC_COUNT, 0, 0},
    {"int8", 1, CODEC_COUNT, CODEC_COUNT, 0, 0},      {"q8_0", 1, CODEC_COUNT, CODEC_COUNT, 32, 2},
    {"q5_1", 0.625, CODEC_COUNT, CODEC_COUNT, 32, 4}, {"q5_0", 0.625, CODEC_COUNT, CODEC_COUNT, 32, 2},
    {"q4_1", 0.5, CODEC_COUNT, CODEC_COUNT, 32, 4},   {"q4_0", 0.5, CODEC_COUNT, CODEC_COUNT, 32, 2},
    {"fp4", 0.5, CODEC_COUNT, CODEC_COUNT, 16, 1},
};

/* Bits a weight over a whole model. ggml's K-quants mix tensor types: figures of Llama-3.1-8B as llama.cpp's
 * quantize tool documents them. nvfp4: 4 bits and an FP8 scale for 16; mxfp4: an 8-bit scale for 32; AWQ and
 * GPTQ: groups of 128 with a 16-bit scale and a zero point. */
static const struct plan_weight_format weight_formats[] = {
    {"f32", 32, PLAN_F32, false},     {"f16", 16, PLAN_BF16, false},     {"bf16", 16, PLAN_BF16, false},
    {"fp8", 8, PLAN_FP8, false},      {"mxfp8", 8.25, PLAN_FP8, false},  {"int8", 8, PLAN_INT8, false},
    {"w8a8", 8, PLAN_INT8, false},    {"q8_0", 8.5, PLAN_INT8, true},    {"q6_k", 6.5625, PLAN_INT8, true},
    {"q5_k_m", 5.7, PLAN_INT8, true}, {"q5_k_s", 5.57, PLAN_INT8, true}, {"q5_1", 6, PLAN_INT8, true},
    {"q5_0", 5.5, PLAN_INT8, true},   {"q4_k_m", 4.89, PLAN_INT8, true}, {"q4_k_s", 4.67, PLAN_INT8, true},
    {"q4_k", 4.5, PLAN_INT8, true},   {"q4_1", 5, PLAN_INT8, true},      {"q4_0", 4.5, PLAN_INT8, true},
    {"q40", 4.5, PLAN_INT8, true},    {"iq4_nl", 4.5, PLAN_INT8, true},  {"iq4_xs", 4.25, PLAN_INT8, true},
    {"q3_k_m", 4.0, PLAN_INT8, true}, {"q2_k", 3.16, PLAN_INT8, true},   {"mxfp4", 4.25, PLAN_FP4, true},
    {"nvfp4", 4.5, PLAN_FP4, true},   {"fp4", 4.5, PLAN_FP4, true},      {"int4", 4.25, PLAN_BF16, true},
    {"awq", 4.25, PLAN_BF16, true},   {"gptq", 4.25, PLAN_BF16, true},   {"w4a16", 4.25, PLAN_BF16, true},
};

enum {
    N_KV = sizeof kv_formats / sizeof *kv_formats,
    N_WEIGHTS = sizeof weight_formats / sizeof *weight_formats
};

static const struct {
    const char *alias, *name;
} aliases[] = {
    {"float32", "f32"},   {"fp32", "f32"},   {"float16", "f16"}, {"fp16", "f16"}, {"half", "f16"},
    {"bfloat16", "bf16"}, {"fp8e4m3", "f8"}, {"fp8e5m2", "f8"},  {"fp8", "f8"},   {"e4m3", "f8"},
    {"float8", "f8"},     {"f8e4m3", "f8"},  {"nvfp4", "fp4"},
};

bool plan_names_equal(const char *a, const char *b) {
    for (;; a++, b++) {
        while (*a != '\0' && !isalnum((unsigned char)*a)) a++;
        while (*b != '\0' && !isalnum((unsigned char)*b)) b++;
        if (tolower((unsigned char)*a) != tolower((unsigned char)*b)) return false;
        if (*a == '\0') return true;
    }
}

static const char *unaliased(const char *name) {
    for (size_t i = 0; i < sizeof aliases / sizeof *aliases; i++)
        if (plan_names_equal(aliases[i].alias, name)) return aliases[i].name;
    return name;
}

/* The first word of a name, as "FP8" of "FP8 (Meta, dynamic)". */
static void first_word(const char *name, char *word, size_t size) {
    size_t n = 0;
    while (*name == ' ') name++;
    while (n + 1 < size && (isalnum((unsigned char)name[n]) || name[n] == '_' || name[n] == '.')) {
        word[n] = name[n];
        n++;
    }
    word[n] = '\0';
}

static const struct plan_kv_format *find_kv(const char *name) {
    for (size_t i = 0; i < N_KV; i++)
        if (plan_names_equal(kv_formats[i].name, unaliased(name))) return &kv_formats[i];
    return NULL;
}

const struct plan_kv_format *plan_kv_format_find(const char *name) {
    char word[32];
    first_word(name, word, sizeof word);
    const struct plan_kv_format *whole = find_kv(name);
    return whole != NULL ? whole : find_kv(word);
}

static const struct plan_weight_format *find_weights(const char *name) {
    for (size_t i = 0; i < N_WEIGHTS; i++)
        if (plan_names_equal(weight_formats[i].name, name)) return &weight_formats[i];
    const char *other = unaliased(name);
    if (strcmp(other, "f8") == 0) other = "fp8";
    for (size_t i = 0; i < N_WEIGHTS && other != name; i++)
        if (plan_names_equal(weight_formats[i].name, other)) return &weight_formats[i];
    return NULL;
}

const struct plan_weight_format *plan_weight_format_find(const char *name) {
    char word[32];
    first_word(name, word, sizeof word);
    const struct plan_weight_format *whole = find_weights(name);
    return whole != NULL ? whole : find_weights(word);
}

const char *plan_kv_format_names(void) {
    static _Thread_local char names[256];
    size_t n = 0;
    for (size_t i = 0; i < N_KV; i++)
        n += (size_t)snprintf(names + n, sizeof names - n, "%s%s", i > 0 ? ", " : "", kv_formats[i].name);
    return names;
}

const char *plan_weight_format_names(void) {
    static _Thread_local char names[512];
    size_t n = 0;
    for (size_t i = 0; i < N_WEIGHTS; i++)
        n += (size_t)snprintf(names + n, sizeof names - n, "%s%s", i > 0 ? ", " : "", weight_formats[i].name);
    return names;
}

double plan_kv_row_bytes(const struct plan_kv_format *format, uint32_t dim, bool is_v) {
    if (dim == 0) return 0;
    enum codec_id id = is_v ? format->v : format->k;
    if (id == CODEC_COUNT) {
        double n_scales =
            format->group > 0 ? (double)(uint64_t)((dim + format->group - 1) / format->group) : 0;
        return dim * format->nominal_bytes + n_scales * format->scale_bytes;
    }
    const struct codec *codec = codec_get(id);
    return (double)(is_v ? codec->v_bytes(dim) : codec->k_bytes(dim)) / BLOCK_TOKENS;
}

int plan_kv_format_check(const struct plan_kv_format *format, uint32_t dim) {
    if (format->k == CODEC_COUNT) return 0;
    unsigned k = codec_get(format->k)->dim_multiple, v = codec_get(format->v)->dim_multiple,
             multiple = k > v ? k : v;
    if (multiple > 1 && dim % multiple != 0)
        return ERR(INVALID,
                   "KV format %s needs rows of a multiple of %u, this model has rows of %u: use f16 or q8",
                   format->name, multiple, dim);
    return 0;
}
