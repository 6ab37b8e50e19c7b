#include "model/description.h"

#include <string.h>

#include "base/err.h"
#include "model/quote.h"

#define X(name) extern const struct arch arch_##name;
ARCH_LIST(X)
#undef X

static const struct arch *const archs[] = {
#define X(name) &arch_##name,
    ARCH_LIST(X)
#undef X
};

const char *arch_names(void) {
#define X(name) ", " #name
    static const char names[] = ARCH_LIST(X);
#undef X
    return names + 2;
}

int description_read(const struct gguf *file, struct description *description) {
    *description = (struct description){0};
    struct gguf_string name;
    int found = gguf_get_string(file, "general.architecture", &name);
    TRY(found);
    if (found == 0) return ERR(CORRUPT, "the file does not say general.architecture");
    for (size_t i = 0; i < sizeof archs / sizeof *archs; i++) {
        if (strlen(archs[i]->name) != name.length || memcmp(archs[i]->name, name.bytes, name.length) != 0)
            continue;
        description->architecture = archs[i]->name;
        return archs[i]->configure(file, description);
    }
    return ERR(UNSUPPORTED, "architecture '%s' does not run here; these do: %s", QUOTE(name), arch_names());
}

int description_kv_layout(const struct description *description, const struct kv_rules *rules,
                          struct kv_layout *layout) {
    *layout = (struct kv_layout){0};
    for (uint32_t i = 0; i < description->n_layers; i++) {
        uint32_t window = description->layers[i].window;
        int group = kv_layout_group(layout, window);
        TRY(group);
        TRY(kv_layout_add(layout, (unsigned)group, description->n_kv_heads, description->head_dim,
                          kv_rules_codecs(rules, i, window)));
    }
    return 0;
}
