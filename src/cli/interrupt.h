/* Ctrl-C ends what a verb is doing, not the program: loops look at one flag. */
#ifndef CABINET_CLI_INTERRUPT_H
#define CABINET_CLI_INTERRUPT_H

#include <signal.h>

/* Not 0 since a caught signal arrived; whoever has dealt with it sets it to 0 again. */
extern volatile sig_atomic_t interrupted;

/* From now on the signal sets `interrupted`, and system calls that wait end with EINTR. */
void interrupt_catch(int signal_number);

#endif
