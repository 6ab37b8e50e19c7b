/* Well-formed GGUF files, and the look-ups. What is refused is in test_gguf_errors.c. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/err.h"
#include "kernel/weight_type.h"
#include "model/gguf.h"

#include "gguf_writer.h"

static struct gguf_writer writer;

static struct gguf *open_written(void) {
    struct gguf *file = NULL;
    int result = gguf_open_bytes(&file, writer.bytes, writer.length, "test");
    if (result != 0) fail_msg("%s: %s", err_name(result), err_message());
    return file;
}

static void assert_text(struct gguf_string string, const char *expected) {
    assert_int_equal(string.length, strlen(expected));
    assert_memory_equal(string.bytes, expected, string.length);
}

static const struct gguf_value *value_of(const struct gguf *file, const char *key, enum gguf_type type) {
    const struct gguf_value *value = gguf_find(file, key);
    assert_non_null(value);
    assert_text(value->key, key);
    assert_int_equal(value->type, type);
    return value;
}

static void put_scalars(uint32_t version) {
    put_header(&writer, version, 0, 12);
    put_key(&writer, "u8", 0);
    put_u8(&writer, 200);
    put_key(&writer, "i8", 1);
    put_u8(&writer, 0x80);
    put_key(&writer, "u16", 2);
    put_u16(&writer, 65535);
    put_key(&writer, "i16", 3);
    put_u16(&writer, 0xfffe);
    put_u32_value(&writer, "u32", 4000000000u);
    put_key(&writer, "i32", 5);
    put_u32(&writer, 0xfffffffd);
    put_key(&writer, "f32", 6);
    put_f32(&writer, 1e-5f);
    put_key(&writer, "bool", 7);
    put_u8(&writer, 1);
    put_string_value(&writer, "string", "a\nb");
    put_key(&writer, "u64", 10);
    put_u64(&writer, UINT64_MAX);
    put_key(&writer, "i64", 11);
    put_u64(&writer, (uint64_t)INT64_MIN);
    put_key(&writer, "f64", 12);
    put_f64(&writer, -0.1);
}

static void reads_every_scalar_type(void **state) {
    (void)state;
    for (uint32_t version = 2; version <= 3; version++) {
        put_scalars(version);
        struct gguf *file = open_written();
        assert_int_equal(gguf_version(file), version);
        assert_int_equal(gguf_bytes(file), writer.length);
        assert_int_equal(gguf_n_values(file), 12);
        assert_int_equal(gguf_n_tensors(file), 0);
        assert_int_equal(value_of(file, "u8", GGUF_U8)->u, 200);
        assert_int_equal(value_of(file, "i8", GGUF_I8)->i, -128);
        assert_int_equal(value_of(file, "u16", GGUF_U16)->u, 65535);
        assert_int_equal(value_of(file, "i16", GGUF_I16)->i, -2);
        assert_int_equal(value_of(file, "u32", GGUF_U32)->u, 4000000000u);
        assert_int_equal(value_of(file, "i32", GGUF_I32)->i, -3);
        assert_true(value_of(file, "f32", GGUF_F32)->f == (double)1e-5f);
        assert_int_equal(value_of(file, "bool", GGUF_BOOL)->u, 1);
        assert_text(value_of(file, "string", GGUF_STRING)->string, "a\nb");
        assert_true(value_of(file, "u64", GGUF_U64)->u == UINT64_MAX);
        assert_true(value_of(file, "i64", GGUF_I64)->i == INT64_MIN);
        assert_true(value_of(file, "f64", GGUF_F64)->f == -0.1);
        assert_text(gguf_value_at(file, 0)->key, "u8"); /* in file order */
        assert_text(gguf_value_at(file, 11)->key, "f64");
        gguf_close(file);
    }
}

