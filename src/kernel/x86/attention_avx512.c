#include "kernel/x86/attention_avx512.h"

#define SET(name) name##_avx512
/* 6 rows x 4 vectors of accumulators, 4 of B and a factor: 29 of the 32 registers, and 10 loads for 24 FMAs
 * (12 rows x 2 vectors need 14, which costs 5 %). */
#define TILE_ROWS 6
#define FOR_TILE_ROWS X(1) X(2) X(3) X(4) X(5) X(6)
#define TILE_STRIPS 2

#include "kernel/x86/codes_avx512.h"
#include "kernel/x86/lanes_avx512.h"

#define CODED_PRODUCTS "kernel/x86/attention_coded_body.h"
#include "kernel/x86/attention_body.h"
#include "kernel/x86/attention_rows_body.h"
#include "kernel/x86/rope_body.h"
#include "kernel/x86/rotate_body.h"
#include "kernel/x86/store_body.h"
