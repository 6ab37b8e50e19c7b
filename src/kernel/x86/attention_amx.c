/* The AVX-512 set's attention, but for products with codes, which AMX does. */
#include "kernel/x86/attention_amx.h"

#define SET(name) name##_amx
#define TILE_ROWS 6
#define FOR_TILE_ROWS X(1) X(2) X(3) X(4) X(5) X(6)
#define TILE_STRIPS 2

#include "kernel/x86/codes_avx512.h"
#include "kernel/x86/vec_avx512.h"

#define CODED_PRODUCTS "kernel/x86/attention_coded_amx.h"
#include "kernel/x86/attention_body.h"
