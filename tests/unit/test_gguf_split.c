/* Models split over several GGUF files: found as one, or refused with a line that names the file and the
 * reason. */
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
#include "model/gguf.h"

#include "gguf_writer.h"

enum { MAX_PARTS = 4 };

static struct gguf_writer writers[MAX_PARTS];
static const char *const names[MAX_PARTS] = {"m-00001-of-00003.gguf", "m-00002-of-00003.gguf",
                                             "m-00003-of-00003.gguf", "too-many.gguf"};

/* What a part says of itself; -1 leaves a key out. */
struct part {
    int64_t no, count, n_tensors;
};

static void put_split_value(struct gguf_writer *writer, const char *key, uint32_t type, int64_t value) {
    if (value < 0) return;
    put_key(writer, key, type);
    if (type == 2)
        put_u16(writer, (uint16_t)value);
    else
        put_u32(writer, (uint32_t)value);
}

/* A part with one more value and two tensors of two rows, of 4 and 8 numbers; `mark` is in their data. */
static void put_part(struct gguf_writer *writer, struct part part, const char *first_tensor,
                     const char *second_tensor, uint8_t mark) {
    uint64_t n_values = 1 + (part.no >= 0) + (part.count >= 0) + (part.n_tensors >= 0);
    put_header(writer, 3, 2, n_values);
    put_u32_value(writer, "general.alignment", mark % 2 == 0 ? 32 : 64);
    put_split_value(writer, "split.no", part.no > UINT16_MAX ? 4 : 2, part.no);
    put_split_value(writer, "split.count", part.count > UINT16_MAX ? 4 : 2, part.count);
    put_split_value(writer, "split.tensors.count", 5, part.n_tensors);
    put_tensor(writer, first_tensor, 0, 4, 2, 0);
    put_tensor(writer, second_tensor, 0, 8, 2, 64);
    put_padding(writer, mark % 2 == 0 ? 32 : 64);
    for (int i = 0; i < 64 + 64; i++) put_u8(writer, (uint8_t)(mark + i / 64));
}

/* Three parts that belong together. */
static void put_model(void) {
    put_part(&writers[0], (struct part){0, 3, 6}, "token_embd.weight", "a", 10);
    put_part(&writers[1], (struct part){1, 3, 6}, "b", "c", 21);
    put_part(&writers[2], (struct part){2, 3, 6}, "zz", "output.weight", 30);
}

static int open_parts(struct gguf **file, size_t n_parts) {
    static struct gguf_buffer buffers[MAX_PARTS];
    for (size_t i = 0; i < n_parts; i++)
        buffers[i] = (struct gguf_buffer){writers[i].bytes, writers[i].length, names[i]};
    return gguf_open_buffers(file, buffers, n_parts);
}

static void assert_tensor(const struct gguf *file, const char *name, uint64_t n_columns, uint8_t data) {
    const struct gguf_tensor *tensor = gguf_find_tensor(file, name);
    assert_non_null(tensor);
    assert_int_equal(tensor->dims[0], n_columns);
    assert_int_equal(tensor->bytes, n_columns * 2 * 4);
    for (size_t i = 0; i < tensor->bytes; i++) assert_int_equal(tensor->data[i], data);
}

static void assert_is_the_model(const struct gguf *file) {
    assert_int_equal(gguf_n_files(file), 3);
    assert_int_equal(gguf_n_tensors(file), 6);
    assert_int_equal(gguf_n_values(file), 4);
    assert_int_equal(gguf_bytes(file), writers[0].length + writers[1].length + writers[2].length);
    assert_tensor(file, "token_embd.weight", 4, 10);
    assert_tensor(file, "a", 8, 11);
    assert_tensor(file, "b", 4, 21);
    assert_tensor(file, "c", 8, 22);
    assert_tensor(file, "zz", 4, 30);
    assert_tensor(file, "output.weight", 8, 31);
    for (size_t i = 0; i < 6; i++) { /* one list, in the order of the parts */
        static const uint8_t first_bytes[] = {10, 11, 21, 22, 30, 31};
        assert_int_equal(gguf_tensor_at(file, i)->data[0], first_bytes[i]);
    }
    assert_null(gguf_find_tensor(file, "absent"));
}

