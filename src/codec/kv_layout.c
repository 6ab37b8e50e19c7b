#include "codec/kv_layout.h"

#include "codec/coded.h"

#include "base/err.h"

int kv_layout_group(struct kv_layout *layout, uint32_t window) {
    for (unsigned g = 0; g < layout->n_groups; g++)
        if (layout->groups[g].window == window) return (int)g;
    if (layout->n_groups == KV_MAX_GROUPS)
        return ERR(UNSUPPORTED, "the model has layers of more than %d kinds", KV_MAX_GROUPS);
    layout->groups[layout->n_groups] =
        (struct kv_group){.kind = window == 0 ? "full" : "window", .window = window};
    return (int)layout->n_groups++;
}

/* What a layer with these codecs stores in the payloads of each class. */
static struct kv_codecs codecs_of_class(struct kv_codecs sealed, enum kv_class class) {
    if (class == KV_DEMOTED)
        return (struct kv_codecs){.k = sealed.demotes_k ? KV_DEMOTED_CODEC : sealed.k,
                                  .v = sealed.demotes_v ? KV_DEMOTED_CODEC : sealed.v};
    if (codec_get(sealed.k)->is_row && codec_get(sealed.v)->is_row) return sealed;
    if (class == KV_OPEN) return kv_codecs_both(CODEC_f16);
    if (class == KV_SEALED) return sealed;
    return (struct kv_codecs){.k = codec_get(sealed.k)->is_row ? sealed.k : CODEC_q8,
                              .v = codec_get(sealed.v)->is_row ? sealed.v : CODEC_q8};
}

static int check_head(const struct kv_layout *layout, unsigned n_kv_heads, unsigned head_dim,
                      struct kv_codecs codecs) {
    if (layout->n_layers == KV_MAX_LAYERS)
        return ERR(TOO_LARGE, "the model has more than %d attention layers", KV_MAX_LAYERS);
    if (head_dim == 0 || head_dim % 2 != 0 || n_kv_heads == 0)
        return ERR(INVALID, "layer %u: %u KV heads of %u numbers cannot be stored", layout->n_layers,
                   n_kv_heads, head_dim);
    const struct kv_codecs demoted = codecs_of_class(codecs, KV_DEMOTED);
    const uint8_t sides[] = {codecs.k, codecs.v, demoted.k, demoted.v};
    for (int i = 0; i < 4; i++) {
        const struct codec *codec = codec_get(sides[i]);
        if (codec_is_coded((enum codec_id)sides[i]) && head_dim > CODEC_MAX_DIM)
            return ERR(INVALID,
                       "layer %u: KV codec %s takes heads of at most %d numbers, this model's have %u",
                       layout->n_layers, codec->name, CODEC_MAX_DIM, head_dim);
        if (head_dim % codec->dim_multiple != 0)
            return ERR(INVALID,
                       "layer %u: KV codec %s takes heads of a multiple of %u numbers, this model's have %u "
                       "(choose another for it: --kv)",
                       layout->n_layers, codec->name, codec->dim_multiple, head_dim);
    }
    return 0;
}

int kv_layout_add(struct kv_layout *layout, unsigned group_index, unsigned n_kv_heads, unsigned head_dim,
                  struct kv_codecs codecs) {
    ASSERT(group_index < layout->n_groups);
    TRY(check_head(layout, n_kv_heads, head_dim, codecs));
    struct kv_group *group = &layout->groups[group_index];
    bool is_row = codec_get(codecs.k)->is_row && codec_get(codecs.v)->is_row;
    bool demotes = codecs.demotes_k || codecs.demotes_v;
    if ((!is_row && (demotes || group->demotes)) || (demotes && group->converts))
        return ERR(INVALID,
                   "layer %u: KV format auto goes together with f32, f16, bf16 and q8 in layers of one kind "
                   "(%s), not with formats of whole blocks",
                   layout->n_layers, group->kind);
    struct kv_layer *layer = &layout->layers[layout->n_layers++];
    *layer = (struct kv_layer){.group = (uint16_t)group_index,
                               .n_kv_heads = (uint16_t)n_kv_heads,
                               .head_dim = (uint16_t)head_dim,
                               .rotates_k = codecs.demotes_k || codec_get(codecs.k)->wants_rotation,
                               .rotates_v = codecs.demotes_v || codec_get(codecs.v)->wants_rotation};
    for (int class = 0; class < KV_CLASS_COUNT; class ++) {
        struct kv_codecs of_class = codecs_of_class(codecs, (enum kv_class) class);
        struct kv_areas *areas = &layer->areas[class];
        *areas = (struct kv_areas){.codecs = of_class,
                                   .offset = group->class_bytes[class],
                                   .k_bytes = codec_get(of_class.k)->k_bytes(head_dim),
                                   .v_bytes = codec_get(of_class.v)->v_bytes(head_dim)};
        group->class_bytes[class] += n_kv_heads * (areas->k_bytes + areas->v_bytes);
    }
    group->converts |= !is_row;
    group->demotes |= demotes;
    group->n_layers++;
    group->block_bytes = group->class_bytes[KV_SEALED];
    return 0;
}

size_t kv_layout_bytes_per_token(const struct kv_layout *layout) {
    size_t bytes = 0;
    for (unsigned i = 0; i < layout->n_groups; i++) bytes += layout->groups[i].block_bytes;
    return bytes / BLOCK_TOKENS;
}

size_t kv_layout_least_bytes_per_token(const struct kv_layout *layout) {
    size_t bytes = 0;
    for (unsigned i = 0; i < layout->n_groups; i++) {
        const struct kv_group *group = &layout->groups[i];
        bytes += group->class_bytes[group->demotes ? KV_DEMOTED : KV_SEALED];
    }
    return bytes / BLOCK_TOKENS;
}

bool kv_layout_demotes(const struct kv_layout *layout) {
    for (unsigned g = 0; g < layout->n_groups; g++)
        if (layout->groups[g].demotes) return true;
    return false;
}

bool kv_layout_is_row(const struct kv_layout *layout) {
    for (unsigned g = 0; g < layout->n_groups; g++)
        if (layout->groups[g].converts) return false;
    return true;
}

uint64_t kv_group_blocks(const struct kv_group *group, uint64_t n_tokens, uint32_t n_step) {
    uint64_t n_blocks = (n_tokens + BLOCK_TOKENS - 1) / BLOCK_TOKENS;
    if (group->window == 0) return n_blocks;
    /* The step's first token sees window - 1 tokens before it; a run of tokens touches most blocks when it
     * begins at a block's last slot. */
    uint64_t n_run = (uint64_t)group->window - 1 + (n_step > 0 ? n_step : 1);
    uint64_t most = (n_run + BLOCK_TOKENS - 2) / BLOCK_TOKENS + 1;
    return n_blocks < most ? n_blocks : most;
}
