/* Allocation that can be counted, bounded and made to fail.
 *
 * Every allocation of the product goes through here, so that a test can let the n-th one fail (base/fault.h),
 * can prove that a step allocates nothing, and that a hostile file makes it take no more than a bound. Memory
 * is zeroed. A failure is NULL with the error set. */
#ifndef CABINET_BASE_MEM_H
#define CABINET_BASE_MEM_H

#include <stddef.h>
#include <stdint.h>

#define MEM_CACHE_LINE 64

/* `count` elements of `size` bytes, zeroed; NULL (NO_MEMORY or TOO_LARGE) on failure. Free with mem_free. */
void *mem_alloc(size_t count, size_t size);
/* The same, at a multiple of a cache line, so that vector loads never straddle two lines. */
void *mem_alloc_aligned(size_t count, size_t size);
/* Grows or shrinks; on failure the old block stays valid. New bytes are not zeroed. */
void *mem_realloc(void *old, size_t count, size_t size);
char *mem_strndup(const char *text, size_t length);
void mem_free(void *pointer);

/* Address space of `bytes` that becomes memory when it is touched; huge pages are asked for. NULL on failure.
 */
void *mem_map(size_t bytes);
void mem_unmap(void *pointer, size_t bytes);

/* Allocations of this process so far, for tests. */
uint64_t mem_count(void);
/* For tests: what would hold more than `bytes` at once from now on fails with NO_MEMORY; UINT64_MAX, as at
 * the start, is no limit. Mappings count whole, touched or not. The peak begins anew. */
void mem_limit(uint64_t bytes);
uint64_t mem_held_bytes(void);
uint64_t mem_peak_bytes(void); /* most held at once since mem_limit */

/* Bytes that new work may use without pushing the machine into swap or past a cgroup limit. */
uint64_t mem_available_bytes(void);

#endif
