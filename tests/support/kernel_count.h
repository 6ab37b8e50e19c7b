/* A kernel set without arithmetic: it counts what the forward pass asks for. Lives with the tests, so that no
 * program can run it as if it computed.
 *
 * One thread at a time: models run on a team of one. */
#ifndef CABINET_TESTS_KERNEL_COUNT_H
#define CABINET_TESTS_KERNEL_COUNT_H

#include "kernel/kernel_set.h"

struct kernel_counts {
    uint64_t weight_bytes;  /* of panels, each time that they are gone through */
    uint64_t kv_read_bytes; /* slots that tiles show to rows */
    uint64_t kv_write_bytes;
    uint64_t quantised_ops, bf16_ops, f32_ops, coded_ops;
    uint64_t vector_numbers;
};

extern const struct kernel_set kernel_set_count;

/* Begins anew; ends and gives what was counted since. A slot that several tiles show counts once until it is
 * written anew if the step is one sequence's, whose rows then came in several goes; else it counts for every
 * tile, as each is another sequence's, or that of all who see it together. */
void kernel_count_begin(bool is_one_sequence);
struct kernel_counts kernel_count_end(void);

#endif
