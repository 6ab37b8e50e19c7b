/* What a fuzz target does with an opened GGUF file: reads every byte that the file vouches for, and checks
 * what gguf.h promises of it. */
#ifndef CABINET_TESTS_GGUF_USE_H
#define CABINET_TESTS_GGUF_USE_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/err.h"
#include "base/float16.h"
#include "kernel/weight_type.h"
#include "model/gguf.h"

/* Keeps the compiler from dropping reads whose result nobody wants. */
static volatile uint64_t sink;

static void read_string(struct gguf_string string) {
    uint64_t sum = 0;
    for (size_t i = 0; i < string.length; i++) sum += (uint8_t)string.bytes[i];
    sink = sum;
}

static void read_value(const struct gguf_value *value) {
    read_string(value->key);
    if (value->type == GGUF_STRING) read_string(value->string);
    if (value->type != GGUF_ARRAY) return;
    ASSERT(value->element_type != GGUF_ARRAY);
    double sum = 0;
    for (uint64_t i = 0; i < value->length; i++) {
        if (value->element_type == GGUF_STRING)
            read_string(value->strings[i]);
        else
            sum += gguf_array_float(value, i);
    }
    sink = sum > 0;
}

/* All four look-ups by the key's own name; each says 1 or CORRUPT, and the key is found. */
static void look_up(const struct gguf *file, const struct gguf_value *value) {
    char key[256];
    uint32_t number;
    float real;
    bool truth;
    struct gguf_string string;
    if (value->key.length >= sizeof key || memchr(value->key.bytes, '\0', value->key.length) != NULL) return;
    memcpy(key, value->key.bytes, value->key.length);
    key[value->key.length] = '\0';
    ASSERT(gguf_find(file, key) == value);
    ASSERT(gguf_get_u32(file, key, &number) != 0);
    ASSERT(gguf_get_f32(file, key, &real) != 0);
    ASSERT(gguf_get_bool(file, key, &truth) != 0);
    ASSERT(gguf_get_string(file, key, &string) != 0);
}

static void read_tensor(const struct gguf_tensor *tensor) {
    const struct weight_format *format = weight_format_get(tensor->type);
    float group[256];
    ASSERT(format != NULL && format->group_elements <= sizeof group / sizeof group[0]);
    ASSERT(tensor->n_dims >= 1 && tensor->n_dims <= 4 && tensor->dims[0] % format->group_elements == 0);
    ASSERT(tensor->bytes == weight_bytes(format, tensor->n_elements) && tensor->bytes >= format->group_bytes);
    read_string(tensor->name);
    weight_dequantize((enum weight_type)tensor->type, tensor->data, group, format->group_elements);
    sink = bits_of_float(group[0]) + tensor->data[tensor->bytes - 1];
}

/* Reads all of the file, looks up all of its names, and closes it. */
static void use_and_close(struct gguf *file) {
    for (size_t i = 0; i < gguf_n_values(file); i++) {
        read_value(gguf_value_at(file, i));
        look_up(file, gguf_value_at(file, i));
    }
    for (size_t i = 0; i < gguf_n_tensors(file); i++) read_tensor(gguf_tensor_at(file, i));
    gguf_close(file);
}

/* The latest failure's message is one printable line that begins with a file's name. */
static void check_refusal(const struct gguf *file) {
    ASSERT(file == NULL);
    ASSERT(strncmp(err_message(), "fuzz", 4) == 0);
    for (const char *c = err_message(); *c != '\0'; c++) ASSERT((uint8_t)*c >= 0x20 && *c != 0x7f);
}

#endif
