/* GGUF files that must be refused: the code, and a message of one line that says which file, what and where.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/mem.h"
#include "model/gguf.h"

#include "gguf_writer.h"

static struct gguf_writer writer;

static void assert_one_printable_line(const char *message) {
    for (const char *c = message; *c != '\0'; c++)
        if ((unsigned char)*c < 0x20 || (unsigned char)*c == 0x7f) fail_msg("control byte in: %s", message);
}

/* The latest failure was of this code and its message contains every word. */
static void assert_failure(int result, int code, const char *const *words, size_t n_words) {
    if (result != code) fail_msg("%s instead of %s: %s", err_name(result), err_name(code), err_message());
    assert_one_printable_line(err_message());
    for (size_t i = 0; i < n_words; i++)
        if (strstr(err_message(), words[i]) == NULL) fail_msg("no '%s' in: %s", words[i], err_message());
}

static void assert_refused(int code, const char *const *words, size_t n_words) {
    struct gguf *file = (struct gguf *)(void *)&writer;
    uint8_t *bytes = exact_copy(writer.bytes, writer.length);
    int result = gguf_open_bytes(&file, bytes, writer.length, "bad.gguf");
    if (result == 0) gguf_close(file);
    free(bytes);
    assert_failure(result, code, words, n_words);
    assert_null(file);
    assert_int_equal(strncmp(err_message(), "bad.gguf: ", 10), 0);
}

#define REFUSED(code, ...)                                                                                   \
    do {                                                                                                     \
        const char *const words_[] = {__VA_ARGS__};                                                          \
        assert_refused(ERR_##code, words_, sizeof words_ / sizeof words_[0]);                                \
    } while (0)

static void put_text_file(const char *text) {
    writer.length = 0;
    put_bytes(&writer, text, strlen(text));
}

/* ---- the fixed part ---- */

static void files_of_another_kind(void **state) {
    (void)state;
    put_text_file("");
    REFUSED(CORRUPT, "empty");
    put_text_file("GG");
    REFUSED(CORRUPT, "not a GGUF file", "'GG'", "byte 0");
    put_text_file("\x7f"
                  "ELF\n and more");
    REFUSED(CORRUPT, "not a GGUF file", "\\x7fELF");
    put_text_file("version https://git-lfs.github.com/spec/v1\noid sha256:0\n");
    REFUSED(UNSUPPORTED, "Git LFS pointer", "git lfs pull");
    put_text_file("<!DOCTYPE html>");
    REFUSED(UNSUPPORTED, "web page");
    put_text_file("PK\x03\x04 zip");
    REFUSED(UNSUPPORTED, "zip archive");
    put_text_file("tjgg old");
    REFUSED(UNSUPPORTED, "old GGML file");
    put_text_file("GGUF\x03");
    REFUSED(CORRUPT, "5 bytes", "too short", "24");
}

static void versions_and_byte_orders(void **state) {
    (void)state;
    static const uint32_t versions[] = {0, 1, 4, 0x10003};
    for (size_t i = 0; i < sizeof versions / sizeof versions[0]; i++) {
        put_header(&writer, versions[i], 0, 0);
        char word[24];
        (void)snprintf(word, sizeof word, "version %u;", versions[i]);
        REFUSED(UNSUPPORTED, word, "versions 2 and 3");
    }
    put_header(&writer, 0x03000000, 0, 0);
    REFUSED(UNSUPPORTED, "big-endian");
    put_text_file("FUGG big-endian writers swap the magic too");
    REFUSED(UNSUPPORTED, "big-endian");
}

/* The only allocation is that of the handle itself. */
static void absurd_counts_allocate_nothing(void **state) {
    (void)state;
    static const uint64_t counts[] = {2, 1u << 31, UINT64_C(1) << 60, UINT64_MAX / 72, UINT64_MAX};
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        char word[24];
        (void)snprintf(word, sizeof word, "%llu ", (unsigned long long)counts[i]);
        put_header(&writer, 3, 0, counts[i]);
        uint64_t before = mem_count();
        REFUSED(CORRUPT, word, "metadata keys do not fit");
        assert_int_equal(mem_count() - before, 1);
        put_header(&writer, 3, counts[i], 0);
        before = mem_count();
        REFUSED(CORRUPT, word, "tensors do not fit");
        assert_int_equal(mem_count() - before, 3); /* and two tables of no entries */
        put_header(&writer, 3, 0, 1);
        put_array(&writer, "some.array", 8, counts[i]);
        before = mem_count();
        REFUSED(CORRUPT, word, "some.array", "strings", "0 bytes later");
        assert_int_equal(mem_count() - before, 2);
        put_header(&writer, 3, 0, 1);
        put_array(&writer, "some.array", 10, counts[i]);
        REFUSED(CORRUPT, word, "some.array", "u64s", "0 bytes later");
    }
}

