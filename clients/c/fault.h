/* What went wrong: a stable word, an exit code and a sentence; one at a time, kept in one place. */
#ifndef EDGESR_FAULT_H
#define EDGESR_FAULT_H

#include <stdbool.h>

enum kind {
    KIND_NONE,
    /* attacks: exit code 5 */
    ARBITRARY_FILE, UNSIGNED, WRONG_KEY, THRESHOLD, TAMPERED, ROLLBACK, FREEZE, MIX_AND_MATCH,
    ENDLESS_DATA, MALFORMED,
    /* the machine, the link, the wrong camera: exit code 3 */
    NETWORK, TIMED_OUT, HTTP_STATUS, MISSING, TRUNCATED, BAD_RANGE, TLS, CLOCK_WRONG, DISK_FULL,
    READ_ONLY, BUSY, STORE_DAMAGED, NEWER_SCHEMA, OTHER_COMPATIBLE, OLD_FIRMWARE, OLD_RUNTIME,
    GOLDEN, SLOW, CRASH,
    HELD_BACK, /* a newer release that is not taken, for the reason that its own word states */
    /* what the user handed in: exit code 2 */
    BAD_ROOT, USAGE,
    KINDS
};

/* Remember a fault; always false, so that a check can end with `return fail(...)`. */
bool fail(enum kind kind, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The same for `HELD_BACK`, with the reason's word. */
bool fail_held_back(const char *word, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The same for an errno of the store: tells a full disk from a read-only one. */
bool fail_errno(int number, const char *doing, const char *name);
void forget_fault(void);
void fault_place(const char *url); /* what is asked for now; told with faults of what comes */

struct fault { /* a copy, to come back to after something that may fail on the way */
    enum kind kind;
    char word[40], text[512], place[300];
};
struct fault fault_save(void);
void fault_restore(const struct fault *saved);

/* One line of talk to stderr. */
void say(const char *format, ...) __attribute__((format(printf, 1, 2)));

enum kind fault_kind(void);
const char *fault_text(void);
const char *fault_word(void);
const char *kind_word(enum kind kind);
int kind_exit_code(enum kind kind);
void print_fault(const char *served); /* to stderr; `served`: what the hint begins with */

#endif
