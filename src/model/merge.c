#include "model/merge.h"

#include "base/err.h"
#include "base/mem.h"

void merge_work_free(struct merge_work *work) {
    mem_free(work->symbols);
    mem_free(work->queue);
    *work = (struct merge_work){0};
}

/* At most n - 1 pairs are queued at first; each of the at most n - 1 merges takes one out and puts two in. */
int merge_begin(struct merge_work *work, size_t n) {
    work->n = 0;
    if (n <= work->capacity) return 0;
    size_t capacity = n < 256 ? 256 : n;
    merge_work_free(work);
    work->symbols = mem_alloc(capacity, sizeof *work->symbols);
    work->queue = mem_alloc(capacity, 2 * sizeof *work->queue);
    if (work->symbols == NULL || work->queue == NULL) {
        merge_work_free(work);
        return ERR_NO_MEMORY;
    }
    work->capacity = capacity;
    return 0;
}

void merge_append(struct merge_work *work, token_id id, size_t begin, size_t end) {
    uint32_t at = work->n++;
    work->symbols[at] = (struct merge_symbol){.id = id,
                                              .begin = (uint32_t)begin,
                                              .end = (uint32_t)end,
                                              .prev = at == 0 ? MERGE_END : at - 1,
                                              .next = MERGE_END,
                                              .rank = MERGE_NEVER,
                                              .result = -1};
    if (at > 0) work->symbols[at - 1].next = at;
}

/* The queue is a binary min-heap of (rank << 32 | index of the left symbol). An entry that names another rank
 * than its symbol has now is out of date. */
static void sift_down(uint64_t *queue, size_t n, size_t at) {
    uint64_t entry = queue[at];
    for (size_t child; (child = 2 * at + 1) < n; at = child) {
        if (child + 1 < n && queue[child + 1] < queue[child]) child++;
        if (entry <= queue[child]) break;
        queue[at] = queue[child];
    }
    queue[at] = entry;
}

static void push(uint64_t *queue, size_t *n, uint64_t entry) {
    size_t at = (*n)++;
    for (size_t parent; at > 0 && entry < queue[parent = (at - 1) / 2]; at = parent)
        queue[at] = queue[parent];
    queue[at] = entry;
}

static uint64_t pop(uint64_t *queue, size_t *n) {
    uint64_t least = queue[0];
    queue[0] = queue[--*n];
    if (*n > 0) sift_down(queue, *n, 0);
    return least;
}

/* Looks up the pair that begins at `at`, perhaps again, because one of its halves changed. */
static bool rank_pair(struct merge_work *work, uint32_t at, merge_look_up look_up, const void *rules) {
    struct merge_symbol *symbol = &work->symbols[at];
    struct merge_pair pair = {.rank = MERGE_NEVER, .result = -1};
    if (symbol->next != MERGE_END) pair = look_up(rules, symbol, &work->symbols[symbol->next]);
    symbol->rank = pair.rank;
    symbol->result = pair.result;
    return pair.rank != MERGE_NEVER;
}

static uint64_t entry_of(const struct merge_work *work, uint32_t at) {
    return (uint64_t)work->symbols[at].rank << 32 | at;
}

static void merge_next(struct merge_work *work, uint32_t at) {
    struct merge_symbol *left = &work->symbols[at], *right = &work->symbols[left->next];
    left->id = left->result;
    left->end = right->end;
    left->next = right->next;
    right->rank = MERGE_NEVER;
    if (left->next != MERGE_END) work->symbols[left->next].prev = at;
}

void merge_run(struct merge_work *work, merge_look_up look_up, const void *rules) {
    size_t n_queued = 0;
    for (uint32_t at = 0; at < work->n; at++)
        if (rank_pair(work, at, look_up, rules)) work->queue[n_queued++] = entry_of(work, at);
    for (size_t at = n_queued / 2; at-- > 0;) sift_down(work->queue, n_queued, at);
    while (n_queued > 0) {
        uint64_t entry = pop(work->queue, &n_queued);
        uint32_t at = (uint32_t)entry, prev = work->symbols[at].prev;
        if (work->symbols[at].rank != (uint32_t)(entry >> 32)) continue;
        merge_next(work, at);
        if (rank_pair(work, at, look_up, rules)) push(work->queue, &n_queued, entry_of(work, at));
        if (prev != MERGE_END && rank_pair(work, prev, look_up, rules))
            push(work->queue, &n_queued, entry_of(work, prev));
    }
}
