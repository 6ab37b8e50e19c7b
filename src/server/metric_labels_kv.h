/* Labels of the cache's metrics: see metric_labels.h. */
#ifndef CABINET_SERVER_METRIC_LABELS_KV_H
#define CABINET_SERVER_METRIC_LABELS_KV_H

/* Of KV memory in bytes. */
#define METRIC_LABEL_use(X)                                                                                  \
    X(use, held, "held")   /* by blocks that sequences have; shared ones count once */                       \
    X(use, idle, "idle")   /* kept for whoever comes with the same prefix; free as soon as it is wanted */   \
    X(use, waste, "waste") /* left over by slabs in use */                                                   \
    X(use, free, "free")

/* Of blocks: enum block_state. */
#define METRIC_LABEL_state(X)                                                                                \
    X(state, free, "free")                                                                                   \
    X(state, open, "open")                                                                                   \
    X(state, sealed, "sealed")                                                                               \
    X(state, idle, "idle")

/* Of groups of layers: kv_group.kind. */
#define METRIC_LABEL_group(X)                                                                                \
    X(group, full, "full")                                                                                   \
    X(group, window, "window")

/* Of payloads: enum kv_class. */
#define METRIC_LABEL_class(X)                                                                                \
    X(class, open, "open")                                                                                   \
    X(class, sink, "sink")                                                                                   \
    X(class, sealed, "sealed")                                                                               \
    X(class, demoted, "demoted")

/* How numbers are stored: names of codec_get. */
#define METRIC_LABEL_codec(X)                                                                                \
    X(codec, f32, "f32")                                                                                     \
    X(codec, f16, "f16")                                                                                     \
    X(codec, bf16, "bf16")                                                                                   \
    X(codec, q8, "q8")                                                                                       \
    X(codec, q4, "q4")                                                                                       \
    X(codec, q3, "q3")                                                                                       \
    X(codec, other, "other")

/* Of tokens that were looked up. */
#define METRIC_LABEL_outcome(X)                                                                              \
    X(outcome, hit, "hit")                                                                                   \
    X(outcome, miss, "miss")

/* Of slots that are handed out. */
#define METRIC_LABEL_slot(X)                                                                                 \
    X(slot, used, "used")                                                                                    \
    X(slot, unused, "unused")

/* Of fragmentation: what the unused share is of. */
#define METRIC_LABEL_of(X)                                                                                   \
    X(of, slots, "slots") /* of slots handed out */                                                          \
    X(of, slabs, "slabs") /* of bytes of slabs in use */

/* Of KV bytes. */
#define METRIC_LABEL_direction(X)                                                                            \
    X(direction, read, "read")                                                                               \
    X(direction, written, "written")

/* Who is billed. */
#define METRIC_LABEL_account(X)                                                                              \
    X(account, requests, "requests")                                                                         \
    X(account, house, "house")

#endif
