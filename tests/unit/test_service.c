/* The engine on a thread of its own, over a tiny model (the argument): tasks run there, in order, between
 * steps; it sleeps and wakes; its end loses nothing that was posted. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <time.h>

#include "base/err.h"
#include "engine/service.h"
#include "kv/kv_cache.h"
#include "kv/kv_usage.h"

enum { N_POSTERS = 4, N_TASKS = 500, N_REQUESTS = 6, N_OUTPUT = 20, MAX_TOKENS = 128, PATIENCE_SECONDS = 60 };

static const char *path;
static struct team *team;
static struct model model;
static struct engine *engine;
static struct service *service;
static _Atomic uint32_t n_steps;

static void count_step(struct engine *stepped, void *user) {
    assert_ptr_equal(stepped, engine);
    assert_ptr_equal(user, &n_steps);
    atomic_fetch_add(&n_steps, 1);
}

static int open_service(void **state) {
    (void)state;
    const struct engine_opts opts = {.kv_memory_bytes = 4 << 20,
                                     .kv = kv_rules_of(CODEC_f16),
                                     .max_sequences = N_REQUESTS,
                                     .max_tokens = MAX_TOKENS,
                                     .chunk_tokens = 32,
                                     .clock = clock_monotonic()};
    atomic_store(&n_steps, 0);
    if (team_open(&team, 1) < 0 || model_open(&model, path, kernel_set_get(NULL), team) < 0 ||
        engine_open(&engine, &model, team, &opts) < 0 ||
        service_open(&service, engine, count_step, &n_steps) < 0)
        fail_msg("%s", err_message());
    return 0;
}

static int close_engine(void **state) {
    (void)state;
    assert_true(kv_check(engine_kv(engine)));
    assert_int_equal(kv_usage(engine_kv(engine)).held_bytes, 0);
    engine_close(engine);
    model_close(&model);
    team_close(team);
    return 0;
}

static int close_service(void **state) {
    service_close(service);
    return close_engine(state);
}

static void wait_for(sem_t *semaphore) {
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += PATIENCE_SECONDS;
    if (sem_timedwait(semaphore, &until) != 0) fail_msg("the engine's thread sleeps");
}

/* ---- tasks ---- */

struct task {
    struct service_task task;
    struct poster *poster;
    uint32_t number;
};

struct poster {
    pthread_t thread;
    struct task tasks[N_TASKS];
    uint32_t n_run; /* of the engine's thread */
    sem_t done;
};

static void run_task(struct engine *with, void *user) {
    struct task *task = user;
    assert_ptr_equal(with, engine);
    assert_int_equal(task->number, task->poster->n_run);
    if (++task->poster->n_run == N_TASKS) sem_post(&task->poster->done);
}

static void *post_all(void *user) {
    struct poster *poster = user;
    for (uint32_t i = 0; i < N_TASKS; i++) {
        struct task *task = &poster->tasks[i];
        *task = (struct task){.task = {.run = run_task, .user = task}, .poster = poster, .number = i};
        service_post(service, &task->task);
    }
    return NULL;
}

static struct poster posters[N_POSTERS];

static void start_posters(void) {
    for (int i = 0; i < N_POSTERS; i++) {
        posters[i] = (struct poster){0};
        sem_init(&posters[i].done, 0, 0);
        assert_int_equal(pthread_create(&posters[i].thread, NULL, post_all, &posters[i]), 0);
    }
}

static void tasks_in_the_order_of_each_poster(void **state) {
    (void)state;
    start_posters();
    for (int i = 0; i < N_POSTERS; i++) {
        wait_for(&posters[i].done);
        pthread_join(posters[i].thread, NULL);
        sem_destroy(&posters[i].done);
    }
    assert_int_equal(atomic_load(&n_steps), 0); /* nothing was computed */
}

static void what_is_posted_runs_before_the_end(void **state) {
    (void)state;
    start_posters();
    for (int i = 0; i < N_POSTERS; i++) pthread_join(posters[i].thread, NULL);
    service_close(service);
    for (int i = 0; i < N_POSTERS; i++) {
        assert_int_equal(posters[i].n_run, N_TASKS);
        sem_destroy(&posters[i].done);
    }
}

/* A task that posts itself again, and wakes the sleeping thread for each. */
struct echo {
    struct service_task task;
    uint32_t n_left;
    sem_t done;
};

static void run_echo(struct engine *with, void *user) {
    (void)with;
    struct echo *echo = user;
    if (echo->n_left-- > 0)
        service_post(service, &echo->task);
    else
        sem_post(&echo->done);
}

static void a_task_posts_itself(void **state) {
    (void)state;
    struct echo echo = {.task = {.run = run_echo, .user = &echo}, .n_left = 1000};
    sem_init(&echo.done, 0, 0);
    service_post(service, &echo.task);
    wait_for(&echo.done);
    for (int i = 0; i < 1000; i++) { /* into a thread that sleeps, or is about to */
        echo.n_left = 0;
        service_post(service, &echo.task);
        wait_for(&echo.done);
    }
    sem_destroy(&echo.done);
}

