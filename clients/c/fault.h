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
    GOLDEN, SLOW, CRASH, BLOCKED,
    /* what the user handed in: exit code 2 */
    BAD_ROOT, USAGE,
    KINDS
};

/* Remember a fault; always false, so that a check can end with `return fail(...)`. */
bool fail(enum kind kind, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The same for an errno of the store: tells a full disk from a read-only one. */
bool fail_errno(int number, const char *doing, const char *name);
void forget_fault(void);

/* One line of talk to stderr. */
void say(const char *format, ...) __attribute__((format(printf, 1, 2)));

enum kind fault_kind(void);
const char *fault_text(void);
const char *kind_word(enum kind kind);
enum kind kind_of_word(const char *word); /* KIND_NONE where there is no such kind */
int kind_exit_code(enum kind kind);
const char *kind_hint(enum kind kind);
void print_fault(void); /* to stderr, as the Python client prints it */

#endif