/* Three elements of every type but string: 1, 0 and the value whose bytes are all 1 (a bool has no such). */
static void put_number_arrays(void) {
    static const uint8_t sizes[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
    put_header(&writer, 3, 0, 12);
    for (uint32_t type = 0; type < 13; type++) {
        if (type == 8 || type == 9) continue;
        char key[] = {'a', (char)('a' + type), '\0'};
        put_array(&writer, key, type, 3);
        if (type == 6) {
            put_f32(&writer, 1.0f);
            put_f32(&writer, 0.0f);
            put_f32(&writer, -2.5f);
        } else if (type == 12) {
            put_f64(&writer, 1.0);
            put_f64(&writer, 0.0);
            put_f64(&writer, -2.5);
        } else {
            uint64_t one = 1, zero = 0, ones = type == 7 ? 1 : UINT64_MAX;
            put_bytes(&writer, &one, sizes[type]);
            put_bytes(&writer, &zero, sizes[type]);
            put_bytes(&writer, &ones, sizes[type]);
        }
    }
    put_u32_value(&writer, "after", 77);
}

static void reads_every_array_type(void **state) {
    (void)state;
    static const int64_t last[] = {255, -1, 65535, -1, 4294967295, -1, 0, 1, 0, 0, -1, -1, 0};
    put_number_arrays();
    struct gguf *file = open_written();
    for (uint32_t type = 0; type < 13; type++) {
        if (type == 8 || type == 9) continue;
        char key[] = {'a', (char)('a' + type), '\0'};
        const struct gguf_value *array = value_of(file, key, GGUF_ARRAY);
        assert_int_equal(array->element_type, type);
        assert_int_equal(array->length, 3);
        assert_null(array->strings);
        assert_true(gguf_array_float(array, 0) == 1.0);
        assert_true(gguf_array_float(array, 1) == 0.0);
        if (type == 6 || type == 12) {
            assert_true(gguf_array_float(array, 2) == -2.5);
            continue;
        }
        assert_int_equal(gguf_array_int(array, 0), 1);
        assert_int_equal(gguf_array_int(array, 1), 0);
        assert_int_equal(gguf_array_int(array, 2), last[type]);
    }
    assert_int_equal(value_of(file, "after", GGUF_U32)->u, 77);
    gguf_close(file);
}

static void reads_string_arrays_and_empty_arrays(void **state) {
    (void)state;
    put_header(&writer, 3, 0, 3);
    put_array(&writer, "strings", 8, 3);
    put_string(&writer, "one");
    put_string(&writer, "");
    put_string(&writer, "three");
    put_array(&writer, "no strings", 8, 0);
    put_array(&writer, "no numbers", 12, 0);
    struct gguf *file = open_written();
    const struct gguf_value *array = value_of(file, "strings", GGUF_ARRAY);
    assert_int_equal(array->element_type, GGUF_STRING);
    assert_int_equal(array->length, 3);
    assert_text(array->strings[0], "one");
    assert_text(array->strings[1], "");
    assert_text(array->strings[2], "three");
    assert_int_equal(value_of(file, "no strings", GGUF_ARRAY)->length, 0);
    assert_int_equal(value_of(file, "no numbers", GGUF_ARRAY)->length, 0);
    gguf_close(file);
}

static void integers_of_any_type_are_looked_up_if_they_fit(void **state) {
    (void)state;
    put_scalars(3);
    struct gguf *file = open_written();
    uint32_t number = 7;
    assert_int_equal(gguf_get_u32(file, "absent", &number), 0);
    assert_int_equal(number, 7);
    assert_int_equal(gguf_get_u32(file, "u8", &number), 1);
    assert_int_equal(number, 200);
    assert_int_equal(gguf_get_u32(file, "u16", &number), 1);
    assert_int_equal(number, 65535);
    assert_int_equal(gguf_get_u32(file, "u32", &number), 1);
    assert_int_equal(number, 4000000000u);
    const char *const wrong[] = {"i8", "i16", "i32", "i64", "u64", "f32", "f64", "bool", "string"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        assert_int_equal(gguf_get_u32(file, wrong[i], &number), ERR_CORRUPT);
        assert_non_null(strstr(err_message(), wrong[i]));
        assert_non_null(strstr(err_message(), "test: "));
    }
    assert_int_equal(number, 4000000000u);
    gguf_close(file);
    put_header(&writer, 3, 0, 3);
    put_key(&writer, "i64", 11);
    put_u64(&writer, 4294967295u);
    put_key(&writer, "too large", 11);
    put_u64(&writer, 4294967296u);
    put_key(&writer, "i8", 1);
    put_u8(&writer, 0);
    file = open_written();
    assert_int_equal(gguf_get_u32(file, "i64", &number), 1);
    assert_int_equal(number, 4294967295u);
    assert_int_equal(gguf_get_u32(file, "too large", &number), ERR_CORRUPT);
    assert_int_equal(gguf_get_u32(file, "i8", &number), 1);
    assert_int_equal(number, 0);
    gguf_close(file);
}

static void floats_bools_and_strings_are_looked_up(void **state) {
    (void)state;
    put_scalars(3);
    struct gguf *file = open_written();
    float number = 0;
    bool truth = false;
    struct gguf_string text;
    assert_int_equal(gguf_get_f32(file, "f32", &number), 1);
    assert_true(number == 1e-5f);
    assert_int_equal(gguf_get_f32(file, "f64", &number), 1);
    assert_true(number == -0.1f);
    assert_int_equal(gguf_get_bool(file, "bool", &truth), 1);
    assert_true(truth);
    assert_int_equal(gguf_get_string(file, "string", &text), 1);
    assert_text(text, "a\nb");
    assert_int_equal(gguf_get_f32(file, "absent", &number), 0);
    assert_int_equal(gguf_get_bool(file, "absent", &truth), 0);
    assert_int_equal(gguf_get_string(file, "absent", &text), 0);
    assert_int_equal(gguf_get_f32(file, "u32", &number), ERR_CORRUPT);
    assert_int_equal(gguf_get_bool(file, "u8", &truth), ERR_CORRUPT);
    assert_int_equal(gguf_get_string(file, "u8", &text), ERR_CORRUPT);
    gguf_close(file);
}

static void floats_that_are_not_finite_are_refused(void **state) {
    (void)state;
    static const double wrong[] = {NAN, INFINITY, -INFINITY, 1e300};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        put_header(&writer, 3, 0, 1);
        put_key(&writer, "x", 12);
        put_f64(&writer, wrong[i]);
        struct gguf *file = open_written();
        float number = 5;
        assert_int_equal(gguf_get_f32(file, "x", &number), ERR_CORRUPT);
        assert_true(number == 5);
        gguf_close(file);
    }
}

