/* Mail from other threads to the event thread, and the worker that sends it: nothing is lost, nothing comes
 * twice without being posted twice, order is kept. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <event2/event.h>
#include <pthread.h>

#include "base/err.h"
#include "base/mem.h"
#include "server/mailbox.h"
#include "server/worker.h"

enum { N_POSTERS = 4, N_POSTS = 20000, N_MAILS = 100, PATIENCE_SECONDS = 60 };

static struct event_base *base;
static struct mailbox *mailbox;

static int open_mailbox(void **state) {
    (void)state;
    base = event_base_new();
    return mailbox_open(&mailbox, base);
}

static int close_mailbox(void **state) {
    (void)state;
    mailbox_close(mailbox);
    event_base_free(base);
    return 0;
}

static void give_up(evutil_socket_t socket, short what, void *user) {
    (void)socket, (void)what, (void)user;
    fail_msg("mail was lost");
}

/* One turn of the event thread, which waits for mail. */
static void turn(void) {
    const struct timeval patience = {.tv_sec = PATIENCE_SECONDS};
    struct event *late = evtimer_new(base, give_up, NULL);
    evtimer_add(late, &patience);
    event_base_loop(base, EVLOOP_ONCE);
    event_free(late);
}

/* ---- posts ---- */

/* What a poster tells: a number that grows, behind which it posts. The number is not atomic where the mail
 * orders the accesses. */
struct poster {
    pthread_t thread;
    struct mail mail;
    _Atomic uint32_t n_told;
    uint32_t n_heard, n_deliveries;
};

static void hear(void *user) {
    struct poster *poster = user;
    uint32_t n = atomic_load(&poster->n_told);
    assert_true(n >= poster->n_heard);
    poster->n_heard = n;
    poster->n_deliveries++;
}

static void *post_often(void *user) {
    struct poster *poster = user;
    for (uint32_t i = 1; i <= N_POSTS; i++) {
        atomic_store(&poster->n_told, i);
        if (i % 3 == 0) {
            mailbox_post_quietly(mailbox, &poster->mail);
            mailbox_wake(mailbox);
        } else {
            mailbox_post(mailbox, &poster->mail);
        }
    }
    return NULL;
}

static bool all_is_heard(const struct poster *posters) {
    for (int i = 0; i < N_POSTERS; i++)
        if (posters[i].n_heard < N_POSTS) return false;
    return true;
}

static void the_last_post_is_heard(void **state) {
    (void)state;
    struct poster posters[N_POSTERS] = {0};
    for (int i = 0; i < N_POSTERS; i++) {
        posters[i].mail = (struct mail){.deliver = hear, .user = &posters[i]};
        assert_int_equal(pthread_create(&posters[i].thread, NULL, post_often, &posters[i]), 0);
    }
    while (!all_is_heard(posters)) turn();
    for (int i = 0; i < N_POSTERS; i++) {
        pthread_join(posters[i].thread, NULL);
        assert_true(posters[i].n_deliveries <= N_POSTS);
    }
}

/* ---- order, and mail that goes when it is delivered ---- */

struct letter {
    struct mail mail;
    unsigned number;
};

static unsigned n_delivered;

static void take(void *user) {
    struct letter *letter = user;
    assert_int_equal(letter->number, n_delivered);
    n_delivered++;
    mem_free(letter);
}

static void in_the_order_of_posting(void **state) {
    (void)state;
    n_delivered = 0;
    for (unsigned i = 0; i < N_MAILS; i++) {
        struct letter *letter = mem_alloc(1, sizeof *letter);
        letter->number = i;
        letter->mail = (struct mail){.deliver = take, .user = letter};
        mailbox_post_quietly(mailbox, &letter->mail);
    }
    event_base_loop(base, EVLOOP_NONBLOCK);
    assert_int_equal(n_delivered, 0); /* nobody was woken */
    mailbox_wake(mailbox);
    turn();
    assert_int_equal(n_delivered, N_MAILS);
    mailbox_wake(mailbox); /* for nothing */
    event_base_loop(base, EVLOOP_NONBLOCK);
    assert_int_equal(n_delivered, N_MAILS);
}

