/* Names of engines. */
#include <string.h>

#include "plan/reach.h"
#include "plan/resolve.h"

/* Parts of names. A class with an `early` one changed at a month: measurements before it are of that. */
static const struct {
    const char *part;
    enum plan_engine engine, early;
    const char *month;
} engines[] = {
    {"distributed", PLAN_ENGINE_distributed, PLAN_ENGINE_distributed, ""},
    {"dllama", PLAN_ENGINE_distributed, PLAN_ENGINE_distributed, ""},
    {"cabinet", PLAN_ENGINE_cabinet, PLAN_ENGINE_cabinet, ""},
    {"flexgen", PLAN_ENGINE_offload, PLAN_ENGINE_offload, ""},
    {"flexllm", PLAN_ENGINE_offload, PLAN_ENGINE_offload, ""},
    {"offload", PLAN_ENGINE_offload, PLAN_ENGINE_offload, ""},
    {"tensorrt", PLAN_ENGINE_native, PLAN_ENGINE_native_2023, "2024-06"},
    {"trtllm", PLAN_ENGINE_native, PLAN_ENGINE_native_2023, "2024-06"},
    {"trt-llm", PLAN_ENGINE_native, PLAN_ENGINE_native_2023, "2024-06"},
    {"nim", PLAN_ENGINE_native, PLAN_ENGINE_native_2023, "2024-06"},
    {"turbomind", PLAN_ENGINE_native, PLAN_ENGINE_native_2023, "2024-06"},
    {"lmdeploy", PLAN_ENGINE_native, PLAN_ENGINE_native_2023, "2024-06"},
    {"fastertransformer", PLAN_ENGINE_native_2023, PLAN_ENGINE_native_2023, ""},
    {"sglang", PLAN_ENGINE_sglang, PLAN_ENGINE_sglang, ""},
    {"vllm", PLAN_ENGINE_server, PLAN_ENGINE_server_2024, "2025-03"},
    {"tgi", PLAN_ENGINE_server, PLAN_ENGINE_server_2024, "2025-03"},
    {"text-generation", PLAN_ENGINE_server, PLAN_ENGINE_server_2024, "2025-03"},
    {"transformers", PLAN_ENGINE_server_2024, PLAN_ENGINE_server_2024, ""},
    {"deepspeed", PLAN_ENGINE_server_2024, PLAN_ENGINE_server_2024, ""},
    {"llama", PLAN_ENGINE_llama_cpp, PLAN_ENGINE_llama_cpp_2024, "2024-08"},
    {"ggml", PLAN_ENGINE_llama_cpp, PLAN_ENGINE_llama_cpp_2024, "2024-08"},
    {"lm studio", PLAN_ENGINE_llama_cpp, PLAN_ENGINE_llama_cpp_2024, "2024-08"},
    {"lmstudio", PLAN_ENGINE_llama_cpp, PLAN_ENGINE_llama_cpp_2024, "2024-08"},
    {"kobold", PLAN_ENGINE_llama_cpp, PLAN_ENGINE_llama_cpp_2024, "2024-08"},
    {"mlx", PLAN_ENGINE_llama_cpp, PLAN_ENGINE_llama_cpp, ""},
    {"mlc", PLAN_ENGINE_llama_cpp, PLAN_ENGINE_llama_cpp, ""},
    {"exllama", PLAN_ENGINE_llama_cpp, PLAN_ENGINE_llama_cpp, ""},
    {"exo", PLAN_ENGINE_llama_cpp, PLAN_ENGINE_llama_cpp, ""},
    {"ideal", PLAN_ENGINE_ideal, PLAN_ENGINE_ideal, ""},
    {"liminal", PLAN_ENGINE_ideal, PLAN_ENGINE_ideal, ""},
};

static bool is_class_name(const char *name, enum plan_engine *engine) {
    static const enum plan_engine all[] = {
#define X(name, meaning) PLAN_ENGINE_##name,
        PLAN_ENGINE_LIST(X)
#undef X
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (strcmp(plan_engine_name(all[i]), name) == 0) {
            *engine = all[i];
            return true;
        }
    return false;
}

enum plan_engine plan_resolve_engine(const char *name, const char *date, const struct plan_hardware *hardware,
                                     struct plan_assumptions *assumptions) {
    const enum plan_class class = plan_class_of(hardware);
    enum plan_engine engine;
    if (class == PLAN_CLASS_concept) return PLAN_ENGINE_ideal;
    if (name != NULL && is_class_name(name, &engine)) return engine;
    for (size_t i = 0; name != NULL && i < sizeof engines / sizeof *engines; i++)
        if (strcasestr(name, engines[i].part) != NULL) {
            const bool is_early = date != NULL && strcmp(date, engines[i].month) < 0;
            return is_early ? engines[i].early : engines[i].engine;
        }
    engine = class == PLAN_CLASS_hbm ? PLAN_ENGINE_server : PLAN_ENGINE_llama_cpp;
    if (name != NULL)
        plan_assume(assumptions, "'%.60s' is not known as an engine: taken as one of the class %s", name,
                    plan_engine_name(engine));
    else
        plan_assume(assumptions, "no engine is named: taken as one of the class %s",
                    plan_engine_name(engine));
    return engine;
}
