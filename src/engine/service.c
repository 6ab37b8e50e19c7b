#include "engine/service.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "base/err.h"
#include "base/mem.h"

struct service {
    struct engine *engine;
    void (*after_step)(struct engine *engine, void *user);
    void *user;
    pthread_t thread;
    _Atomic(struct service_task *) posted; /* latest first */
    pthread_mutex_t lock;                  /* only for sleeping */
    pthread_cond_t woken;
    _Atomic bool is_closing;
};

/* True if there were any. */
static bool run_tasks(struct service *service) {
    struct service_task *latest = atomic_exchange(&service->posted, NULL), *first = NULL;
    while (latest != NULL) { /* into the order of posting */
        struct service_task *task = latest;
        latest = task->next;
        task->next = first;
        first = task;
    }
    bool any = first != NULL;
    while (first != NULL) {
        struct service_task *task = first;
        first = task->next; /* before it runs: it may be posted again then, or be gone */
        task->run(service->engine, task->user);
    }
    return any;
}

static void *thread_main(void *argument) {
    struct service *service = argument;
    for (;;) {
        bool is_closing = atomic_load(&service->is_closing);
        bool any = run_tasks(service);
        if (is_closing) return NULL;
        if (engine_step(service->engine) > 0) {
            if (service->after_step != NULL) service->after_step(service->engine, service->user);
            continue;
        }
        if (any) continue;
        pthread_mutex_lock(&service->lock);
        while (atomic_load(&service->posted) == NULL && !atomic_load(&service->is_closing))
            pthread_cond_wait(&service->woken, &service->lock);
        pthread_mutex_unlock(&service->lock);
    }
}

static void wake(struct service *service) {
    pthread_mutex_lock(&service->lock);
    pthread_cond_signal(&service->woken);
    pthread_mutex_unlock(&service->lock);
}

int service_open(struct service **out, struct engine *engine,
                 void (*after_step)(struct engine *engine, void *user), void *user) {
    struct service *service = mem_alloc(1, sizeof *service);
    if (service == NULL) return ERR_NO_MEMORY;
    service->engine = engine;
    service->after_step = after_step;
    service->user = user;
    pthread_mutex_init(&service->lock, NULL);
    pthread_cond_init(&service->woken, NULL);
    if (pthread_create(&service->thread, NULL, thread_main, service) != 0) {
        pthread_cond_destroy(&service->woken);
        pthread_mutex_destroy(&service->lock);
        mem_free(service);
        return ERR(NO_MEMORY, "the system starts no more threads");
    }
    *out = service;
    return 0;
}

void service_post(struct service *service, struct service_task *task) {
    task->next = atomic_load(&service->posted);
    while (!atomic_compare_exchange_weak(&service->posted, &task->next, task)) continue;
    wake(service);
}

void service_close(struct service *service) {
    if (service == NULL) return;
    atomic_store(&service->is_closing, true);
    wake(service);
    pthread_join(service->thread, NULL);
    pthread_cond_destroy(&service->woken);
    pthread_mutex_destroy(&service->lock);
    mem_free(service);
}
