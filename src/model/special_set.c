#include "model/special_set.h"

#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"

/* Shorter pieces sort before longer ones that begin with them. */
static int by_piece(const void *a, const void *b, void *pieces) {
    const struct gguf_string *first = (const struct gguf_string *)pieces + *(const token_id *)a;
    const struct gguf_string *second = (const struct gguf_string *)pieces + *(const token_id *)b;
    size_t common = first->length < second->length ? first->length : second->length;
    int order = memcmp(first->bytes, second->bytes, common);
    return order != 0 ? order : (first->length > second->length) - (first->length < second->length);
}

static bool belongs(const struct vocabulary *vocabulary, uint32_t id, unsigned kinds) {
    return (kinds >> vocabulary->kinds[id] & 1) != 0 && vocabulary->pieces[id].length > 0;
}

int special_set_open(struct special_set *set, const struct vocabulary *vocabulary, unsigned kinds) {
    *set = (struct special_set){0};
    uint32_t n = 0;
    for (uint32_t id = 0; id < vocabulary->n; id++) n += belongs(vocabulary, id, kinds);
    set->ids = mem_alloc(n, sizeof *set->ids);
    if (set->ids == NULL) return ERR_NO_MEMORY;
    for (uint32_t id = 0; id < vocabulary->n; id++)
        if (belongs(vocabulary, id, kinds)) set->ids[set->n++] = (token_id)id;
    /* qsort_r may sort in place or allocate; either way it cannot fail, and it only reads the pieces */
    qsort_r(set->ids, set->n, sizeof *set->ids, by_piece, (void *)(uintptr_t)vocabulary->pieces);
    for (uint32_t i = 0; i < set->n; i++)
        set->first[(uint8_t)vocabulary->pieces[set->ids[i]].bytes[0] + 1] = i + 1;
    for (unsigned byte = 1; byte <= 256; byte++)
        if (set->first[byte] == 0) set->first[byte] = set->first[byte - 1];
    return 0;
}

void special_set_close(struct special_set *set) {
    mem_free(set->ids);
    *set = (struct special_set){0};
}

/* The first of ids[low] .. ids[high - 1], which agree in `depth` bytes and are longer, whose next byte is >=
 * byte. */
static uint32_t lower_bound(const struct special_set *set, const struct vocabulary *vocabulary, uint32_t low,
                            uint32_t high, size_t depth, unsigned byte) {
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if ((uint8_t)vocabulary->pieces[set->ids[middle]].bytes[depth] < byte)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

token_id special_set_match(const struct special_set *set, const struct vocabulary *vocabulary,
                           const char *text, size_t length, size_t *matched) {
    token_id best = -1;
    if (length == 0) return best;
    uint32_t low = set->first[(uint8_t)text[0]], high = set->first[(uint8_t)text[0] + 1];
    for (size_t depth = 1; low < high; depth++) {
        /* the range agrees with the text in `depth` bytes; a piece of just that length is its first */
        if (vocabulary->pieces[set->ids[low]].length == depth) {
            best = set->ids[low++];
            *matched = depth;
        }
        if (depth == length) break;
        unsigned byte = (uint8_t)text[depth];
        low = lower_bound(set, vocabulary, low, high, depth, byte);
        high = lower_bound(set, vocabulary, low, high, depth, byte + 1);
    }
    return best;
}
