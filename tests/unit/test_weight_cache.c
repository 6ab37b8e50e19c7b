/* Repacked weights kept on disk (weight_cache.h): whatever lies in the folder, the panels that a model opens
 * with are those that repacking gives. The argument is a model; the tests work on copies of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <xxhash.h>

#include "base/err.h"
#include "base/fault.h"
#include "base/mem.h"
#include "kernel/kernel_set.h"
#include "model/model.h"

/* As weight_cache.c writes it, by numbers: a change of the format has to change this, too. */
enum { AT_FORMAT = 8, AT_PANEL_BYTES = 32, AT_CHECKSUM = 40, AT_HASH = 48, AT_PANELS = 2 << 20 };
enum { PATH_BYTES = 512 };

static const char *model_path;
static char root[PATH_BYTES - 300];

struct place {
    char folder[PATH_BYTES], model[PATH_BYTES];
    struct weight_cache cache;
    struct team *team;
    struct model expected; /* opened without a cache */
};

static void read_file(const char *path, uint8_t **bytes, size_t *length) {
    struct stat status;
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    assert_int_equal(fstat(fileno(file), &status), 0);
    *length = (size_t)status.st_size;
    *bytes = malloc(*length + 1);
    assert_int_equal(fread(*bytes, 1, *length, file), *length);
    (void)fclose(file);
}

static void write_file(const char *path, const uint8_t *bytes, size_t length) {
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, length, file), length);
    assert_int_equal(fclose(file), 0);
}

/* The model has f16 matrices only. Small f16 numbers are as good as groups of Q8_0, which take less room. */
static void make_quantised(uint8_t *bytes, size_t length) {
    static const char name[] = "blk.0.ffn_down.weight";
    uint8_t *at = memmem(bytes, length, name, strlen(name));
    assert_non_null(at);
    at += strlen(name) + sizeof(uint32_t) + 2 * sizeof(uint64_t); /* how many dimensions, and these */
    assert_int_equal(*at, WEIGHT_F16);
    *at = WEIGHT_Q8_0;
}

static void copy_model(const char *to) {
    uint8_t *bytes;
    size_t length;
    read_file(model_path, &bytes, &length);
    make_quantised(bytes, length);
    write_file(to, bytes, length);
    free(bytes);
}

static int set_up(void **state) {
    static unsigned n;
    struct place *place = calloc(1, sizeof *place);
    snprintf(place->folder, sizeof place->folder, "%s/%u/deep/weights", root, ++n);
    snprintf(place->model, sizeof place->model, "%s/%u.gguf", root, n);
    copy_model(place->model);
    place->cache = (struct weight_cache){place->folder, UINT64_C(1) << 30, 0};
    assert_int_equal(team_open(&place->team, 2), 0);
    assert_int_equal(model_open(&place->expected, place->model, kernel_set_get(NULL), place->team), 0);
    *state = place;
    return 0;
}

static int tear_down(void **state) {
    struct place *place = *state;
    weight_cache_clear(place->folder);
    for (int i = 0; i < 2; i++) { /* the folders above, if the test made them */
        *strrchr(place->folder, '/') = '\0';
        (void)rmdir(place->folder);
    }
    assert_int_equal(unlink(place->model), 0);
    model_close(&place->expected);
    team_close(place->team);
    free(place);
    return 0;
}

static void check_measured(const struct panel_matrix *matrix) {
    struct panel_matrix again = *matrix;
    assert_int_equal(matrix->type, WEIGHT_Q8_0);
    panel_matrix_measure(&again);
    assert_true(matrix->largest > 0 && matrix->largest == again.largest);
}

