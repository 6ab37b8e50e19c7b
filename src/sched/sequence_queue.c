#include "sched/sequence_queue.h"

#include <stddef.h>

static void add_child(struct sequence *parent, struct sequence *child) {
    struct sequence *eldest = parent->node.child;
    child->node.sibling = eldest;
    child->node.previous = parent;
    if (eldest != NULL) eldest->node.previous = child;
    parent->node.child = child;
}

/* Joins two heaps, which are roots without siblings; one may be empty. */
static struct sequence *meld(struct sequence *a, struct sequence *b) {
    if (a == NULL) return b;
    if (b == NULL) return a;
    bool a_is_first = sequence_precedes(a, b);
    struct sequence *parent = a_is_first ? a : b;
    add_child(parent, a_is_first ? b : a);
    return parent;
}

static struct sequence *take_first(struct sequence **list) {
    struct sequence *sequence = *list;
    if (sequence == NULL) return NULL;
    *list = sequence->node.sibling;
    sequence->node.sibling = sequence->node.previous = NULL;
    return sequence;
}

/* Joins a list of siblings: first pairs of neighbours, then the pairs from the last to the first. */
static struct sequence *meld_siblings(struct sequence *list) {
    struct sequence *pairs = NULL, *heap = NULL;
    while (list != NULL) {
        struct sequence *a = take_first(&list);
        struct sequence *pair = meld(a, take_first(&list));
        pair->node.sibling = pairs;
        pairs = pair;
    }
    while (pairs != NULL) heap = meld(heap, take_first(&pairs));
    return heap;
}

static void cut(struct sequence *sequence) {
    struct sequence *previous = sequence->node.previous, *sibling = sequence->node.sibling;
    if (previous->node.child == sequence)
        previous->node.child = sibling;
    else
        previous->node.sibling = sibling;
    if (sibling != NULL) sibling->node.previous = previous;
}

void sequence_queue_insert(struct sequence_queue *queue, struct sequence *sequence) {
    sequence->node = (struct sequence_node){0};
    queue->first = meld(queue->first, sequence);
}

void sequence_queue_remove(struct sequence_queue *queue, struct sequence *sequence) {
    struct sequence *below = meld_siblings(sequence->node.child);
    if (sequence == queue->first) {
        queue->first = below;
    } else {
        cut(sequence);
        queue->first = meld(queue->first, below);
    }
    sequence->node = (struct sequence_node){0};
}
