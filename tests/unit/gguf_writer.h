/* Writes GGUF files into a buffer, right or deliberately wrong ones: every number is the caller's. */
#ifndef CABINET_TESTS_GGUF_WRITER_H
#define CABINET_TESTS_GGUF_WRITER_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

struct gguf_writer {
    size_t length;
    uint8_t bytes[1 << 16];
};

static inline void put_bytes(struct gguf_writer *writer, const void *bytes, size_t n) {
    if (n > sizeof writer->bytes - writer->length) abort();
    memcpy(writer->bytes + writer->length, bytes, n);
    writer->length += n;
}
static inline void put_u8(struct gguf_writer *writer, uint8_t value) { put_bytes(writer, &value, 1); }
static inline void put_u16(struct gguf_writer *writer, uint16_t value) { put_bytes(writer, &value, 2); }
static inline void put_u32(struct gguf_writer *writer, uint32_t value) { put_bytes(writer, &value, 4); }
static inline void put_u64(struct gguf_writer *writer, uint64_t value) { put_bytes(writer, &value, 8); }
static inline void put_f32(struct gguf_writer *writer, float value) { put_bytes(writer, &value, 4); }
static inline void put_f64(struct gguf_writer *writer, double value) { put_bytes(writer, &value, 8); }

static inline void put_string(struct gguf_writer *writer, const char *text) {
    put_u64(writer, strlen(text));
    put_bytes(writer, text, strlen(text));
}

/* Begins a file anew. */
static inline void put_header(struct gguf_writer *writer, uint32_t version, uint64_t n_tensors,
                              uint64_t n_values) {
    writer->length = 0;
    put_bytes(writer, "GGUF", 4);
    put_u32(writer, version);
    put_u64(writer, n_tensors);
    put_u64(writer, n_values);
}

/* The value follows. */
static inline void put_key(struct gguf_writer *writer, const char *key, uint32_t type) {
    put_string(writer, key);
    put_u32(writer, type);
}

/* The elements follow. */
static inline void put_array(struct gguf_writer *writer, const char *key, uint32_t element_type,
                             uint64_t length) {
    put_key(writer, key, 9);
    put_u32(writer, element_type);
    put_u64(writer, length);
}

static inline void put_u32_value(struct gguf_writer *writer, const char *key, uint32_t value) {
    put_key(writer, key, 4);
    put_u32(writer, value);
}

static inline void put_string_value(struct gguf_writer *writer, const char *key, const char *value) {
    put_key(writer, key, 8);
    put_string(writer, value);
}

/* A description of two dimensions. */
static inline void put_tensor(struct gguf_writer *writer, const char *name, uint32_t type, uint64_t n_columns,
                              uint64_t n_rows, uint64_t offset) {
    put_string(writer, name);
    put_u32(writer, 2);
    put_u64(writer, n_columns);
    put_u64(writer, n_rows);
    put_u32(writer, type);
    put_u64(writer, offset);
}

static inline void put_padding(struct gguf_writer *writer, size_t alignment) {
    while (writer->length % alignment != 0) put_u8(writer, 0);
}

/* n bytes of data: 0, 1, 2, ... */
static inline void put_data(struct gguf_writer *writer, size_t n) {
    for (size_t i = 0; i < n; i++) put_u8(writer, (uint8_t)i);
}

/* A copy in a block of exactly its length, so that the address sanitizer sees a read past the end. */
static inline uint8_t *exact_copy(const void *bytes, size_t length) {
    uint8_t *copy = malloc(length != 0 ? length : 1);
    if (copy == NULL) abort();
    memcpy(copy, bytes, length);
    return copy;
}

/* A small valid file with a bit of everything: strings, arrays, three tensors that end where the file ends.
 */
static inline void put_small_file(struct gguf_writer *writer, uint32_t version) {
    put_header(writer, version, 3, 6);
    put_string_value(writer, "general.architecture", "llama");
    put_u32_value(writer, "general.alignment", 64);
    put_key(writer, "llama.rope.freq_base", 6);
    put_f32(writer, 10000.0f);
    put_key(writer, "tokenizer.ggml.add_bos_token", 7);
    put_u8(writer, 1);
    put_array(writer, "tokenizer.ggml.tokens", 8, 3);
    put_string(writer, "<s>");
    put_string(writer, "");
    put_string(writer, "b");
    put_array(writer, "tokenizer.ggml.token_type", 5, 3);
    for (uint32_t i = 0; i < 3; i++) put_u32(writer, i - 1);
    put_tensor(writer, "token_embd.weight", 0, 8, 3, 0);
    put_tensor(writer, "blk.0.attn_q.weight", 8, 32, 2, 128);
    put_tensor(writer, "output.weight", 1, 3, 1, 256);
    put_padding(writer, 64);
    put_data(writer, 256 + 6);
}

#endif