/* Two rows of two groups of every type that runs, each at its aligned place. */
static void tensors_lie_where_the_file_says(void **state) {
    (void)state;
    static const struct {
        const char *name;
        uint32_t number, elements, bytes;
    } types[] = {
#define X(name, number, elements, bytes) {#name, number, elements, bytes},
        WEIGHT_TYPE_LIST(X)
#undef X
    };
    enum { N = sizeof types / sizeof types[0] };
    uint64_t offset = 0, offsets[N];
    put_header(&writer, 3, N, 0);
    for (size_t i = 0; i < N; i++) {
        offsets[i] = offset;
        put_tensor(&writer, types[i].name, types[i].number, 2 * types[i].elements, 2, offset);
        offset = (offset + 4 * types[i].bytes + 31) / 32 * 32;
    }
    put_padding(&writer, 32);
    size_t start = writer.length;
    put_data(&writer, offset);
    struct gguf *file = open_written();
    assert_int_equal(gguf_n_tensors(file), N);
    for (size_t i = 0; i < N; i++) {
        const struct gguf_tensor *tensor = gguf_find_tensor(file, types[i].name);
        assert_ptr_equal(tensor, gguf_tensor_at(file, i));
        assert_text(tensor->name, types[i].name);
        assert_int_equal(tensor->type, types[i].number);
        assert_int_equal(tensor->n_dims, 2);
        assert_int_equal(tensor->dims[0], 2 * types[i].elements);
        assert_int_equal(tensor->dims[1], 2);
        assert_int_equal(tensor->dims[2], 1);
        assert_int_equal(tensor->dims[3], 1);
        assert_int_equal(tensor->n_elements, 4 * types[i].elements);
        assert_int_equal(tensor->bytes, 4 * types[i].bytes);
        assert_ptr_equal(tensor->data, writer.bytes + start + offsets[i]);
    }
    assert_null(gguf_find_tensor(file, "absent"));
    gguf_close(file);
}

static void one_to_four_dimensions(void **state) {
    (void)state;
    for (uint32_t n_dims = 1; n_dims <= 4; n_dims++) {
        put_header(&writer, 3, 1, 0);
        put_string(&writer, "t");
        put_u32(&writer, n_dims);
        for (uint32_t d = 0; d < n_dims; d++) put_u64(&writer, d + 2);
        put_u32(&writer, 0);
        put_u64(&writer, 0);
        put_padding(&writer, 32);
        put_data(&writer, 4 * 120);
        struct gguf *file = open_written();
        const struct gguf_tensor *tensor = gguf_tensor_at(file, 0);
        static const uint64_t products[] = {2, 6, 24, 120};
        assert_int_equal(tensor->n_dims, n_dims);
        assert_int_equal(tensor->n_elements, products[n_dims - 1]);
        for (uint32_t d = 0; d < 4; d++) assert_int_equal(tensor->dims[d], d < n_dims ? d + 2 : 1);
        gguf_close(file);
    }
}