static void tensors_of_all_parts_are_found(void **state) {
    (void)state;
    put_model();
    struct gguf *file;
    if (open_parts(&file, 3) != 0) fail_msg("%s", err_message());
    assert_is_the_model(file);
    gguf_close(file);
}

static void a_first_part_may_have_only_metadata(void **state) {
    (void)state;
    put_model();
    put_header(&writers[0], 3, 0, 3);
    put_split_value(&writers[0], "split.no", 2, 0);
    put_split_value(&writers[0], "split.count", 2, 3);
    put_split_value(&writers[0], "split.tensors.count", 5, 4);
    put_part(&writers[1], (struct part){1, 3, 4}, "b", "c", 21);
    put_part(&writers[2], (struct part){2, 3, 4}, "zz", "output.weight", 30);
    struct gguf *file;
    if (open_parts(&file, 3) != 0) fail_msg("%s", err_message());
    assert_int_equal(gguf_n_tensors(file), 4);
    assert_tensor(file, "b", 4, 21);
    assert_tensor(file, "output.weight", 8, 31);
    gguf_close(file);
}

static void one_file_may_say_that_it_is_one(void **state) {
    (void)state;
    for (int64_t count = -1; count <= 1; count++) { /* gguf-split --merge leaves a count of 0 */
        put_part(&writers[0], (struct part){count < 0 ? -1 : 0, count, -1}, "a", "b", 10);
        struct gguf *file;
        if (open_parts(&file, 1) != 0) fail_msg("%s", err_message());
        assert_int_equal(gguf_n_files(file), 1);
        assert_tensor(file, "a", 4, 10);
        assert_tensor(file, "b", 8, 11);
        gguf_close(file);
    }
}

/* ---- refused ---- */

static void assert_failure(int result, int code, const char *const *words, size_t n_words) {
    if (result != code) fail_msg("%s instead of %s: %s", err_name(result), err_name(code), err_message());
    for (const char *c = err_message(); *c != '\0'; c++) assert_true((unsigned char)*c >= 0x20 && *c != 0x7f);
    for (size_t i = 0; i < n_words; i++)
        if (strstr(err_message(), words[i]) == NULL) fail_msg("no '%s' in: %s", words[i], err_message());
}

#define FAILED(result, code, ...)                                                                            \
    do {                                                                                                     \
        const char *const words_[] = {__VA_ARGS__};                                                          \
        assert_failure(result, ERR_##code, words_, sizeof words_ / sizeof words_[0]);                        \
    } while (0)

/* The first n_parts of the writers are refused; the message begins with the culprit's name. */
#define REFUSED(n_parts, culprit, code, ...)                                                                 \
    do {                                                                                                     \
        struct gguf *file_ = (struct gguf *)(void *)writers;                                                 \
        FAILED(open_parts(&file_, n_parts), code, __VA_ARGS__);                                              \
        assert_null(file_);                                                                                  \
        assert_int_equal(strncmp(err_message(), names[culprit], strlen(names[culprit])), 0);                 \
    } while (0)

static void counts_that_are_absurd(void **state) {
    (void)state;
    static const int64_t counts[] = {1001, 65535, 4294967295};
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        put_model();
        put_part(&writers[0], (struct part){0, counts[i], 6}, "d", "e", 10);
        char word[16];
        (void)snprintf(word, sizeof word, "%u", (unsigned)counts[i]);
        REFUSED(3, 0, TOO_LARGE, "split.count", word, "1000");
        put_model();
        put_part(&writers[2], (struct part){2, counts[i], 6}, "d", "e", 10);
        REFUSED(3, 2, TOO_LARGE, "split.count", word, "1000");
    }
    put_part(&writers[0], (struct part){3, 3, 6}, "d", "e", 10);
    REFUSED(3, 0, CORRUPT, "split.no is 3", "split.count is 3");
    put_part(&writers[0], (struct part){1, 1, 2}, "d", "e", 10);
    REFUSED(1, 0, CORRUPT, "split.no is 1", "split.count is 1");
    put_model();
    writers[0].bytes[24 + 8 + strlen("general.alignment") + 8 + 8 + strlen("split.no")] = 8; /* a text */
    struct gguf *file;
    assert_int_equal(open_parts(&file, 3), ERR_CORRUPT);
}

