#include "model/bpe.h"

#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/rng.h"

/* A word is a doubly linked list of symbols that lie in order in an array. A merge keeps the left symbol and
 * unlinks the right one. `rank` is that of the pair (this, next); a queue entry that names another rank is
 * out of date. */
struct bpe_symbol {
    token_id id;
    uint32_t rank;
    uint32_t prev, next; /* NONE at the ends */
};
#define NONE UINT32_MAX

int bpe_open(struct bpe *bpe, size_t n_merges) {
    size_t capacity = 8;
    while (capacity < n_merges + n_merges / 2) capacity *= 2;
    bpe->table = mem_alloc(capacity, sizeof *bpe->table);
    if (bpe->table == NULL) return ERR_NO_MEMORY;
    bpe->mask = capacity - 1;
    memset(bpe->table, 0xff, capacity * sizeof *bpe->table);
    return 0;
}

void bpe_close(struct bpe *bpe) { mem_free(bpe->table); }

/* The place of a pair: its own, or the free one where it would go. At least a third of the table is free. */
static struct bpe_merge *place(const struct bpe *bpe, token_id left, token_id right) {
    size_t at = (size_t)rng_mix((uint64_t)(uint32_t)left << 32 | (uint32_t)right) & bpe->mask;
    struct bpe_merge *merge = &bpe->table[at];
    while (merge->rank != BPE_NO_RANK && (merge->left != left || merge->right != right)) {
        at = (at + 1) & bpe->mask;
        merge = &bpe->table[at];
    }
    return merge;
}

void bpe_add(struct bpe *bpe, struct bpe_merge merge) {
    struct bpe_merge *free_place = place(bpe, merge.left, merge.right);
    if (free_place->rank == BPE_NO_RANK) *free_place = merge;
}

void bpe_work_free(struct bpe_work *work) {
    mem_free(work->symbols);
    mem_free(work->queue);
    *work = (struct bpe_work){0};
}

/* Room for n symbols. At most n - 1 pairs are queued at first; each of the at most n - 1 merges takes one out
 * and puts two in. */
static int reserve(struct bpe_work *work, size_t n) {
    if (n <= work->capacity) return 0;
    size_t capacity = n < 256 ? 256 : n;
    bpe_work_free(work);
    work->symbols = mem_alloc(capacity, sizeof *work->symbols);
    work->queue = mem_alloc(capacity, 2 * sizeof *work->queue);
    if (work->symbols == NULL || work->queue == NULL) {
        bpe_work_free(work);
        return ERR_NO_MEMORY;
    }
    work->capacity = capacity;
    return 0;
}

/* The queue is a binary min-heap of (rank << 32 | index of the left symbol). */
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

/* Looks up the pair that begins at `at` again after one of its halves changed. */
static void rank_pair(const struct bpe *bpe, struct bpe_work *work, uint32_t at, size_t *n_queued) {
    struct bpe_symbol *symbol = &work->symbols[at];
    symbol->rank =
        symbol->next == NONE ? BPE_NO_RANK : place(bpe, symbol->id, work->symbols[symbol->next].id)->rank;
    if (symbol->rank != BPE_NO_RANK) push(work->queue, n_queued, (uint64_t)symbol->rank << 32 | at);
}

static void merge_next(const struct bpe *bpe, struct bpe_work *work, uint32_t at, size_t *n_queued) {
    struct bpe_symbol *left = &work->symbols[at], *right = &work->symbols[left->next];
    left->id = place(bpe, left->id, right->id)->result;
    left->next = right->next;
    right->rank = BPE_NO_RANK;
    if (left->next != NONE) work->symbols[left->next].prev = at;
    rank_pair(bpe, work, at, n_queued);
    if (left->prev != NONE) rank_pair(bpe, work, left->prev, n_queued);
}

/* Fills the symbols with the tokens of the word's bytes; returns how many there are. */
static uint32_t split(const struct bpe *bpe, const uint8_t *word, size_t n, struct bpe_symbol *symbols) {
    uint32_t n_symbols = 0;
    for (size_t i = 0; i < n; i++) {
        token_id id = bpe->of_byte[word[i]];
        if (id < 0) continue;
        symbols[n_symbols] = (struct bpe_symbol){.id = id,
                                                 .rank = BPE_NO_RANK,
                                                 .prev = n_symbols == 0 ? NONE : n_symbols - 1,
                                                 .next = n_symbols + 1};
        n_symbols++;
    }
    if (n_symbols > 0) symbols[n_symbols - 1].next = NONE;
    return n_symbols;
}

int bpe_encode(const struct bpe *bpe, const uint8_t *word, size_t n, struct bpe_work *work,
               struct token_list *list) {
    TRY(reserve(work, n));
    struct bpe_symbol *symbols = work->symbols;
    uint32_t n_symbols = split(bpe, word, n, symbols);
    if (n_symbols == 0) return 0;
    size_t n_queued = 0;
    for (uint32_t i = 0; i + 1 < n_symbols; i++) {
        symbols[i].rank = place(bpe, symbols[i].id, symbols[i + 1].id)->rank;
        if (symbols[i].rank != BPE_NO_RANK) work->queue[n_queued++] = (uint64_t)symbols[i].rank << 32 | i;
    }
    for (size_t at = n_queued / 2; at-- > 0;) sift_down(work->queue, n_queued, at);
    while (n_queued > 0) {
        uint64_t entry = pop(work->queue, &n_queued);
        uint32_t at = (uint32_t)entry;
        if (symbols[at].rank == (uint32_t)(entry >> 32)) merge_next(bpe, work, at, &n_queued);
    }
    for (uint32_t at = 0; at != NONE; at = symbols[at].next) TRY(token_list_append(list, symbols[at].id));
    return 0;
}