/* Opens the model with the cache and sees that its panels are right. */
static enum weight_cache_result open_with(const struct place *place, const struct weight_cache *cache) {
    struct model model;
    if (model_open_cached(&model, place->model, kernel_set_get(NULL), cache, place->team) < 0)
        fail_msg("%s", err_message());
    const struct weights *got = &model.weights, *expected = &place->expected.weights;
    assert_int_equal(got->panel_bytes, expected->panel_bytes);
    assert_memory_equal(got->panels, expected->panels, expected->panel_bytes);
    assert_memory_equal(got->vectors, expected->vectors, expected->vectors_bytes);
    size_t at = (size_t)(got->layers[0].down.data - (uint8_t *)got->panels);
    assert_int_equal(at, (size_t)(expected->layers[0].down.data - (uint8_t *)expected->panels));
    check_measured(&got->layers[0].down);
    enum weight_cache_result result = got->cached;
    model_close(&model);
    return result;
}

static enum weight_cache_result open_it(const struct place *place) { return open_with(place, &place->cache); }

/* The name of the only file in the folder. */
static void only_file(const struct place *place, char path[PATH_BYTES + 300]) {
    DIR *folder = opendir(place->folder);
    unsigned n = 0;
    assert_non_null(folder);
    for (const struct dirent *entry = readdir(folder); entry != NULL; entry = readdir(folder)) {
        if (entry->d_name[0] == '.') continue;
        snprintf(path, PATH_BYTES + 300, "%s/%s", place->folder, entry->d_name);
        n++;
    }
    (void)closedir(folder);
    assert_int_equal(n, 1);
}

static void second_start_maps(void **state) {
    const struct place *place = *state;
    assert_int_equal(weight_cache_usage(place->folder).n_files, 0);
    assert_int_equal(open_it(place), WEIGHT_CACHE_STORED);
    assert_int_equal(open_it(place), WEIGHT_CACHE_HIT);
    assert_int_equal(open_it(place), WEIGHT_CACHE_HIT);
    struct weight_cache_usage usage = weight_cache_usage_of(place->folder, place->expected.file);
    assert_int_equal(usage.n_files, 1);
    assert_int_equal(usage.bytes, AT_PANELS + place->expected.weights.panel_bytes);
    assert_int_equal(weight_cache_forget(place->folder, place->expected.file).bytes, usage.bytes);
    assert_int_equal(weight_cache_usage(place->folder).n_files, 0);
    assert_int_equal(open_it(place), WEIGHT_CACHE_STORED);
}

static void switched_off(void **state) {
    const struct place *place = *state;
    const size_t bytes = place->expected.weights.panel_bytes;
    const struct weight_cache off[] = {
        {NULL, UINT64_C(1) << 30, 0},
        {place->folder, 0, 0},
        {place->folder, bytes - 1, 0},
        {place->folder, UINT64_C(1) << 30, bytes + 1},
    };
    for (size_t i = 0; i < sizeof off / sizeof *off; i++) {
        assert_int_equal(open_with(place, &off[i]), WEIGHT_CACHE_UNUSED);
        assert_int_equal(access(place->folder, F_OK), -1);
    }
}

/* ---- what may be wrong with a file ---- */

static void put_u32(uint8_t *at, uint32_t value) { memcpy(at, &value, sizeof value); }
static void put_u64(uint8_t *at, uint64_t value) { memcpy(at, &value, sizeof value); }

/* Makes checksum and hash right again. */
static void seal(uint8_t *bytes, size_t length) {
    uint64_t hashes[64];
    size_t n = 0, chunk = 2 << 20;
    for (size_t at = AT_PANELS; at < length; at += chunk, n++)
        hashes[n] = XXH3_64bits(bytes + at, length - at < chunk ? length - at : chunk);
    put_u64(bytes + AT_CHECKSUM, XXH3_64bits(hashes, n * sizeof *hashes));
    put_u64(bytes + AT_HASH, XXH3_64bits(bytes, AT_HASH));
}

