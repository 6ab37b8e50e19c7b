/* Precision by pressure: in groups that demote (kv_layout.h), full blocks are stored again in a smaller form
 * when memory is short, before anything is evicted. */
#ifndef CABINET_KV_KV_DEMOTE_H
#define CABINET_KV_KV_DEMOTE_H

#include "kv/kv_cache.h"

/* Demotes the coldest blocks, slab by slab, until that has freed `bytes` of payloads or nothing is left to
 * demote; returns what it was. The next forward pass has to do what kv_ops says. */
uint64_t kv_demote(struct kv_cache *kv, uint64_t bytes);

#endif