/* ---- metadata ---- */

static void keys(void **state) {
    (void)state;
    put_header(&writer, 3, 0, 1);
    put_u64(&writer, UINT64_MAX);
    put_data(&writer, 20);
    REFUSED(CORRUPT, "name of key 1 of 1", "past the end", "from byte 24 of 52");
    put_header(&writer, 3, 0, 1);
    put_u32_value(&writer, "", 1);
    put_data(&writer, 20);
    REFUSED(CORRUPT, "key 1 of 1", "empty name");
    put_header(&writer, 3, 0, 1);
    put_string(&writer, "no more");
    put_u16(&writer, 0);
    REFUSED(CORRUPT, "the type of key 'no more'", "past the end", "from byte 39 of 41");
    put_header(&writer, 3, 0, 2);
    put_u32_value(&writer, "same", 1);
    put_string_value(&writer, "same", "x");
    REFUSED(CORRUPT, "key 'same'", "twice");
    put_header(&writer, 3, 0, 1);
    put_key(&writer, "odd", 13);
    put_u64(&writer, 0);
    REFUSED(CORRUPT, "key 'odd'", "unknown type 13", "byte 35");
}

static void long_keys(void **state) {
    (void)state;
    enum { LENGTH = 65536 };
    static uint8_t bytes[24 + 8 + LENGTH + 8];
    put_header(&writer, 3, 0, 1);
    put_u64(&writer, LENGTH);
    memcpy(bytes, writer.bytes, writer.length);
    memset(bytes + writer.length, 'k', LENGTH);
    struct gguf *file;
    int result = gguf_open_bytes(&file, bytes, sizeof bytes, "bad.gguf");
    assert_failure(result, ERR_TOO_LARGE, (const char *const[]){"key 1 of 1", "65536 bytes", "65535"}, 3);
    bytes[24] = 0xff; /* 65535 */
    bytes[25] = 0xff;
    bytes[26] = 0;
    memset(bytes + sizeof bytes - 9, 0, 9); /* u8 0, and 4 bytes to spare */
    assert_int_equal(gguf_open_bytes(&file, bytes, sizeof bytes, "good.gguf"), 0);
    gguf_close(file);
}

static void values(void **state) {
    (void)state;
    put_header(&writer, 3, 0, 1);
    put_key(&writer, "text", 8);
    put_u64(&writer, 100);
    put_data(&writer, 99);
    REFUSED(CORRUPT, "the value of key 'text'", "past the end", "from byte 48 of 147");
    put_header(&writer, 3, 0, 1);
    put_key(&writer, "flag", 7);
    put_u8(&writer, 2);
    REFUSED(CORRUPT, "key 'flag'", "bool of value 2", "byte 40");
    put_header(&writer, 3, 0, 1);
    put_array(&writer, "flags", 7, 3);
    put_bytes(&writer, "\1\0\xff", 3);
    REFUSED(CORRUPT, "key 'flags'", "bool of value 255", "byte 55");
    put_header(&writer, 3, 0, 1);
    put_array(&writer, "odd", 13, 0);
    REFUSED(CORRUPT, "key 'odd'", "array of unknown type 13");
    put_header(&writer, 3, 0, 1);
    put_array(&writer, "nested", 9, 1);
    put_u32(&writer, 0);
    put_u64(&writer, 0);
    REFUSED(UNSUPPORTED, "key 'nested'", "array of arrays");
    put_header(&writer, 3, 0, 1);
    put_array(&writer, "strings", 8, 2);
    put_string(&writer, "fine");
    put_u64(&writer, 1);
    REFUSED(CORRUPT, "string 2 of 2 of key 'strings'", "past the end");
}

static void alignments(void **state) {
    (void)state;
    static const uint32_t wrong[] = {0, 1, 4, 24, 33, 0x80001};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        put_header(&writer, 3, 0, 1);
        put_u32_value(&writer, "general.alignment", wrong[i]);
        REFUSED(CORRUPT, "general.alignment", "power of two");
    }
    put_header(&writer, 3, 0, 1);
    put_u32_value(&writer, "general.alignment", 0x80000000u);
    REFUSED(TOO_LARGE, "general.alignment is 2147483648", "more than");
    put_header(&writer, 3, 0, 1);
    put_string_value(&writer, "general.alignment", "32");
    REFUSED(CORRUPT, "general.alignment", "integer");
}

/* ---- tensors ---- */