static void flip_header(uint8_t *bytes, size_t *length, unsigned i) {
    (void)length;
    bytes[i] ^= 1;
}
static void flip_panels(uint8_t *bytes, size_t *length, unsigned i) {
    bytes[AT_PANELS + (*length - AT_PANELS - 1) * i / 63] ^= 0x10;
}
static void cut(uint8_t *bytes, size_t *length, unsigned i) {
    (void)bytes;
    *length = *length * i / 64;
}
static void lengthen(uint8_t *bytes, size_t *length, unsigned i) {
    (void)i;
    bytes[(*length)++] = 0;
}
static void other_version(uint8_t *bytes, size_t *length, unsigned i) {
    put_u32(bytes + AT_FORMAT, i < 1 ? 0 : i + 1);
    seal(bytes, *length);
}
static void other_size(uint8_t *bytes, size_t *length, unsigned i) {
    put_u64(bytes + AT_PANEL_BYTES, i == 0 ? UINT64_MAX - AT_PANELS : i);
    seal(bytes, *length);
}
/* As a build with another layout of panels would leave: all in order, but other bytes. */
static void other_layout(uint8_t *bytes, size_t *length, unsigned i) {
    for (size_t at = AT_PANELS + i; at + 1 < *length; at += 2) {
        uint8_t first = bytes[at];
        bytes[at] = bytes[at + 1];
        bytes[at + 1] = first;
    }
    seal(bytes, *length);
}

static void damage(const struct place *place, void (*change)(uint8_t *, size_t *, unsigned), unsigned i) {
    char path[PATH_BYTES + 300];
    uint8_t *bytes;
    size_t length;
    only_file(place, path);
    read_file(path, &bytes, &length);
    change(bytes, &length, i);
    assert_int_equal(unlink(path), 0);
    write_file(path, bytes, length);
    assert_int_equal(chmod(path, 0600), 0);
    free(bytes);
}

static void damaged_files_are_repacked(void **state) {
    static const struct {
        void (*change)(uint8_t *, size_t *, unsigned);
        unsigned n;
    } cases[] = {{flip_header, AT_HASH + 8}, {flip_panels, 64}, {cut, 64},        {lengthen, 1},
                 {other_version, 2},         {other_size, 2},   {other_layout, 2}};
    const struct place *place = *state;
    assert_int_equal(open_it(place), WEIGHT_CACHE_STORED);
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++)
        for (unsigned i = 0; i < cases[c].n; i++) {
            damage(place, cases[c].change, i);
            if (open_it(place) != WEIGHT_CACHE_STORED) fail_msg("case %zu, %u was believed", c, i);
            assert_int_equal(open_it(place), WEIGHT_CACHE_HIT);
        }
}

static void leave(uint8_t *bytes, size_t *length, unsigned i) {
    (void)bytes;
    (void)length;
    (void)i;
}

/* The file itself is right, but anybody may have written it, or it is none. */
static void files_of_others_are_not_read(void **state) {
    const struct place *place = *state;
    char path[PATH_BYTES + 300], elsewhere[PATH_BYTES + 300];
    assert_int_equal(open_it(place), WEIGHT_CACHE_STORED);
    only_file(place, path);
    snprintf(elsewhere, sizeof elsewhere, "%s/elsewhere", root);
    damage(place, leave, 0);
    assert_int_equal(open_it(place), WEIGHT_CACHE_HIT);
    assert_int_equal(chmod(path, 0620), 0);
    assert_int_equal(open_it(place), WEIGHT_CACHE_STORED);
    assert_int_equal(chmod(path, 0602), 0);
    assert_int_equal(open_it(place), WEIGHT_CACHE_STORED);
    assert_int_equal(rename(path, elsewhere), 0);
    assert_int_equal(symlink(elsewhere, path), 0);
    assert_int_equal(open_it(place), WEIGHT_CACHE_STORED);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(open_it(place), WEIGHT_CACHE_STORED);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_int_equal(open_it(place), WEIGHT_CACHE_FAILED); /* a file cannot replace a folder */
    assert_int_equal(rmdir(path), 0);
    assert_int_equal(unlink(elsewhere), 0);
}