/* ---- requests ---- */

struct talk {
    struct service_task submit, cancel;
    struct request request;
    struct sequence *sequence;
    token_id prompt[40];
    token_id output[MAX_TOKENS];
    sem_t first_token, done;
};

static bool keep_token(void *user, const struct token_report *report) {
    struct talk *talk = user;
    talk->output[talk->request.n_output - 1] = report->token;
    if (talk->request.n_output == 1) sem_post(&talk->first_token);
    return false;
}

static void finished(void *user) { sem_post(&((struct talk *)user)->done); }

static void run_submit(struct engine *with, void *user) {
    struct talk *talk = user;
    assert_int_equal(engine_submit(with, &talk->request, talk->prompt, 40), 0);
}

static void run_cancel(struct engine *with, void *user) {
    engine_cancel(with, &((struct talk *)user)->request);
}

static void talk_open(struct talk *talk, int number, uint32_t n_output) {
    *talk = (struct talk){.submit = {.run = run_submit, .user = talk},
                          .cancel = {.run = run_cancel, .user = talk}};
    sem_init(&talk->first_token, 0, 0);
    sem_init(&talk->done, 0, 0);
    assert_int_equal(sequence_new(&talk->sequence, MAX_TOKENS), 0);
    for (int i = 0; i < 40; i++) talk->prompt[i] = (number * 31 + i * 37) % 256;
    talk->request = (struct request){.sequence = talk->sequence,
                                     .sampling = sampler_defaults(),
                                     .max_output_tokens = n_output,
                                     .ignores_end = true,
                                     .releases_cache = true,
                                     .on_token = keep_token,
                                     .on_finish = finished,
                                     .user = talk};
    talk->request.sampling.seed = (uint64_t)number;
}

static void talk_close(struct talk *talk) {
    sem_destroy(&talk->first_token);
    sem_destroy(&talk->done);
    sequence_free(talk->sequence);
}

static void requests_of_another_thread(void **state) {
    (void)state;
    static struct talk alone[N_REQUESTS], together[N_REQUESTS];
    for (int i = 0; i < N_REQUESTS; i++) {
        talk_open(&alone[i], i, N_OUTPUT);
        service_post(service, &alone[i].submit);
        wait_for(&alone[i].done);
        talk_open(&together[i], i, N_OUTPUT);
    }
    assert_true(atomic_load(&n_steps) >= N_REQUESTS * N_OUTPUT);
    for (int i = 0; i < N_REQUESTS; i++) service_post(service, &together[i].submit);
    for (int i = 0; i < N_REQUESTS; i++) {
        wait_for(&together[i].done);
        assert_int_equal(together[i].request.finish, FINISH_LENGTH);
        assert_memory_equal(together[i].output, alone[i].output, N_OUTPUT * sizeof *alone[i].output);
    }
    for (int i = 0; i < N_REQUESTS; i++) talk_close(&alone[i]), talk_close(&together[i]);
}

static void cancelled_by_another_thread(void **state) {
    (void)state;
    static struct talk talks[N_REQUESTS];
    for (int i = 0; i < N_REQUESTS; i++) {
        talk_open(&talks[i], i, MAX_TOKENS - 40);
        service_post(service, &talks[i].submit);
        if (i % 3 == 0) wait_for(&talks[i].first_token);
        if (i % 3 != 2) service_post(service, &talks[i].cancel);
    }
    for (int i = 0; i < N_REQUESTS; i++) {
        wait_for(&talks[i].done);
        if (i % 3 == 1) assert_int_equal(talks[i].request.finish, FINISH_CANCELLED); /* both tasks at once */
        if (i % 3 == 2) assert_int_equal(talks[i].request.n_output, MAX_TOKENS - 40);
    }
    service_close(service); /* cancel tasks of requests that had finished, too */
    for (int i = 0; i < N_REQUESTS; i++) talk_close(&talks[i]);
}

/* The service ends with a request in the middle: nobody steps any more, and it can be cancelled. */
static void closed_in_the_middle(void **state) {
    (void)state;
    static struct talk talk;
    talk_open(&talk, 1, MAX_TOKENS - 40);
    service_post(service, &talk.submit);
    wait_for(&talk.first_token);
    service_close(service);
    engine_cancel(engine, &talk.request);
    wait_for(&talk.done);
    assert_true(talk.request.finish != FINISH_NONE);
    talk_close(&talk);
}

int main(int argc, char **argv) {
    if (argc != 2) return 2;
    path = argv[1];
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(tasks_in_the_order_of_each_poster, open_service, close_service),
        cmocka_unit_test_setup_teardown(what_is_posted_runs_before_the_end, open_service, close_engine),
        cmocka_unit_test_setup_teardown(a_task_posts_itself, open_service, close_service),
        cmocka_unit_test_setup_teardown(requests_of_another_thread, open_service, close_service),
        cmocka_unit_test_setup_teardown(cancelled_by_another_thread, open_service, close_engine),
        cmocka_unit_test_setup_teardown(closed_in_the_middle, open_service, close_engine),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
