/* The queue of waiting sequences against a sorted array, thousands long. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/rng.h"
#include "sched/sequence_queue.h"

enum { N = 3000 };

static struct sequence sequences[N];
static struct sequence *sorted[N]; /* what is in the queue, in order */
static uint32_t n_sorted;

static void insert(struct sequence_queue *queue, struct sequence *sequence) {
    sequence_queue_insert(queue, sequence);
    uint32_t i = n_sorted++;
    for (; i > 0 && sequence_precedes(sequence, sorted[i - 1]); i--) sorted[i] = sorted[i - 1];
    sorted[i] = sequence;
}

static void remove_at(struct sequence_queue *queue, uint32_t i) {
    sequence_queue_remove(queue, sorted[i]);
    for (n_sorted--; i < n_sorted; i++) sorted[i] = sorted[i + 1];
}

static void any_may_leave_and_the_first_is_always_known(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < 20; seed++) {
        struct sequence_queue queue = {0};
        uint32_t n_priorities = 1 + (uint32_t)(seed % 4 * 50), n_inserted = 0; /* 1: in order of arrival */
        n_sorted = 0;
        for (uint64_t i = 0; n_inserted < N || n_sorted > 0; i++) {
            uint64_t draw = rng_u64(seed, i);
            if (n_inserted < N && (draw & 3) != 0) {
                sequences[n_inserted] = (struct sequence){
                    .priority = (int32_t)((draw >> 8) % n_priorities) - 7, .arrival = n_inserted};
                insert(&queue, &sequences[n_inserted++]);
            } else if (n_sorted > 0) {
                remove_at(&queue, (draw & 4) != 0 ? 0 : (uint32_t)((draw >> 8) % n_sorted));
            }
            assert_ptr_equal(queue.first, n_sorted > 0 ? sorted[0] : NULL);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(any_may_leave_and_the_first_is_always_known)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