/* Another time of change, the same length: another source, whose panels are its own. */
static void changed_source(void **state) {
    struct place *place = *state;
    uint8_t *bytes;
    size_t length;
    assert_int_equal(open_it(place), WEIGHT_CACHE_STORED);
    read_file(place->model, &bytes, &length);
    bytes[length - 40] ^= 1; /* within the last tensor */
    write_file(place->model, bytes, length);
    free(bytes);
    const struct timespec times[] = {{1000, 0}, {1000, 7}};
    assert_int_equal(utimensat(AT_FDCWD, place->model, times, 0), 0);
    model_close(&place->expected);
    assert_int_equal(model_open(&place->expected, place->model, kernel_set_get(NULL), place->team), 0);
    assert_int_equal(open_it(place), WEIGHT_CACHE_STORED);
    assert_int_equal(weight_cache_usage(place->folder).n_files, 2);
    assert_int_equal(open_it(place), WEIGHT_CACHE_HIT);
}

/* ---- the folder ---- */

static void folder_that_cannot_be_written(void **state) {
    const struct place *place = *state;
    char file[PATH_BYTES + 300];
    struct weight_cache cache = place->cache;
    snprintf(file, sizeof file, "%s/weights", place->model); /* below a file there is no folder */
    cache.folder = file;
    assert_int_equal(open_with(place, &cache), WEIGHT_CACHE_FAILED);
    cache.folder = "/proc/self/nothing/weights";
    assert_int_equal(open_with(place, &cache), WEIGHT_CACHE_FAILED);
    if (geteuid() == 0) return; /* whom no mode keeps out */
    assert_int_equal(open_it(place), WEIGHT_CACHE_STORED);
    assert_int_equal(weight_cache_forget(place->folder, place->expected.file).n_files, 1);
    assert_int_equal(chmod(place->folder, 0500), 0);
    assert_int_equal(open_it(place), WEIGHT_CACHE_FAILED);
    assert_int_equal(chmod(place->folder, 0700), 0);
}

/* Changes the time that names the source. */
static void be_source(const struct place *place, time_t second) {
    const struct timespec times[] = {{second, 0}, {second, 0}};
    assert_int_equal(utimensat(AT_FDCWD, place->model, times, 0), 0);
}

static void set_used(const char *path, time_t second) {
    const struct timespec times[] = {{second, 0}, {second, 0}};
    assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
}

/* Room for two: the one that was not used for longest goes. */
static void least_recently_used_goes(void **state) {
    struct place *place = *state;
    char first[PATH_BYTES + 300];
    const uint64_t bytes = AT_PANELS + place->expected.weights.panel_bytes;
    place->cache.max_bytes = 2 * bytes + bytes / 2;
    be_source(place, 1);
    assert_int_equal(open_it(place), WEIGHT_CACHE_STORED);
    only_file(place, first);
    set_used(first, 1000);
    be_source(place, 2);
    assert_int_equal(open_it(place), WEIGHT_CACHE_STORED);
    be_source(place, 1);
    set_used(first, time(NULL) - 100);
    assert_int_equal(open_it(place), WEIGHT_CACHE_HIT); /* which makes it the latest */
    be_source(place, 3);
    assert_int_equal(open_it(place), WEIGHT_CACHE_STORED);
    assert_int_equal(weight_cache_usage(place->folder).n_files, 2);
    be_source(place, 1);
    assert_int_equal(open_it(place), WEIGHT_CACHE_HIT);
    be_source(place, 3);
    assert_int_equal(open_it(place), WEIGHT_CACHE_HIT);
    be_source(place, 2);
    assert_int_equal(open_it(place), WEIGHT_CACHE_STORED);
    assert_int_equal(weight_cache_usage(place->folder).n_files, 2);
    assert_int_equal(weight_cache_clear(place->folder).n_files, 2);
    assert_int_equal(access(place->folder, F_OK), -1);
}

