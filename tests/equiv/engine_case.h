/* One model and one engine for a test program, with a clock that ticks by itself: the file of the model is
 * the program's first argument, the format of K and V its second. */
#ifndef CABINET_TESTS_ENGINE_CASE_H
#define CABINET_TESTS_ENGINE_CASE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/err.h"
#include "engine/engine.h"

static const char *path, *format;
static struct team *team;
static struct model model;
static struct engine *engine;

static uint64_t tick(void *state) { return ++*(uint64_t *)state; }
static uint64_t time_now;

/* Opens all of it; the format and the clock of `opts` are set here. */
static void open_engine(struct engine_opts opts, uint32_t max_vocab) {
    opts.clock = (struct clock){tick, &time_now};
    if (kv_rules_parse(&opts.kv, format) < 0 || team_open(&team, 2) < 0 ||
        model_open(&model, path, kernel_set_get(NULL), team) < 0 ||
        engine_open(&engine, &model, team, &opts) < 0)
        fail_msg("%s", err_message());
    assert_true(model.description.n_vocab <= max_vocab);
}

static void close_engine(void) {
    engine_close(engine);
    model_close(&model);
    team_close(team);
}

#endif
