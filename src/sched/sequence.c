#include "sched/sequence.h"

#include "base/err.h"
#include "base/mem.h"

int sequence_new(struct sequence **out, uint32_t max_tokens) {
    struct sequence *sequence = mem_alloc(1, sizeof *sequence);
    if (sequence == NULL) return ERR_NO_MEMORY;
    sequence->max_tokens = max_tokens;
    sequence->tokens = mem_alloc(max_tokens, sizeof *sequence->tokens);
    if (sequence->tokens == NULL) {
        mem_free(sequence);
        return ERR_NO_MEMORY;
    }
    *out = sequence;
    return 0;
}

void sequence_free(struct sequence *sequence) {
    if (sequence == NULL) return;
    ASSERT(!sequence_is_scheduled(sequence) && sequence->kv.table == 0);
    mem_free(sequence->tokens);
    mem_free(sequence);
}
