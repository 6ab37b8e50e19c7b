/* A list of sequences in their order (sequence_precedes), linked through them: the end is the last in order.
 */
#ifndef CABINET_SCHED_SEQUENCE_LIST_H
#define CABINET_SCHED_SEQUENCE_LIST_H

#include "sched/sequence.h"

struct sequence_list {
    struct sequence *first, *last;
};

/* Looks for the place from the end, where in first come first served it is. */
static inline void sequence_list_insert(struct sequence_list *list, struct sequence *sequence) {
    struct sequence *before = list->last;
    while (before != NULL && sequence_precedes(sequence, before)) before = before->link.previous;
    struct sequence *after = before != NULL ? before->link.next : list->first;
    sequence->link = (struct sequence_link){.previous = before, .next = after};
    *(before != NULL ? &before->link.next : &list->first) = sequence;
    *(after != NULL ? &after->link.previous : &list->last) = sequence;
}

static inline void sequence_list_remove(struct sequence_list *list, struct sequence *sequence) {
    struct sequence *before = sequence->link.previous, *after = sequence->link.next;
    *(before != NULL ? &before->link.next : &list->first) = after;
    *(after != NULL ? &after->link.previous : &list->last) = before;
    sequence->link = (struct sequence_link){0};
}

#endif
