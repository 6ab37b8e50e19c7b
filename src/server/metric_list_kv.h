/* The cache's metrics: see metric_list.h. */
#ifndef CABINET_SERVER_METRIC_LIST_KV_H
#define CABINET_SERVER_METRIC_LIST_KV_H

#define METRIC_LIST_KV(X)                                                                                    \
    X(HISTOGRAM, kv_block_lifetime, "vllm:kv_block_lifetime_seconds", none, none, residency,                 \
      "Seconds from a block's allocation to its eviction.")                                                  \
    X(HISTOGRAM, kv_block_idle, "vllm:kv_block_idle_before_evict_seconds", none, none, residency,            \
      "Seconds that an evicted block had been idle.")                                                        \
    X(HISTOGRAM, kv_block_reuse_gap, "vllm:kv_block_reuse_gap_seconds", none, none, residency,               \
      "Seconds that a block was idle before it was used again.")                                             \
    X(GAUGE, kv_capacity_bytes, "cabinet_kv_capacity_bytes", none, none, none,                               \
      "Bytes that the KV cache may use.")                                                                    \
    X(GAUGE, kv_bytes, "cabinet_kv_bytes", use, none, none, "Bytes of the KV cache by use.")                 \
    X(GAUGE, kv_bytes_per_token, "cabinet_kv_bytes_per_token", none, none, none,                             \
      "Bytes that one token takes in all layers.")                                                           \
    X(GAUGE, kv_capacity_tokens, "cabinet_kv_capacity_tokens", none, none, none,                             \
      "Longest sequence that the whole KV cache could hold.")                                                \
    X(GAUGE, kv_undemoted_tokens, "cabinet_kv_undemoted_tokens", none, none, none,                           \
      "Longest sequence that the whole KV cache could hold without demoting blocks.")                        \
    X(GAUGE, kv_free_tokens, "cabinet_kv_free_tokens", none, none, none,                                     \
      "Longest sequence that free and idle memory could hold.")                                              \
    X(GAUGE, kv_blocks, "cabinet_kv_blocks", state, group, none, "Blocks by state and kind of group.")       \
    X(GAUGE, kv_payloads, "cabinet_kv_payloads", class, group, none,                                         \
      "Payloads in use by class and kind of group.")                                                         \
    X(GAUGE, kv_codec_bytes, "cabinet_kv_codec_bytes", codec, none, none,                                    \
      "Bytes of the KV cache in use by how they are stored.")                                                \
    X(GAUGE, kv_slots, "cabinet_kv_slots", slot, none, none, "Slots of blocks that sequences have.")         \
    X(GAUGE, kv_fragmentation, "cabinet_kv_fragmentation_ratio", of, none, none,                             \
      "Unused share of slots handed out, and of slabs in use, 0 to 1.")                                      \
    X(COUNTER, kv_prefix_tokens, "cabinet_kv_prefix_tokens_total", outcome, none, none,                      \
      "Prompt tokens looked up, by whether they were cached.")                                               \
    X(COUNTER, kv_evictions, "cabinet_kv_evictions_total", none, none, none, "Blocks evicted.")              \
    X(COUNTER, kv_demotions, "cabinet_kv_demotions_total", none, none, none,                                 \
      "Blocks stored smaller because memory was short.")                                                     \
    X(COUNTER, kv_demoted_bytes, "cabinet_kv_demoted_bytes_total", none, none, none,                         \
      "Bytes that demotions have freed.")                                                                    \
    X(COUNTER, kv_copies, "cabinet_kv_copies_total", none, none, none,                                       \
      "Runs of slots copied within the cache.")                                                              \
    X(COUNTER, kv_copied_tokens, "cabinet_kv_copied_tokens_total", none, none, none,                         \
      "Tokens whose keys and values were copied, not computed.")                                             \
    X(COUNTER, kv_traffic, "cabinet_kv_traffic_bytes_total", direction, none, none,                          \
      "KV bytes read by attention, common ones once a step, and written.")                                   \
    X(COUNTER, kv_byte_seconds, "cabinet_kv_byte_seconds_total", account, none, none,                        \
      "KV bytes in use over time, by who is billed.")

#endif