static void counts_that_contradict_the_parts(void **state) {
    (void)state;
    put_model();
    REFUSED(1, 0, CORRUPT, "split.count is 3", "1 part");
    REFUSED(2, 0, CORRUPT, "split.count is 3", "2 parts");
    put_part(&writers[3], (struct part){3, 3, 6}, "d", "e", 10);
    REFUSED(4, 0, CORRUPT, "split.count is 3", "4 parts");
    static const int64_t wrong[] = {0, 5, 7, 4294967295};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        put_part(&writers[0], (struct part){0, 3, wrong[i]}, "token_embd.weight", "a", 10);
        put_part(&writers[1], (struct part){1, 3, wrong[i]}, "b", "c", 21);
        put_part(&writers[2], (struct part){2, 3, wrong[i]}, "zz", "output.weight", 30);
        struct gguf *file;
        if (wrong[i] <= 7)
            REFUSED(3, 0, CORRUPT, "split.tensors.count", "6 tensors");
        else
            assert_int_equal(open_parts(&file, 3), ERR_CORRUPT); /* -1 as a 32-bit integer */
    }
}

static void keys_that_are_missing(void **state) {
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        put_model();
        put_part(&writers[i], (struct part){-1, 3, 6}, "d", "e", 10);
        REFUSED(3, i, CORRUPT, "split.no is missing");
        put_part(&writers[i], (struct part){(int64_t)i, 3, -1}, "d", "e", 10);
        REFUSED(3, i, CORRUPT, "split.tensors.count is missing");
    }
}

static void parts_of_another_model(void **state) {
    (void)state;
    put_model();
    put_part(&writers[1], (struct part){1, 2, 6}, "b", "c", 21);
    REFUSED(3, 1, CORRUPT, "another model", "split.count is 2", names[0], "is 3");
    put_part(&writers[1], (struct part){-1, -1, -1}, "b", "c", 21);
    REFUSED(3, 1, CORRUPT, "another model", "split.count is 1");
    put_part(&writers[1], (struct part){2, 3, 6}, "b", "c", 21);
    REFUSED(3, 1, CORRUPT, "split.no is 2", "must be 1");
    put_part(&writers[1], (struct part){0, 3, 6}, "b", "c", 21);
    REFUSED(3, 1, CORRUPT, "split.no is 0", "must be 1");
    put_part(&writers[1], (struct part){1, 3, 8}, "b", "c", 21);
    REFUSED(3, 1, CORRUPT, "another model", "split.tensors.count is 8", names[0], "is 6");
}

static void tensors_that_are_there_twice(void **state) {
    (void)state;
    put_model();
    put_part(&writers[2], (struct part){2, 3, 6}, "b", "output.weight", 30);
    REFUSED(3, 1, CORRUPT, "'b'", "twice", names[2]);
    put_part(&writers[2], (struct part){2, 3, 6}, "token_embd.weight", "output.weight", 30);
    REFUSED(3, 0, CORRUPT, "'token_embd.weight'", "twice", names[2]);
}

static void parts_that_are_no_gguf(void **state) {
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        put_model();
        writers[i].bytes[0] = 'X';
        REFUSED(3, i, CORRUPT, "not a GGUF file");
        put_model();
        writers[i].length -= 65;
        REFUSED(3, i, CORRUPT, "past the end of the file");
        writers[i].length = 0;
        REFUSED(3, i, CORRUPT, "empty");
    }
}

/* ---- files ---- */

static char folder[] = "/tmp/cabinet-test-split-XXXXXX";

