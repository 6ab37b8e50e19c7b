/* A queue of sequences that gives the first in order (sequence_precedes) and lets any leave: a pairing heap
 * (Fredman, Sedgewick, Sleator, Tarjan, Algorithmica 1986) linked through the sequences themselves, so it has
 * no bound and allocates nothing. Inserting takes constant time, removing O(log n) amortised, whichever. */
#ifndef CABINET_SCHED_SEQUENCE_QUEUE_H
#define CABINET_SCHED_SEQUENCE_QUEUE_H

#include "sched/sequence.h"

struct sequence_queue {
    struct sequence *first; /* NULL: empty */
};

void sequence_queue_insert(struct sequence_queue *queue, struct sequence *sequence);
/* The sequence is in the queue. */
void sequence_queue_remove(struct sequence_queue *queue, struct sequence *sequence);

#endif