static void put_one_tensor(uint32_t type, uint64_t n_columns, uint64_t n_rows, uint64_t offset,
                           size_t n_data) {
    put_header(&writer, 3, 1, 0);
    put_tensor(&writer, "some.weight", type, n_columns, n_rows, offset);
    put_padding(&writer, 32);
    put_data(&writer, n_data);
}

static void tensor_types(void **state) {
    (void)state;
    put_one_tensor(21, 256, 1, 0, 110);
    REFUSED(UNSUPPORTED, "tensor 'some.weight'", "type IQ3_S (21)", "does not run here", "Q4_K");
    put_one_tensor(24, 32, 1, 0, 32);
    REFUSED(UNSUPPORTED, "tensor 'some.weight'", "type I8 (24)");
    put_one_tensor(4, 32, 1, 0, 32);
    REFUSED(UNSUPPORTED, "tensor 'some.weight'", "(4)");
    put_one_tensor(0xffffffff, 32, 1, 0, 24);
    REFUSED(UNSUPPORTED, "tensor 'some.weight'", "type unknown (4294967295)");
}

static void tensor_shapes(void **state) {
    (void)state;
    put_one_tensor(0, 0, 1, 0, 24);
    REFUSED(CORRUPT, "tensor 'some.weight'", "dimension of 0");
    put_one_tensor(0, UINT64_C(1) << 32, UINT64_C(1) << 32, 0, 24);
    REFUSED(CORRUPT, "'some.weight'", "multiply to more than 64 bits");
    put_one_tensor(0, UINT64_C(1) << 62, 1, 0, 24); /* 4 bytes each: 2^64 bytes */
    REFUSED(CORRUPT, "'some.weight'", "larger than the file");
    put_one_tensor(0, 32, 1, 0, 100);
    REFUSED(CORRUPT, "'some.weight'", "128 bytes", "past the end", "100 bytes of data");
    put_one_tensor(2, 48, 2, 0, 200); /* 96 elements are whole groups, 48 are not */
    REFUSED(CORRUPT, "'some.weight'", "rows of 48", "multiple of the 32", "Q4_0");
    for (uint32_t n_dims = 0; n_dims <= 5; n_dims += 5) {
        put_header(&writer, 3, 1, 0);
        put_string(&writer, "some.weight");
        put_u32(&writer, n_dims);
        put_data(&writer, 60);
        if (n_dims == 0)
            REFUSED(CORRUPT, "'some.weight'", "no dimensions", "byte 43");
        else
            REFUSED(TOO_LARGE, "'some.weight'", "5 dimensions", "byte 43");
    }
}

static void tensor_places(void **state) {
    (void)state;
    put_one_tensor(0, 8, 1, 0, 31);
    REFUSED(CORRUPT, "'some.weight'", "32 bytes at offset 0 of the 31 bytes", "cut short");
    put_one_tensor(0, 8, 1, 32, 32);
    REFUSED(CORRUPT, "'some.weight'", "past the end");
    put_one_tensor(0, 8, 1, UINT64_MAX - 31, 32); /* offset + bytes wraps to 0 */
    REFUSED(CORRUPT, "'some.weight'", "past the end");
    put_one_tensor(0, 8, 1, 16, 64);
    REFUSED(CORRUPT, "'some.weight'", "offset 16", "alignment 32");
    put_header(&writer, 3, 1, 0); /* ends before the padding does */
    put_tensor(&writer, "some.weight", 0, 1, 1, 0);
    put_data(&writer, 4);
    REFUSED(CORRUPT, "'some.weight'", "past the end");
    put_header(&writer, 3, 2, 0);
    put_tensor(&writer, "same", 0, 1, 1, 0);
    put_tensor(&writer, "same", 0, 1, 1, 0);
    put_padding(&writer, 32);
    put_data(&writer, 4);
    REFUSED(CORRUPT, "tensor 'same'", "twice");
    put_header(&writer, 3, 1, 0);
    put_u64(&writer, 1000);
    put_data(&writer, 40);
    REFUSED(CORRUPT, "name of tensor 1 of 1", "past the end");
    put_header(&writer, 3, 1, 0);
    put_tensor(&writer, "some.weight", 0, 1, 1, 0);
    writer.length -= 1;
    REFUSED(CORRUPT, "the description of tensor 'some.weight'", "past the end");
    put_header(&writer, 3, 1, 0);
    put_tensor(&writer, "", 0, 1, 1, 0);
    REFUSED(CORRUPT, "tensor 1 of 1", "empty name");
}

/* ---- messages ---- */

