/* Random groups of every weight type, dequantised as the PyPI package gguf does it (make_dequantize.py), bit
 * for bit. The first argument is dequantize.bin. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/cursor.h"
#include "base/float16.h"
#include "kernel/weight_type.h"

enum { GOLDEN_MAX = 1 << 17, ELEMENTS_MAX = 4096 };

static const char *golden_path;
static uint8_t golden[GOLDEN_MAX];

static void check_type(enum weight_type type, const void *groups, const uint8_t *expected, uint32_t n) {
    static float numbers[ELEMENTS_MAX];
    weight_dequantize(type, groups, numbers, n);
    for (uint32_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, expected + 4 * (size_t)i, sizeof bits);
        if (bits_of_float(numbers[i]) != bits)
            fail_msg("%s, element %u: %a, expected %a", weight_type_name(type), i, (double)numbers[i],
                     (double)float_of_bits(bits));
    }
}

static void dequantised_as_the_package_gguf_does(void **state) {
    (void)state;
    FILE *stream = fopen(golden_path, "rb");
    if (stream == NULL) fail_msg("%s is missing", golden_path);
    struct cursor cursor = cursor_over(golden, fread(golden, 1, sizeof golden, stream));
    fclose(stream);
    unsigned n_types = 0;
    for (; cursor_left(&cursor) > 0; n_types++) {
        uint32_t type = cursor_u32(&cursor), n = cursor_u32(&cursor);
        const struct weight_format *format = weight_format_get(type);
        assert_non_null(format);
        assert_true(n > 0 && n <= ELEMENTS_MAX && n % format->group_elements == 0);
        const void *groups = cursor_take(&cursor, weight_bytes(format, n));
        const uint8_t *expected = cursor_take(&cursor, (uint64_t)n * 4);
        assert_false(cursor.failed);
        check_type((enum weight_type)type, groups, expected, n);
    }
    unsigned n_known = 0;
#define X(name, number, elements, bytes) n_known++;
    WEIGHT_TYPE_LIST(X)
#undef X
    assert_int_equal(n_types, n_known);
}

static void types_have_names_and_formats(void **state) {
    (void)state;
    assert_string_equal(weight_type_name(12), "Q4_K");
    assert_string_equal(weight_type_name(39), "MXFP4");
    assert_null(weight_type_name(42));
    assert_null(weight_type_name(UINT32_MAX));
    assert_null(weight_format_get(21)); /* IQ3_S has a name, but does not run */
    assert_null(weight_format_get(UINT32_MAX));
#define X(label, number, elements, bytes)                                                                    \
    assert_string_equal(weight_type_name(number), #label);                                                   \
    assert_string_equal(weight_format_get(number)->name, #label);                                            \
    assert_int_equal(weight_bytes(weight_format_get(number), 512), 512 / elements * bytes);
    WEIGHT_TYPE_LIST(X)
#undef X
}

int main(int argc, char **argv) {
    if (argc != 2) return EXIT_FAILURE;
    golden_path = argv[1];
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(types_have_names_and_formats),
        cmocka_unit_test(dequantised_as_the_package_gguf_does),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
