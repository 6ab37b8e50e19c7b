#include "server/worker.h"

#include <pthread.h>
#include <stddef.h>

#include "base/err.h"
#include "base/mem.h"

struct worker {
    struct mailbox *mailbox;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct job *first, *last;
    bool is_closing;
};

static void *thread_main(void *argument) {
    struct worker *worker = argument;
    for (;;) {
        pthread_mutex_lock(&worker->lock);
        while (worker->first == NULL && !worker->is_closing)
            pthread_cond_wait(&worker->changed, &worker->lock);
        struct job *job = worker->is_closing ? NULL : worker->first;
        if (job != NULL) worker->first = job->next;
        pthread_mutex_unlock(&worker->lock);
        if (job == NULL) return NULL;
        job->run(job->user);
        mailbox_post(worker->mailbox, &job->done);
    }
}

int worker_open(struct worker **out, struct mailbox *mailbox) {
    struct worker *worker = mem_alloc(1, sizeof *worker);
    if (worker == NULL) return ERR_NO_MEMORY;
    worker->mailbox = mailbox;
    pthread_mutex_init(&worker->lock, NULL);
    pthread_cond_init(&worker->changed, NULL);
    if (pthread_create(&worker->thread, NULL, thread_main, worker) != 0) {
        pthread_cond_destroy(&worker->changed);
        pthread_mutex_destroy(&worker->lock);
        mem_free(worker);
        return ERR(NO_MEMORY, "the system starts no more threads");
    }
    *out = worker;
    return 0;
}

void worker_close(struct worker *worker) {
    if (worker == NULL) return;
    pthread_mutex_lock(&worker->lock);
    worker->is_closing = true;
    pthread_cond_signal(&worker->changed);
    pthread_mutex_unlock(&worker->lock);
    pthread_join(worker->thread, NULL);
    pthread_cond_destroy(&worker->changed);
    pthread_mutex_destroy(&worker->lock);
    mem_free(worker);
}

void worker_submit(struct worker *worker, struct job *job) {
    job->next = NULL;
    pthread_mutex_lock(&worker->lock);
    if (worker->first == NULL)
        worker->first = job;
    else
        worker->last->next = job;
    worker->last = job;
    pthread_cond_signal(&worker->changed);
    pthread_mutex_unlock(&worker->lock);
}