/* Valid until the fourth call from now. */
static const char *path_of(const char *name) {
    static char paths[4][128];
    static unsigned n_calls;
    char *path = paths[n_calls++ % 4];
    (void)snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

static void write_part(const char *name, const struct gguf_writer *writer) {
    FILE *file = fopen(path_of(name), "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(writer->bytes, 1, writer->length, file), writer->length);
    assert_int_equal(fclose(file), 0);
}

static int make_folder(void **state) {
    (void)state;
    put_model();
    return mkdtemp(folder) == NULL ? -1 : 0;
}

static int remove_folder(void **state) {
    (void)state;
    for (size_t i = 0; i < 3; i++) (void)unlink(path_of(names[i]));
    return rmdir(folder);
}

static void the_first_path_opens_all_parts(void **state) {
    (void)state;
    for (size_t i = 0; i < 3; i++) write_part(names[i], &writers[i]);
    struct gguf *file;
    if (gguf_open(&file, path_of(names[0])) != 0) fail_msg("%s", err_message());
    assert_is_the_model(file);
    gguf_close(file);
}

static void a_later_part_names_the_first(void **state) {
    (void)state;
    write_part(names[0], &writers[0]);
    struct gguf *file;
    for (size_t i = 1; i < 3; i++) {
        write_part(names[i], &writers[i]);
        FAILED(gguf_open(&file, path_of(names[i])), INVALID, i == 1 ? "part 2 of 3" : "part 3 of 3", names[i],
               path_of(names[0]));
        assert_null(file);
    }
    assert_int_equal(rename(path_of(names[1]), path_of("other.gguf")), 0);
    FAILED(gguf_open(&file, path_of("other.gguf")), INVALID, "part 2 of 3", "-00001-of-00003.gguf");
    assert_int_equal(unlink(path_of("other.gguf")), 0);
}

static void a_missing_part_is_named(void **state) {
    (void)state;
    struct gguf *file;
    for (size_t missing = 1; missing < 3; missing++) {
        for (size_t i = 0; i < 3; i++) write_part(names[i], &writers[i]);
        assert_int_equal(unlink(path_of(names[missing])), 0);
        FAILED(gguf_open(&file, path_of(names[0])), NOT_FOUND, path_of(names[missing]), "no such file",
               "of 3");
        assert_null(file);
    }
    assert_int_equal(mkdir(path_of(names[2]), 0700), 0);
    write_part(names[1], &writers[1]);
    FAILED(gguf_open(&file, path_of(names[0])), IO, names[2], "directory");
    assert_int_equal(rmdir(path_of(names[2])), 0);
}

static void a_first_part_of_another_name_is_refused(void **state) {
    (void)state;
    static const char *const others[] = {"m.gguf", "gguf", "m-00001-of-00004.gguf", "m-00002-of-00003.gguf"};
    struct gguf *file;
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        write_part(others[i], &writers[0]);
        FAILED(gguf_open(&file, path_of(others[i])), INVALID, others[i], "-00001-of-00003.gguf", "rename");
        assert_null(file);
        assert_int_equal(unlink(path_of(others[i])), 0);
    }
}

int main(void) {
    const struct CMUnitTest in_memory[] = {
        cmocka_unit_test(tensors_of_all_parts_are_found),
        cmocka_unit_test(a_first_part_may_have_only_metadata),
        cmocka_unit_test(one_file_may_say_that_it_is_one),
        cmocka_unit_test(counts_that_are_absurd),
        cmocka_unit_test(counts_that_contradict_the_parts),
        cmocka_unit_test(keys_that_are_missing),
        cmocka_unit_test(parts_of_another_model),
        cmocka_unit_test(tensors_that_are_there_twice),
        cmocka_unit_test(parts_that_are_no_gguf),
    };
    const struct CMUnitTest on_disk[] = {
        cmocka_unit_test(the_first_path_opens_all_parts),
        cmocka_unit_test(a_later_part_names_the_first),
        cmocka_unit_test(a_missing_part_is_named),
        cmocka_unit_test(a_first_part_of_another_name_is_refused),
    };
    int n_failed = cmocka_run_group_tests(in_memory, NULL, NULL);
    return n_failed + cmocka_run_group_tests(on_disk, make_folder, remove_folder);
}
