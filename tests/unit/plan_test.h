/* What the planner's tests share: the catalog, a model by name, a folder for files. */
#ifndef PLAN_TEST_H
#define PLAN_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "plan/catalog.h"

static struct plan_catalog catalog;

static inline int open_catalog(void **state) {
    (void)state;
    if (plan_catalog_open(&catalog, NULL) == 0) return 0;
    fprintf(stderr, "%s\n", err_message());
    return -1;
}
static inline int close_catalog(void **state) {
    (void)state;
    plan_catalog_close(&catalog);
    return 0;
}

static inline const struct plan_model *model_of(const char *name) {
    const struct plan_model *model = plan_catalog_model(&catalog, name);
    if (model == NULL) fail_msg("%s", err_message());
    return model;
}
static inline const struct plan_hardware *hardware_of(const char *name) {
    const struct plan_hardware *hardware = plan_catalog_hardware(&catalog, name);
    if (hardware == NULL) fail_msg("%s", err_message());
    return hardware;
}

/* A file with that text in a new folder, whose path is `folder`; both are removed by drop_file. */
struct test_file {
    char folder[64], path[128];
};
static inline void make_file(struct test_file *file, const char *name, const char *text) {
    snprintf(file->folder, sizeof file->folder, "/tmp/cabinet-test-XXXXXX");
    assert_non_null(mkdtemp(file->folder));
    snprintf(file->path, sizeof file->path, "%s/%s", file->folder, name);
    FILE *out = fopen(file->path, "w");
    assert_non_null(out);
    assert_true(fputs(text, out) >= 0);
    assert_int_equal(fclose(out), 0);
}
static inline void drop_file(const struct test_file *file) {
    unlink(file->path);
    rmdir(file->folder);
}

#define assert_near(is, want, share)                                                                         \
    do {                                                                                                     \
        const double is_ = (is), want_ = (want);                                                             \
        if (!(is_ >= want_ - (share) * want_ && is_ <= want_ + (share) * want_))                             \
            fail_msg("%s is %.17g, not %.17g", #is, is_, want_);                                             \
    } while (0)

#endif
