/* The tiles of attention by AMX: 0 to 3 are sums, 4 and 5 factors, 6 and 7 the same, of what is left of a
 * head's codes behind whole tiles. */
#ifndef CABINET_KERNEL_X86_TILES_AMX_H
#define CABINET_KERNEL_X86_TILES_AMX_H

#include "kernel/x86/attention_amx.h"
#include "kernel/x86/matmul_amx.h"

enum { TILE_COLUMNS = 16 };

/* What is left of a head's numbers behind whole tiles. */
static inline unsigned rest_of(unsigned head_dim) { return head_dim / 4 * 4 % TILE_LINE_BYTES; }

/* The tile unit falls asleep about half a microsecond after its last product, and the first one after that
 * takes another half microsecond. Other work between products therefore says this at least that often: a
 * product that goes to tile 3, which is cleared before it is used. */
#define STAY_AWAKE() _tile_dpbf16ps(3, 4, 5)

#endif