/* What a process left behind that was stopped while it wrote; other files are nobody's business. */
static void leftovers_go(void **state) {
    const struct place *place = *state;
    char path[PATH_BYTES + 300], other[PATH_BYTES + 300];
    assert_int_equal(open_it(place), WEIGHT_CACHE_STORED);
    only_file(place, path);
    strcat(path, ".abcdef");
    snprintf(other, sizeof other, "%s/notes.panels.abcdef", place->folder);
    write_file(path, (const uint8_t *)"x", 1);
    write_file(other, (const uint8_t *)"x", 1);
    set_used(other, 1000);
    be_source(place, 2);
    assert_int_equal(open_it(place), WEIGHT_CACHE_STORED);
    assert_int_equal(access(path, F_OK), 0); /* somebody may be writing it */
    set_used(path, time(NULL) - 7200);
    be_source(place, 3);
    assert_int_equal(open_it(place), WEIGHT_CACHE_STORED);
    assert_int_equal(access(path, F_OK), -1);
    assert_int_equal(access(other, F_OK), 0);
    assert_int_equal(unlink(other), 0);
}

/* ---- several at once, and faults ---- */

static void *open_often(void *argument) {
    struct place mine = *(const struct place *)argument;
    assert_int_equal(team_open(&mine.team, 2), 0);
    for (int i = 0; i < 40; i++) {
        enum weight_cache_result result = open_it(&mine);
        if (result != WEIGHT_CACHE_STORED && result != WEIGHT_CACHE_HIT) abort();
        if (i % 4 == 3) weight_cache_forget(mine.folder, mine.expected.file);
    }
    team_close(mine.team);
    return NULL;
}

static void several_at_once(void **state) {
    struct place *place = *state;
    pthread_t others[3];
    for (int i = 0; i < 3; i++) assert_int_equal(pthread_create(&others[i], NULL, open_often, place), 0);
    for (int i = 0; i < 3; i++) assert_int_equal(pthread_join(others[i], NULL), 0);
    weight_cache_forget(place->folder, place->expected.file);
    assert_int_equal(weight_cache_usage(place->folder).n_files, 0); /* nothing unfinished either */
}

/* The n-th call fails: the model opens with the right panels all the same, or says what it lacks; and what is
 * in the folder then is right. */
static void every_call_may_fail(void **state) {
    struct place *place = *state;
    unsigned n_failed = 0, n_delivered = 0;
    for (int begin = 0; begin < 2; begin++) { /* from a miss, from a hit */
        for (uint64_t n = 1, is_clean = false; !is_clean; n++) {
            struct model model;
            if (begin == 0) weight_cache_forget(place->folder, place->expected.file);
            fault_arm(FAULT_ONCE, n);
            int result =
                model_open_cached(&model, place->model, kernel_set_get(NULL), &place->cache, place->team);
            fault_disarm();
            is_clean = !fault_delivered();
            n_delivered += !is_clean;
            n_failed += result < 0;
            if (result < 0) assert_true(result == ERR_NO_MEMORY || result == ERR_IO);
            if (result == 0) {
                const struct weights *expected = &place->expected.weights;
                assert_memory_equal(model.weights.panels, expected->panels, expected->panel_bytes);
                model_close(&model);
            }
            assert_true(weight_cache_usage(place->folder).n_files <= 1);
            assert_true(n < 10000);
            (void)open_it(place);
        }
    }
    assert_true(n_failed > 10 && n_delivered > n_failed + 10);
}

int main(int argc, char **argv) {
    if (argc != 2) return 2;
    model_path = argv[1];
    snprintf(root, sizeof root, "%s/cabinet-weights-XXXXXX",
             getenv("TMPDIR") == NULL ? P_tmpdir : getenv("TMPDIR"));
    if (mkdtemp(root) == NULL) return 2;
#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(second_start_maps),
        TEST(switched_off),
        TEST(damaged_files_are_repacked),
        TEST(files_of_others_are_not_read),
        TEST(changed_source),
        TEST(folder_that_cannot_be_written),
        TEST(least_recently_used_goes),
        TEST(leftovers_go),
        TEST(several_at_once),
        TEST(every_call_may_fail),
    };
    int n_failed = cmocka_run_group_tests(tests, NULL, NULL);
    (void)rmdir(root);
    return n_failed;
}
