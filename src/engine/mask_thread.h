/* A thread that finds out which tokens the constrained answers of a step may take next, while the step's
 * forward pass runs.
 *
 * One thread owns it and calls begin and wait in turn; between them the jobs' constraints and masks belong to
 * the mask thread. It sleeps when there is nothing to do, and is started by the first job. */
#ifndef CABINET_ENGINE_MASK_THREAD_H
#define CABINET_ENGINE_MASK_THREAD_H

#include <stdint.h>

struct constraint;
struct mask_thread;

struct mask_job {
    struct constraint *constraint;
    uint32_t *mask; /* filled: a bit for each token of the vocabulary */
    int result;     /* 0, or negative with a line of text: */
    char message[200];
};

int mask_thread_open(struct mask_thread **thread, uint32_t max_jobs);
void mask_thread_close(struct mask_thread *thread);
/* (max_jobs), to be filled before begin. */
struct mask_job *mask_thread_jobs(struct mask_thread *thread);
/* Starts the first n jobs. If the thread cannot be started, wait does the work. */
void mask_thread_begin(struct mask_thread *thread, uint32_t n);
/* Returns when they are done; at once if there were none. */
void mask_thread_wait(struct mask_thread *thread);

#endif
