/* An engine on a thread of its own.
 *
 * Other threads hand it tasks, which run on the engine's thread between two steps in the order of handing in;
 * that is how requests come in, are cancelled, and how anybody looks inside. The thread steps as long as
 * there is work and sleeps when there is none. */
#ifndef CABINET_ENGINE_SERVICE_H
#define CABINET_ENGINE_SERVICE_H

#include "engine/engine.h"

struct service;

struct service_task {
    void (*run)(struct engine *engine, void *user); /* may submit and cancel; must not step */
    void *user;
    struct service_task *next; /* the service's while the task waits */
};

/* Takes over the engine and its team until service_close. after_step (may be NULL) is called on the engine's
 * thread behind every step that computed something. */
int service_open(struct service **service, struct engine *engine,
                 void (*after_step)(struct engine *engine, void *user), void *user);
/* Any thread. The task is the caller's and stays until it ran; it may be posted again from then on, also by
 * itself. Never blocks for longer than it takes to wake a thread. */
void service_post(struct service *service, struct service_task *task);
/* Runs the tasks posted so far and ends the thread after the step under way. Nobody posts any more. */
void service_close(struct service *service);

#endif
