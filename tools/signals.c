/* signals.c - see signals.h. The flag is the one state that a signal handler may set. */
#define _POSIX_C_SOURCE 200809L
#include "tools/signals.h"

#include <signal.h>

static volatile sig_atomic_t received;

/* Afterwards the default action stands again, so the next signal of either kind ends the program.
 */
static void remember(int number) {
    received = number;
    const struct sigaction usual = {.sa_handler = SIG_DFL};
    sigaction(SIGINT, &usual, NULL);
    sigaction(SIGTERM, &usual, NULL);
}

void ql_signals_watch(void) {
    struct sigaction a = {.sa_handler = remember, .sa_flags = SA_RESTART};
    sigemptyset(&a.sa_mask);
    sigaction(SIGINT, &a, NULL);
    sigaction(SIGTERM, &a, NULL);
}

bool ql_signals_stop(void) {
    return received != 0;
}

ql_exit ql_signals_exit(void) {
    return received == SIGTERM ? QL_EXIT_SIGTERM : QL_EXIT_SIGINT;
}