static void hostile_names_become_one_printable_line(void **state) {
    (void)state;
    put_header(&writer, 3, 0, 1);
    /* escape sequences, newline, broken UTF-8, a direction override, a line separator; and two harmless
     * letters */
    put_key(&writer, "\x1b[31m\n\r\t\xff\xc3 \u202e\u2028\xc2\x85\u00e9\u4e2d", 99);
    put_u64(&writer, 0);
    REFUSED(CORRUPT,
            "'\\x1b[31m\\x0a\\x0d\\x09\\xff\\xc3 \\xe2\\x80\\xae\\xe2\\x80\\xa8\\xc2\\x85\u00e9\u4e2d'");
    char name[2000];
    memset(name, '\n', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    put_header(&writer, 3, 0, 1);
    put_key(&writer, name, 99);
    put_u64(&writer, 0);
    REFUSED(CORRUPT, "\\x0a\\x0a", "...'", "unknown type 99");
    assert_true(strlen(err_message()) < 200);
    memset(name, 'x', sizeof name - 1);
    put_header(&writer, 3, 0, 1);
    put_key(&writer, name, 99);
    put_u64(&writer, 0);
    REFUSED(CORRUPT, "xxx...'", "unknown type 99");
    assert_true(strlen(err_message()) < 200);
}

static void long_paths_keep_their_end(void **state) {
    (void)state;
    char path[5000];
    for (size_t shift = 0; shift < 4; shift++) { /* the cut falls on each byte of a character */
        size_t n = 0;
        while (n < 4500) n += (size_t)sprintf(path + n, "/\u00e9");
        (void)snprintf(path + n, sizeof path - n, "%.*s\nmodel.gguf", (int)shift, "xxx");
        struct gguf *file;
        int result = gguf_open(&file, path);
        assert_int_equal(result, ERR_IO); /* ENAMETOOLONG */
        assert_int_equal(strncmp(err_message(), "...", 3), 0);
        assert_null(strstr(err_message(), "\\xc3"));
        assert_null(strstr(err_message(), "\\xa9"));
        assert_non_null(strstr(err_message(), "\\x0amodel.gguf: cannot be opened"));
        assert_true(strlen(err_message()) < 300);
    }
}

/* ---- every byte ---- */

/* Touches whatever an accepted file shows; the sanitizers watch. */
static uint64_t walk(const struct gguf *file) {
    uint64_t sum = 0;
    for (size_t i = 0; i < gguf_n_values(file); i++) {
        const struct gguf_value *value = gguf_value_at(file, i);
        if (value->type == GGUF_STRING)
            for (size_t j = 0; j < value->string.length; j++) sum += (uint8_t)value->string.bytes[j];
        if (value->type != GGUF_ARRAY) continue;
        for (uint64_t j = 0; j < value->length; j++)
            sum += value->strings != NULL ? value->strings[j].length : gguf_array_float(value, j) != 0.0;
    }
    for (size_t i = 0; i < gguf_n_tensors(file); i++)
        for (size_t j = 0; j < gguf_tensor_at(file, i)->bytes; j++) sum += gguf_tensor_at(file, i)->data[j];
    return sum;
}

/* What is written opens; cut anywhere it is refused. */
static void cut_everywhere(void) {
    for (size_t length = 0; length <= writer.length; length++) {
        uint8_t *bytes = exact_copy(writer.bytes, length);
        struct gguf *file = NULL;
        int result = gguf_open_bytes(&file, bytes, length, "cut.gguf");
        if (length == writer.length) {
            assert_int_equal(result, 0);
            (void)walk(file);
        } else {
            assert_failure(result, ERR_CORRUPT, (const char *const[]){"cut.gguf: "}, 1);
        }
        gguf_close(file);
        free(bytes);
    }
}

static void cut_at_every_byte(void **state) {
    (void)state;
    for (uint32_t version = 2; version <= 3; version++) {
        put_small_file(&writer, version);
        cut_everywhere();
    }
}

/* With nothing behind the value that could be missed instead. */
static void last_value_cut_at_every_byte(void **state) {
    (void)state;
    static const size_t sizes[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
    for (uint32_t type = 0; type < 13; type++) {
        put_header(&writer, 3, 0, 1);
        put_key(&writer, "last", type);
        if (type == 9) { /* an empty array */
            put_u32(&writer, 0);
            put_u64(&writer, 0);
        }
        if (type == 8) put_string(&writer, "text");
        for (size_t i = 0; i < sizes[type]; i++) put_u8(&writer, 0);
        cut_everywhere();
        if (type == 9) continue;
        put_header(&writer, 3, 0, 1);
        put_array(&writer, "last", type, 2);
        for (size_t i = 0; i < 2; i++) {
            if (type == 8) put_string(&writer, "text");
            for (size_t j = 0; j < sizes[type]; j++) put_u8(&writer, 0);
        }
        cut_everywhere();
    }
}

static void every_byte_changed(void **state) {
    (void)state;
    static const uint8_t flips[] = {0x01, 0x02, 0x04, 0x08, 0x10, 0x20, 0x40, 0x80, 0xff};
    size_t n_refused = 0;
    put_small_file(&writer, 3);
    uint8_t *bytes = exact_copy(writer.bytes, writer.length);
    for (size_t i = 0; i < writer.length; i++) {
        for (size_t j = 0; j < sizeof flips; j++) {
            bytes[i] ^= flips[j];
            struct gguf *file = NULL;
            int result = gguf_open_bytes(&file, bytes, writer.length, "changed.gguf");
            if (result == 0) {
                (void)walk(file);
                gguf_close(file);
            } else {
                n_refused++;
                assert_one_printable_line(err_message());
            }
            bytes[i] ^= flips[j];
        }
    }
    free(bytes);
    assert_true(n_refused > 1000);
}

/* ---- paths ---- */

static void refuse_path(const char *path, int code, const char *word) {
    struct gguf *file;
    int result = gguf_open(&file, path);
    assert_failure(result, code, (const char *const[]){path, word}, 2);
    assert_null(file);
}

static void paths_that_are_no_files(void **state) {
    (void)state;
    char folder[] = "/tmp/cabinet-test-gguf-XXXXXX", path[64];
    assert_non_null(mkdtemp(folder));
    refuse_path(folder, ERR_IO, "is a directory");
    (void)snprintf(path, sizeof path, "%s/absent.gguf", folder);
    refuse_path(path, ERR_NOT_FOUND, "no such file");
    (void)snprintf(path, sizeof path, "%s/pipe", folder);
    assert_int_equal(mkfifo(path, 0600), 0);
    refuse_path(path, ERR_IO, "not a regular file"); /* at once, though nobody writes to it */
    assert_int_equal(unlink(path), 0);
    (void)snprintf(path, sizeof path, "%s/loop", folder);
    assert_int_equal(symlink("loop", path), 0);
    refuse_path(path, ERR_IO, "cannot be opened");
    assert_int_equal(unlink(path), 0);
    (void)snprintf(path, sizeof path, "%s/empty", folder);
    FILE *empty = fopen(path, "w");
    assert_non_null(empty);
    assert_int_equal(fclose(empty), 0);
    refuse_path(path, ERR_CORRUPT, "is empty");
    assert_int_equal(chmod(path, 0), 0);
    if (geteuid() != 0) refuse_path(path, ERR_IO, "cannot be opened"); /* root may read anything */
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rmdir(folder), 0);
}

static void tensors_that_share_bytes(void **state) {
    (void)state;
    static const uint64_t offsets[] = {0, 32, 64, 96};
    for (size_t i = 0; i < sizeof offsets / sizeof *offsets; i++) {
        put_header(&writer, 3, 2, 0);
        put_tensor(&writer, "b", 0, 8, 4, offsets[i]);
        put_tensor(&writer, "a", 0, 8, 3, 128);
        put_padding(&writer, 32);
        put_data(&writer, 256);
        if (offsets[i] > 0) {
            REFUSED(CORRUPT, "'a'", "'b'", "share bytes");
            continue;
        }
        struct gguf *file;
        assert_int_equal(gguf_open_bytes(&file, writer.bytes, writer.length, "good"), 0);
        gguf_close(file);
    }
    put_header(&writer, 3, 2, 0);
    put_tensor(&writer, "b", 0, 8, 4, 32);
    put_tensor(&writer, "a", 0, 8, 4, 32);
    put_padding(&writer, 32);
    put_data(&writer, 256);
    REFUSED(CORRUPT, "share bytes");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(files_of_another_kind),
        cmocka_unit_test(versions_and_byte_orders),
        cmocka_unit_test(absurd_counts_allocate_nothing),
        cmocka_unit_test(keys),
        cmocka_unit_test(long_keys),
        cmocka_unit_test(values),
        cmocka_unit_test(alignments),
        cmocka_unit_test(tensor_types),
        cmocka_unit_test(tensor_shapes),
        cmocka_unit_test(tensor_places),
        cmocka_unit_test(hostile_names_become_one_printable_line),
        cmocka_unit_test(long_paths_keep_their_end),
        cmocka_unit_test(cut_at_every_byte),
        cmocka_unit_test(last_value_cut_at_every_byte),
        cmocka_unit_test(every_byte_changed),
        cmocka_unit_test(paths_that_are_no_files),
        cmocka_unit_test(tensors_that_share_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
