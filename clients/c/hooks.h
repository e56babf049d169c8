/* The states of a pull, and where the tests may kill it. */
#ifndef EDGESR_HOOKS_H
#define EDGESR_HOOKS_H

#ifdef EDGESR_TEST_HOOKS
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* EDGESR_KILL=state:phase ends the process there as a power cut would, with nothing cleaned up. */
static inline void at(const char *state, const char *phase) {
    const char *wanted = getenv("EDGESR_KILL");
    char here[64];
    snprintf(here, sizeof here, "%s:%s", state, phase);
    if (wanted != NULL && strcmp(wanted, here) == 0) raise(SIGKILL);
}
#else
static inline void at(const char *state, const char *phase) { (void)state, (void)phase; }
#endif

#endif
