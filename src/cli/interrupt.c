#include "cli/interrupt.h"

volatile sig_atomic_t interrupted;

static void on_signal(int signal_number) {
    (void)signal_number;
    interrupted = 1;
}

void interrupt_catch(int signal_number) {
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(signal_number, &action, NULL);
}