static void alignment_is_the_files(void **state) {
    (void)state;
    static const uint32_t alignments[] = {8, 16, 64, 4096};
    for (size_t i = 0; i < sizeof alignments / sizeof alignments[0]; i++) {
        put_header(&writer, 3, 2, 1);
        put_u32_value(&writer, "general.alignment", alignments[i]);
        put_tensor(&writer, "a", 0, 1, 1, 0);
        put_tensor(&writer, "b", 0, 1, 1, alignments[i]);
        put_padding(&writer, alignments[i]);
        put_u32(&writer, 1);
        put_padding(&writer, alignments[i]);
        put_u32(&writer, 2);
        struct gguf *file = open_written();
        assert_int_equal(gguf_find_tensor(file, "a")->data[0], 1);
        assert_int_equal(gguf_find_tensor(file, "b")->data[0], 2);
        gguf_close(file);
    }
}

/* Headers of every length: padding of 31 down to 0 bytes. */
static void data_begin_at_the_first_aligned_byte(void **state) {
    (void)state;
    char name[34] = "";
    for (size_t i = 0; i < 33; i++) {
        name[i] = 'n';
        put_header(&writer, 3, 1, 0);
        put_tensor(&writer, name, 0, 1, 1, 0);
        put_padding(&writer, 32);
        put_u32(&writer, 0xab);
        put_padding(&writer, 32);
        put_u32(&writer, 0xcd);
        struct gguf *file = open_written();
        assert_int_equal(gguf_find_tensor(file, name)->data[0], 0xab);
        gguf_close(file);
    }
}

static void names_are_found_among_many(void **state) {
    (void)state;
    enum { N = 3000 };
    char key[24];
    put_header(&writer, 3, 0, N);
    for (uint32_t i = 0; i < N; i++) {
        (void)snprintf(key, sizeof key, "k%u", (i * 1777u) % N); /* neither sorted nor of equal length */
        put_key(&writer, key, 2);
        put_u16(&writer, (uint16_t)i);
    }
    struct gguf *file = open_written();
    for (uint32_t i = 0; i < N; i++) {
        (void)snprintf(key, sizeof key, "k%u", (i * 1777u) % N);
        assert_int_equal(value_of(file, key, GGUF_U16)->u, i);
    }
    assert_null(gguf_find(file, "k"));
    assert_null(gguf_find(file, ""));
    assert_null(gguf_find(file, "k3000"));
    assert_null(gguf_find(file, "k00"));
    gguf_close(file);
}

static void a_mapped_file_reads_as_its_bytes_do(void **state) {
    (void)state;
    put_small_file(&writer, 3);
    char path[] = "/tmp/cabinet-test-gguf-XXXXXX";
    int descriptor = mkstemp(path);
    assert_true(descriptor >= 0);
    assert_int_equal(write(descriptor, writer.bytes, writer.length), writer.length);
    assert_int_equal(close(descriptor), 0);
    struct gguf *file = NULL;
    int result = gguf_open(&file, path);
    (void)unlink(path); /* the mapping stays */
    assert_int_equal(result, 0);
    assert_int_equal(gguf_bytes(file), writer.length);
    assert_text(value_of(file, "general.architecture", GGUF_STRING)->string, "llama");
    const struct gguf_tensor *tensor = gguf_find_tensor(file, "output.weight");
    assert_non_null(tensor);
    assert_int_equal(tensor->bytes, 6);
    assert_memory_equal(tensor->data, writer.bytes + writer.length - 6, 6);
    void *page = (void *)((uintptr_t)tensor->data & ~(uintptr_t)(sysconf(_SC_PAGESIZE) - 1));
    unsigned char resident;
    assert_int_equal(mincore(page, 1, &resident), 0);
    gguf_close(file);
    assert_int_equal(mincore(page, 1, &resident), -1); /* the mapping is gone */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_every_scalar_type),
        cmocka_unit_test(reads_every_array_type),
        cmocka_unit_test(reads_string_arrays_and_empty_arrays),
        cmocka_unit_test(integers_of_any_type_are_looked_up_if_they_fit),
        cmocka_unit_test(floats_bools_and_strings_are_looked_up),
        cmocka_unit_test(floats_that_are_not_finite_are_refused),
        cmocka_unit_test(tensors_lie_where_the_file_says),
        cmocka_unit_test(one_to_four_dimensions),
        cmocka_unit_test(alignment_is_the_files),
        cmocka_unit_test(data_begin_at_the_first_aligned_byte),
        cmocka_unit_test(names_are_found_among_many),
        cmocka_unit_test(a_mapped_file_reads_as_its_bytes_do),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
