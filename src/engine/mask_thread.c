#include "engine/mask_thread.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>

#include "base/err.h"
#include "base/mem.h"
#include "model/constraint.h"

struct mask_thread {
    struct mask_job *jobs;
    pthread_t thread;
    bool is_started;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    uint32_t n_begun, n_done; /* of the jobs under way */
    bool is_closing;
};

static void do_job(struct mask_job *job) {
    job->result = constraint_mask(job->constraint, job->mask);
    if (job->result < 0) snprintf(job->message, sizeof job->message, "%s", err_message());
}

static void *thread_main(void *argument) {
    struct mask_thread *thread = argument;
    pthread_mutex_lock(&thread->lock);
    for (;;) {
        while (!thread->is_closing && thread->n_done == thread->n_begun)
            pthread_cond_wait(&thread->changed, &thread->lock);
        if (thread->is_closing) break;
        struct mask_job *job = &thread->jobs[thread->n_done];
        pthread_mutex_unlock(&thread->lock);
        do_job(job);
        pthread_mutex_lock(&thread->lock);
        if (++thread->n_done == thread->n_begun) pthread_cond_broadcast(&thread->changed);
    }
    pthread_mutex_unlock(&thread->lock);
    return NULL;
}

int mask_thread_open(struct mask_thread **out, uint32_t max_jobs) {
    struct mask_thread *thread = mem_alloc(1, sizeof *thread);
    if (thread == NULL) return ERR_NO_MEMORY;
    thread->jobs = mem_alloc(max_jobs, sizeof *thread->jobs);
    if (thread->jobs == NULL) {
        mem_free(thread);
        return ERR_NO_MEMORY;
    }
    pthread_mutex_init(&thread->lock, NULL);
    pthread_cond_init(&thread->changed, NULL);
    *out = thread;
    return 0;
}

void mask_thread_close(struct mask_thread *thread) {
    if (thread == NULL) return;
    if (thread->is_started) {
        pthread_mutex_lock(&thread->lock);
        thread->is_closing = true;
        pthread_cond_broadcast(&thread->changed);
        pthread_mutex_unlock(&thread->lock);
        pthread_join(thread->thread, NULL);
    }
    pthread_cond_destroy(&thread->changed);
    pthread_mutex_destroy(&thread->lock);
    mem_free(thread->jobs);
    mem_free(thread);
}

struct mask_job *mask_thread_jobs(struct mask_thread *thread) { return thread->jobs; }

void mask_thread_begin(struct mask_thread *thread, uint32_t n) {
    if (n == 0) return;
    if (!thread->is_started)
        thread->is_started = pthread_create(&thread->thread, NULL, thread_main, thread) == 0;
    pthread_mutex_lock(&thread->lock);
    thread->n_done = 0;
    thread->n_begun = n;
    pthread_cond_broadcast(&thread->changed);
    pthread_mutex_unlock(&thread->lock);
}

void mask_thread_wait(struct mask_thread *thread) {
    pthread_mutex_lock(&thread->lock);
    while (thread->is_started && thread->n_done < thread->n_begun)
        pthread_cond_wait(&thread->changed, &thread->lock);
    for (; thread->n_done < thread->n_begun; thread->n_done++) do_job(&thread->jobs[thread->n_done]);
    pthread_mutex_unlock(&thread->lock);
}
