/* Which codecs a model's layers store K and V with: what --kv says.
 *
 *     rules  = format ("," selector ":" (format | "k=" codec | "v=" codec))*
 *     format = codec, for K and V alike, or k8v4: q8 for K, q4 for V,
 *              or auto: f16, of which full blocks become q4 when memory is short
 *     selector = "layers=" number ["-" number] | "full" | "window"
 *
 * "q4,layers=0-1:q8,full:v=q8": q4, but q8 in the first two layers, and for V in all that see everything. Of
 * the rules that select a layer the last one holds. */
#ifndef CABINET_CODEC_KV_RULES_H
#define CABINET_CODEC_KV_RULES_H

#include "codec/kv_layout.h"

enum { KV_MAX_RULES = 16, KV_RULES_LENGTH = 160 };

struct kv_rule {
    bool selects_full, selects_window;
    bool sets_k, sets_v;
    uint16_t first_layer, last_layer;
    struct kv_codecs codecs;
};

struct kv_rules {
    char text[KV_RULES_LENGTH]; /* as they were given: for messages and reports */
    uint32_t n;
    struct kv_rule rules[KV_MAX_RULES];
};

/* INVALID, with the place and the valid words, for what does not follow the grammar; NULL counts as "f16". */
int kv_rules_parse(struct kv_rules *rules, const char *text);
/* K and V of all layers in one codec. */
struct kv_rules kv_rules_of(enum codec_id codec);
/* Some rule says auto. */
bool kv_rules_demote(const struct kv_rules *rules);
/* What a layer is stored with. */
struct kv_codecs kv_rules_codecs(const struct kv_rules *rules, uint32_t layer, uint32_t window);
/* "f32, f16, bf16, k8v4, auto": for messages. Lives for ever. */
const char *kv_format_names(void);

#endif
