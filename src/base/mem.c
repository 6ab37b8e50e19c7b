#include "base/mem.h"

#include <inttypes.h>
#include <malloc.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/err.h"
#include "base/fault.h"

static _Atomic uint64_t n_allocations;
static _Atomic uint64_t held_bytes, peak_bytes, limit_bytes = UINT64_MAX;

/* ---- what is held ---- */

/* Adds to what is held; false, with the error set, if that would go beyond the limit. */
static bool hold(size_t bytes) {
    uint64_t held = atomic_fetch_add(&held_bytes, bytes) + bytes, limit = atomic_load(&limit_bytes);
    if (held > limit) {
        atomic_fetch_sub(&held_bytes, bytes);
        (void)ERR(NO_MEMORY, "no memory for %zu bytes beside %" PRIu64 " (the limit is %" PRIu64 ")", bytes,
                  held - bytes, limit);
        return false;
    }
    uint64_t peak = atomic_load(&peak_bytes);
    while (held > peak && !atomic_compare_exchange_weak(&peak_bytes, &peak, held)) continue;
    return true;
}

static void let_go(size_t bytes) { atomic_fetch_sub(&held_bytes, bytes); }

void mem_limit(uint64_t bytes) {
    atomic_store(&limit_bytes, bytes);
    atomic_store(&peak_bytes, atomic_load(&held_bytes));
}

uint64_t mem_held_bytes(void) { return atomic_load(&held_bytes); }
uint64_t mem_peak_bytes(void) { return atomic_load(&peak_bytes); }

/* ---- allocation ---- */

/* Whether `count` elements may be allocated now; their bytes are then held. */
static bool admit(size_t count, size_t size, size_t *bytes) {
    if (__builtin_mul_overflow(count, size, bytes) || *bytes > PTRDIFF_MAX) {
        (void)ERR(TOO_LARGE, "an allocation of %zu x %zu bytes overflows", count, size);
        return false;
    }
    atomic_fetch_add_explicit(&n_allocations, 1, memory_order_relaxed);
    if (fault_hit()) {
        (void)ERR(NO_MEMORY, "no memory for %zu bytes (injected)", *bytes);
        return false;
    }
    return hold(*bytes);
}

/* The result of an allocation of `bytes`. A block holds what the allocator made of it: mem_free can only ask
 * for that. */
static void *settle(void *pointer, size_t bytes) {
    let_go(bytes);
    if (pointer == NULL)
        (void)ERR(NO_MEMORY, "no memory for %zu bytes", bytes);
    else
        atomic_fetch_add(&held_bytes, malloc_usable_size(pointer));
    return pointer;
}

void *mem_alloc(size_t count, size_t size) {
    size_t bytes;
    if (!admit(count, size, &bytes)) return NULL;
    return settle(calloc(bytes ? bytes : 1, 1), bytes);
}

void *mem_alloc_aligned(size_t count, size_t size) {
    size_t bytes;
    if (!admit(count, size, &bytes)) return NULL;
    if (bytes > PTRDIFF_MAX - MEM_CACHE_LINE) return settle(NULL, bytes);
    size_t rounded = (bytes + MEM_CACHE_LINE) & ~(size_t)(MEM_CACHE_LINE - 1);
    void *pointer = aligned_alloc(MEM_CACHE_LINE, rounded);
    if (pointer != NULL) memset(pointer, 0, rounded);
    return settle(pointer, bytes);
}

void *mem_realloc(void *old, size_t count, size_t size) {
    size_t bytes, old_bytes = old == NULL ? 0 : malloc_usable_size(old);
    if (!admit(count, size, &bytes)) return NULL;
    void *pointer = settle(realloc(old, bytes ? bytes : 1), bytes);
    if (pointer != NULL) let_go(old_bytes);
    return pointer;
}

char *mem_strndup(const char *text, size_t length) {
    char *copy = length == SIZE_MAX ? NULL : mem_alloc(length + 1, 1);
    if (copy != NULL) memcpy(copy, text, length);
    return copy;
}

void mem_free(void *pointer) {
    if (pointer != NULL) let_go(malloc_usable_size(pointer));
    free(pointer);
}

void *mem_map(size_t bytes) {
    size_t checked;
    if (!admit(bytes, 1, &checked)) return NULL;
    void *pointer =
        mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (pointer == MAP_FAILED) return settle(NULL, bytes);
    /* Advice only: on a kernel without transparent huge pages the mapping works with small ones. */
    (void)madvise(pointer, bytes, MADV_HUGEPAGE);
    return pointer;
}

void mem_unmap(void *pointer, size_t bytes) {
    if (pointer == NULL) return;
    let_go(bytes);
    (void)munmap(pointer, bytes);
}

uint64_t mem_count(void) { return atomic_load_explicit(&n_allocations, memory_order_relaxed); }

/* One number out of a small text file: the value behind `label`, or the file's first number without one. */
static bool read_number(const char *path, const char *label, uint64_t *value) {
    FILE *file = fopen(path, "re");
    if (file == NULL) return false;
    char line[256];
    bool found = false;
    size_t label_length = strlen(label);
    while (!found && fgets(line, sizeof line, file) != NULL) {
        if (strncmp(line, label, label_length) != 0) continue;
        found = sscanf(line + label_length, "%" SCNu64, value) == 1;
    }
    (void)fclose(file);
    return found;
}

uint64_t mem_available_bytes(void) {
    uint64_t available_kib = 0, limit = 0, used = 0;
    if (!read_number("/proc/meminfo", "MemAvailable:", &available_kib)) return 0;
    uint64_t available = available_kib * 1024;
    /* A container sees the host's meminfo; its own limit is in the cgroup ("max" when there is none). */
    if (read_number("/sys/fs/cgroup/memory.max", "", &limit) &&
        read_number("/sys/fs/cgroup/memory.current", "", &used)) {
        uint64_t left = limit > used ? limit - used : 0;
        if (left < available) available = left;
    }
    return available;
}