static struct mail first, second;
static unsigned n_first, n_second;

static void deliver_first(void *user) {
    (void)user;
    if (n_first++ == 0) mailbox_post(mailbox, &first); /* itself again */
    mailbox_post(mailbox, &second);                    /* which is posted already */
}

static void deliver_second(void *user) {
    (void)user;
    n_second++;
}

static void posted_from_a_delivery(void **state) {
    (void)state;
    first = (struct mail){.deliver = deliver_first};
    second = (struct mail){.deliver = deliver_second};
    n_first = n_second = 0;
    mailbox_post(mailbox, &first);
    mailbox_post(mailbox, &first);
    mailbox_post(mailbox, &second);
    while (n_first < 2 || n_second < 2) turn();
    event_base_loop(base, EVLOOP_NONBLOCK);
    assert_int_equal(n_first, 2);
    assert_int_equal(n_second, 2); /* of its own, and by the second of the first */
}

/* ---- the worker ---- */

struct task {
    struct job job;
    unsigned number;
    bool has_run; /* by the worker; the mail orders it */
    pthread_mutex_t *gate;
};

static unsigned n_run;

static void run_task(void *user) {
    struct task *task = user;
    if (task->gate != NULL) { /* until the test lets it go on */
        pthread_mutex_lock(task->gate);
        pthread_mutex_unlock(task->gate);
    }
    assert_int_equal(task->number, n_run);
    n_run++;
    task->has_run = true;
}

static void task_done(void *user) {
    struct task *task = user;
    assert_true(task->has_run);
    assert_int_equal(task->number, n_delivered);
    n_delivered++;
    mem_free(task);
}

static struct task *submit(struct worker *worker, unsigned number, pthread_mutex_t *gate) {
    struct task *task = mem_alloc(1, sizeof *task);
    task->number = number;
    task->gate = gate;
    task->job = (struct job){.run = run_task, .user = task, .done = {.deliver = task_done, .user = task}};
    worker_submit(worker, &task->job);
    return task;
}

static void jobs_in_order(void **state) {
    (void)state;
    struct worker *worker;
    n_run = n_delivered = 0;
    assert_int_equal(worker_open(&worker, mailbox), 0);
    for (unsigned i = 0; i < N_MAILS; i++) submit(worker, i, NULL);
    while (n_delivered < N_MAILS) turn();
    for (unsigned i = 0; i < N_MAILS; i++) { /* each into an empty queue */
        submit(worker, N_MAILS + i, NULL);
        while (n_delivered <= N_MAILS + i) turn();
    }
    worker_close(worker);
}

static void jobs_that_nobody_waits_for(void **state) {
    (void)state;
    struct worker *worker;
    struct task *tasks[N_MAILS];
    pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
    n_run = n_delivered = 0;
    assert_int_equal(worker_open(&worker, mailbox), 0);
    pthread_mutex_lock(&gate);
    for (unsigned i = 0; i < N_MAILS; i++) tasks[i] = submit(worker, i, i == 0 ? &gate : NULL);
    pthread_mutex_unlock(&gate);
    worker_close(worker);
    unsigned n = n_run;
    event_base_loop(base, EVLOOP_NONBLOCK);
    assert_int_equal(n_delivered, n); /* what ran is told of; the others are forgotten */
    for (unsigned i = n; i < N_MAILS; i++) mem_free(tasks[i]);
    assert_int_equal(worker_open(&worker, mailbox), 0);
    worker_close(worker); /* without any */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_last_post_is_heard, open_mailbox, close_mailbox),
        cmocka_unit_test_setup_teardown(in_the_order_of_posting, open_mailbox, close_mailbox),
        cmocka_unit_test_setup_teardown(posted_from_a_delivery, open_mailbox, close_mailbox),
        cmocka_unit_test_setup_teardown(jobs_in_order, open_mailbox, close_mailbox),
        cmocka_unit_test_setup_teardown(jobs_that_nobody_waits_for, open_mailbox, close_mailbox),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
